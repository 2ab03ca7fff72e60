//! One model's instance slots: which are up, what they run, when one counts as hung.

use super::Request;
use crate::units::{BatchSize, Nanos};

/// A slot whose instance died waits this long before the next one is started, doubled each time …
const FIRST_BACKOFF: Nanos = Nanos::from_millis(100);
/// … up to this, until a batch succeeds.
const LONGEST_BACKOFF: Nanos = Nanos::from_millis(30_000);

#[derive(Debug)]
pub(super) struct Slot {
    phase: Phase,
    /// The batch under way; keeps its allocation.
    pub(super) batch: Vec<Request>,
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

impl Phase {
    /// When a slot in this phase needs a look without any event.
    fn next_wake(self) -> Nanos {
        match self {
            Phase::Running { hung_at, .. } => hung_at,
            Phase::Backoff { until } => until,
            Phase::Empty | Phase::Starting | Phase::Idle => Nanos::MAX,
        }
    }
}

impl Slot {
    fn new(max_batch: BatchSize) -> Slot {
        Slot { phase: Phase::Empty, batch: Vec::with_capacity(max_batch.get()), deaths: 0 }
    }

    /// The batch succeeded: the instance is sound.
    pub(super) fn recovered(&mut self) {
        self.deaths = 0;
    }
}

/// All slots of one model, at most 64. What is asked at every event is kept beside them.
#[derive(Debug)]
pub(super) struct Instances {
    pub(super) slots: Vec<Slot>,
    running: u32,
    /// Which slots are idle, bit by bit.
    idle: u64,
    /// How many slots are not empty.
    taken: u32,
    /// No slot needs a look before this.
    wake: Nanos,
}

impl Default for Instances {
    fn default() -> Instances {
        Instances { slots: Vec::new(), running: 0, idle: 0, taken: 0, wake: Nanos::MAX }
    }
}

impl Instances {
    pub(super) fn new(count: usize, max_batch: BatchSize) -> Instances {
        let count = count.min(u64::BITS as usize);
        let slots = (0..count).map(|_| Slot::new(max_batch)).collect();
        Instances { slots, ..Instances::default() }
    }

    fn set(&mut self, slot: usize, phase: Phase) {
        let old = std::mem::replace(&mut self.slots[slot].phase, phase);
        let is_running = |phase| u32::from(matches!(phase, Phase::Running { .. }));
        self.running = self.running + is_running(phase) - is_running(old);
        self.taken = self.taken + u32::from(phase != Phase::Empty) - u32::from(old != Phase::Empty);
        self.idle = self.idle & !(1 << slot) | u64::from(phase == Phase::Idle) << slot;
        self.wake = self.wake.min(phase.next_wake());
    }

    pub(super) fn running(&self) -> u32 {
        self.running
    }

    pub(super) fn alive(&self) -> u32 {
        self.idle.count_ones() + self.running
    }

    pub(super) fn idle(&self) -> Option<u16> {
        (self.idle != 0).then(|| self.idle.trailing_zeros() as u16)
    }

    /// The driver has made the instance it was asked for.
    pub(super) fn made(&mut self, slot: u16) {
        let slot = slot as usize;
        if self.slots.get(slot).is_some_and(|slot| slot.phase == Phase::Starting) {
            self.set(slot, Phase::Idle);
        }
    }

    /// Forgets the instances that run nothing.
    pub(super) fn retire(&mut self) {
        for slot in 0..self.slots.len() {
            if !matches!(self.slots[slot].phase, Phase::Running { .. }) {
                self.set(slot, Phase::Empty);
            }
        }
    }

    /// A slot to start an instance in, while fewer than `wanted` exist or are coming; it counts as
    /// starting from now on.
    pub(super) fn start_another(&mut self, wanted: usize) -> Option<u16> {
        if self.taken as usize >= wanted {
            return None;
        }
        let slot = self.slots.iter().position(|slot| slot.phase == Phase::Empty)?;
        self.set(slot, Phase::Starting);
        Some(slot as u16)
    }

    /// Marks a slot as running the batch it holds.
    pub(super) fn start(&mut self, slot: u16, items: BatchSize, now: Nanos, hung_at: Nanos) {
        self.set(slot as usize, Phase::Running { since: now, items, hung_at });
    }

    /// Ends the slot's run: when it began and its items, `None` if it ran nothing.
    pub(super) fn finish(&mut self, slot: u16) -> Option<(Nanos, BatchSize)> {
        let Phase::Running { since, items, .. } = self.slots.get(slot as usize)?.phase else {
            return None;
        };
        self.set(slot as usize, Phase::Idle);
        Some((since, items))
    }

    /// The instance died; the slot comes back after a growing pause.
    pub(super) fn died(&mut self, slot: u16, now: Nanos) {
        let deaths = &mut self.slots[slot as usize].deaths;
        let pause = Nanos(FIRST_BACKOFF.0 << (*deaths).min(20)).min(LONGEST_BACKOFF);
        *deaths += 1;
        self.set(slot as usize, Phase::Backoff { until: now + pause });
    }

    /// When the batch began that this slot runs.
    pub(super) fn since(&self, slot: u16) -> Option<Nanos> {
        match self.slots.get(slot as usize)?.phase {
            Phase::Running { since, .. } => Some(since),
            _ => None,
        }
    }

    /// When each running batch began, and its items; for estimating when instances are free again.
    pub(super) fn runs(&self) -> impl Iterator<Item = (Nanos, BatchSize)> {
        self.slots.iter().filter_map(|slot| match slot.phase {
            Phase::Running { since, items, .. } => Some((since, items)),
            _ => None,
        })
    }

    /// No slot needs a look before this; it may turn out that none does then.
    pub(super) fn next_wake(&self) -> Nanos {
        self.wake
    }

    /// Ends the pauses that are over at `now`, and gives a slot whose instance hangs, if there is
    /// one.
    pub(super) fn look(&mut self, now: Nanos) -> Option<u16> {
        if now < self.wake {
            return None;
        }
        for slot in 0..self.slots.len() {
            if matches!(self.slots[slot].phase, Phase::Backoff { until } if until <= now) {
                self.set(slot, Phase::Empty);
            }
        }
        let wakes = self.slots.iter().map(|slot| slot.phase.next_wake());
        self.wake = wakes.min().unwrap_or(Nanos::MAX);
        let hangs = |slot: &Slot| slot.phase.next_wake() <= now;
        self.slots.iter().position(hangs).map(|slot| slot as u16)
    }
}
