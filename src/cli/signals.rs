//! SIGINT, SIGTERM and SIGHUP end a command early, with what it has, instead of killing it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// While it lives, the first of the signals sets the flag.
#[derive(Debug)]
pub(super) struct Signals {
    _end: oneshot::Sender<()>,
}

impl Signals {
    /// `on_second` is what another signal does after the first; it is called once at most.
    ///
    /// # Errors
    /// When the handlers can't be set up.
    pub(super) fn watch<'scope, 'env>(
        scope: &'scope Scope<'scope, 'env>,
        stop: &'env AtomicBool,
        on_second: fn(),
    ) -> Result<Signals, String> {
        let failed = |e| format!("can't watch for signals: {e}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        let inside = runtime.enter();
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        drop(inside);
        let (end, mut ended) = oneshot::channel();
        scope.spawn(move || {
            runtime.block_on(async {
                for then in [None, Some(on_second)] {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        _ = hangup.recv() => {}
                        _ = &mut ended => return,
                    }
                    stop.store(true, Ordering::Relaxed);
                    if let Some(then) = then {
                        then();
                    }
                }
            });
        });
        Ok(Signals { _end: end })
    }
}
