//! One model's instance slots: which are up, what they run, when one counts as hung.

use super::Request;
use crate::units::{BatchSize, Nanos};

/// A slot whose instance died waits this long before the next one is started, doubled each time …
const FIRST_BACKOFF: Nanos = Nanos::from_millis(100);
/// … up to this, until a batch succeeds.
const LONGEST_BACKOFF: Nanos = Nanos::from_millis(30_000);

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// The batch under way; keeps its allocation.
    pub(super) batch: Vec<Request>,
    /// The batch that the instance makes ready meanwhile; see [`super::ahead`].
    pub(super) ahead: Vec<Request>,
    /// Deaths since the last batch that succeeded.
    deaths: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No instance, none wanted yet.
    Empty,
    /// The driver is making it.
    Starting,
    Idle,
    Running {
        since: Nanos,
        items: BatchSize,
        hung_at: Nanos,
    },
    /// Died; another is started at this time.
    Backoff {
        until: Nanos,
    },
}

impl Slot {
    fn new(max_batch: BatchSize) -> Slot {
        let batch = Vec::with_capacity(max_batch.get());
        Slot { phase: Phase::Empty, batch, ahead: Vec::new(), deaths: 0 }
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Running { .. })
    }

    /// The batch succeeded: the instance is sound.
    pub(super) fn recovered(&mut self) {
        self.deaths = 0;
    }

    /// The instance died; the slot comes back after a growing pause.
    pub(super) fn died(&mut self, now: Nanos) {
        let pause = Nanos(FIRST_BACKOFF.0 << self.deaths.min(20)).min(LONGEST_BACKOFF);
        self.deaths += 1;
        self.phase = Phase::Backoff { until: now + pause };
    }

    /// When this slot needs a look without any event.
    fn next_wake(&self) -> Nanos {
        match self.phase {
            Phase::Running { hung_at, .. } => hung_at,
            Phase::Backoff { until } => until,
            Phase::Empty | Phase::Starting | Phase::Idle => Nanos::MAX,
        }
    }
}

/// All slots of one model.
#[derive(Debug, Default)]
pub(super) struct Instances {
    pub(super) slots: Vec<Slot>,
    running: u32,
}

impl Instances {
    pub(super) fn new(count: usize, max_batch: BatchSize) -> Instances {
        Instances { slots: (0..count).map(|_| Slot::new(max_batch)).collect(), running: 0 }
    }

    pub(super) fn running(&self) -> u32 {
        self.running
    }

    pub(super) fn alive(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.is_alive()).count() as u32
    }

    pub(super) fn starting(&self) -> u32 {
        self.slots.iter().filter(|slot| slot.phase == Phase::Starting).count() as u32
    }

    pub(super) fn idle(&self) -> Option<u16> {
        self.slots.iter().position(|slot| slot.phase == Phase::Idle).map(|at| at as u16)
    }

    /// Forgets the instances that run nothing.
    pub(super) fn retire(&mut self) {
        for slot in &mut self.slots {
            if !matches!(slot.phase, Phase::Running { .. }) {
                slot.phase = Phase::Empty;
            }
        }
    }

    /// A slot to start an instance in, while fewer than `wanted` exist or are coming.
    pub(super) fn startable(&self, wanted: usize) -> Option<u16> {
        let empty = |slot: &Slot| slot.phase == Phase::Empty;
        if self.slots.iter().filter(|slot| !empty(slot)).count() >= wanted {
            return None;
        }
        self.slots.iter().position(empty).map(|at| at as u16)
    }

    /// Marks a slot as running the batch it holds.
    pub(super) fn start(&mut self, slot: u16, items: BatchSize, now: Nanos, hung_at: Nanos) {
        self.slots[slot as usize].phase = Phase::Running { since: now, items, hung_at };
        self.running += 1;
    }

    /// Ends the slot's run: when it began and its items, `None` if it ran nothing.
    pub(super) fn finish(&mut self, slot: u16) -> Option<(Nanos, BatchSize)> {
        let slot = self.slots.get_mut(slot as usize)?;
        let Phase::Running { since, items, .. } = slot.phase else { return None };
        slot.phase = Phase::Idle;
        self.running -= 1;
        Some((since, items))
    }

    /// When each running batch began, its items, and those of the batch behind it; for estimating
    /// when instances are free again.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Nanos, BatchSize, BatchSize)> {
        self.slots.iter().filter_map(|slot| match slot.phase {
            Phase::Running { since, items, .. } => {
                let ahead = slot.ahead.iter().map(|request| request.items.0).sum();
                Some((since, items, BatchSize(ahead)))
            }
            _ => None,
        })
    }

    pub(super) fn next_wake(&self) -> Nanos {
        self.slots.iter().map(Slot::next_wake).min().unwrap_or(Nanos::MAX)
    }
}
