//! The drawing path on wgpu: the WGSL passes, their buffers and their readback.
//!
//! The only file that names wgpu types. Buffers are made when the avatar or the sizes change, not per frame.

use bytemuck::{Pod, Zeroable};
use wgpu::util::{BufferInitDescriptor, DeviceExt};

use super::compose::{DENOISED_CHANNELS, WORK_CHANNELS};
use super::cpu::atlas_level;
use super::yuv::{Matrix, i420_len, pack_i420};
use super::ground::{Background, GLOSS, Ground, LIGHT, MOST_SHADOWS, Shadow};
use super::{RenderError, Size, View};
use crate::avatar::{Avatar, BONES, BoneTransform, LAYER_COUNT, Layer, PuppetFrame};

const COLOUR: wgpu::TextureFormat = wgpu::TextureFormat::Rgba8Unorm;

/// Which adapter draws.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    pub name: String,
    pub backend: String,
    pub driver: String,
    /// A processor that pretends to be a GPU.
    pub software: bool,
}

impl std::fmt::Display for GpuInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {}{})", self.name, self.backend, self.driver, if self.software { ", software" } else { "" })
    }
}

// Host sides of the WGSL uniforms; `tests.rs` holds them to naga's layout.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct PuppetParams {
    pub to_clip: [f32; 2],
    pub clip: [f32; 2],
    pub to_uv: [f32; 2],
    pub level: f32,
    pub pad: f32,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Sizes {
    pub full: [u32; 2],
    pub work: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct ComposeParams {
    pub full: [u32; 2],
    pub work: [u32; 2],
    pub origin: [f32; 2],
    pub span: [f32; 2],
    pub fade: f32,
    pub denoised: u32,
    pub pad: [u32; 2],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct GroundParams {
    pub full: [u32; 2],
    pub kind: u32,
    pub shadows: u32,
    pub colour: [f32; 4],
    pub origin: [f32; 2],
    pub scale: f32,
    pub gloss: f32,
    pub mirror: f32,
    pub pad: [f32; 3],
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct PackParams {
    pub size: [u32; 2],
    pub matte: u32,
    pub pad: u32,
    pub rows: [[f32; 4]; 3],
}

pub struct GpuDrawer {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: GpuInfo,
    puppet: wgpu::RenderPipeline,
    downsample: wgpu::ComputePipeline,
    compose: wgpu::ComputePipeline,
    ground: wgpu::ComputePipeline,
    pack: wgpu::ComputePipeline,
    maker: GpuPuppetMaker,
    targets: Option<Targets>,
    works: Option<Works>,
    /// Of the newest figure.
    view: View,
    own_size: [f32; 2],
    working: Vec<f32>,
    frame: Vec<u8>,
    painted: Vec<u8>,
}

/// Readies characters for one device.
#[derive(Clone)]
pub struct GpuPuppetMaker {
    device: wgpu::Device,
    queue: wgpu::Queue,
    layout: wgpu::BindGroupLayout,
    sampler: wgpu::Sampler,
    bones: wgpu::Buffer,
    params: wgpu::Buffer,
}

/// A character on the device.
pub struct GpuPuppet {
    indices: wgpu::Buffer,
    layers: [Layer; LAYER_COUNT],
    atlas: [f32; 2],
    group: wgpu::BindGroup,
}

/// What a puppet is painted on.
struct Canvas {
    size: Size,
    colour: wgpu::TextureView,
    aux: wgpu::TextureView,
}

/// Everything that depends on the frame's size.
struct Targets {
    full: Size,
    shown: Canvas,
    backdrop: wgpu::Buffer,
    backdrop_is: Option<std::sync::Arc<crate::avatar::Image>>,
    frame: wgpu::Buffer,
    frame_read: wgpu::Buffer,
    ground_params: wgpu::Buffer,
    light: wgpu::Buffer,
    shadows: wgpu::Buffer,
    floors: wgpu::Buffer,
    painted: wgpu::Buffer,
    painted_read: wgpu::Buffer,
    pack_params: wgpu::Buffer,
    planes: wgpu::Buffer,
    planes_read: wgpu::Buffer,
    ground_group: wgpu::BindGroup,
    pack_group: wgpu::BindGroup,
}

/// Everything that depends on the working size too.
struct Works {
    full: Size,
    work: Size,
    /// The figure's own picture, where the frame shows another one.
    own: Canvas,
    working: wgpu::Buffer,
    working_read: wgpu::Buffer,
    denoised: wgpu::Buffer,
    compose_params: wgpu::Buffer,
    shown_group: wgpu::BindGroup,
    own_group: wgpu::BindGroup,
    compose_group: wgpu::BindGroup,
}

impl GpuPuppetMaker {
    pub(super) fn make(&self, avatar: &Avatar) -> GpuPuppet {
        let d = &self.device;
        let init = |label, contents: &[u8], usage| d.create_buffer_init(&BufferInitDescriptor { label: Some(label), contents, usage });
        let vertices = init("vertices", bytemuck::cast_slice(&avatar.vertices), wgpu::BufferUsages::STORAGE);
        let indices = init("indices", bytemuck::cast_slice(&avatar.indices), wgpu::BufferUsages::INDEX);
        let half = avatar.atlas.halved();
        let quarter = half.halved();
        let size = extent(avatar.atlas.width, avatar.atlas.height);
        let texture = d.create_texture(&wgpu::TextureDescriptor {
            label: Some("atlas"),
            size,
            mip_level_count: 3,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: COLOUR,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::COPY_DST,
            view_formats: &[],
        });
        for (level, image) in [&avatar.atlas, &half, &quarter].into_iter().enumerate() {
            self.queue.write_texture(
                wgpu::TexelCopyTextureInfo {
                    texture: &texture,
                    mip_level: level as u32,
                    origin: wgpu::Origin3d::ZERO,
                    aspect: wgpu::TextureAspect::All,
                },
                &image.rgba,
                wgpu::TexelCopyBufferLayout { offset: 0, bytes_per_row: Some(image.width * 4), rows_per_image: None },
                extent(image.width, image.height),
            );
        }
        let view = texture.create_view(&Default::default());
        let group = d.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("puppet"),
            layout: &self.layout,
            entries: &[
                entry(0, vertices.as_entire_binding()),
                entry(1, self.bones.as_entire_binding()),
                entry(2, self.params.as_entire_binding()),
                entry(3, wgpu::BindingResource::TextureView(&view)),
                entry(4, wgpu::BindingResource::Sampler(&self.sampler)),
            ],
        });
        GpuPuppet { indices, layers: avatar.layers, atlas: [avatar.atlas.width as f32, avatar.atlas.height as f32], group }
    }
}

impl GpuDrawer {
    /// Finds an adapter; a software one only when `software` allows it.
    pub fn open(software: bool) -> Result<GpuDrawer, RenderError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle_from_env());
        let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
        let rank = |a: &wgpu::Adapter| match a.get_info().device_type {
            wgpu::DeviceType::DiscreteGpu => 0,
            wgpu::DeviceType::VirtualGpu => 1,
            wgpu::DeviceType::IntegratedGpu => 2,
            wgpu::DeviceType::Other => 3,
            wgpu::DeviceType::Cpu => 4,
        };
        adapters.sort_by_key(rank);
        let adapter = adapters.into_iter().next().ok_or(RenderError::NoAdapter)?;
        let info = adapter.get_info();
        let info = GpuInfo {
            software: info.device_type == wgpu::DeviceType::Cpu,
            name: info.name,
            backend: info.backend.to_string(),
            driver: format!("{} {}", info.driver, info.driver_info),
        };
        if info.software && !software {
            return Err(RenderError::Device(format!("only a software adapter is here, {info}; our rasteriser is faster")));
        }
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("odori draw"),
            required_limits: adapter.limits(),
            ..Default::default()
        }))
        .map_err(|e| RenderError::Device(e.to_string()))?;
        Ok(Self::with_device(device, queue, info))
    }

    /// Draws on a device that someone else opened, such as the one that computes.
    pub fn with_device(device: wgpu::Device, queue: wgpu::Queue, info: GpuInfo) -> GpuDrawer {
        let compute = |label: &str, source: &'static str| {
            let module = shader(&device, label, source);
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: None,
                module: &module,
                entry_point: Some("main"),
                compilation_options: Default::default(),
                cache: None,
            })
        };
        let downsample = compute("downsample", odori_shaders::DOWNSAMPLE);
        let compose = compute("compose", odori_shaders::COMPOSE);
        let ground = compute("ground", odori_shaders::GROUND);
        let pack = compute("pack", odori_shaders::PACK);
        let puppet = puppet_pipeline(&device);
        let sampler = device.create_sampler(&wgpu::SamplerDescriptor {
            mag_filter: wgpu::FilterMode::Linear,
            min_filter: wgpu::FilterMode::Linear,
            ..Default::default()
        });
        use wgpu::BufferUsages as U;
        let bones = buffer(&device, "bones", size_of::<[BoneTransform; BONES]>(), U::STORAGE | U::COPY_DST);
        let puppet_params = buffer(&device, "puppet params", size_of::<PuppetParams>(), U::UNIFORM | U::COPY_DST);
        let maker = GpuPuppetMaker {
            device: device.clone(),
            queue: queue.clone(),
            layout: puppet.get_bind_group_layout(0),
            sampler,
            bones,
            params: puppet_params,
        };
        GpuDrawer {
            device,
            queue,
            info,
            puppet,
            downsample,
            compose,
            ground,
            pack,
            maker,
            targets: None,
            works: None,
            view: View::WHOLE,
            own_size: [1.0; 2],
            working: Vec::new(),
            frame: Vec::new(),
            painted: Vec::new(),
        }
    }

    pub fn info(&self) -> &GpuInfo {
        &self.info
    }

    pub(super) fn puppet_maker(&self) -> GpuPuppetMaker {
        self.maker.clone()
    }

    pub(super) fn begin(&mut self, full: Size) {
        let targets = match self.targets.take().filter(|t| t.full == full) {
            Some(targets) => targets,
            None => {
                self.works = None;
                self.make_targets(full)
            }
        };
        let mut encoder = self.device.create_command_encoder(&Default::default());
        encoder.clear_buffer(&targets.frame, 0, None);
        self.queue.submit([encoder.finish()]);
        self.targets = Some(targets);
    }

    /// Paints the puppet; its own pixels are `view`ed.
    fn paint(&self, puppet: &GpuPuppet, frame: &PuppetFrame, view: &View, canvas: &Canvas) -> wgpu::CommandEncoder {
        let (width, height) = (canvas.size.width as f32, canvas.size.height as f32);
        let params = PuppetParams {
            to_clip: [2.0 * view.scale / width, -2.0 * view.scale / height],
            clip: [2.0 * view.origin.x / width - 1.0, 1.0 - 2.0 * view.origin.y / height],
            to_uv: puppet.atlas.map(|v| 1.0 / v),
            level: atlas_level(frame.scale * view.scale) as f32,
            pad: 0.0,
        };
        self.queue.write_buffer(&self.maker.bones, 0, bytemuck::bytes_of(&frame.bones));
        self.queue.write_buffer(&self.maker.params, 0, bytemuck::bytes_of(&params));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let attach = |view| {
                Some(wgpu::RenderPassColorAttachment {
                    view,
                    depth_slice: None,
                    resolve_target: None,
                    ops: wgpu::Operations { load: wgpu::LoadOp::Clear(wgpu::Color::TRANSPARENT), store: wgpu::StoreOp::Store },
                })
            };
            let mut pass = encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
                label: Some("puppet"),
                color_attachments: &[attach(&canvas.colour), attach(&canvas.aux)],
                ..Default::default()
            });
            pass.set_pipeline(&self.puppet);
            pass.set_bind_group(0, &puppet.group, &[]);
            pass.set_index_buffer(puppet.indices.slice(..), wgpu::IndexFormat::Uint32);
            for &layer in &frame.order {
                let Layer { start, count } = puppet.layers[layer as usize];
                pass.draw_indexed(start..start + count, 0, layer as u32..layer as u32 + 1);
            }
        }
        encoder
    }

    pub(super) fn draw_puppet(&mut self, puppet: &GpuPuppet, frame: &PuppetFrame, view: &View, work: Option<Size>) -> Result<&[f32], RenderError> {
        let full = self.targets.as_ref().ok_or(RenderError::NoFrame)?.full;
        // Without a working size the one that is there serves.
        let wanted = work.or(self.works.as_ref().map(|w| w.work)).unwrap_or(Size::square(16));
        let works = match self.works.take().filter(|w| (w.full, w.work) == (full, wanted)) {
            Some(works) => works,
            None => self.make_works(wanted)?,
        };
        self.works = Some(works);
        let (Some(works), Some(targets)) = (&self.works, &self.targets) else { return Err(RenderError::NoFrame) };
        self.view = *view;
        self.working.resize(work.map_or(0, Size::pixels) * WORK_CHANNELS, 0.0);
        self.own_size = [frame.width, frame.height];
        let small = (!view.fills(full, frame)).then_some(&works.own).filter(|_| work.is_some());
        if let Some(own) = small {
            let encoder = self.paint(puppet, frame, &View::filling(own.size, frame), own);
            self.queue.submit([encoder.finish()]);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            dispatch(&mut encoder, &self.downsample, &works.own_group, works.work.width.div_ceil(8), works.work.height.div_ceil(8));
            self.queue.submit([encoder.finish()]);
        }
        let mut encoder = self.paint(puppet, frame, view, &targets.shown);
        if work.is_some() {
            if small.is_none() {
                dispatch(&mut encoder, &self.downsample, &works.shown_group, works.work.width.div_ceil(8), works.work.height.div_ceil(8));
            }
            encoder.copy_buffer_to_buffer(&works.working, 0, &works.working_read, 0, works.working.size());
        }
        self.queue.submit([encoder.finish()]);
        if work.is_some() {
            read(&self.device, &works.working_read, bytemuck::cast_slice_mut(&mut self.working))?;
        }
        Ok(&self.working)
    }

    pub(super) fn lay(&mut self, denoised: Option<&[f32]>, fade: f32) -> Result<(), RenderError> {
        let works = self.works.as_ref().ok_or(RenderError::NoFrame)?;
        let (full, work) = (works.full, works.work);
        if let Some(d) = denoised {
            self.queue.write_buffer(&works.denoised, 0, bytemuck::cast_slice(&d[..work.pixels() * DENOISED_CHANNELS]));
        }
        let params = ComposeParams {
            full: pair(full),
            work: pair(work),
            origin: self.view.origin.into(),
            span: self.own_size.map(|side| side * self.view.scale),
            fade: fade.clamp(0.0, 1.0),
            denoised: denoised.is_some() as u32,
            pad: [0; 2],
        };
        self.queue.write_buffer(&works.compose_params, 0, bytemuck::bytes_of(&params));
        let mut encoder = self.device.create_command_encoder(&Default::default());
        dispatch(&mut encoder, &self.compose, &works.compose_group, full.width.div_ceil(8), full.height.div_ceil(8));
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    pub(super) fn finish(&mut self, ground: Option<&Ground<'_>>) -> Result<(&[u8], &[u8]), RenderError> {
        let targets = self.targets.as_mut().ok_or(RenderError::NoFrame)?;
        let full = targets.full;
        let mut encoder = self.device.create_command_encoder(&Default::default());
        if let Some(ground) = ground {
            let (kind, colour) = match ground.background {
                Background::Colour(c) => (0, c.map(|v| f32::from(v) / 255.0)),
                Background::Picture(p) if p.rgba.len() == full.pixels() * 4 => {
                    if !targets.backdrop_is.as_ref().is_some_and(|b| std::sync::Arc::ptr_eq(b, p)) {
                        self.queue.write_buffer(&targets.backdrop, 0, &p.rgba);
                        targets.backdrop_is = Some(p.clone());
                    }
                    (1, [0.0; 3])
                }
                Background::Stage => (2, [0.0; 3]),
                Background::Clear | Background::Picture(_) => (0, [0.0; 3]),
            };
            let mirrors = kind == 2 && ground.floors.len() == full.width;
            let params = GroundParams {
                full: pair(full),
                kind,
                shadows: ground.shadows().len() as u32,
                colour: [colour[0], colour[1], colour[2], 1.0],
                origin: ground.view.origin.into(),
                scale: ground.view.scale,
                gloss: if mirrors { GLOSS } else { 0.0 },
                mirror: ground.mirror(full).max(1.0),
                pad: [0.0; 3],
            };
            self.queue.write_buffer(&targets.ground_params, 0, bytemuck::bytes_of(&params));
            self.queue.write_buffer(&targets.light, 0, bytemuck::cast_slice(&ground.light.cells));
            self.queue.write_buffer(&targets.shadows, 0, bytemuck::cast_slice(ground.shadows()));
            if mirrors {
                self.queue.write_buffer(&targets.floors, 0, bytemuck::cast_slice(ground.floors));
            }
            dispatch(&mut encoder, &self.ground, &targets.ground_group, full.width.div_ceil(8), full.height.div_ceil(8));
            encoder.copy_buffer_to_buffer(&targets.painted, 0, &targets.painted_read, 0, targets.painted.size());
        }
        encoder.copy_buffer_to_buffer(&targets.frame, 0, &targets.frame_read, 0, targets.frame.size());
        self.queue.submit([encoder.finish()]);
        self.frame.resize(full.pixels() * 4, 0);
        read(&self.device, &targets.frame_read, &mut self.frame)?;
        self.painted.resize(if ground.is_some() { full.pixels() * 4 } else { 0 }, 0);
        if ground.is_some() {
            read(&self.device, &targets.painted_read, &mut self.painted)?;
        }
        Ok((&self.frame, &self.painted))
    }

    /// Packs on the device; a software adapter, whose frame is here anyway, packs with the CPU twin.
    pub(super) fn pack(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let full = self.targets.as_ref().ok_or(RenderError::NoFrame)?.full;
        if self.info.software || !full.width.is_multiple_of(8) {
            out.resize(i420_len(full.width, full.height * (1 + matte as usize)), 0);
            pack_i420(&self.frame, full.width, full.height, matrix, matte, out);
            return Ok(());
        }
        self.pack_on_device(matrix, matte, out)
    }

    /// Packs in WGSL whatever the adapter.
    pub fn pack_on_device(&mut self, matrix: Matrix, matte: bool, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let targets = self.targets.as_ref().ok_or(RenderError::NoFrame)?;
        let full = targets.full;
        let len = i420_len(full.width, full.height * (1 + matte as usize));
        let params = PackParams {
            size: [full.width as u32, full.height as u32],
            matte: matte as u32,
            pad: 0,
            rows: matrix.rows(),
        };
        self.queue.write_buffer(&targets.pack_params, 0, bytemuck::bytes_of(&params));
        let groups = (len / 4).div_ceil(64);
        let mut encoder = self.device.create_command_encoder(&Default::default());
        // The shader folds the two axes back: 65,535 groups of 64 to a row.
        dispatch(&mut encoder, &self.pack, &targets.pack_group, groups.min(65535), groups.div_ceil(65535));
        encoder.copy_buffer_to_buffer(&targets.planes, 0, &targets.planes_read, 0, len as u64);
        self.queue.submit([encoder.finish()]);
        out.resize(len, 0);
        read(&self.device, &targets.planes_read, out)
    }

    fn canvas(&self, size: Size) -> Canvas {
        let target = |label| {
            self.device
                .create_texture(&wgpu::TextureDescriptor {
                    label: Some(label),
                    size: extent(size.width as u32, size.height as u32),
                    mip_level_count: 1,
                    sample_count: 1,
                    dimension: wgpu::TextureDimension::D2,
                    format: COLOUR,
                    usage: wgpu::TextureUsages::RENDER_ATTACHMENT | wgpu::TextureUsages::TEXTURE_BINDING,
                    view_formats: &[],
                })
                .create_view(&Default::default())
        };
        Canvas { size, colour: target("puppet colour"), aux: target("puppet aux") }
    }

    fn group(&self, label: &str, pipeline: &wgpu::ComputePipeline, entries: &[wgpu::BindGroupEntry]) -> wgpu::BindGroup {
        self.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some(label), layout: &pipeline.get_bind_group_layout(0), entries })
    }

    fn make_targets(&self, full: Size) -> Targets {
        use wgpu::BufferUsages as U;
        let d = &self.device;
        let frame_bytes = full.pixels() * 4;
        let plane_bytes = i420_len(full.width, full.height * 2).next_multiple_of(4);
        let backdrop = buffer(d, "backdrop", frame_bytes, U::STORAGE | U::COPY_DST);
        let frame = buffer(d, "frame", frame_bytes, U::STORAGE | U::COPY_SRC | U::COPY_DST);
        let frame_read = buffer(d, "frame read", frame_bytes, U::MAP_READ | U::COPY_DST);
        let light = buffer(d, "light", LIGHT * LIGHT * size_of::<[f32; 4]>(), U::STORAGE | U::COPY_DST);
        let shadows = buffer(d, "shadows", MOST_SHADOWS * size_of::<Shadow>(), U::STORAGE | U::COPY_DST);
        let floors = buffer(d, "floors", full.width * 4, U::STORAGE | U::COPY_DST);
        let painted = buffer(d, "ground", frame_bytes, U::STORAGE | U::COPY_SRC);
        let painted_read = buffer(d, "ground read", frame_bytes, U::MAP_READ | U::COPY_DST);
        let planes = buffer(d, "planes", plane_bytes, U::STORAGE | U::COPY_SRC);
        let planes_read = buffer(d, "planes read", plane_bytes, U::MAP_READ | U::COPY_DST);
        let ground_params = buffer(d, "ground params", size_of::<GroundParams>(), U::UNIFORM | U::COPY_DST);
        let pack_params = buffer(d, "pack params", size_of::<PackParams>(), U::UNIFORM | U::COPY_DST);
        let ground_group = self.group(
            "ground",
            &self.ground,
            &[
                entry(0, ground_params.as_entire_binding()),
                entry(1, light.as_entire_binding()),
                entry(2, shadows.as_entire_binding()),
                entry(3, floors.as_entire_binding()),
                entry(4, backdrop.as_entire_binding()),
                entry(5, frame.as_entire_binding()),
                entry(6, painted.as_entire_binding()),
            ],
        );
        let pack_group = self.group(
            "pack",
            &self.pack,
            &[entry(0, pack_params.as_entire_binding()), entry(1, frame.as_entire_binding()), entry(2, planes.as_entire_binding())],
        );
        Targets {
            full,
            shown: self.canvas(full),
            backdrop,
            backdrop_is: None,
            frame,
            frame_read,
            ground_params,
            light,
            shadows,
            floors,
            painted,
            painted_read,
            pack_params,
            planes,
            planes_read,
            ground_group,
            pack_group,
        }
    }

    fn make_works(&self, work: Size) -> Result<Works, RenderError> {
        use wgpu::BufferUsages as U;
        let d = &self.device;
        let targets = self.targets.as_ref().ok_or(RenderError::NoFrame)?;
        let own = self.canvas(Size::new(2 * work.width, 2 * work.height));
        let work_bytes = work.pixels() * WORK_CHANNELS * 4;
        let working = buffer(d, "working", work_bytes, U::STORAGE | U::COPY_SRC);
        let working_read = buffer(d, "working read", work_bytes, U::MAP_READ | U::COPY_DST);
        let denoised = buffer(d, "denoised", work.pixels() * DENOISED_CHANNELS * 4, U::STORAGE | U::COPY_DST);
        let compose_params = buffer(d, "compose params", size_of::<ComposeParams>(), U::UNIFORM | U::COPY_DST);
        let downsample = |from: &Canvas| {
            let view = wgpu::BindingResource::TextureView;
            let sizes = Sizes { full: pair(from.size), work: pair(work) };
            let sizes = d.create_buffer_init(&BufferInitDescriptor { label: Some("sizes"), contents: bytemuck::bytes_of(&sizes), usage: U::UNIFORM });
            self.group(
                "downsample",
                &self.downsample,
                &[entry(0, sizes.as_entire_binding()), entry(1, view(&from.colour)), entry(2, view(&from.aux)), entry(3, working.as_entire_binding())],
            )
        };
        let (shown_group, own_group) = (downsample(&targets.shown), downsample(&own));
        let compose_group = self.group(
            "compose",
            &self.compose,
            &[
                entry(0, compose_params.as_entire_binding()),
                entry(1, wgpu::BindingResource::TextureView(&targets.shown.colour)),
                entry(2, denoised.as_entire_binding()),
                entry(3, targets.frame.as_entire_binding()),
            ],
        );
        Ok(Works { full: targets.full, work, own, working, working_read, denoised, compose_params, shown_group, own_group, compose_group })
    }
}

fn pair(s: Size) -> [u32; 2] {
    [s.width as u32, s.height as u32]
}

fn puppet_pipeline(device: &wgpu::Device) -> wgpu::RenderPipeline {
    let module = shader(device, "puppet", odori_shaders::PUPPET);
    let over = |factor| wgpu::BlendComponent { src_factor: factor, dst_factor: wgpu::BlendFactor::OneMinusSrcAlpha, operation: wgpu::BlendOperation::Add };
    let state = |factor| {
        Some(wgpu::ColorTargetState {
            format: COLOUR,
            blend: Some(wgpu::BlendState { color: over(factor), alpha: over(wgpu::BlendFactor::One) }),
            write_mask: wgpu::ColorWrites::ALL,
        })
    };
    device.create_render_pipeline(&wgpu::RenderPipelineDescriptor {
        label: Some("puppet"),
        layout: None,
        vertex: wgpu::VertexState {
            module: &module,
            entry_point: Some("vertex"),
            compilation_options: Default::default(),
            buffers: &[],
        },
        primitive: wgpu::PrimitiveState::default(),
        depth_stencil: None,
        multisample: wgpu::MultisampleState::default(),
        fragment: Some(wgpu::FragmentState {
            module: &module,
            entry_point: Some("fragment"),
            compilation_options: Default::default(),
            targets: &[state(wgpu::BlendFactor::One), state(wgpu::BlendFactor::SrcAlpha)],
        }),
        multiview_mask: None,
        cache: None,
    })
}

fn shader(device: &wgpu::Device, label: &str, source: &'static str) -> wgpu::ShaderModule {
    device.create_shader_module(wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(source.into()) })
}

fn buffer(device: &wgpu::Device, label: &str, bytes: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size: bytes as u64, usage, mapped_at_creation: false })
}

fn entry(binding: u32, resource: wgpu::BindingResource) -> wgpu::BindGroupEntry {
    wgpu::BindGroupEntry { binding, resource }
}

fn extent(width: u32, height: u32) -> wgpu::Extent3d {
    wgpu::Extent3d { width, height, depth_or_array_layers: 1 }
}

fn dispatch(encoder: &mut wgpu::CommandEncoder, pipeline: &wgpu::ComputePipeline, group: &wgpu::BindGroup, x: usize, y: usize) {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, group, &[]);
    pass.dispatch_workgroups(x as u32, y as u32, 1);
}

/// Waits for the copy and takes it out.
fn read(device: &wgpu::Device, from: &wgpu::Buffer, out: &mut [u8]) -> Result<(), RenderError> {
    let lost = |e: &dyn std::fmt::Display| RenderError::Lost(e.to_string());
    let bytes = out.len() as u64;
    let (tell, told) = std::sync::mpsc::channel();
    from.map_async(wgpu::MapMode::Read, 0..bytes, move |r| {
        let _ = tell.send(r);
    });
    device.poll(wgpu::PollType::wait_indefinitely()).map_err(|e| lost(&e))?;
    told.recv().map_err(|e| lost(&e))?.map_err(|e| lost(&e))?;
    {
        let view = from.get_mapped_range(0..bytes).map_err(|e| lost(&e))?;
        out.copy_from_slice(&view);
    }
    from.unmap();
    Ok(())
}
