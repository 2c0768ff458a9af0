//! What the picture networks are built of: the blocks of a U-Net on patches, recorded into a plan.
//!
//! The same names and shapes as `training/odori_training/renderer_model.py`. Axis letters: C channels, grids are square.

use odori_kernels::plan::{Act, Buf, ConvShape, LinearShape, Op, PlanBuilder, Scalar};

/// A network being recorded.
pub struct Unet {
    pub b: PlanBuilder,
    /// Of every group norm.
    groups: usize,
    /// Pixels a side of a patch.
    patch: usize,
    /// The condition vector and its length, if this network has one: it scales and shifts the second norm of every block (AdaIN).
    pub cond: Option<(Buf, usize)>,
    /// Convolutions of 3x3 bear eight bits.
    pub eight_bit: bool,
}

impl Unet {
    pub fn new(groups: usize, patch: usize) -> Self {
        Unet { b: PlanBuilder::new(), groups, patch, cond: None, eight_bit: false }
    }

    /// (grid, grid, c)
    pub fn norm(&mut self, name: &str, x: Buf, grid: usize, c: usize, scale_shift: Option<Buf>, act: Act) -> Buf {
        let gain = self.b.weight(format!("{name}.gain"), &[c]);
        let bias = self.b.weight(format!("{name}.bias"), &[c]);
        let y = self.b.tmp(grid * grid * c);
        self.b.op(Op::GroupNorm { x, gain, bias, scale_shift, y, hw: grid * grid, c, groups: self.groups, act });
        y
    }

    pub fn conv(&mut self, name: &str, x: Buf, grid: usize, (c_in, c_out): (usize, usize), (k, stride): (usize, usize), residual: Option<Buf>) -> Buf {
        self.b.conv(name, x, ConvShape { h: grid, w: grid, c_in, c_out, k, stride }, Act::None, residual)
    }

    /// x + conv2(silu(adain(conv1(silu(norm(x)))))), (grid, grid, c)
    pub fn block(&mut self, name: &str, x: Buf, grid: usize, c: usize) -> Buf {
        let h = self.norm(&format!("{name}.norm1"), x, grid, c, None, Act::Silu);
        let h = self.rough_conv(&format!("{name}.conv1"), h, grid, (c, c), (3, 1), None);
        let ada = self.cond.map(|(cond, k)| self.b.linear(&format!("{name}.norm2.ada"), cond, LinearShape { m: 1, k, n: 2 * c }, true, Act::None, None));
        let h = self.norm(&format!("{name}.norm2"), h, grid, c, ada, Act::Silu);
        self.rough_conv(&format!("{name}.conv2"), h, grid, (c, c), (3, 1), Some(x))
    }

    /// A convolution that bears eight bits, if the network is to be run so.
    pub fn rough_conv(&mut self, name: &str, x: Buf, grid: usize, channels: (usize, usize), size: (usize, usize), residual: Option<Buf>) -> Buf {
        let y = self.conv(name, x, grid, channels, size, residual);
        if self.eight_bit {
            self.b.bears_eight_bits();
        }
        y
    }

    /// Patches of a picture (size, size, c).
    pub fn space_to_depth(&mut self, x: Buf, size: usize, c: usize) -> Buf {
        let y = self.b.tmp(size * size * c);
        self.b.op(Op::SpaceToDepth { x, y, h: size, w: size, c, r: self.patch });
        y
    }

    pub fn concat(&mut self, xs: Vec<(Buf, usize)>, hw: usize) -> (Buf, usize) {
        let c = xs.iter().map(|x| x.1).sum();
        let y = self.b.tmp(hw * c);
        self.b.op(Op::Concat { xs, y, hw });
        (y, c)
    }

    /// up(conv1x1(x)) + skip, (2 grid, 2 grid, c_out)
    pub fn up(&mut self, name: &str, x: Buf, grid: usize, (c_in, c_out): (usize, usize), skip: Buf) -> Buf {
        let h = self.conv(name, x, grid, (c_in, c_out), (1, 1), None);
        let len = 4 * grid * grid * c_out;
        let u = self.b.tmp(len);
        self.b.op(Op::Upsample2x { x: h, y: u, h: grid, w: grid, c: c_out });
        let y = self.b.tmp(len);
        self.b.op(Op::Axpby { a: Scalar::Const(1.0), x: u, b: Scalar::Const(1.0), z: skip, y, len, act: Act::None });
        y
    }
}
