//! Drawing: the puppet pass, composition and packing, as WGSL on a GPU or as their CPU twins.
//!
//! [`open`] chooses at start; both kinds of [`Drawer`] answer the same calls with pictures that agree within a
//! few code values (tested). Only this module names wgpu.

pub mod compose;
pub mod cpu;
mod cpu_drawer;
mod gpu;
pub mod ground;
pub mod raster;
#[cfg(test)]
mod tests;
mod whole;
pub mod yuv;

pub use compose::{DENOISED_CHANNELS, WORK_CHANNELS};
pub use cpu_drawer::CpuDrawer;
pub use gpu::{GpuDrawer, GpuInfo, GpuPuppet};
pub use ground::{Background, Ground, Light, Shadow};
pub use yuv::Matrix;

use glam::Vec2;
use odori_kernels::cpu::Pool;

use crate::avatar::{Avatar, PuppetFrame};
use cpu::CpuPuppet;

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error("no graphics adapter was found; install a Vulkan driver (Debian: mesa-vulkan-drivers) or draw on the CPU")]
    NoAdapter,
    #[error("the graphics device cannot be opened: {0}")]
    Device(String),
    #[error("the graphics device was lost or failed: {0}")]
    Lost(String),
    #[error("a picture of {width}x{height} cannot be drawn: sides must be even, 16 to 4096 pixels")]
    Size { width: usize, height: usize },
    #[error("no frame was begun")]
    NoFrame,
    #[error("the avatar was prepared for another kind of drawing")]
    Foreign,
}

/// Pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    pub fn new(width: usize, height: usize) -> Self {
        Size { width, height }
    }
    pub fn square(side: usize) -> Self {
        Size { width: side, height: side }
    }
    pub fn pixels(self) -> usize {
        self.width * self.height
    }
    fn check(self) -> Result<(), RenderError> {
        let fine = |v: usize| (16..=4096).contains(&v) && v.is_multiple_of(2);
        if fine(self.width) && fine(self.height) {
            Ok(())
        } else {
            Err(RenderError::Size { width: self.width, height: self.height })
        }
    }
}

/// Where something's own picture lies in the frame: `shown = origin + scale * own`, pixels. A puppet's own picture is as large
/// as its [`PuppetFrame`] says, of any size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub origin: Vec2,
    pub scale: f32,
}

impl View {
    /// The picture is the frame, or its upper left part.
    pub const WHOLE: View = View { origin: Vec2::ZERO, scale: 1.0 };

    pub fn apply(&self, own: Vec2) -> Vec2 {
        self.origin + self.scale * own
    }

    /// A figure's own picture as high as a picture is.
    pub(crate) fn filling(size: Size, frame: &PuppetFrame) -> View {
        View { origin: Vec2::ZERO, scale: size.height as f32 / frame.height }
    }

    /// Whether a picture shows a figure's own one and nothing else.
    fn fills(&self, size: Size, frame: &PuppetFrame) -> bool {
        *self == View::WHOLE && (size.width as f32, size.height as f32) == (frame.width, frame.height)
    }

    /// What is in this view, seen in another one.
    pub fn within(&self, outer: &View) -> View {
        View { origin: outer.apply(self.origin), scale: self.scale * outer.scale }
    }
}

impl Default for View {
    fn default() -> Self {
        View::WHOLE
    }
}

/// A character as one kind of drawer draws it.
pub enum Puppet {
    Gpu(GpuPuppet),
    Cpu(Box<CpuPuppet>),
}

/// Readies characters for one drawer, on any thread.
#[derive(Clone)]
pub enum PuppetMaker {
    Gpu(gpu::GpuPuppetMaker),
    Cpu,
}

impl PuppetMaker {
    pub fn make(&self, avatar: &Avatar) -> Puppet {
        match self {
            PuppetMaker::Gpu(maker) => Puppet::Gpu(maker.make(avatar)),
            PuppetMaker::Cpu => Puppet::Cpu(Box::new(CpuPuppet::new(avatar))),
        }
    }
}

/// Which kind of drawing to try first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// A real GPU if there is one, else the CPU: software Vulkan is slower than our own rasteriser.
    #[default]
    Auto,
    /// Any Vulkan, Metal or DX12 adapter, software ones too.
    Gpu,
    Cpu,
}

/// Draws frames. One owner; every call returns when its result is there.
pub enum Drawer {
    Gpu(Box<GpuDrawer>),
    Cpu(Box<CpuDrawer>),
}

/// Opens a drawer. Never fails: without a usable adapter it warns and draws on the CPU.
pub fn open(prefer: Prefer) -> Drawer {
    if prefer == Prefer::Cpu {
        return Drawer::Cpu(Box::default());
    }
    match GpuDrawer::open(prefer == Prefer::Gpu) {
        Ok(gpu) => Drawer::Gpu(Box::new(gpu)),
        Err(e) => {
            if prefer == Prefer::Gpu {
                tracing::warn!("drawing on the CPU: {e}");
            } else {
                tracing::info!("drawing on the CPU: {e}");
            }
            Drawer::Cpu(Box::default())
        }
    }
}

impl Drawer {
    /// For `odori doctor`: what draws, and on what.
    pub fn description(&self) -> String {
        match self {
            Drawer::Gpu(g) => g.info().to_string(),
            Drawer::Cpu(_) => "CPU rasteriser (no graphics driver needed)".into(),
        }
    }

    /// Threads that share what is drawn on the CPU; pixels do not depend on how many there are.
    pub fn work_with(&mut self, pool: &Pool) {
        if let Drawer::Cpu(cpu) = self {
            cpu.pool = Some(pool.clone());
        }
    }

    pub fn is_gpu(&self) -> bool {
        matches!(self, Drawer::Gpu(_))
    }

    pub fn puppet_maker(&self) -> PuppetMaker {
        match self {
            Drawer::Gpu(g) => PuppetMaker::Gpu(g.puppet_maker()),
            Drawer::Cpu(_) => PuppetMaker::Cpu,
        }
    }

    /// Begins a frame: there is nothing in it yet.
    ///
    /// # Errors
    /// If the size cannot be drawn.
    pub fn begin(&mut self, full: Size) -> Result<(), RenderError> {
        full.check()?;
        match self {
            Drawer::Gpu(g) => g.begin(full),
            Drawer::Cpu(c) => c.begin(full),
        }
        Ok(())
    }

    /// Draws a puppet; `view` places its own picture, a square, in the frame. With a working size it gives the own picture at that
    /// size, work.height * work.width * 5 floats: premultiplied RGBA then validity, 0 to 1.
    ///
    /// # Errors
    /// If no frame was begun, the working size cannot be drawn, or the device fails.
    pub fn draw_puppet(&mut self, puppet: &mut Puppet, frame: &PuppetFrame, view: &View, work: Option<Size>) -> Result<&[f32], RenderError> {
        work.map_or(Ok(()), Size::check)?;
        match (self, puppet) {
            (Drawer::Gpu(g), Puppet::Gpu(puppet)) => g.draw_puppet(puppet, frame, view, work),
            (Drawer::Cpu(c), Puppet::Cpu(puppet)) => c.draw_puppet(puppet, frame, view, work),
            _ => Err(RenderError::Foreign),
        }
    }

    /// Lays the figure of the last [`draw_puppet`](Self::draw_puppet) over the frame, as opaque as `fade` says:
    /// `denoised` is work * [`DENOISED_CHANNELS`] floats, `None` shows the puppet alone.
    ///
    /// # Errors
    /// If no frame was begun.
    pub fn lay(&mut self, denoised: Option<&[f32]>, fade: f32) -> Result<(), RenderError> {
        match self {
            Drawer::Gpu(g) => g.lay(denoised, fade),
            Drawer::Cpu(c) => c.lay(denoised, fade),
        }
    }

    /// The frame with all figures: premultiplied RGBA, full.height * full.width * 4 bytes; then what lies behind them,
    /// opaque, as large, or empty where nothing does.
    ///
    /// # Errors
    /// If no frame was begun, or the device fails.
    pub fn finish(&mut self, ground: Option<&Ground<'_>>) -> Result<(&[u8], &[u8]), RenderError> {
        match self {
            Drawer::Gpu(g) => g.finish(ground),
            Drawer::Cpu(c) => c.finish(ground),
        }
    }

    /// The last frame as I420, see [`yuv::pack_i420`]; `out` is resized.
    ///
    /// # Errors
    /// If no frame was made, or the device fails.
    pub fn pack(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        match self {
            Drawer::Gpu(g) => g.pack(matrix, matte, out),
            Drawer::Cpu(c) => c.pack(matrix, matte, out),
        }
    }
}
