//! What lies behind the dancers, in the words of the interface.

use odori_engine::render::Background;

use super::SessionError;

/// `#rrggbb`.
fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let hex = text.strip_prefix('#').filter(|h| h.len() == 6 && h.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(hex, 16).ok()?;
    Some([(value >> 16) as u8, (value >> 8) as u8, value as u8])
}

/// What a person calls a background.
///
/// # Errors
/// If it is none, or the picture that it names was not uploaded.
pub(super) fn background(text: &str, backdrop: Option<&Background>) -> Result<Background, SessionError> {
    match text {
        "image" => backdrop.cloned().ok_or_else(|| SessionError::Conflict("no background picture was uploaded to this session yet".into())),
        _ => plain_background(text).map_err(SessionError::Invalid),
    }
}

/// A background that needs no picture.
///
/// # Errors
/// If it is none.
pub(crate) fn plain_background(text: &str) -> Result<Background, String> {
    match text {
        "transparent" => Ok(Background::Clear),
        "stage" => Ok(Background::Stage),
        _ => parse_colour(text).map(Background::Colour).ok_or_else(|| "background must be transparent, stage, image, or a colour such as #1b1830".into()),
    }
}

pub(super) fn background_name(background: &Background) -> String {
    match background {
        Background::Clear => "transparent".into(),
        Background::Stage => "stage".into(),
        Background::Picture(_) => "image".into(),
        Background::Colour([r, g, b]) => format!("#{r:02x}{g:02x}{b:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read_strictly() {
        assert_eq!(parse_colour("#1b1830"), Some([0x1b, 0x18, 0x30]));
        for text in ["1b1830", "#1b18", "#+b1830", "#ggg000", "#é1183"] {
            assert_eq!(parse_colour(text), None, "{text}");
        }
    }

    #[test]
    fn backgrounds_go_by_the_names_they_are_given() {
        for name in ["transparent", "stage", "#0a1b2c"] {
            assert_eq!(background_name(&background(name, None).unwrap()), name);
        }
        assert!(matches!(background("image", None), Err(SessionError::Conflict(_))));
        assert!(matches!(background("red", None), Err(SessionError::Invalid(_))));
    }
}
