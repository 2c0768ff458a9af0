//! The engine as this machine runs it: weights read once, the choice of what computes and what draws, and the
//! pipelines made of them.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::Context;
use odori_engine::avatar::{Avatar, FACING};
use odori_engine::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, KEYPOINTS, Keypoint, Precision};
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::ladder::{Load, Rung};
use odori_engine::picture::Look;
use odori_engine::pipeline::{Costume, Fitting, Models, PictureSetup, Pipeline, Settings};
use odori_engine::prompt::PromptEncoder;
use odori_engine::render;
use odori_kernels::{Backend, Weights, cpu, gpu};

pub(crate) const BEAT: &[u8] = include_bytes!("../../models/beat.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../models/tokenizer.safetensors");
const MOTION: &[u8] = include_bytes!("../../models/motion.safetensors");
const IDLE: &[u8] = include_bytes!("../../models/idle.safetensors");
const PROMPT: &[u8] = include_bytes!("../../models/prompt.safetensors");
const DENOISER: &[u8] = include_bytes!("../../models/denoiser.safetensors");

/// Which family of kernels to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compute {
    /// What measures faster on this machine.
    #[default]
    Auto,
    Cpu,
    Gpu,
}

/// What to draw with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Draw {
    /// Vulkan, Metal or DX12 where there is one, else our CPU twin.
    #[default]
    Auto,
    Cpu,
    Gpu,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub compute: Compute,
    pub draw: Draw,
    pub working_size: usize,
    pub best: Rung,
    /// Threads of the CPU's kernels; without it what the machine has, to eight.
    pub threads: Option<usize>,
    /// A folder of other weights; what it lacks is the built-in.
    pub models: Option<std::path::PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { compute: Compute::Auto, draw: Draw::Auto, working_size: 128, best: Rung::OneStep, threads: None, models: None }
    }
}

/// Weights and backends, shared by all pipelines.
pub struct Machine {
    pub backend: Backend,
    /// Why this backend, in words.
    pub reason: String,
    draw: Draw,
    working_size: usize,
    best: Rung,
    models: Models,
    styles: Vec<String>,
    /// Understands texts.
    pub prompts: PromptEncoder,
    /// What a live frame costs on each rung, once it was measured.
    load: OnceLock<Load>,
}

/// The version in a weights file's metadata.
fn version(weights: &Weights) -> String {
    weights.metadata("version").unwrap_or("unversioned").to_owned()
}

/// The weights files, unchecked against each other.
struct Files {
    beat: Weights,
    tokenizer: Weights,
    motion: Weights,
    denoiser: Weights,
    idle: Weights,
    prompt: Weights,
}

/// The folder's weights, and the built-in ones for what it lacks.
fn read_files(folder: Option<&std::path::Path>) -> anyhow::Result<Files> {
    let names = ["beat", "tokenizer", "motion", "denoiser", "idle", "prompt"].map(|name| format!("{name}.safetensors"));
    if let Some(folder) = folder.filter(|f| !names.iter().any(|name| f.join(name).exists())) {
        anyhow::bail!("{} holds no weights; expected any of {}", folder.display(), names.join(", "));
    }
    let read = |name: &str, built_in: &'static [u8]| -> anyhow::Result<Weights> {
        let file = folder.map(|f| f.join(format!("{name}.safetensors"))).filter(|f| f.exists());
        let what = file.as_ref().map_or_else(|| format!("the built-in {name} weights"), |f| f.display().to_string());
        let bytes = match &file {
            Some(path) => std::borrow::Cow::Owned(std::fs::read(path).with_context(|| format!("{what} cannot be read"))?),
            None => std::borrow::Cow::Borrowed(built_in),
        };
        Weights::from_safetensors(&bytes).with_context(|| what)
    };
    Ok(Files {
        beat: read("beat", BEAT)?,
        tokenizer: read("tokenizer", TOKENIZER)?,
        motion: read("motion", MOTION)?,
        denoiser: read("denoiser", DENOISER)?,
        idle: read("idle", IDLE)?,
        prompt: read("prompt", PROMPT)?,
    })
}

impl Machine {
    /// Reads the weights and chooses what computes.
    ///
    /// # Errors
    /// Names the weights file or the device that cannot be used.
    pub fn open(options: &Options) -> anyhow::Result<Self> {
        let files = read_files(options.models.as_deref())?;
        let styles = odori_engine::motion::style_names(&files.motion);
        let (backend, reason) = choose(options, &files.denoiser)?;
        let models = Models::new(&backend, files.beat, files.tokenizer, files.motion, files.denoiser, &files.idle)?;
        let prompts = PromptEncoder::new(&files.prompt)?;
        Ok(Machine {
            prompts,
            backend,
            reason,
            draw: options.draw,
            working_size: options.working_size,
            best: options.best,
            models,
            styles,
            load: OnceLock::new(),
        })
    }

    /// Names of the styles the motion model was trained on, in order.
    pub fn styles(&self) -> &[String] {
        &self.styles
    }

    /// The rung that frames are made on while there is time.
    pub fn best(&self) -> Rung {
        self.best
    }

    /// Pipelines made from now on know what their rungs cost. Once.
    pub fn set_load(&self, load: Load) {
        let _ = self.load.set(load);
    }

    pub fn backend_name(&self) -> &'static str {
        match self.backend {
            Backend::Cpu(_) => "cpu",
            Backend::Gpu(_) => "gpu",
        }
    }

    /// Name and version of every model.
    pub fn versions(&self) -> [(&'static str, String); 4] {
        let m = &self.models;
        [("beat", version(&m.beat)), ("tokenizer", version(&m.tokenizer)), ("motion", version(&m.motion)), ("denoiser", version(&m.denoiser))]
    }

    fn drawer(&self) -> anyhow::Result<render::Drawer> {
        let prefer = match self.draw {
            Draw::Auto => render::Prefer::Auto,
            Draw::Cpu => render::Prefer::Cpu,
            Draw::Gpu => render::Prefer::Gpu,
        };
        Ok(render::open(prefer))
    }

    /// What draws, in words.
    ///
    /// # Errors
    /// If nothing of what was asked for can draw.
    pub fn drawer_description(&self) -> anyhow::Result<String> {
        Ok(self.drawer()?.description())
    }

    /// A pipeline with pictures. With `keep_budget` the ladder may step down.
    ///
    /// # Errors
    /// What kept it from being built.
    pub fn pipeline(&self, avatar: Avatar, size: (u32, u32), settings: Settings, keep_budget: bool) -> anyhow::Result<Pipeline> {
        let setup = PictureSetup {
            avatar,
            drawer: self.drawer()?,
            width: size.0,
            height: size.1,
            working_size: self.working_size,
            best: self.best,
            keep_budget,
            seed: settings.sampling.seed,
        };
        let mut pipeline = Pipeline::new(&self.backend, &self.models, settings, setup)?;
        if let Some(load) = self.load.get() {
            pipeline.set_load(load);
        }
        Ok(pipeline)
    }

    /// A look for one of a pipeline's dancers.
    ///
    /// # Errors
    /// If it cannot be made ready.
    pub fn look(&self, fitting: &Fitting, avatar: Avatar, dancer: usize) -> anyhow::Result<Look> {
        Ok(fitting.look(&self.backend, &self.models, avatar, dancer)?)
    }

    /// One more dancer for a change.
    ///
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn newcomer(&self, costume: Costume) -> anyhow::Result<Costume> {
        Ok(costume.with_newcomer(&self.backend, &self.models)?)
    }

    /// What makes a soloist's pipeline a group of `dancers`: avatars in turn, the leader keeping theirs.
    ///
    /// # Errors
    /// If a look or a dancer cannot be made.
    pub fn costume(&self, pipeline: &Pipeline, avatars: &[Avatar], dancers: usize) -> anyhow::Result<Costume> {
        let mut costume = Costume::new(dancers);
        let fitting = pipeline.fitting().context("this pipeline makes no pictures")?;
        for n in pipeline.size()..dancers.min(MOST_DANCERS) {
            let avatar = avatars[n % avatars.len()].clone();
            costume = self.newcomer(costume.with_look(n, self.look(&fitting, avatar, n)?))?;
        }
        Ok(costume)
    }

    /// The denoiser alone, at a working size.
    ///
    /// # Errors
    /// If the weights do not fit it.
    pub fn denoiser(&self, working_size: usize, precision: Precision) -> anyhow::Result<Denoiser> {
        Ok(Denoiser::with_precision(&self.backend, &self.models.denoiser, working_size, precision)?)
    }

    /// A pipeline that only dances.
    ///
    /// # Errors
    /// What kept it from being built.
    pub fn poses(&self, settings: Settings) -> anyhow::Result<Pipeline> {
        self.group(settings, 1)
    }

    /// A pipeline of several dancers who only dance.
    ///
    /// # Errors
    /// What kept it from being built.
    pub fn group(&self, settings: Settings, dancers: usize) -> anyhow::Result<Pipeline> {
        Ok(Pipeline::group(&self.backend, &self.models, settings, dancers)?)
    }
}

fn cpu_backend(threads: Option<usize>) -> Backend {
    Backend::Cpu(cpu::Pool::new(threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from).min(8))))
}

/// Measures one denoise step on a backend: the median of a few.
fn measure(backend: &Backend, weights: &Weights, size: usize) -> anyhow::Result<Duration> {
    let mut denoiser = Denoiser::with_precision(backend, weights, size, Precision::Short)?;
    let warp = vec![0.5; size * size * 4];
    let validity = vec![1.0; size * size];
    denoiser.set_reference(&warp)?;
    let mut out = DenoiseOutput::default();
    let mut times = Vec::new();
    for i in 0..7 {
        let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &[Keypoint { x: 0.5, y: 0.5, confidence: 1.0, depth: 0.0 }; KEYPOINTS], facing: &[0.0; FACING], tokens: &[], head: &[] };
        let start = Instant::now();
        denoiser.step(input, 1, 1, i, &mut out)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn choose(options: &Options, denoiser: &Weights) -> anyhow::Result<(Backend, String)> {
    let (compute, size) = (options.compute, options.working_size);
    let cpu_backend = || cpu_backend(options.threads);
    if compute == Compute::Cpu {
        return Ok((cpu_backend(), "asked for".into()));
    }
    let device = gpu::Device::open_best(compute == Compute::Gpu);
    match (compute, device) {
        (Compute::Gpu, Ok(device)) => Ok((Backend::Gpu(device), "asked for".into())),
        (Compute::Gpu, Err(e)) => Err(anyhow::anyhow!("no GPU can compute: {e}; install its Vulkan driver, or use --compute cpu")),
        (_, Err(e)) => Ok((cpu_backend(), format!("no GPU: {e}"))),
        (_, Ok(device)) if device.info().is_software() => Ok((cpu_backend(), format!("{} is software: the CPU kernels are many times faster", device.info().name))),
        (_, Ok(device)) => {
            let name = device.info().name.clone();
            let (cpu, gpu) = (cpu_backend(), Backend::Gpu(device));
            let on_cpu = measure(&cpu, denoiser, size)?;
            // A GPU that fails its first step is not chosen; its reason is shown.
            match measure(&gpu, denoiser, size) {
                Ok(on_gpu) if on_gpu < on_cpu => Ok((gpu, format!("a denoise step takes {:.1} ms on {name}, {:.1} ms on the CPU", ms(on_gpu), ms(on_cpu)))),
                Ok(on_gpu) => Ok((cpu, format!("a denoise step takes {:.1} ms on the CPU, {:.1} ms on {name}", ms(on_cpu), ms(on_gpu)))),
                Err(e) => Ok((cpu, format!("{name} failed: {e}"))),
            }
        }
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}
