//! The connection of `bcedge top` to the appliance: polls snapshots and carries commands on a
//! thread of its own, so that a slow answer never holds up the screen.

use crate::client::{Client, ClientError};
use crate::telemetry::{Command, CommandError, Snapshot};
use crate::tui::Reply;
use arc_swap::ArcSwapOption;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Between attempts to reach an appliance that is gone.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Loading a model takes a while.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

type Newest = Result<Arc<Snapshot>, String>;
type Call = (Command, oneshot::Sender<Result<(), CommandError>>);

/// An open connection; it mends itself when the appliance goes away and comes back.
pub struct Link {
    newest: Arc<ArcSwapOption<Newest>>,
    commands: Option<mpsc::UnboundedSender<Call>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Connects, and waits for the first snapshot.
    ///
    /// # Errors
    /// Nobody answers on the socket; the text says what to do.
    pub fn open(socket: &Path) -> Result<Link, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("no runtime for the connection: {e}"))?;
        let first = runtime.block_on(async {
            let mut client = None;
            poll(&mut client, socket).await
        });
        let first = first.map_err(|problem| {
            format!("{problem}. Start an appliance with 'bcedge serve', or name its --socket")
        })?;
        let newest = Arc::new(ArcSwapOption::from_pointee(Ok(first)));
        let stop = Arc::new(AtomicBool::new(false));
        let (commands, calls) = mpsc::unbounded_channel();
        let worker = Worker { socket: socket.into(), newest: newest.clone(), stop: stop.clone() };
        let thread = thread::Builder::new()
            .name("link".into())
            .spawn(move || runtime.block_on(worker.run(calls)))
            .map_err(|e| format!("no thread for the connection: {e}"))?;
        Ok(Link { newest, commands: Some(commands), stop, thread: Some(thread) })
    }

    /// The newest snapshot, or why there is none now.
    pub fn snapshot(&self) -> Newest {
        match &*self.newest.load() {
            Some(newest) => Newest::clone(newest),
            None => Err("connecting".into()),
        }
    }

    /// Sends a command; the reply comes when it comes.
    pub fn send(&self, command: Command) -> Reply {
        let (done, reply) = oneshot::channel();
        if let Some(commands) = &self.commands {
            // When the worker is gone, dropping `done` says so.
            let _ = commands.send((command, done));
        }
        reply
    }

    /// Set when the process is told to end.
    pub fn stop(&self) -> &AtomicBool {
        &self.stop
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The worker ends when nobody can send commands any more.
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    socket: PathBuf,
    newest: Arc<ArcSwapOption<Newest>>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    async fn run(self, mut calls: mpsc::UnboundedReceiver<Call>) {
        let commands = async {
            while let Some((command, done)) = calls.recv().await {
                tokio::spawn(carry_out(self.socket.clone(), command, done));
            }
        };
        tokio::select! {
            () = commands => {}
            () = self.poll_forever() => {}
            () = self.watch_signals() => {}
        }
    }

    async fn poll_forever(&self) {
        let mut client = None;
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let newest = poll(&mut client, &self.socket).await;
            let failed = newest.is_err();
            let newest = newest.map_err(|problem| format!("{problem}; trying again"));
            self.newest.store(Some(Arc::new(newest)));
            if failed {
                client = None;
                sleep(RETRY_INTERVAL).await;
            }
        }
    }

    /// Never ends: the UI sees the flag, restores the terminal and goes.
    async fn watch_signals(&self) {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        let [Ok(mut term), Ok(mut int), Ok(mut hup)] = kinds.map(signal) else {
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                _ = hup.recv() => {}
            }
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

async fn poll(client: &mut Option<Client>, socket: &Path) -> Newest {
    let at = socket.display();
    let answer = timeout(ANSWER_TIMEOUT, async {
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::connect(socket).await?),
        };
        client.snapshot().await
    });
    match answer.await {
        Ok(Ok(snapshot)) => Ok(Arc::new(snapshot)),
        Ok(Err(ClientError::Http { status, .. })) => {
            Err(format!("{at} is not a bcedge appliance: it answers {status}"))
        }
        Ok(Err(ClientError::Protocol(text))) => {
            Err(format!("{at} is another version of bcedge: {text}"))
        }
        Ok(Err(ClientError::Connect { source, .. })) => {
            Err(format!("no appliance at {at}: {source}"))
        }
        Ok(Err(error)) => Err(format!("no appliance at {at}: {error}")),
        Err(_) => Err(format!("{at} does not answer within {ANSWER_TIMEOUT:?}")),
    }
}

async fn carry_out(
    socket: PathBuf,
    command: Command,
    done: oneshot::Sender<Result<(), CommandError>>,
) {
    // On a connection of its own: the one for snapshots is given up when an answer is late.
    let call = async { Client::connect(&socket).await?.command(&command).await };
    let result = match timeout(COMMAND_TIMEOUT, call).await {
        Ok(result) => result.map_err(|error| match error {
            ClientError::Http { message, .. } => message,
            error => error.to_string(),
        }),
        Err(_) => Err(format!("no answer within {COMMAND_TIMEOUT:?}")),
    };
    // The UI may have gone meanwhile.
    let _ = done.send(result.map_err(CommandError::Failed));
}
