//! The trained policy's side of the reactor: what it decides with, and the learner beside it.

use super::learner::{self, LearnerLink, Notice};
use crate::config::Config;
use crate::scheduler::trained::{self, Trained};
use crate::telemetry::snapshot::{LearningSnapshot, Level};
use arc_swap::ArcSwap;
use std::sync::{Arc, mpsc};

pub(super) struct Brain {
    pub(super) trained: Trained,
    /// `None` once it has died, and the operator has been told.
    pub(super) link: Option<LearnerLink>,
    /// What the learner shows of itself; it outlives the thread.
    pub(super) shown: Arc<ArcSwap<LearningSnapshot>>,
    /// Where the weights came from that serving began with.
    pub(super) origin: String,
    pub(super) notices: mpsc::Receiver<Notice>,
}

impl Brain {
    /// Reads the weights and starts the learner.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub(super) fn start(config: &Config) -> std::io::Result<Brain> {
        let file = &config.scheduler.policy_file;
        let (actor, origin, notice) = learner::weights(file, trained::shipped_sac());
        let mut trained = Trained::with(actor);
        let (notices, notices_end) = mpsc::channel();
        if let Some(notice) = notice {
            // The other end is in hand.
            let _ = notices.send(notice);
        }
        let learning = config.scheduler.learning;
        let link = learner::start(trained.sac.clone(), file.clone(), learning, notices)?;
        trained.online = Some(link.online());
        let shown = link.shown.clone();
        Ok(Brain { trained, link: Some(link), shown, origin, notices: notices_end })
    }

    /// What the learner has to say since the last call; the last thing is that it is dead.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        if let Ok(notice) = self.notices.try_recv() {
            return Some(notice);
        }
        self.link.take_if(|link| !link.is_alive())?;
        let text = "the learner has died; the policy serves on with its last weights";
        Some((Level::Error, text.into()))
    }
}
