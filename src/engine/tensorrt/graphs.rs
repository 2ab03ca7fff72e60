//! Runs recorded as CUDA graphs: launching one costs the processor less than enqueueing all its
//! kernels. Each belongs to one batch size, one lane and one scratch block, and has an execution
//! context of its own.

use super::budget::Share;
use super::context::Setup;
use super::objects::Context;
use super::profiles::Profile;
use crate::engine::cuda::Graph;

/// A setup is recorded once it has run so often: rare batch sizes are not worth a context.
const WARM_UP_RUNS: u32 = 8;
/// Each holds a context, which takes memory.
const MAX_GRAPHS: usize = 16;
/// Setups that are counted.
const MAX_COUNTED: usize = 64;

pub(super) struct Graphs {
    enabled: bool,
    recorded: Vec<Recorded>,
    runs: Vec<(Setup, u32)>,
}

struct Recorded {
    setup: Setup,
    // Dropped in this order.
    graph: Graph,
    _context: Context,
    _profile: Profile,
    _share: Share,
}

impl Graphs {
    pub fn new(enabled: bool) -> Graphs {
        Graphs { enabled, recorded: Vec::new(), runs: Vec::new() }
    }

    pub fn get(&self, setup: &Setup) -> Option<&Graph> {
        self.recorded.iter().find(|recorded| recorded.setup == *setup).map(|r| &r.graph)
    }

    /// Counts a run without a graph; true when it is time to record one.
    pub fn wants(&mut self, setup: &Setup) -> bool {
        if !self.enabled {
            return false;
        }
        let at = self.runs.iter().position(|(counted, _)| counted == setup);
        let at = at.unwrap_or_else(|| {
            if self.runs.len() == MAX_COUNTED {
                self.runs.remove(0);
            }
            self.runs.push((*setup, 0));
            self.runs.len() - 1
        });
        let (_, runs) = &mut self.runs[at];
        *runs = runs.saturating_add(1);
        if *runs <= WARM_UP_RUNS {
            return false;
        }
        // Those of another scratch block wait for it to come back, for as long as there is room.
        if self.recorded.len() == MAX_GRAPHS {
            let scratch = setup.scratch;
            let stale = self.recorded.iter().position(|r| r.setup.scratch != scratch);
            match stale {
                Some(stale) => drop(self.recorded.swap_remove(stale)),
                None => return false,
            }
        }
        true
    }

    pub fn add(
        &mut self,
        setup: Setup,
        graph: Graph,
        context: Context,
        profile: Profile,
        share: Share,
    ) {
        self.runs.retain(|(counted, _)| *counted != setup);
        tracing::debug!("recorded a graph for {setup:?}");
        let (_context, _profile, _share) = (context, profile, share);
        self.recorded.push(Recorded { setup, graph, _context, _profile, _share });
    }

    /// No more are recorded; those that there are stay in use.
    pub fn give_up(&mut self, reason: &str) {
        tracing::info!("runs are not recorded as CUDA graphs: {reason}");
        self.enabled = false;
    }
}
