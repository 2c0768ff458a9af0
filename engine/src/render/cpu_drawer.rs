//! The whole drawing path on the CPU: puppet, working size, composition, packing.

use super::compose::{Composer, WORK_CHANNELS, downsample};
use super::cpu::CpuPuppet;
use super::yuv::{Matrix, i420_len, pack_i420};
use super::{Background, RenderError, Size};
use crate::avatar::{Avatar, PuppetFrame};

#[derive(Default)]
pub struct CpuDrawer {
    puppet: Option<CpuPuppet>,
    composer: Composer,
    full: Option<Size>,
    work: Option<Size>,
    working: Vec<f32>,
    frame: Vec<u8>,
}

impl CpuDrawer {
    pub fn set_avatar(&mut self, avatar: &Avatar) {
        self.puppet = Some(CpuPuppet::new(avatar));
        self.full = None;
    }

    pub(super) fn draw_puppet(&mut self, frame: &PuppetFrame, full: Size, work: Size) -> Result<&[f32], RenderError> {
        let puppet = self.puppet.as_mut().ok_or(RenderError::NoAvatar)?;
        puppet.draw(frame, full.width, full.height);
        self.working.resize(work.pixels() * WORK_CHANNELS, 0.0);
        downsample(puppet.picture(), work, &mut self.working);
        (self.full, self.work) = (Some(full), Some(work));
        Ok(&self.working)
    }

    pub(super) fn compose(&mut self, denoised: Option<&[f32]>, background: &Background) -> Result<&[u8], RenderError> {
        let (Some(puppet), Some(full), Some(work)) = (&self.puppet, self.full, self.work) else {
            return Err(RenderError::NoAvatar);
        };
        self.frame.resize(full.pixels() * 4, 0);
        self.composer.compose(puppet.picture(), work, denoised, background, &mut self.frame);
        Ok(&self.frame)
    }

    pub(super) fn pack(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let full = self.full.ok_or(RenderError::NoAvatar)?;
        out.resize(i420_len(full.width, full.height * (1 + matte as usize)), 0);
        pack_i420(&self.frame, full.width, full.height, matrix, matte, out);
        Ok(())
    }
}
