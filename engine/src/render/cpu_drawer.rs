//! The whole drawing path on the CPU: puppets, working size, composition, ground, packing.

use odori_kernels::cpu::Pool;

use super::compose::{Composer, WORK_CHANNELS, downsample};
use super::cpu::{CpuPuppet, PuppetPicture};
use super::ground::{self, Ground};
use super::yuv::{Matrix, i420_len, pack_i420};
use super::{RenderError, Size, View};
use crate::avatar::PuppetFrame;

#[derive(Default)]
pub struct CpuDrawer {
    /// Threads that share the work; the caller's alone without.
    pub(super) pool: Option<Pool>,
    /// The newest figure as the frame shows it, and as the denoiser sees it where that is another picture.
    shown: PuppetPicture,
    own: PuppetPicture,
    composer: Composer,
    full: Option<Size>,
    work: Option<Size>,
    working: Vec<f32>,
    frame: Vec<u8>,
    ground: Vec<u8>,
}

impl CpuDrawer {
    pub(super) fn begin(&mut self, full: Size) {
        self.frame.resize(full.pixels() * 4, 0);
        self.frame.fill(0);
        (self.full, self.work) = (Some(full), None);
    }

    pub(super) fn draw_puppet(&mut self, puppet: &mut CpuPuppet, frame: &PuppetFrame, view: &View, work: Option<Size>) -> Result<&[f32], RenderError> {
        let full = self.full.ok_or(RenderError::NoFrame)?;
        puppet.draw_into(frame, view, full.width, full.height, self.pool.as_ref(), &mut self.shown);
        self.working.resize(work.map_or(0, Size::pixels) * WORK_CHANNELS, 0.0);
        if let Some(work) = work {
            let mut own = &self.shown;
            if !view.fills(full, frame) {
                let size = Size::new(2 * work.width, 2 * work.height);
                puppet.draw_into(frame, &View::filling(size, frame), size.width, size.height, self.pool.as_ref(), &mut self.own);
                own = &self.own;
            }
            downsample(own, work, self.pool.as_ref(), &mut self.working);
        }
        self.work = work;
        Ok(&self.working)
    }

    pub(super) fn lay(&mut self, denoised: Option<&[f32]>, fade: f32) -> Result<(), RenderError> {
        let work = self.work.unwrap_or(Size::square(1));
        self.composer.compose(&self.shown, work, denoised, fade, self.pool.as_ref(), &mut self.frame);
        Ok(())
    }

    pub(super) fn finish(&mut self, ground: Option<&Ground<'_>>) -> Result<(&[u8], &[u8]), RenderError> {
        let full = self.full.ok_or(RenderError::NoFrame)?;
        let Some(ground) = ground else { return Ok((&self.frame, &[])) };
        self.ground.resize(full.pixels() * 4, 255);
        ground::paint(ground, &self.frame, full, self.pool.as_ref(), &mut self.ground);
        Ok((&self.frame, &self.ground))
    }

    pub(super) fn pack(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let full = self.full.ok_or(RenderError::NoFrame)?;
        out.resize(i420_len(full.width, full.height * (1 + matte as usize)), 0);
        pack_i420(&self.frame, full.width, full.height, matrix, matte, out);
        Ok(())
    }
}
