//! Random snapshots on random screens: nothing panics.

use super::draw;
use crate::telemetry::snapshot::*;
use crate::tui::app::{App, Page};
use crate::tui::keys::action;
use crate::tui::svg;
use crate::tui::theme::Theme;
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use ratatui::layout::Position;
use std::sync::Arc;

const KEYS: &str = "1234jkgGfp+-PbBiIrctsvLUy?? \n\t\x1b<>";

#[test]
fn no_snapshot_size_or_key_breaks_the_screen() {
    for seed in 0..200 {
        let mut random = Random(Xoshiro256PlusPlus::seed_from_u64(seed));
        let theme = Theme { no_color: random.flip(), ascii: random.flip() };
        let mut app = App::new(theme);
        for _ in 0..random.below(12) {
            let snapshot = random.snapshot();
            let source =
                if random.below(9) == 0 { Err(random.text()) } else { Ok(Arc::new(snapshot)) };
            app.observe(source);
            let key = KEYS.chars().nth(random.below(KEYS.len() as u64) as usize).unwrap();
            if let Some(action) = action(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE)) {
                app.act(action);
            }
            let (width, height) = random.size();
            let (buf, hits) = draw(&app, width, height);
            app.click(Position::new(random.below(300) as u16, random.below(100) as u16), &hits);
            app.tick();
            if random.below(40) == 0 {
                svg::render(&buf);
            }
        }
        for page in Page::ALL {
            app.page = page;
            let (width, height) = random.size();
            draw(&app, width, height);
            draw(&app, 80 + width % 200, 24 + height % 60);
        }
    }
}

struct Random(Xoshiro256PlusPlus);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end)
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn size(&mut self) -> (u16, u16) {
        (1 + self.below(300) as u16, 1 + self.below(100) as u16)
    }

    /// Small, large and extreme numbers alike.
    fn number(&mut self) -> u64 {
        let shift = self.below(65) as u32;
        self.0.next_u64().checked_shr(shift).unwrap_or(0)
    }

    fn small(&mut self) -> u32 {
        let number = self.number();
        if self.flip() { number as u32 } else { number as u32 % 20 }
    }

    fn real(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => -1.5,
            3 => f64::MAX,
            _ => self.number() as f64 / 1e3,
        }
    }

    fn optional(&mut self) -> Option<f64> {
        self.flip().then(|| self.real())
    }

    fn text(&mut self) -> String {
        let alphabet = ['a', 'Z', ' ', '\n', '\x1b', 'é', '日', '👩', '\u{200d}', '\t', '"', '<'];
        (0..self.below(60)).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]).collect()
    }

    fn events(&mut self) -> Arc<Vec<Event>> {
        let levels = [Level::Debug, Level::Info, Level::Warn, Level::Error];
        let count = self.below(80);
        let event = |random: &mut Random| Event {
            unix_ms: random.number(),
            level: levels[random.below(4) as usize],
            model: random.flip().then(|| random.text()),
            text: random.text(),
        };
        Arc::new((0..count).map(|_| event(self)).collect())
    }

    fn counters(&mut self) -> Counters {
        Counters {
            received: self.number(),
            ok: self.number(),
            slo_met: self.number(),
            rejected: self.number(),
            expired: self.number(),
            failed: self.number(),
            cancelled: self.number(),
            executions: self.number(),
            items: self.number(),
            queue_us_total: self.number(),
            compute_us_total: self.number(),
            unserved_us_total: self.number(),
            replaced: self.number(),
        }
    }

    /// Whole ones, and such whose parts do not fit together.
    fn insight(&mut self) -> InsightSnapshot {
        let sizes = if self.flip() { 8 } else { self.below(20) };
        let actions = if self.flip() { 64 } else { self.below(90) };
        let masks = [Mask::BatchLimit, Mask::InstanceLimit, Mask::Slo, Mask::Policy];
        InsightSnapshot {
            batches: (0..sizes).map(|_| self.small()).collect(),
            alone_us: (0..self.below(20)).map(|_| self.number()).collect(),
            probabilities: (0..actions).map(|_| self.real() as f32).collect(),
            masked: (0..actions)
                .map(|_| self.flip().then(|| masks[self.below(4) as usize]))
                .collect(),
            action: self.number() as usize % if self.flip() { 64 } else { usize::MAX },
            entropy: self.real() as f32,
        }
    }

    fn learning(&mut self) -> LearningSnapshot {
        LearningSnapshot {
            enabled: self.flip(),
            alive: self.flip(),
            weights: self.text(),
            file: self.text(),
            experiences: self.number(),
            experiences_needed: self.number(),
            updates: self.number(),
            saved_updates: self.number(),
            entropy: self.real() as f32,
            temperature: self.real() as f32,
            critic_loss: self.real() as f32,
            value: self.real() as f32,
            reward: self.flip().then(|| self.real() as f32),
        }
    }

    fn model(&mut self, index: u64) -> ModelSnapshot {
        let states = [
            ModelState::Loading,
            ModelState::Ready,
            ModelState::Ready,
            ModelState::Unloaded,
            ModelState::Failed(self.text()),
        ];
        let few = self.below(30);
        ModelSnapshot {
            insight: self.flip().then(|| self.insight()),
            drift: self.real(),
            crowding: self.real(),
            decisions_total: self.number(),
            name: if self.flip() { format!("m{index}") } else { self.text() },
            state: states[self.below(5) as usize].clone(),
            platform: self.text(),
            policy: self.text(),
            overridden: self.flip(),
            slo_us: self.number(),
            batch: self.small(),
            max_batch: self.small(),
            instances: self.small(),
            max_instances: self.small(),
            instances_alive: self.small(),
            instances_running: self.small(),
            queue_depth: self.small(),
            queue_bound: self.small(),
            queue_oldest_us: self.number(),
            arrivals_per_s: self.real(),
            goodput_per_s: self.real(),
            slo_hit_rate: self.optional(),
            utility: self.optional(),
            latency_us: Percentiles {
                count: self.number(),
                p50: self.number(),
                p90: self.number(),
                p99: self.number(),
                p999: self.number(),
                max: self.number(),
            },
            queue_us_mean: self.real(),
            compute_us_mean: self.real(),
            latency_histogram: (0..few).map(|_| (self.number(), self.number())).collect(),
            batch_distribution: (0..few).map(|_| (self.small(), self.number())).collect(),
            predicted_us: (0..few).map(|_| (self.small(), self.number())).collect(),
            counters: self.counters(),
            run_times: (0..few)
                .map(|_| RunTime {
                    items: self.small(),
                    batches: self.number(),
                    measured_us: self.number(),
                    predicted_us: self.flip().then(|| self.number()),
                })
                .collect(),
            batch_totals: Vec::new(),
            last_inference_unix_ms: self.number(),
            decisions: (0..few)
                .map(|_| DecisionLine {
                    uptime_us: self.number(),
                    policy: self.text(),
                    batch: self.small(),
                    instances: self.small(),
                    reason: self.text(),
                })
                .collect(),
        }
    }

    fn device(&mut self) -> DeviceSnapshot {
        let names = |random: &mut Random| (0..random.below(4)).map(|_| random.text()).collect();
        let gpu = |random: &mut Random| GpuSnapshot {
            name: random.text(),
            uuid: random.flip().then(|| random.text()),
            integrated: random.flip(),
            load_percent: random.optional(),
            memory_used_bytes: random.flip().then(|| random.number()),
            memory_total_bytes: random.flip().then(|| random.number()),
            temperature_c: random.optional(),
            power_w: random.optional(),
            power_limit_w: random.optional(),
            energy_j: random.optional(),
            frequency_mhz: random.optional(),
            frequency_limit_mhz: random.optional(),
            throttled_by: random.flip().then(|| names(random)),
        };
        let jetson = |random: &mut Random| JetsonSnapshot {
            power_mode: random.flip().then(|| random.text()),
            memory_load_percent: random.optional(),
            memory_clock_mhz: random.optional(),
            rails: (0..random.below(5))
                .map(|_| Rail { name: random.text(), watts: random.optional() })
                .collect(),
        };
        DeviceSnapshot {
            name: self.text(),
            cores: self.small(),
            cpu_percent: self.optional(),
            process_cpu_percent: self.optional(),
            resident_bytes: self.flip().then(|| self.number()),
            weight_bytes: self.number(),
            scratch_bytes: self.number(),
            scratch_separate_bytes: self.number(),
            memory_used_bytes: self.flip().then(|| self.number()),
            memory_total_bytes: self.flip().then(|| self.number()),
            temperature_c: self.optional(),
            frequency_mhz: self.optional(),
            zones: (0..self.below(12))
                .map(|_| Zone { name: self.text(), celsius: self.optional() })
                .collect(),
            throttled_by: self.flip().then(|| names(self)),
            jetson: self.flip().then(|| jetson(self)),
            gpus: (0..self.below(4)).map(|_| gpu(self)).collect(),
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let states = [ApplianceState::Starting, ApplianceState::Serving, ApplianceState::Draining];
        Snapshot {
            sequence: self.number(),
            version: self.text(),
            uptime_us: self.number(),
            state: states[self.below(3) as usize],
            connections: self.small(),
            totals: Totals {
                arrivals_per_s: self.real(),
                goodput_per_s: self.real(),
                slo_hit_rate: self.optional(),
                utility: self.optional(),
                counters: self.counters(),
            },
            models: (0..self.below(20)).map(|i| self.model(i)).collect(),
            learning: self.learning(),
            device: self.device(),
            events: self.events(),
            log: self.events(),
        }
    }
}
