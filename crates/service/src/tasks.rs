//! Supervised tasks: every long-running task has a name and an owner, and the first failure ends all.
//!
//! A program spawns its tasks on a [`Supervisor`], then awaits [`Supervisor::run`]. Tasks watch a
//! [`Shutdown`] and put their affairs in order when it is requested; whoever takes longer than the grace
//! period is aborted and named.

use std::{collections::HashMap, fmt, future::Future, time::Duration};

use tokio::{
    signal::unix::{signal, Signal, SignalKind},
    task::{Id, JoinError, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The request to stop. Clones share one request.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// A request that nobody has made yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everyone to stop. Asking again changes nothing.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Whether everyone was asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Returns when everyone is asked to stop.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }
}

/// Why the program ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Exit {
    /// Every task, or the critical one that is named, did all it had to do.
    Done(Option<String>),
    /// The operator or the system asked.
    Signal(&'static str),
    /// A task asked through its [`Shutdown`].
    Requested,
    /// A task failed.
    Failed {
        /// The task.
        task: String,
        /// What it says.
        error: anyhow::Error,
    },
    /// A task panicked: a bug.
    Panicked {
        /// The task.
        task: String,
        /// What it says.
        message: String,
    },
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(None) => f.write_str("all tasks are done"),
            Self::Done(Some(task)) => write!(f, "task {task} is done"),
            Self::Signal(name) => write!(f, "stopped by {name}"),
            Self::Requested => f.write_str("stopped on request"),
            Self::Failed { task, error } => write!(f, "task {task} failed: {error:#}"),
            Self::Panicked { task, message } => write!(f, "task {task} panicked (a bug): {message}"),
        }
    }
}

/// How the program ended.
#[derive(Debug)]
pub struct Report {
    /// What came first.
    pub exit: Exit,
    /// Tasks that did not stop within the grace period and were aborted, sorted.
    pub aborted: Vec<String>,
    /// Failures after the first event, as text.
    pub later: Vec<String>,
}

impl Report {
    /// For the process: 0 done or asked to stop, 1 a task failed, 70 a bug (a panic).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.exit {
            Exit::Done(_) | Exit::Signal(_) | Exit::Requested => 0,
            Exit::Failed { .. } => 1,
            Exit::Panicked { .. } => 70,
        }
    }
}

/// What the end of a task means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// The program has no purpose without it.
    Critical,
    /// It may finish while others go on.
    Helper,
}

/// Owns all tasks of a program.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, (String, Role)>,
    shutdown: Shutdown,
}

impl Supervisor {
    /// A supervisor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The request that all tasks are to watch.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Spawns a task without which the program is over, however it ends.
    pub fn spawn_critical<F>(&mut self, name: &str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.insert(name, Role::Critical, task);
    }

    /// Spawns a task that may finish while others go on. Its failure ends all.
    pub fn spawn<F>(&mut self, name: &str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.insert(name, Role::Helper, task);
    }

    fn insert<F>(&mut self, name: &str, role: Role, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, (name.to_owned(), role));
    }

    /// Runs until the first failure, the end of a critical task or of all tasks, ctrl-c, SIGTERM, or a
    /// request; then asks the rest to stop and waits for them up to `grace`. A second signal ends the wait.
    ///
    /// # Errors
    /// Only if the system lets us watch no signals; then nothing was waited for and all tasks are aborted.
    pub async fn run(mut self, grace: Duration) -> std::io::Result<Report> {
        let mut signals = Signals::watch()?;
        let exit = self.first_event(&mut signals).await;
        tracing::info!(%exit, tasks = self.tasks.len(), "stopping");
        self.shutdown.request();
        let mut later = Vec::new();
        let stopping = async {
            tokio::select! {
                biased;
                name = signals.next() => tracing::warn!(name, "second signal, no more waiting"),
                () = self.drain(&mut later) => {}
            }
        };
        // Whoever is late is named below.
        let _late = timeout(grace, stopping).await;
        let mut aborted: Vec<String> = self.names.into_values().map(|(name, _)| name).collect();
        aborted.sort();
        Ok(Report { exit, aborted, later })
    }

    async fn first_event(&mut self, signals: &mut Signals) -> Exit {
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.0.cancelled() => return Exit::Requested,
                name = signals.next() => return Exit::Signal(name),
                joined = self.tasks.join_next_with_id() => match joined {
                    None => return Exit::Done(None),
                    Some(joined) => if let Some(exit) = self.judge(joined) { return exit },
                },
            }
        }
    }

    async fn drain(&mut self, later: &mut Vec<String>) {
        while let Some(joined) = self.tasks.join_next_with_id().await {
            if let Some(exit @ (Exit::Failed { .. } | Exit::Panicked { .. })) = self.judge(joined) {
                later.push(exit.to_string());
            }
        }
    }

    /// What the end of one task means for all; `None` if they go on.
    fn judge(&mut self, joined: Result<(Id, anyhow::Result<()>), JoinError>) -> Option<Exit> {
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let (task, role) = self.names.remove(&id)?;
        match joined {
            Ok((_, Ok(()))) if role == Role::Critical => Some(Exit::Done(Some(task))),
            Ok((_, Ok(()))) => {
                tracing::debug!(task, "task is done");
                None
            }
            Ok((_, Err(error))) => Some(Exit::Failed { task, error }),
            Err(error) => Some(Exit::Panicked { task, message: panic_message(error) }),
        }
    }
}

fn panic_message(error: JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "the task was cancelled".to_owned() };
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn watch() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "ctrl-c",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        Arc,
    };

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    /// Signals reach every supervisor of the process, and so every test that runs at the same time.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    async fn run(supervisor: Supervisor, grace: Duration) -> Report {
        supervisor.run(grace).await.expect("signals can be watched")
    }

    /// A task that stops when asked and leaves a mark.
    fn orderly(supervisor: &mut Supervisor) -> Arc<AtomicBool> {
        let (mark, shutdown) = (Arc::new(AtomicBool::new(false)), supervisor.shutdown());
        let set = Arc::clone(&mark);
        supervisor.spawn_critical("orderly", async move {
            shutdown.requested().await;
            set.store(true, SeqCst);
            Ok(())
        });
        mark
    }

    #[tokio::test]
    async fn first_failure_ends_all_and_is_the_reason() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        let stopped = orderly(&mut supervisor);
        supervisor.spawn("bad", async { Err(anyhow::anyhow!("no such run").context("joining run 7")) });
        let report = run(supervisor, GRACE).await;
        assert_eq!(report.exit.to_string(), "task bad failed: joining run 7: no such run");
        assert_eq!((report.exit_code(), report.aborted.len()), (1, 0));
        assert!(stopped.load(SeqCst), "the others put their affairs in order");
    }

    #[tokio::test]
    async fn panic_is_a_failure_with_its_message() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        orderly(&mut supervisor);
        supervisor.spawn("buggy", async { panic!("shard 9 of 8") });
        let report = run(supervisor, GRACE).await;
        assert_eq!(report.exit.to_string(), "task buggy panicked (a bug): shard 9 of 8");
        assert_eq!(report.exit_code(), 70);
    }

    #[tokio::test]
    async fn end_of_a_critical_task_ends_all_and_of_a_helper_does_not() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        orderly(&mut supervisor);
        supervisor.spawn("helper", async { Ok(()) });
        supervisor.spawn_critical("main", async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        });
        let report = run(supervisor, GRACE).await;
        assert!(matches!(&report.exit, Exit::Done(Some(task)) if task == "main"), "{:?}", report.exit);
        assert_eq!(report.exit_code(), 0);
    }

    #[tokio::test]
    async fn when_all_helpers_are_done_so_is_the_program() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        supervisor.spawn("one", async { Ok(()) });
        supervisor.spawn("two", async { Ok(()) });
        assert!(matches!(run(supervisor, GRACE).await.exit, Exit::Done(None)));
    }

    #[tokio::test]
    async fn task_that_does_not_stop_is_aborted_and_named() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        supervisor.spawn("deaf", std::future::pending());
        supervisor.shutdown().request();
        let report = run(supervisor, Duration::from_millis(50)).await;
        assert!(matches!(report.exit, Exit::Requested));
        assert_eq!(report.aborted, ["deaf"]);
    }

    #[tokio::test]
    async fn failure_while_stopping_is_kept_beside_the_reason() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        let shutdown = supervisor.shutdown();
        supervisor.spawn("late", async move {
            shutdown.requested().await;
            Err(anyhow::anyhow!("disk full"))
        });
        supervisor.shutdown().request();
        let report = run(supervisor, GRACE).await;
        assert_eq!(report.later, ["task late failed: disk full"]);
        assert_eq!(report.exit_code(), 0);
    }

    #[tokio::test]
    async fn terminate_signal_stops_in_order() {
        let _alone = ALONE.lock().await;
        let mut supervisor = Supervisor::new();
        let stopped = orderly(&mut supervisor);
        supervisor.spawn("sender", async {
            // Runs after the supervisor watches signals: a current-thread runtime starts it no earlier.
            // SAFETY: a plain signal to this process, which is watched.
            assert_eq!(unsafe { libc::raise(libc::SIGTERM) }, 0);
            Ok(())
        });
        let report = run(supervisor, GRACE).await;
        assert!(matches!(report.exit, Exit::Signal("SIGTERM")), "{:?}", report.exit);
        assert!(stopped.load(SeqCst));
    }
}
