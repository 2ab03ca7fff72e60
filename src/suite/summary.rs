//! The suite's figures: one policy, the subject, against all others over all cells.
//!
//! Two policies are compared by the ratio of their utilities, exp(U_a − U_b), on paired seeds, and
//! over cells by the geometric mean. A cell where the subject starves a model counts as a ratio of
//! [`STARVED`] whatever its utility is. A rival that starves a model gains nothing by it either:
//! there the subject counts as at least equal, and the rival can't be the best of a group.

use super::results::{Cell, Row};
use super::roster::{BASELINES, ORACLE, RULES};
use super::stats::{Estimate, mean};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a cell counts as in which the subject starves a model.
pub const STARVED: f64 = 0.5;
/// Levels of the steady loads at which the oracle is a bound.
const STEADY_LEVELS: std::ops::RangeInclusive<f64> = 0.25..=0.95;
/// Mean improvement of utility over the state of the art that the paper reports.
const PAPER_MEAN: f64 = 1.376;

/// What each figure should be.
const RIVAL_TARGETS: [(&str, f64); 5] =
    [("fixed", 1.05), ("triton", 1.10), ("aimd", 1.10), ("deeprt", 1.20), ("tac", 1.05)];

/// One figure, with what it should be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    #[serde(skip)]
    pub name: String,
    #[serde(flatten)]
    pub estimate: Estimate,
    pub target: Option<Target>,
    /// How many cells it comes from.
    pub cells: usize,
    /// What to know of it, such as the cell that decides it.
    pub remark: String,
}

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    AtLeast(f64),
    Above(f64),
    AtMost(f64),
    /// At least so much somewhere within the interval.
    AtLeastWithinNoise(f64),
}

impl Target {
    pub fn is_met(self, Estimate { value, high, .. }: Estimate) -> bool {
        match self {
            Target::AtLeast(bound) => value >= bound,
            Target::AtLeastWithinNoise(bound) => high >= bound,
            Target::Above(bound) => value > bound,
            Target::AtMost(bound) => value <= bound,
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::AtLeast(bound) => write!(f, "≥ {bound}"),
            Target::Above(bound) => write!(f, "> {bound}"),
            Target::AtMost(bound) => write!(f, "≤ {bound}"),
            Target::AtLeastWithinNoise(bound) => write!(f, "≥ {bound} ±"),
        }
    }
}

impl Figure {
    /// `None` without a target, or where nothing came out.
    pub fn is_met(&self) -> Option<bool> {
        let told = match self.target? {
            // One run has no interval.
            Target::AtLeastWithinNoise(_) => self.estimate.high.is_finite(),
            _ => self.estimate.value.is_finite(),
        };
        self.target.filter(|_| told).map(|target| target.is_met(self.estimate))
    }
}

/// All figures about one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub subject: String,
    pub figures: Vec<Figure>,
    /// Figures that can't be told, because somebody did not take part.
    pub missing: Vec<String>,
}

impl Summary {
    /// The figures of `subject` over the cells in which it took part.
    pub fn of(subject: &str, cells: &[Cell]) -> Summary {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.row(subject).is_some()).collect();
        let mut maker = Maker { subject, cells, figures: Vec::new(), missing: Vec::new() };
        maker.rivals();
        maker.best_of("best_baseline", &BASELINES);
        maker.best_of("best_rule", &RULES);
        maker.oracle();
        maker.floor();
        maker.violations();
        maker.memory();
        Summary { subject: subject.into(), figures: maker.figures, missing: maker.missing }
    }

    /// By name, as in the JSON file: `sac_over_rival` holds one figure for each rival.
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        map.insert("subject".into(), json!(self.subject));
        for figure in &self.figures {
            let mut value = json!(figure);
            value["met"] = json!(figure.is_met());
            match figure.name.split_once('{') {
                Some((group, rival)) => {
                    let group = map.entry(group).or_insert_with(|| json!({}));
                    group[rival.trim_end_matches('}')] = value;
                }
                None => {
                    map.insert(figure.name.clone(), value);
                }
            }
        }
        map.insert("missing".into(), json!(self.missing));
        Value::Object(map)
    }
}

struct Maker<'a> {
    subject: &'a str,
    cells: Vec<&'a Cell>,
    figures: Vec<Figure>,
    missing: Vec<String>,
}

impl<'a> Maker<'a> {
    fn name(&self, rest: &str) -> String {
        format!("{}_{rest}", self.subject)
    }

    fn add(&mut self, name: &str, of: (Estimate, usize), target: Option<Target>, remark: String) {
        let (estimate, cells) = of;
        let name = self.name(name);
        self.figures.push(Figure { name, estimate, target, cells, remark });
    }

    /// Logarithms of the ratio to a rival by seed, for each cell in which it took part.
    fn against(&self, rival: impl Fn(&'a Cell) -> Option<&'a Row>) -> Vec<(&'a Cell, Vec<f64>)> {
        let compared = self.cells.iter().filter_map(|&cell| {
            let row = cell.row(self.subject)?;
            Some((cell, advantage(row, rival(cell)?)))
        });
        compared.collect()
    }

    fn rivals(&mut self) {
        let mut by_rival = Vec::new();
        for (rival, target) in RIVAL_TARGETS {
            let ratios = self.against(|cell| cell.row(rival));
            if ratios.is_empty() || rival == self.subject {
                self.missing
                    .push(self.name(&format!("over_rival{{{rival}}}: it did not take part")));
                continue;
            }
            let by_seed = geometric(&ratios);
            let figure = (Estimate::of_ratio(&by_seed), ratios.len());
            let starved = self.cells.iter().filter(|c| c.row(rival).is_some_and(|r| r.starved));
            let remark = match starved.count() {
                0 => String::new(),
                count => format!("{rival} starves a model in {count} cells"),
            };
            self.add(
                &format!("over_rival{{{rival}}}"),
                figure,
                Some(Target::AtLeast(target)),
                remark,
            );
            by_rival.push(by_seed);
        }
        let Some(first) = by_rival.first() else { return };
        let means: Vec<f64> = (0..first.len())
            .map(|seed| mean(&by_rival.iter().map(|logs| logs[seed].exp()).collect::<Vec<_>>()))
            .collect();
        let remark = format!(
            "mean over {} rivals; the paper reports {PAPER_MEAN} over other rivals, with other \
             definitions",
            by_rival.len()
        );
        let cells = self.cells.len();
        self.add("over_baselines_mean", (Estimate::of_mean(&means), cells), None, remark);
    }

    /// Against the best of a group in each cell.
    fn best_of(&mut self, what: &str, group: &[&str]) {
        let others: Vec<&str> =
            group.iter().copied().filter(|name| *name != self.subject).collect();
        let ratios = self.against(|cell| best(cell, &others));
        let Some((worst, logs)) = ratios.iter().min_by(|a, b| mean(&a.1).total_cmp(&mean(&b.1)))
        else {
            self.missing.push(self.name(&format!("over_{what}: none of them took part")));
            return;
        };
        let all = (Estimate::of_ratio(&geometric(&ratios)), ratios.len());
        if what == "best_baseline" {
            let target = Some(Target::AtLeast(1.05));
            self.add("over_best_baseline_geomean", all, target, "1.15 is what is wanted".into());
            return;
        }
        let lowest = (Estimate::of_ratio(logs), 1);
        let against = best(worst, &others).map_or("", |row| &row.policy);
        let remark = format!("{}, against {against}", worst.name());
        self.add("over_best_rule_worst", lowest, Some(Target::AtLeast(0.97)), remark);
        let remark = "geometric mean; 1.05 is what is wanted".into();
        self.add("over_best_rule_mean", all, Some(Target::AtLeast(1.02)), remark);
    }

    fn oracle(&mut self) {
        let (steady, other): (Vec<_>, Vec<_>) = self
            .against(|cell| cell.row(ORACLE))
            .into_iter()
            .partition(|(cell, _)| is_within_capacity(cell));
        for (name, ratios, target) in [
            ("over_oracle_steady", steady, Target::AtLeast(0.97)),
            ("over_oracle_other", other, Target::Above(1.0)),
        ] {
            if ratios.is_empty() {
                self.missing.push(self.name(&format!("{name}: no such load was run")));
                continue;
            }
            let figure = (Estimate::of_ratio(&geometric(&ratios)), ratios.len());
            self.add(name, figure, Some(target), "geometric mean".into());
        }
    }

    fn floor(&mut self) {
        let starved: Vec<String> = self
            .cells
            .iter()
            .filter(|cell| cell.row(self.subject).is_some_and(|row| row.starved))
            .map(|cell| cell.name())
            .collect();
        let figure = (Estimate::exact(starved.len() as f64), self.cells.len());
        self.add("starved_cells", figure, Some(Target::AtMost(0.0)), starved.join("; "));
    }

    fn violations(&mut self) {
        let feasible = self.cells.iter().filter(|cell| cell.feasible);
        let all = feasible.filter_map(|cell| Some((cell, cell.row(self.subject)?)));
        let cells: Vec<_> = all.collect();
        let Some((cell, row)) =
            cells.iter().min_by(|a, b| a.1.worst_hit_rate.total_cmp(&b.1.worst_hit_rate))
        else {
            self.missing.push(self.name("violation_max_where_feasible: no load is feasible"));
            return;
        };
        let figure = (Estimate::exact(1.0 - row.worst_hit_rate), cells.len());
        let remark = format!("{} in {}", row.worst_model, cell.name());
        self.add("violation_max_where_feasible", figure, Some(Target::AtMost(0.05)), remark);
    }

    fn memory(&mut self) {
        let rows = || self.cells.iter().filter_map(|cell| cell.row(self.subject));
        let sum = |of: fn(&Row) -> f64| rows().map(of).sum::<f64>();
        let copies = sum(|row| row.memory_copies_mib);
        if copies > 0.0 {
            let saved = 1.0 - sum(|row| row.memory_mib) / copies;
            let figure = (Estimate::exact(saved), rows().count());
            let remark = "shared weights and pooled scratch against a copy in every instance";
            self.add("memory_saved", figure, Some(Target::AtLeast(0.38)), remark.into());
        }
    }
}

/// Logarithm of the utility ratio by seed, as far as the hit floor lets it count.
fn advantage(subject: &Row, rival: &Row) -> Vec<f64> {
    let measured = subject.over(rival);
    if subject.starved {
        return vec![STARVED.ln(); measured.len()];
    }
    let least = if rival.starved { 0.0 } else { f64::NEG_INFINITY };
    measured.into_iter().map(|log| log.max(least)).collect()
}

/// The row with the highest utility of those that took part and starve nobody; where all of them
/// do, of all.
fn best<'a>(cell: &'a Cell, group: &[&str]) -> Option<&'a Row> {
    let rows = || cell.rows.iter().filter(|row| group.contains(&row.policy.as_str()));
    let highest = |a: &&Row, b: &&Row| a.utility.total_cmp(&b.utility);
    rows().filter(|row| !row.starved).max_by(highest).or_else(|| rows().max_by(highest))
}

/// Mean over the cells, by seed.
fn geometric(ratios: &[(&Cell, Vec<f64>)]) -> Vec<f64> {
    let seeds = ratios.iter().map(|(_, logs)| logs.len()).min().unwrap_or(0);
    (0..seeds).map(|s| mean(&ratios.iter().map(|(_, logs)| logs[s]).collect::<Vec<_>>())).collect()
}

fn is_within_capacity(cell: &Cell) -> bool {
    cell.load_details.is_steady()
        && cell.load_details.level().is_some_and(|level| STEADY_LEVELS.contains(&level))
}

#[cfg(test)]
mod tests;
