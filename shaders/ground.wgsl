// What lies behind the figures: a colour, a picture or the lit stage, darkened where feet stand, and on the stage mirrored
// by the floor. CPU twin: engine/src/render/ground.rs, `paint`.

struct Shadow {
    centre: vec2<f32>,
    radii: vec2<f32>,
    strength: f32,
    pad0: f32,
    pad1: f32,
    pad2: f32,
}

struct GroundParams {
    full: vec2<u32>,
    // 0: a colour. 1: the picture in `backdrop`. 2: the stage.
    kind: u32,
    shadows: u32,
    colour: vec4<f32>,
    // Where the whole stage lies in the frame.
    origin: vec2<f32>,
    scale: f32,
    gloss: f32,
    // Rows below the feet that the floor mirrors.
    mirror: f32,
    pad0: f32,
    pad1: f32,
    pad2: f32,
}

@group(0) @binding(0) var<uniform> params: GroundParams;
// 64 * 64: red, green, blue in code values.
@group(0) @binding(1) var<storage, read> light: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> shadows: array<Shadow>;
// A column each: the row on which who stands there stands.
@group(0) @binding(3) var<storage, read> floors: array<f32>;
// full: opaque RGBA8.
@group(0) @binding(4) var<storage, read> backdrop: array<u32>;
// full: premultiplied RGBA8, the figures.
@group(0) @binding(5) var<storage, read> frame: array<u32>;
// full: opaque RGBA8.
@group(0) @binding(6) var<storage, read_write> ground: array<u32>;

fn dither(p: vec2<u32>) -> f32 {
    let q = p.x ^ p.y;
    var v = 0u;
    for (var bit = 0u; bit < 3u; bit++) {
        v |= ((q >> bit) & 1u) << (5u - 2u * bit);
        v |= ((p.y >> bit) & 1u) << (4u - 2u * bit);
    }
    return f32(v) / 64.0;
}

fn lit(p: vec2<u32>) -> vec3<f32> {
    let span = vec2<f32>(params.full) * params.scale;
    let at = clamp((vec2<f32>(p) + 0.5 - params.origin) * (64.0 / span) - 0.5, vec2<f32>(0.0), vec2<f32>(63.0));
    let a = min(vec2<u32>(at), vec2<u32>(62u));
    let k = at - vec2<f32>(a);
    let i = a.y * 64u + a.x;
    let v = mix(mix(light[i], light[i + 1u], k.x), mix(light[i + 64u], light[i + 65u], k.x), k.y);
    return floor(v.xyz + dither(p)) / 255.0;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.full.x || id.y >= params.full.y) {
        return;
    }
    let i = id.y * params.full.x + id.x;
    var out = params.colour.xyz;
    if (params.kind == 1u) {
        out = unpack4x8unorm(backdrop[i]).xyz;
    } else if (params.kind == 2u) {
        out = lit(id.xy);
    }
    let p = vec2<f32>(id.xy) + 0.5;
    for (var s = 0u; s < params.shadows; s++) {
        let d = (p - shadows[s].centre) / shadows[s].radii;
        let near = max(1.0 - dot(d, d), 0.0);
        out *= 1.0 - shadows[s].strength * near * near;
    }
    let below = p.y - floors[id.x];
    if (params.gloss > 0.0 && below > 0.0 && below < params.mirror) {
        let from_row = floors[id.x] - below;
        if (from_row >= 0.0 && from_row < f32(params.full.y)) {
            let seen = unpack4x8unorm(frame[u32(from_row) * params.full.x + id.x]);
            let left = 1.0 - below / params.mirror;
            let k = params.gloss * left * left;
            out = out * (1.0 - seen.w * k) + seen.xyz * k;
        }
    }
    ground[i] = pack4x8unorm(vec4<f32>(min(out, vec3<f32>(1.0)), 1.0));
}
