//! SIGINT, SIGTERM and SIGHUP end a run early, with its table, instead of killing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// While it lives, the signals set the flag. Ending a run takes a bounded time, so a second signal
/// has nothing to add.
#[derive(Debug)]
pub(super) struct Signals {
    _end: oneshot::Sender<()>,
}

impl Signals {
    /// # Errors
    /// When the handlers can't be set up.
    pub(super) fn watch<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        stop: &'env AtomicBool,
    ) -> Result<Signals, String> {
        let failed = |e| format!("can't watch for signals: {e}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        drop(inside);
        let (end, ended) = oneshot::channel();
        scope.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                    _ = ended => return,
                }
                stop.store(true, Ordering::Relaxed);
            });
        });
        Ok(Signals { _end: end })
    }
}
