//! Child processes: started with a log file each, stopped when dropped, never anyone else's.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

/// Time between the polite signal and the hard one.
///
/// A miner has six seconds to finish its samples; a busy machine makes each longer. The systemd units give as much.
const GRACE: Duration = Duration::from_secs(20);

/// One program that this devnet started.
pub struct Process {
    name: String,
    program: PathBuf,
    args: Vec<String>,
    namespace: Option<String>,
    log: PathBuf,
    child: Child,
}

fn spawn(program: &Path, args: &[String], namespace: Option<&str>, log: &Path) -> anyhow::Result<Child> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("opening log {}", log.display()))?;
    let errors = file.try_clone().context("duplicating the log's handle")?;
    let mut command = match namespace {
        None => Command::new(program),
        // `ip` becomes the program: one process, whose id is ours to stop.
        Some(name) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", name]).arg(program);
            command
        }
    };
    command.args(args).stdin(Stdio::null()).stdout(file).stderr(errors);
    // A group of its own: Ctrl-C in the terminal reaches us, and we stop the children in order.
    command.process_group(0);
    die_with_us(&mut command);
    command.spawn().with_context(|| format!("starting {}", program.display()))
}

/// If we are killed outright, nobody stops the children in order: the kernel kills them.
///
/// The kernel counts the thread that starts a child as its parent. Programs are started from the
/// thread of a devnet's `main` or of a test, which lives as long as they do.
fn die_with_us(command: &mut Command) {
    let us = std::process::id();
    let ask = move || {
        // Safety: two system calls that touch no memory, allowed between fork and exec.
        #[expect(unsafe_code, reason = "the standard library knows no signal at a parent's death")]
        let (asked, parent) =
            unsafe { (libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0), libc::getppid()) };
        if asked != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // Killed between fork and here: no signal will come any more.
        if u32::try_from(parent) != Ok(us) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // Safety: `ask` allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "what runs between fork and exec is the caller's to answer for")]
    unsafe {
        command.pre_exec(ask);
    }
}

impl Process {
    /// Starts a program; output goes to `<folder>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, program: PathBuf, args: Vec<String>, folder: &Path) -> anyhow::Result<Self> {
        Self::start_in(None, name, program, args, folder)
    }

    /// The same in a network namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_in(
        namespace: Option<&str>,
        name: &str,
        program: PathBuf,
        args: Vec<String>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let child = spawn(&program, &args, namespace, &log)?;
        Ok(Self { name: name.into(), program, args, namespace: namespace.map(str::to_owned), log, child })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in `/proc`. A program in a namespace has it too: `ip` becomes the program.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether it has ended, and how.
    pub fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Itself, if it runs.
    fn is_running(&mut self) -> Option<&mut Self> {
        self.exited().is_none().then_some(self)
    }

    /// SIGKILL, as a power cut would.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        Ok(())
    }

    /// Starts it again with the same arguments.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.program, &self.args, self.namespace.as_deref(), &self.log)?;
        Ok(())
    }

    /// Kills it and starts it again with more arguments.
    ///
    /// # Errors
    /// When it cannot be killed or started.
    pub fn restart_with(&mut self, extra: &[&str]) -> anyhow::Result<()> {
        self.kill()?;
        self.args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        self.restart()
    }

    /// SIGTERM, also to who was stopped.
    pub fn ask_to_stop(&self) {
        // Who is stopped takes no signal but this.
        self.signal(libc::SIGCONT);
        self.signal(libc::SIGTERM);
    }

    /// SIGSTOP: it stays, and does nothing, as a laptop whose lid is closed.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: libc::c_int) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // Safety: a plain signal to a child that we have not reaped yet, so the pid is still its own.
            #[expect(unsafe_code, reason = "the standard library sends no signal but SIGKILL")]
            unsafe {
                libc::kill(pid, signal);
            }
        }
    }

    /// The last lines of its log, for error messages.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }
}

/// Stops all of them: the polite signal to each, then the hard one to those that stay. Returns who did not leave in
/// good order, with the reason: killed, or another exit code than 0. Nothing is said of those that had ended before.
pub fn stop_all(processes: &mut [Process]) -> Vec<String> {
    let mut running: Vec<&mut Process> = processes.iter_mut().filter_map(|p| p.is_running()).collect();
    let asked = Instant::now();
    running.iter().for_each(|process| process.ask_to_stop());
    let mut unwell = Vec::new();
    while !running.is_empty() {
        let late = asked.elapsed() >= GRACE;
        running.retain_mut(|process| match (process.exited(), late) {
            (Some(status), _) if status.success() => false,
            (Some(status), _) => {
                unwell.push(format!("{} ended with {status}: {}", process.name, process.tail(3)));
                false
            }
            (None, true) => {
                drop(process.kill());
                unwell.push(format!("{} had to be killed after {} s", process.name, GRACE.as_secs()));
                false
            }
            (None, false) => true,
        });
        if !running.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    unwell
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            drop(self.kill());
        }
    }
}

/// A port on loopback that was free a moment ago.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}
