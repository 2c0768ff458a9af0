//! What a VRM file says beside its GLB: which node is which bone, whose character it is and who may use it.
//!
//! VRM 0.x (`VRM`) and 1.0 (`VRMC_vrm`), after the specification at github.com/vrm-c/vrm-specification.

use serde_json::Value;

use crate::skeleton::Bone;

/// Longest text that is kept of what a file says of itself, characters.
const MOST_TEXT: usize = 120;

#[derive(Clone, Debug, Default)]
pub struct Vrm {
    pub title: String,
    /// Who made it, under which licence, and who may use it: for people to read.
    pub terms: String,
    /// Node and bone.
    humanoid: Vec<(usize, Bone)>,
    /// Nodes of the left and the right eye.
    pub eyes: Option<[usize; 2]>,
}

fn text(v: &Value) -> String {
    v.as_str().unwrap_or("").chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect()
}

impl Vrm {
    /// `None` if it is a GLB without.
    ///
    /// # Errors
    /// If it says it is a VRM and names no humanoid.
    pub fn read(doc: &gltf::Document) -> Result<Option<Vrm>, String> {
        let (old, new) = (doc.extension_value("VRM"), doc.extension_value("VRMC_vrm"));
        let Some(vrm) = new.or(old) else { return Ok(None) };
        let bones = &vrm["humanoid"]["humanBones"];
        let named: Vec<(String, usize)> = match bones {
            Value::Array(list) => list.iter().filter_map(|b| Some((b["bone"].as_str()?.to_owned(), usize::try_from(b["node"].as_u64()?).ok()?))).collect(),
            Value::Object(map) => map.iter().filter_map(|(name, b)| Some((name.clone(), usize::try_from(b["node"].as_u64()?).ok()?))).collect(),
            _ => return Err("it says that it is a VRM and names no humanoid bones".into()),
        };
        let old_names = new.is_none();
        let humanoid = named.iter().filter_map(|(name, node)| Some((*node, Bone::named(&current_name(name, old_names))?))).collect();
        let node = |name: &str| named.iter().find(|(n, _)| n == name).map(|(_, node)| *node);
        let eyes = node("leftEye").zip(node("rightEye")).map(|(l, r)| [l, r]);
        let meta = &vrm["meta"];
        let title = if new.is_some() { text(&meta["name"]) } else { text(&meta["title"]) };
        Ok(Some(Vrm { title, terms: terms(meta), humanoid, eyes }))
    }

    /// For every node the bone it stands for.
    pub fn bones(&self, nodes: usize) -> Vec<Option<Bone>> {
        let mut out = vec![None; nodes];
        for &(node, bone) in &self.humanoid {
            if node < nodes && !out.contains(&Some(bone)) {
                out[node] = Some(bone);
            }
        }
        out
    }
}

/// VRM 0.x called the thumb's bones by other names than 1.0 and the skeleton do.
fn current_name(name: &str, old: bool) -> String {
    match name.split_once("Thumb") {
        Some((side, "Proximal")) if old => format!("{side}ThumbMetacarpal"),
        Some((side, "Intermediate")) if old => format!("{side}ThumbProximal"),
        _ => name.to_owned(),
    }
}

fn terms(meta: &Value) -> String {
    let author = match &meta["authors"] {
        Value::Array(list) => list.iter().take(4).map(text).collect::<Vec<_>>().join(", "),
        _ => text(&meta["author"]),
    };
    let licence = [&meta["licenseName"], &meta["licenseUrl"]].into_iter().map(text).find(|l| !l.is_empty()).unwrap_or_default();
    // 0.x and 1.0 say it in other words.
    let who = match (meta["allowedUserName"].as_str(), meta["avatarPermission"].as_str()) {
        (Some("OnlyAuthor"), _) | (_, Some("onlyAuthor")) => "only its author may use it",
        (Some("ExplicitlyLicensedPerson"), _) | (_, Some("onlySeparatelyLicensedPerson")) => "only who has a licence from its author may use it",
        (Some("Everyone"), _) | (_, Some("everyone")) => "everyone may use it",
        _ => "who may use it is not said",
    };
    let by = if author.is_empty() { "an unnamed author".into() } else { author };
    let licence = if licence.is_empty() { String::new() } else { format!(", licence {licence}") };
    format!("by {by}{licence}; {who}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_file_says_of_its_use_is_told() {
        let old = json!({"author": "A\u{7}nn", "licenseName": "CC_BY", "allowedUserName": "Everyone"});
        assert_eq!(terms(&old), "by Ann, licence CC_BY; everyone may use it");
        let new = json!({"authors": ["Ann", "Bo"], "licenseUrl": "https://vrm.dev/licenses/1.0/", "avatarPermission": "onlyAuthor"});
        assert_eq!(terms(&new), "by Ann, Bo, licence https://vrm.dev/licenses/1.0/; only its author may use it");
        assert_eq!(terms(&json!({})), "by an unnamed author; who may use it is not said");
    }

    #[test]
    fn thumbs_of_the_old_version_are_todays() {
        assert_eq!(current_name("leftThumbProximal", true), "leftThumbMetacarpal");
        assert_eq!(current_name("leftThumbIntermediate", true), "leftThumbProximal");
        assert_eq!(current_name("leftThumbProximal", false), "leftThumbProximal");
    }
}
