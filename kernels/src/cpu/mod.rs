//! The CPU family: SIMD kernels chosen at run time, weights packed at load, threads that wait between frames.
//!
//! `CpuExecutor::run` allocates nothing. Kernels are generic over `simd::Simd` and reached through `level::Table`.

mod affinity;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "aarch64")]
mod arm;
mod attention;
mod bands;
#[cfg(target_arch = "x86_64")]
mod eight_bit;
mod executor;
mod gemm;
mod level;
pub(crate) mod pack;
mod pool;
mod rows;
mod sample;
mod simd;
mod steps;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use bands::Bands;
pub use executor::CpuExecutor;
pub use level::Level;
pub use pool::Pool;

/// What this processor runs layers in, instead of f32, that a plan says bear it; `None` if it has nothing faster.
pub fn short_form() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    return if amx::present(Level::best()) {
        Some("bf16")
    } else {
        eight_bit::Family::beside(Level::best()).map(|_| "eight bits")
    };
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// What computes here, for people: the level, and the short form if there is one.
pub fn instructions() -> String {
    let level = Level::best().name();
    short_form().map_or_else(|| level.to_owned(), |form| format!("{level} with {form}"))
}

/// The multiply-add ceiling of `threads` of this pool at `level`, in GFLOP/s: what a benchmark divides by.
pub fn peak_gflops(pool: &Pool, level: Level) -> f64 {
    let table = level.table();
    let rounds = 2_000_000u64;
    let mut best = 0.0f64;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        pool.run(pool.threads(), &|_, _| {
            // SAFETY: a `Level` is only made where its instruction set was found.
            std::hint::black_box(unsafe { (table.peak)(rounds) });
        });
        let flops = (24 * table.lanes) as f64 * rounds as f64 * pool.threads() as f64;
        best = best.max(flops / start.elapsed().as_secs_f64() / 1e9);
    }
    best
}
