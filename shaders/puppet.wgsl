// The puppet pass: skins the avatar's mesh and paints one layer a draw, far to near.
// CPU twin: engine/src/render/cpu.rs.

struct Vertex {
    rest: vec2<f32>,
    uv: vec2<f32>,
    pivot: vec2<f32>,
    bulge: f32,
    validity: f32,
    bones: vec4<u32>,
    weights: vec4<f32>,
}

struct Bone {
    offset: vec2<f32>,
    bulge: vec2<f32>,
    stretch: vec3<f32>,
    angle: f32,
    trust: f32,
    pad0: f32,
    pad1: f32,
    pad2: f32,
}

struct PuppetParams {
    // Pixels of the figure's own picture to clip space: times this, plus `clip`.
    to_clip: vec2<f32>,
    clip: vec2<f32>,
    // Atlas pixels to texture coordinates.
    to_uv: vec2<f32>,
    level: f32,
    pad0: f32,
}

@group(0) @binding(0) var<storage, read> vertices: array<Vertex>;
@group(0) @binding(1) var<storage, read> bones: array<Bone>;
@group(0) @binding(2) var<uniform> params: PuppetParams;
@group(0) @binding(3) var atlas: texture_2d<f32>;
@group(0) @binding(4) var smooth_sampler: sampler;

struct Varying {
    @builtin(position) position: vec4<f32>,
    @location(0) uv: vec2<f32>,
    @location(1) validity: f32,
    @location(2) @interpolate(flat) part: f32,
}

fn turn(angle: f32, v: vec2<f32>) -> vec2<f32> {
    let s = sin(angle);
    let c = cos(angle);
    return vec2<f32>(c * v.x - s * v.y, s * v.x + c * v.y);
}

fn stretched(s: vec3<f32>, v: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(s.x * v.x + s.y * v.y, s.y * v.x + s.z * v.y);
}

// Angles are blended about the joint, not matrices: a bend keeps its thickness.
@vertex
fn vertex(@builtin(vertex_index) index: u32, @builtin(instance_index) layer: u32) -> Varying {
    let v = vertices[index];
    var angle = 0.0;
    var stretch = vec3<f32>(0.0);
    var at = vec2<f32>(0.0);
    var trust = 0.0;
    for (var i = 0u; i < 4u; i++) {
        let w = v.weights[i];
        if (w > 0.0) {
            let b = bones[v.bones[i]];
            angle += w * b.angle;
            stretch += w * b.stretch;
            at += w * (turn(b.angle, stretched(b.stretch, v.pivot)) + b.offset + b.bulge * v.bulge);
            trust += w * b.trust;
        }
    }
    let p = at + turn(angle, stretched(stretch, v.rest - v.pivot));
    var out: Varying;
    out.position = vec4<f32>(p * params.to_clip + params.clip, 0.0, 1.0);
    out.uv = v.uv * params.to_uv;
    out.validity = v.validity * trust;
    out.part = f32(layer + 1u) / 255.0;
    return out;
}

struct Painted {
    @location(0) colour: vec4<f32>,
    // validity, part / 255, unused, 1 where this replaces what lies below.
    @location(1) aux: vec4<f32>,
}

@fragment
fn fragment(in: Varying) -> Painted {
    let colour = textureSampleLevel(atlas, smooth_sampler, in.uv, params.level);
    var out: Painted;
    out.colour = colour;
    out.aux = vec4<f32>(clamp(in.validity, 0.0, 1.0), in.part, 0.0, select(0.0, 1.0, colour.a >= 0.5));
    return out;
}
