//! Drawing one class: nucleus by sorting, then Gumbel-max. In f64, so that the draw is the reference's draw.

use crate::noise;

/// `order` is scratch, (probability, class). Returns the class; see `Op::Sample`.
pub fn sample(logits: &[f32], order: &mut [(f64, u32)], temperature: f32, top_p: f32, seed: u32, step: u32, slot: u32) -> usize {
    let mut first = 0;
    for (i, &l) in logits.iter().enumerate() {
        if l > logits[first] {
            first = i;
        }
    }
    if temperature.is_nan() || temperature <= 0.0 {
        return first;
    }
    let (temperature, top) = (f64::from(temperature), f64::from(logits[first]));
    let score = |i: usize| (f64::from(logits[i]) - top) / temperature;
    let noisy = |i: usize| score(i) + noise::gumbel(seed, step, (slot << 16).wrapping_add(i as u32));
    let mut best = (first, noisy(first));
    let mut consider = |i: usize| {
        let s = noisy(i);
        if s > best.1 || (s == best.1 && i < best.0) {
            best = (i, s);
        }
    };
    if top_p > 1.0 {
        (0..logits.len()).for_each(&mut consider);
        return best.0;
    }
    let order = &mut order[..logits.len()];
    let mut total = 0.0;
    for (i, o) in order.iter_mut().enumerate() {
        let p = score(i).exp();
        total += p;
        *o = (p, i as u32);
    }
    order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut before = 0.0;
    for &(p, i) in order.iter() {
        if before >= f64::from(top_p) * total {
            break;
        }
        consider(i as usize);
        before += p;
    }
    best.0
}
