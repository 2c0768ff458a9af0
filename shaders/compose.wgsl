// A figure laid over the frame: the denoised picture enlarged, with the warp's own fine detail where the mask lends it.
// CPU twin: engine/src/render/compose.rs, `compose`.

struct ComposeParams {
    full: vec2<u32>,
    work: vec2<u32>,
    // Where the figure's own picture lies in the frame, and how large it is there.
    origin: vec2<f32>,
    span: vec2<f32>,
    // How opaque the figure is, 0 to 1.
    fade: f32,
    // 1: a denoised picture is there. 0: the warp alone.
    denoised: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: ComposeParams;
@group(0) @binding(1) var colour: texture_2d<f32>;
// work * 11: denoised red, green, blue, alpha (premultiplied), the detail mask, the moved warp that it corrects
// (premultiplied), and the flow that moved it, in working pixels.
@group(0) @binding(2) var<storage, read> denoised: array<f32>;
// full: premultiplied RGBA8, what was laid there before.
@group(0) @binding(3) var<storage, read_write> frame: array<u32>;

fn texel(p: vec2<i32>) -> vec4<f32> {
    if (any(p < vec2<i32>(0)) || any(p >= vec2<i32>(params.full))) {
        return vec4<f32>(0.0);
    }
    return textureLoad(colour, p, 0);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.full.x || id.y >= params.full.y) {
        return;
    }
    let warp = textureLoad(colour, id.xy, 0);
    var out = warp;
    let own = vec2<f32>(id.xy) + 0.5 - params.origin;
    // The network saw the figure's own picture only: beyond it the warp stands alone.
    if (params.denoised == 1u && all(own >= vec2<f32>(0.0)) && all(own < params.span)) {
        let scale = vec2<f32>(params.work) / params.span;
        let most = vec2<f32>(params.work - vec2<u32>(1u));
        let p = clamp(own * scale - 0.5, vec2<f32>(0.0), most);
        let a = vec2<u32>(floor(p));
        let b = min(a + vec2<u32>(1u), params.work - vec2<u32>(1u));
        let k = p - vec2<f32>(a);
        let w = vec4<f32>((1.0 - k.x) * (1.0 - k.y), k.x * (1.0 - k.y), (1.0 - k.x) * k.y, k.x * k.y);
        let at = 11u * vec4<u32>(
            a.y * params.work.x + a.x,
            a.y * params.work.x + b.x,
            b.y * params.work.x + a.x,
            b.y * params.work.x + b.x,
        );
        var clean = vec4<f32>(0.0);
        var low = vec4<f32>(0.0);
        var mask = 0.0;
        var flow = vec2<f32>(0.0);
        for (var i = 0u; i < 4u; i++) {
            let j = at[i];
            clean += w[i] * vec4<f32>(denoised[j], denoised[j + 1u], denoised[j + 2u], denoised[j + 3u]);
            mask += w[i] * denoised[j + 4u];
            low += w[i] * vec4<f32>(denoised[j + 5u], denoised[j + 6u], denoised[j + 7u], denoised[j + 8u]);
            flow += w[i] * vec2<f32>(denoised[j + 9u], denoised[j + 10u]);
        }
        let from_at = vec2<f32>(id.xy) + flow / scale;
        let corner = floor(from_at);
        let part = from_at - corner;
        let c = vec2<i32>(corner);
        let up = mix(texel(c), texel(c + vec2<i32>(1, 0)), part.x);
        let down = mix(texel(c + vec2<i32>(0, 1)), texel(c + vec2<i32>(1, 1)), part.x);
        out = clean + mask * (mix(up, down, part.y) - low);
        out = clamp(out, vec4<f32>(0.0), vec4<f32>(1.0));
        out = vec4<f32>(min(out.xyz, vec3<f32>(out.w)), out.w);
    }
    let i = id.y * params.full.x + id.x;
    out *= params.fade;
    frame[i] = pack4x8unorm(out + unpack4x8unorm(frame[i]) * (1.0 - out.w));
}
