//! Accepts clients, as many at once as there may be, and lets them finish at the end.

use crate::config::SocketConfig;
use crate::server::connection::{self, Server};
use crate::server::gateway::Gateway;
use crate::server::regions::Regions;
use crate::server::rest;
use crate::server::settings::{LogSettings, OnLevel};
use crate::server::socket_file::{self, SocketFile};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixListener as StdListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::level_filters::LevelFilter;

/// After an error of `accept`, which is mostly "no file descriptors left".
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The socket, bound and listening. Its file is removed when this is dropped.
pub struct Listener {
    socket: StdListener,
    file: SocketFile,
    config: SocketConfig,
    log: LogSettings,
}

impl Listener {
    /// Binds the socket. Clients that connect wait until [`Listener::serve`] runs.
    ///
    /// # Errors
    /// As [`socket_file::bind`].
    pub fn bind(config: SocketConfig) -> io::Result<Listener> {
        let (socket, file) = socket_file::bind(&config)?;
        let log = LogSettings::new(LevelFilter::INFO, None);
        Ok(Listener { socket, file, config, log })
    }

    /// Lets clients change the log's level, which is `level` now.
    pub fn on_log_level(self, level: LevelFilter, on_level: OnLevel) -> Listener {
        Listener { log: LogSettings::new(level, Some(on_level)), ..self }
    }

    /// Serves clients until `shutdown` is there; then takes no more, lets requests under way
    /// finish within the drain timeout, closes what is left and removes the file. To run on a
    /// current-thread runtime, with [`Gateway::run`] beside it.
    ///
    /// # Errors
    /// When the socket can't be used with the runtime.
    pub async fn serve(
        self,
        gateway: Arc<Gateway>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Listener { socket, file, config, log } = self;
        let listener = UnixListener::from_std(socket)?;
        let drain_timeout = Duration::from_millis(config.drain_timeout_ms);
        let connections = config.max_connections.max(1);
        let server = Arc::new(Server {
            gateway,
            regions: Regions::new(config.max_shared_memory_bytes),
            log,
            rest: rest::router(),
            config,
        });
        let permits = Arc::new(Semaphore::new(connections as usize));
        let (draining, drained) = watch::channel(false);
        let mut clients = tokio::task::JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let (socket, permit) = tokio::select! {
                () = &mut shutdown => break,
                accepted = accept(&listener, &permits) => accepted,
                // Those that are done are forgotten.
                Some(_) = clients.join_next() => continue,
            };
            let serving = connection::serve(server.clone(), socket, drained.clone());
            clients.spawn(async move {
                serving.await;
                drop(permit);
            });
        }
        // New clients are refused from here on, at once and by the kernel.
        drop(file);
        drop(listener);
        let _ = draining.send(true);
        let finished =
            timeout(drain_timeout, async { while clients.join_next().await.is_some() {} });
        if finished.await.is_err() {
            tracing::warn!(
                connections = clients.len(),
                "connections were still open after the drain timeout and are closed"
            );
        }
        clients.shutdown().await;
        Ok(())
    }
}

/// The next client. A place is taken first: with none free, clients wait in the kernel's queue.
async fn accept(
    listener: &UnixListener,
    permits: &Arc<Semaphore>,
) -> (UnixStream, tokio::sync::OwnedSemaphorePermit) {
    let permit = loop {
        // The semaphore is never closed.
        if let Ok(permit) = permits.clone().acquire_owned().await {
            break permit;
        }
    };
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return (socket, permit),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
