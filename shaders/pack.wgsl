// RGBA to I420, limited range; with a matte the alpha follows below the colour as a grey picture.
// CPU twin: engine/src/render/yuv.rs. One invocation writes one word: four luma or four chroma bytes.

struct PackParams {
    // Frame, pixels; the width is a multiple of 8 and the height of 2.
    size: vec2<u32>,
    // 1: colour above, matte below, a picture of twice the height.
    matte: u32,
    pad0: u32,
    // Rows of the matrix from RGB (0 to 1) to Y, U, V in code values, and their offsets.
    y_row: vec4<f32>,
    u_row: vec4<f32>,
    v_row: vec4<f32>,
}

@group(0) @binding(0) var<uniform> params: PackParams;
@group(0) @binding(1) var<storage, read> frame: array<u32>;
@group(0) @binding(2) var<storage, read_write> planes: array<u32>;

fn pixel(x: u32, y: u32) -> vec4<f32> {
    return unpack4x8unorm(frame[y * params.size.x + x]);
}

fn code(row: vec4<f32>, rgb: vec3<f32>) -> u32 {
    return u32(clamp(dot(row.xyz, rgb) + row.w, 0.0, 255.0) + 0.5);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let w = params.size.x;
    let h = params.size.y;
    let rows = h * (1u + params.matte);
    let luma = w * rows / 4u;
    let chroma = luma / 4u;
    let word = id.x + id.y * 4194240u;
    if (word >= luma + 2u * chroma) {
        return;
    }
    var out = 0u;
    if (word < luma) {
        let x = (word * 4u) % w;
        let y = (word * 4u) / w;
        for (var i = 0u; i < 4u; i++) {
            var v = 0u;
            if (y < h) {
                v = code(params.y_row, pixel(x + i, y).xyz);
            } else {
                v = u32(16.5 + 219.0 * pixel(x + i, y - h).w);
            }
            out |= v << (8u * i);
        }
    } else {
        let second = word >= luma + chroma;
        let at = (word - luma - select(0u, chroma, second)) * 4u;
        let x = at % (w / 2u);
        let y = at / (w / 2u);
        for (var i = 0u; i < 4u; i++) {
            var v = 128u;
            if (2u * y < h) {
                let u = 2u * (x + i);
                let t = 2u * y;
                let rgb = pixel(u, t) + pixel(u + 1u, t) + pixel(u, t + 1u) + pixel(u + 1u, t + 1u);
                if (second) {
                    v = code(params.v_row, rgb.xyz * 0.25);
                } else {
                    v = code(params.u_row, rgb.xyz * 0.25);
                }
            }
            out |= v << (8u * i);
        }
    }
    planes[word] = out;
}
