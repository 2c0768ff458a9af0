// The puppet picture at the denoiser's working size: a box filter with exact coverage.
// CPU twin: engine/src/render/compose.rs, `downsample`.

struct Sizes {
    // Full picture, pixels.
    full: vec2<u32>,
    // Working picture, pixels.
    work: vec2<u32>,
}

@group(0) @binding(0) var<uniform> sizes: Sizes;
@group(0) @binding(1) var colour: texture_2d<f32>;
@group(0) @binding(2) var aux: texture_2d<f32>;
// work.y * work.x * 5: premultiplied red, green, blue, alpha, then validity.
@group(0) @binding(3) var<storage, read_write> working: array<f32>;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= sizes.work.x || id.y >= sizes.work.y) {
        return;
    }
    let scale = vec2<f32>(sizes.full) / vec2<f32>(sizes.work);
    let begin = vec2<f32>(id.xy) * scale;
    let to = begin + scale;
    let first = vec2<u32>(floor(begin));
    let last = min(vec2<u32>(ceil(to)), sizes.full);
    var sum = vec4<f32>(0.0);
    var valid = 0.0;
    var total = 0.0;
    for (var y = first.y; y < last.y; y++) {
        let ky = min(to.y, f32(y + 1u)) - max(begin.y, f32(y));
        for (var x = first.x; x < last.x; x++) {
            let k = ky * (min(to.x, f32(x + 1u)) - max(begin.x, f32(x)));
            let c = textureLoad(colour, vec2<u32>(x, y), 0);
            let a = textureLoad(aux, vec2<u32>(x, y), 0);
            sum += k * c;
            valid += k * a.x * c.a;
            total += k;
        }
    }
    let at = (id.y * sizes.work.x + id.x) * 5u;
    sum /= total;
    working[at] = sum.x;
    working[at + 1u] = sum.y;
    working[at + 2u] = sum.z;
    working[at + 3u] = sum.w;
    working[at + 4u] = valid / total;
}
