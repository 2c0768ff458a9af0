//! The WGSL passes of Odori as text; tests hold every one to naga's validator.
//!
//! Only sources live here: pipelines and host structs belong to the engine's render module.

/// Skins and paints the puppet.
pub const PUPPET: &str = include_str!("../puppet.wgsl");
/// Puppet picture to working size.
pub const DOWNSAMPLE: &str = include_str!("../downsample.wgsl");
/// Denoised picture and warp, laid over the frame.
pub const COMPOSE: &str = include_str!("../compose.wgsl");
/// What lies behind the figures.
pub const GROUND: &str = include_str!("../ground.wgsl");
/// Frame to I420.
pub const PACK: &str = include_str!("../pack.wgsl");

/// Every pass with its file name.
pub const ALL: [(&str, &str); 5] =
    [("puppet.wgsl", PUPPET), ("downsample.wgsl", DOWNSAMPLE), ("compose.wgsl", COMPOSE), ("ground.wgsl", GROUND), ("pack.wgsl", PACK)];

#[cfg(test)]
mod tests {
    #[test]
    fn every_pass_is_valid_wgsl() {
        for (name, source) in super::ALL {
            let module = naga::front::wgsl::parse_str(source)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
                .validate(&module)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(source)));
        }
    }
}
