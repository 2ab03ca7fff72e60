//! Scratch memory: one pool of blocks for all contexts of a device, instead of one block for each.
//!
//! A context needs its scratch memory only while a batch of it runs. So contexts take a block from
//! the pool when they start and give it back when they are done, and the pool grows to what really
//! runs together: never beyond what blocks of their own would take, and never beyond the budget.
//! When it may not grow any further, a run waits until another one gives its block back; every
//! context has a block that fits from the moment it is registered, so it is not refused then.

use super::budget::{Budget, Refusal, Share};
use crate::engine::EngineError;
use crate::engine::cuda::{Device, DeviceMemory};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// All scratch memory of a device.
pub(super) struct ScratchPool {
    device: Arc<Device>,
    budget: Arc<Budget>,
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Default)]
struct State {
    blocks: Vec<Block>,
    next_id: u64,
    /// What each context needs.
    needs: Vec<u64>,
    /// A run had to wait for a block that was larger than its user needed.
    contended: bool,
}

struct Block {
    id: u64,
    memory: Arc<DeviceMemory>,
    _share: Share,
    in_use: bool,
}

impl Block {
    fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }
}

/// What the pool is and what it saves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScratchUse {
    /// Of all blocks.
    pub bytes: u64,
    /// What the contexts would take if each had its own.
    pub separate_bytes: u64,
}

impl State {
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(Block::bytes).sum()
    }

    fn separate_bytes(&self) -> u64 {
        self.needs.iter().sum()
    }

    /// The block to use: the one used last if it is free, else the smallest that fits.
    fn best(&self, bytes: u64, last: Option<u64>) -> Option<usize> {
        let fits = |block: &Block| !block.in_use && block.bytes() >= bytes;
        let own = self.blocks.iter().position(|block| Some(block.id) == last && fits(block));
        own.or_else(|| {
            let free = self.blocks.iter().enumerate().filter(|(_, block)| fits(block));
            free.min_by_key(|(_, block)| block.bytes()).map(|(index, _)| index)
        })
    }

    /// Frees blocks that are more than what the contexts would have by themselves.
    fn trim(&mut self) {
        let largest_need = self.needs.iter().copied().max().unwrap_or(0);
        self.blocks.sort_by_key(Block::bytes);
        let mut index = 0;
        while index < self.blocks.len() {
            let too_much =
                self.bytes() > self.separate_bytes() || self.blocks.len() > self.needs.len();
            let others_fit = self.needs.is_empty()
                || self
                    .blocks
                    .iter()
                    .enumerate()
                    .any(|(other, block)| other != index && block.bytes() >= largest_need);
            if too_much && others_fit && !self.blocks[index].in_use {
                self.blocks.remove(index);
            } else {
                index += 1;
            }
        }
    }
}

impl ScratchPool {
    pub fn new(device: Arc<Device>, budget: Arc<Budget>) -> Arc<ScratchPool> {
        let (state, given_back) = (Mutex::new(State::default()), Condvar::new());
        Arc::new(ScratchPool { device, budget, state, given_back })
    }

    pub fn usage(&self) -> ScratchUse {
        let state = self.lock();
        ScratchUse { bytes: state.bytes(), separate_bytes: state.separate_bytes() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more context whose runs need `bytes` bytes.
    ///
    /// # Errors
    /// That there is not so much memory, with the figures, or the driver's.
    pub fn register(self: &Arc<Self>, bytes: u64) -> Result<Scratch, EngineError> {
        let mut state = self.lock();
        state.needs.push(bytes);
        if bytes > 0 && !state.blocks.iter().any(|block| block.bytes() >= bytes) {
            if let Err(refusal) = self.add_block(&mut state, bytes) {
                state.needs.pop();
                return Err(super::refused(refusal));
            }
            // The others are smaller, and it serves their users too.
            state.blocks.retain(|block| block.in_use || block.bytes() >= bytes);
        }
        let usage = ScratchUse { bytes: state.bytes(), separate_bytes: state.separate_bytes() };
        drop(state);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        tracing::info!(
            "scratch memory: {:.1} MiB shared by all contexts, {:.1} MiB less than one for each",
            mib(usage.bytes),
            mib(usage.separate_bytes.saturating_sub(usage.bytes)),
        );
        Ok(Scratch { pool: self.clone(), bytes, last: None })
    }

    fn add_block(&self, state: &mut State, bytes: u64) -> Result<usize, Refusal> {
        let size = usize::try_from(bytes).unwrap_or(usize::MAX);
        let (memory, share) = self
            .budget
            .allocate("scratch memory", bytes, || DeviceMemory::new(&self.device, size))?;
        let id = state.next_id;
        state.next_id += 1;
        state.blocks.push(Block { id, memory: Arc::new(memory), _share: share, in_use: false });
        Ok(state.blocks.len() - 1)
    }

    /// A block for a run, which may mean to wait for one.
    fn take(self: &Arc<Self>, bytes: u64, last: Option<u64>) -> Lease {
        let mut state = self.lock();
        loop {
            let may_grow = state.bytes() + bytes <= state.separate_bytes();
            let best = state.best(bytes, last);
            // A block of one's own, when larger ones are wanted by others.
            let too_large = |index: usize| state.contended && state.blocks[index].bytes() > bytes;
            let index = match best {
                Some(index) if !(may_grow && too_large(index)) => Some(index),
                _ if may_grow => self.add_block(&mut state, bytes).ok().or(best),
                _ => None,
            };
            if let Some(index) = index {
                let block = &mut state.blocks[index];
                block.in_use = true;
                let (id, memory) = (block.id, block.memory.clone());
                return Lease { id, memory, pool: self.clone() };
            }
            state.contended = true;
            state = self.given_back.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One context's claim on the pool.
pub(super) struct Scratch {
    pool: Arc<ScratchPool>,
    bytes: u64,
    /// The block it had last.
    last: Option<u64>,
}

impl Scratch {
    /// A block until it is dropped; `None` for a context that needs none. Waits where the pool may
    /// not grow.
    pub fn take(&mut self) -> Option<Lease> {
        if self.bytes == 0 {
            return None;
        }
        let lease = self.pool.take(self.bytes, self.last);
        self.last = Some(lease.id);
        Some(lease)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(index) = state.needs.iter().position(|&need| need == self.bytes) {
            state.needs.swap_remove(index);
        }
        state.trim();
    }
}

/// A block in use.
pub(super) struct Lease {
    /// No other block ever has this number.
    pub id: u64,
    pub memory: Arc<DeviceMemory>,
    pool: Arc<ScratchPool>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(block) = state.blocks.iter_mut().find(|block| block.id == self.id) {
            block.in_use = false;
        }
        drop(state);
        self.pool.given_back.notify_all();
    }
}
