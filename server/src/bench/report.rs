//! What a benchmark reports: sections of checks, spreads, values and curves, and the machine they were measured on. The JSON
//! form is `docs/bench.schema.json`, which is made from these types; a change here that readers must know of changes
//! [`FORMAT`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names the form of the JSON.
pub const FORMAT: &str = "odori-bench/1";

/// One run of `odori bench`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// `odori-bench/1`
    pub format: String,
    pub manifest: Manifest,
    pub sections: Vec<Section>,
}

/// The machine, the build and what was asked for.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The words after `odori`.
    pub command: Vec<String>,
    pub odori: String,
    /// Seconds since 1970, UTC.
    pub started_at_unix_s: u64,
    pub took_s: f64,
    pub os: String,
    pub kernel: String,
    pub architecture: String,
    pub cpu: String,
    pub cores: usize,
    /// Instruction set that the CPU kernels use.
    pub simd: String,
    pub memory_mb: u64,
    /// What runs the networks, and why.
    pub compute: String,
    /// What draws.
    pub draw: String,
    pub models: BTreeMap<String, String>,
    /// Version of the browser, if one took part.
    pub browser: Option<String>,
    /// One-minute load average before and after. More before than a tenth of a core: others were at work, and figures of time
    /// are too high.
    pub load_before: Option<f64>,
    pub load_after: Option<f64>,
    pub seed: u64,
}

/// One benchmark.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Stable, for comparing.
    pub id: String,
    pub title: String,
    /// What was done, and how to read it.
    pub about: String,
    pub checks: Vec<Check>,
    pub spreads: Vec<Spread>,
    pub values: Vec<Value>,
    pub curves: Vec<Curve>,
}

/// Something that must hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    /// What was found, and the bar.
    pub found: String,
    /// Whether the instrument itself is wrong if this fails; else it is a bar the engine should reach.
    pub of_the_meter: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    #[default]
    Lower,
    Higher,
    /// Neither: told for the reader.
    Neither,
}

/// A distribution of something measured many times.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    pub name: String,
    pub unit: String,
    pub better: Better,
    /// Spreads of one group are drawn in one plot.
    pub group: String,
    /// Percentiles run towards the worse end: where more is better, `p95` is what 95 % reach or exceed.
    pub count: usize,
    pub min: f64,
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
    /// The value at 101 equally spaced shares from least to greatest, for plots.
    pub quantiles: Vec<f64>,
}

/// One number.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Value {
    pub name: String,
    pub unit: String,
    pub value: f64,
    pub better: Better,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Points joined.
    #[default]
    Line,
    /// Bars side by side, one group for each of `labels`.
    Bars,
    /// Bars on top of each other.
    Stack,
}

/// Something that depends on something.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    pub name: String,
    pub x: String,
    pub y: String,
    pub shape: Shape,
    /// Names along x, where it has names and not numbers; x of the points is then their place.
    pub labels: Vec<String>,
    pub lines: Vec<Line>,
    /// A limit to draw across, and what it is.
    pub limit: Option<Limit>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub name: String,
    /// x and y.
    pub points: Vec<[f64; 2]>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub name: String,
    pub y: f64,
}

/// The value below which `share` of a sorted list lies, by the nearest rank.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    sorted[((share * sorted.len() as f64).ceil() as usize).saturating_sub(1).min(last)]
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// Three decimals, so that files stay small.
pub fn round(x: f64) -> f64 {
    (x * 1e3).round() / 1e3
}

impl Spread {
    pub fn of(group: &str, name: &str, unit: &str, mut values: Vec<f64>) -> Self {
        values.retain(|v| v.is_finite());
        values.sort_by(f64::total_cmp);
        let at = |share| round(quantile(&values, share));
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        Spread {
            name: name.into(),
            unit: unit.into(),
            better: Better::Lower,
            group: group.into(),
            count: values.len(),
            min: at(0.0),
            mean: round(mean),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p99_9: at(0.999),
            max: at(1.0),
            quantiles: if values.is_empty() { Vec::new() } else { (0..=100).map(|n| at(f64::from(n) / 100.0)).collect() },
        }
    }

    pub fn better(mut self, better: Better) -> Self {
        self.better = better;
        self
    }

    /// Of something of which more is better: the percentiles then run down to the least, and `p95` is what 95 % reach.
    pub fn of_merit(group: &str, name: &str, unit: &str, values: Vec<f64>) -> Self {
        let negated = Self::of(group, name, unit, values.into_iter().map(|v| -v).collect());
        let Spread { count, min, mean, p50, p95, p99, p99_9, max, quantiles, .. } = negated;
        let quantiles = quantiles.into_iter().rev().map(|v| -v).collect();
        Spread { count, min: -max, mean: -mean, p50: -p50, p95: -p95, p99: -p99, p99_9: -p99_9, max: -min, quantiles, better: Better::Higher, name: name.into(), unit: unit.into(), group: group.into() }
    }

    /// The value that the table's last column shows: the worst.
    pub fn worst(&self) -> f64 {
        if self.better == Better::Higher { self.min } else { self.max }
    }
}

impl Section {
    pub fn new(id: &str, title: &str, about: &str) -> Self {
        Section { id: id.into(), title: title.into(), about: about.into(), ..Section::default() }
    }

    pub fn spread(&mut self, group: &str, name: &str, unit: &str, values: Vec<f64>) {
        self.spreads.push(Spread::of(group, name, unit, values));
    }

    pub fn value(&mut self, name: &str, unit: &str, value: f64, better: Better) {
        self.values.push(Value { name: name.into(), unit: unit.into(), value: round(value), better });
    }

    /// A bar that the engine should reach.
    pub fn bar(&mut self, name: &str, passed: bool, found: String) {
        self.checks.push(Check { name: name.into(), passed, found, of_the_meter: false });
    }

    /// Something without which the instrument is wrong.
    pub fn meter(&mut self, name: &str, passed: bool, found: String) {
        self.checks.push(Check { name: name.into(), passed, found, of_the_meter: true });
    }
}

impl Report {
    /// Whether the instrument may be believed.
    pub fn meter_is_sound(&self) -> bool {
        self.sections.iter().flat_map(|s| &s.checks).all(|c| c.passed || !c.of_the_meter)
    }

    /// The published schema, as text.
    pub fn schema() -> String {
        serde_json::to_string_pretty(&schemars::schema_for!(Report)).expect("a schema is plain data") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let spread = Spread::of("", "a", "ms", (1..=1000).rev().map(f64::from).collect());
        assert_eq!((spread.min, spread.p50, spread.p95, spread.p99, spread.p99_9, spread.max), (1.0, 500.0, 950.0, 990.0, 999.0, 1000.0));
        assert_eq!((spread.count, spread.mean, spread.quantiles.len()), (1000, 500.5, 101));
        assert_eq!(Spread::of("", "none", "ms", vec![f64::NAN]).count, 0);
        let merit = Spread::of_merit("", "a", "dB", (1..=1000).map(f64::from).collect());
        assert_eq!((merit.p50, merit.p95, merit.p99, merit.min, merit.max, merit.worst()), (501.0, 51.0, 11.0, 1.0, 1000.0, 1.0));
        assert!(merit.quantiles.is_sorted());
    }

    #[test]
    fn the_published_schema_is_that_of_the_program() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench.schema.json");
        if std::env::var_os("ODORI_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, Report::schema()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), Report::schema(), "run this test once with ODORI_WRITE_SCHEMA=1");
    }

    #[test]
    fn a_report_is_read_back_whole_and_one_with_unknown_or_wrong_fields_is_refused() {
        let mut section = Section::new("a", "A", "about");
        section.spread("g", "latency", "ms", vec![1.0, 2.0]);
        section.value("frames", "", 3.0, Better::Higher);
        section.bar("low", true, "2 ms".into());
        let report = Report { format: FORMAT.into(), manifest: Manifest::default(), sections: vec![section] };
        let good = serde_json::to_value(&report).unwrap();
        assert_eq!(serde_json::to_value(serde_json::from_value::<Report>(good.clone()).unwrap()).unwrap(), good);
        for (pointer, wrong) in [("/sections/0/spreads/0/p50", serde_json::json!("fast")), ("/manifest", serde_json::json!({})), ("/sections/0/checks/0/passed", serde_json::json!(null))] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = wrong;
            assert!(serde_json::from_value::<Report>(bad).is_err(), "{pointer}");
        }
        let mut extra = good;
        extra["sections"][0]["surprise"] = 1.into();
        assert!(serde_json::from_value::<Report>(extra).is_err());
    }
}
