//! Words to settings of the dance: "slow elegant arms", "bouncy house footwork", "headbang".
//!
//! The arithmetic is that of `training/odori_training/prompt.py`: word embeddings, one convolution over three words, the
//! largest and the mean, a hidden layer. Some thousand multiplications, so it is written plainly. Words that it has never
//! learnt are left out and named; what the text does not speak of stays as it is.

use std::collections::HashMap;

use odori_kernels::Weights;

use crate::dance::Pace;
use crate::motion::MotionError;

/// Longest text that is read, in bytes, and most words of it.
pub const MOST_BYTES: usize = 400;
const CONTROLS: usize = 4;

/// What a text asks for; `None` is not spoken of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wish {
    /// 0 to 1.
    pub energy: Option<f32>,
    /// -1 to 1, as in [`crate::dance::Direction`].
    pub hands: Option<f32>,
    pub head: Option<f32>,
    pub footwork: Option<f32>,
    /// Name of the style.
    pub style: Option<String>,
    pub pace: Option<Pace>,
    /// Words that were ignored because they are not known.
    pub unknown: Vec<String>,
}

pub struct PromptEncoder {
    words: HashMap<String, usize>,
    styles: Vec<String>,
    most_words: usize,
    width: usize,
    hidden: usize,
    embed: Vec<f32>,
    conv: (Vec<f32>, Vec<f32>),
    mix: (Vec<f32>, Vec<f32>),
    out: (Vec<f32>, Vec<f32>),
}

fn fault(reason: impl Into<String>) -> MotionError {
    MotionError::Config { model: "prompt", reason: reason.into() }
}

/// `w (N, K) x + b`
fn linear((w, b): &(Vec<f32>, Vec<f32>), x: &[f32]) -> Vec<f32> {
    w.chunks_exact(x.len()).zip(b).map(|(row, b)| b + row.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()).collect()
}

fn relu(mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|v| *v = v.max(0.0));
    x
}

/// The place of the largest.
fn largest(x: &[f32]) -> usize {
    x.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i)
}

impl PromptEncoder {
    /// # Errors
    /// Names what the file lacks.
    pub fn new(weights: &Weights) -> Result<Self, MotionError> {
        let list = |key: &str| -> Result<Vec<String>, MotionError> {
            let json = weights.metadata(key).ok_or_else(|| fault(format!("no {key:?} in its metadata")))?;
            serde_json::from_str(json).map_err(|e| fault(format!("{key}: {e}")))
        };
        let (vocabulary, styles, paces) = (list("vocabulary")?, list("styles")?, list("paces")?);
        let most_words = weights.metadata("most_words").and_then(|t| t.parse().ok()).filter(|n| (1..=256).contains(n)).ok_or_else(|| fault("no sensible \"most_words\""))?;
        let tensor = |name: &str, dims: &[usize]| match weights.get(name) {
            Some((got, data)) if got == dims => Ok(data.to_vec()),
            other => Err(MotionError::Tensor { name: name.to_owned(), want: dims.to_vec(), got: other.map(|(d, _)| d.to_vec()) }),
        };
        let width = match weights.get("embed.weight") {
            Some((&[n, width], _)) if n == vocabulary.len() && (1..=1024).contains(&width) => width,
            other => return Err(MotionError::Tensor { name: "embed.weight".into(), want: vec![vocabulary.len(), 24], got: other.map(|(d, _)| d.to_vec()) }),
        };
        let hidden = weights.get("conv.bias").map_or(0, |(_, b)| b.len());
        let outputs = 2 * CONTROLS + 1 + styles.len() + 1 + paces.len();
        if hidden == 0 || paces.len() != Pace::ALL.len() {
            return Err(fault("shapes out of range"));
        }
        let layer = |name: &str, n: usize, k: usize| Ok::<_, MotionError>((tensor(&format!("{name}.weight"), &[n, k])?, tensor(&format!("{name}.bias"), &[n])?));
        Ok(PromptEncoder {
            embed: tensor("embed.weight", &[vocabulary.len(), width])?,
            conv: layer("conv", hidden, 3 * width)?,
            mix: layer("mix", hidden, 2 * hidden)?,
            out: layer("out", outputs, hidden)?,
            words: vocabulary.into_iter().enumerate().skip(1).map(|(i, w)| (w, i)).collect(),
            styles,
            most_words,
            width,
            hidden,
        })
    }

    /// The known words of a text, and those that are not.
    fn split(&self, text: &str) -> (Vec<usize>, Vec<String>) {
        let cut = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= MOST_BYTES).last().unwrap_or(0);
        // Apostrophes and hyphens go: "don't" is known as "dont", "hip-hop" as "hiphop".
        let plain: String = text[..cut].to_lowercase().replace(['\'', '’', '-'], "").replace("hip hop", "hiphop");
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for word in plain.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            match self.words.get(word).or_else(|| self.words.get(word.strip_suffix('s')?)) {
                Some(&id) if known.len() < self.most_words => known.push(id),
                Some(_) => {}
                None if !unknown.iter().any(|u| u == word) => unknown.push(word.to_owned()),
                None => {}
            }
        }
        (known, unknown)
    }

    fn run(&self, ids: &[usize]) -> Vec<f32> {
        let e = self.width;
        let word = |i: Option<usize>| i.and_then(|i| ids.get(i)).map_or(vec![0.0; e], |id| self.embed[id * e..][..e].to_vec());
        let (mut most, mut sum) = (vec![f32::MIN; self.hidden], vec![0.0; self.hidden]);
        for i in 0..ids.len() {
            let window = [word(i.checked_sub(1)), word(Some(i)), word(Some(i + 1))].concat();
            for (k, h) in relu(linear(&self.conv, &window)).into_iter().enumerate() {
                most[k] = most[k].max(h);
                sum[k] += h;
            }
        }
        let n = ids.len().max(1) as f32;
        let pooled: Vec<f32> = most.iter().map(|m| m.max(0.0)).chain(sum.iter().map(|s| s / n)).collect();
        linear(&self.out, &relu(linear(&self.mix, &pooled)))
    }

    /// What a text asks for. Nothing, if it is empty or of unknown words only.
    pub fn read(&self, text: &str) -> Wish {
        let (ids, unknown) = self.split(text);
        if ids.is_empty() {
            return Wish { unknown, ..Wish::default() };
        }
        let y = self.run(&ids);
        let (said, rest) = y.split_at(CONTROLS);
        let (values, rest) = rest.split_at(CONTROLS);
        let (style, pace) = rest.split_at(1 + self.styles.len());
        let value = |k: usize, least: f32| (said[k] > 0.0).then(|| (values[k].clamp(least, 1.0) * 20.0).round() / 20.0);
        Wish {
            energy: value(0, 0.0),
            hands: value(1, -1.0),
            head: value(2, -1.0),
            footwork: value(3, -1.0),
            style: largest(style).checked_sub(1).map(|i| self.styles[i].clone()),
            pace: largest(pace).checked_sub(1).map(|i| Pace::ALL[i]),
            unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder() -> PromptEncoder {
        PromptEncoder::new(&Weights::from_safetensors(include_bytes!("../../models/prompt.safetensors")).unwrap()).unwrap()
    }

    #[test]
    fn it_equals_the_training_code() {
        let golden = Weights::from_safetensors(include_bytes!("../../models/golden/prompt.safetensors")).unwrap();
        let captions: Vec<String> = serde_json::from_str(golden.metadata("captions").unwrap()).unwrap();
        let encoder = encoder();
        let (dims, out) = golden.get("out").unwrap();
        for (caption, want) in captions.iter().zip(out.chunks_exact(dims[1])) {
            let (ids, unknown) = encoder.split(caption);
            assert!(unknown.is_empty(), "{unknown:?}");
            let worst = encoder.run(&ids).iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-3, "{caption}: {worst}");
        }
    }

    #[test]
    fn wishes_that_people_type_are_understood() {
        let encoder = encoder();
        let wish = encoder.read("slow elegant arms");
        assert!(wish.energy.unwrap() < 0.45 && wish.hands.unwrap() > 0.4 && wish.head.is_none(), "{wish:?}");
        let wish = encoder.read("bouncy house footwork");
        assert!(wish.style.as_deref() == Some("club") && wish.footwork.unwrap() > 0.5, "{wish:?}");
        assert!(encoder.read("headbang").head.unwrap() > 0.6);
        assert!(encoder.read("Salsa, please!").style.as_deref() == Some("salsa"));
        assert!(encoder.read("no arms").hands.unwrap() < -0.5);
        assert_eq!(encoder.read("half time").pace, Some(Pace::Half));
    }

    #[test]
    fn unknown_words_are_named_and_change_nothing() {
        let encoder = encoder();
        let wish = encoder.read("xylophone wild Quetzal xylophone");
        assert_eq!(wish.unknown, ["xylophone", "quetzal"]);
        assert_eq!(Wish { unknown: Vec::new(), ..wish }, encoder.read("wild"));
        assert_eq!(encoder.read(&"é".repeat(5000)).energy, None);
        assert_eq!(encoder.read(""), Wish::default());
    }
}
