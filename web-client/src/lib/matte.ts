// Puts colour and matte together: the video carries colour in its upper half and the matte in its lower half.
// The picture drawn is premultiplied, as browsers compose it.

const VERTEX = `#version 300 es
out vec2 uv;
void main() {
  vec2 p = vec2((gl_VertexID << 1) & 2, gl_VertexID & 2);
  uv = vec2(p.x, 1.0 - p.y);
  gl_Position = vec4(p * 2.0 - 1.0, 0.0, 1.0);
}`;

// Colour arrives composed over black, which is premultiplied colour. A codec never gives exact black or white
// for the matte: its ends are stretched so that clear is clear and solid is solid.
const FRAGMENT = `#version 300 es
precision mediump float;
uniform sampler2D frame;
in vec2 uv;
out vec4 colour;
void main() {
  float alpha = smoothstep(0.03, 0.97, texture(frame, vec2(uv.x, 0.5 + uv.y * 0.5)).g);
  vec3 rgb = texture(frame, vec2(uv.x, uv.y * 0.5)).rgb;
  colour = vec4(min(rgb, vec3(alpha)), alpha);
}`;

export class MatteCanvas {
  private readonly gl: WebGL2RenderingContext;
  private stopped = false;

  /** Throws if the browser has no WebGL 2. */
  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly video: HTMLVideoElement,
  ) {
    const gl = canvas.getContext("webgl2", { alpha: true, premultipliedAlpha: true, antialias: false, preserveDrawingBuffer: true });
    if (!gl) throw new Error("This browser has no WebGL 2: switch on hardware acceleration for browser sources.");
    this.gl = gl;
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => this.prepare());
    this.prepare();
  }

  private prepare(): void {
    const gl = this.gl;
    const program = gl.createProgram()!;
    for (const [kind, source] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, filter, gl.LINEAR);
    gl.clearColor(0, 0, 0, 0);
  }

  /** Draws every frame of the video as it arrives, until `stop`. */
  start(): void {
    const draw = () => {
      if (this.stopped) return;
      this.draw();
      this.video.requestVideoFrameCallback(draw);
    };
    this.video.requestVideoFrameCallback(draw);
  }

  stop(): void {
    this.stopped = true;
  }

  /** Shows nothing at all. */
  clear(): void {
    this.gl.clear(this.gl.COLOR_BUFFER_BIT);
  }

  private draw(): void {
    const { gl, canvas, video } = this;
    const width = video.videoWidth;
    const height = video.videoHeight >> 1;
    if (!width || !height || gl.isContextLost()) return;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      gl.viewport(0, 0, width, height);
    }
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB, gl.RGB, gl.UNSIGNED_BYTE, video);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }
}
