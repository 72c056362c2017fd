//! A shell that runs a chapter's blocks one after the other, as a reader would in one terminal.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use crate::blocks::{Block, Kind};

/// File for the exit code of what ran in the terminal.
const LEFT: &str = "left";
/// Printed when a block is done.
const DONE: &str = "--- the block is done ---";

/// Lines of a block's answer that are shown from either end.
const SHOWN: usize = 15;
/// For a program that was asked to end; a miner finishes its samples first.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Shell {
    child: Child,
    lines: Receiver<String>,
    scratch: tempfile::TempDir,
    /// Text of the book that stands for something else on this machine.
    replaced: Vec<(String, String)>,
    /// What the blocks that run beside print.
    logs: Vec<PathBuf>,
    /// Socket of the terminal in which a miner shows its live view.
    terminal: Option<PathBuf>,
    /// That view after each block that ran beside it.
    pub pictures: Vec<String>,
}

impl Shell {
    /// A shell in the checkout, that ends at the first command that fails.
    pub fn start(environment: &[(&str, String)], replaced: Vec<(String, String)>) -> Self {
        let mut child = Command::new("bash")
            .args(["-c", "set -euo pipefail; exec 2>&1; while read -r block; do . \"$block\" </dev/null; echo; echo \"$DONE\"; done"])
            .current_dir(crate::blocks::root())
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .env("DONE", DONE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        // A model that was trained for a minute writes bytes that are no text.
        let output = BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok);
        std::thread::spawn(move || {
            let mut lines = output.map(|line| String::from_utf8_lossy(&line).into_owned());
            lines.try_for_each(|line| sender.send(line))
        });
        Self {
            child,
            lines,
            scratch: tempfile::tempdir().unwrap(),
            replaced,
            logs: Vec::new(),
            terminal: None,
            pictures: Vec::new(),
        }
    }

    /// From now on, this text of the book stands for that on this machine.
    pub fn replace(&mut self, from: &str, to: &str) {
        self.replaced.push((from.to_owned(), to.to_owned()));
    }

    /// Asks all that runs beside to end with SIGTERM; each has to leave with 0.
    pub fn stop(&mut self) {
        let text =
            "for job in $(jobs -p); do kill -TERM $(cat /proc/$job/task/$job/children); wait $job; done\n";
        let own = Block { chapter: "its-own".into(), line: 0, kind: Kind::Run, text: text.into() };
        self.run(&own, PATIENCE);
    }

    /// Presses `q` in the terminal of the miner that shows its live view; it has to leave with 0.
    pub fn quit(&self) {
        let terminal = self.terminal.as_ref().expect("a miner runs in a terminal");
        Command::new("tmux").arg("-uS").arg(terminal).args(["send-keys", "q"]).status().unwrap();
        let asked = Instant::now();
        // The shell in the terminal writes it down: tmux may know that a pane is dead and never how it ended.
        let left = loop {
            match std::fs::read_to_string(self.scratch.path().join(LEFT)) {
                Ok(code) if code.ends_with('\n') => break code,
                _ => assert!(
                    asked.elapsed() < PATIENCE,
                    "the miner did not end:\n{}",
                    self.picture().unwrap_or_default()
                ),
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        assert_eq!(left.trim(), "0", "the miner ended badly:\n{}", self.picture().unwrap_or_default());
    }

    /// Runs a block and returns what it printed.
    pub fn run(&mut self, block: &Block, limit: Duration) -> String {
        let started = Instant::now();
        let text = self.replaced.iter().fold(block.text.clone(), |text, (from, to)| text.replace(from, to));
        let file = self.scratch.path().join(format!("{}-{}", block.chapter.replace('/', "-"), block.line));
        std::fs::write(&file, &text).unwrap();
        self.hand(&file);
        let mut said = String::new();
        loop {
            let left = limit.saturating_sub(started.elapsed());
            match self.lines.recv_timeout(left) {
                Ok(line) if line == DONE => break,
                Ok(line) => {
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(error) => panic!(
                    "docs/{}:{} did not work ({error}, after {:.0} s):\n{text}\nit printed:\n{said}",
                    block.chapter,
                    block.line,
                    started.elapsed().as_secs_f64()
                ),
            }
        }
        let said = said.trim_end().to_owned();
        let seconds = started.elapsed().as_secs_f64();
        let shown = abridged(&said);
        eprintln!("--- docs/{}:{} ({seconds:.1} s)\n{}{shown}", block.chapter, block.line, prompted(&text));
        self.pictures.extend(self.picture());
        said
    }

    /// What stands on the terminal in which a miner runs.
    fn picture(&self) -> Option<String> {
        let terminal = self.terminal.as_ref()?;
        let tmux =
            Command::new("tmux").arg("-uS").arg(terminal).args(["capture-pane", "-p"]).output().ok()?;
        tmux.status.success().then(|| String::from_utf8_lossy(&tmux.stdout).trim_end().to_owned())
    }

    /// Starts a block in a terminal of its own, of the size of a usual one, as a reader would.
    fn start_in_terminal(&mut self, block: &Block, inner: &Path) {
        let socket = self.scratch.path().join("terminal");
        let open = format!(
            "tmux -uS {} -f /dev/null new-session -d -x 110 -y 34 \\; set-option -g remain-on-exit on\\; \\\n  \
             respawn-pane -k -c \"$PWD\" \"bash {}; echo \\$? >{}\"\n",
            socket.display(),
            inner.display(),
            self.scratch.path().join(LEFT).display()
        );
        self.terminal = Some(socket);
        let aside = Block { text: open, line: block.line + 1, ..block.clone() };
        self.run(&aside, Duration::from_secs(10));
    }

    /// Starts a block that runs until the shell is dropped; what it prints goes to a file beside.
    pub fn start_aside(&mut self, block: &Block) {
        let text = self.replaced.iter().fold(block.text.clone(), |text, (from, to)| text.replace(from, to));
        let name = format!("{}-{}", block.chapter.replace('/', "-"), block.line);
        let (inner, log) = (self.scratch.path().join(&name), self.scratch.path().join(format!("{name}.log")));
        std::fs::write(&inner, &text).unwrap();
        if text.starts_with("iota-miner run") {
            return self.start_in_terminal(block, &inner);
        }
        let aside = Block {
            text: format!("( . {} ) >{} 2>&1 &\n", inner.display(), log.display()),
            line: block.line + 1,
            ..block.clone()
        };
        self.logs.push(log);
        self.run(&aside, Duration::from_secs(5));
    }

    fn hand(&mut self, file: &Path) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{}", file.display()).unwrap();
    }
}

/// Beginning and end of what takes many lines, such as a report.
fn abridged(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(left_out) = lines.len().checked_sub(2 * SHOWN).filter(|left_out| *left_out > 0) else {
        return text.to_owned();
    };
    let (first, last) = (lines[..SHOWN].join("\n"), lines[lines.len() - SHOWN..].join("\n"));
    format!("{first}\n... {left_out} lines ...\n{last}")
}

fn prompted(text: &str) -> String {
    text.lines().map(|line| format!("$ {line}\n")).collect()
}

impl Drop for Shell {
    fn drop(&mut self) {
        for log in &self.logs {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(12)..].join("\n");
            eprintln!("--- {} ends with\n{last}", log.display());
        }
        if let Some(terminal) = &self.terminal {
            eprintln!("--- the miner's terminal shows\n{}", self.picture().unwrap_or_default());
            drop(Command::new("tmux").arg("-S").arg(terminal).arg("kill-server").status());
        }
        // Its own group: what it started ends with it, and nothing else does.
        let group = i32::try_from(self.child.id()).unwrap();
        #[expect(unsafe_code, reason = "the standard library sends no signal to a group")]
        // Safety: a plain signal to the group of a child that has not been reaped, so the id is its own.
        unsafe {
            libc::kill(-group, libc::SIGKILL);
        }
        drop(self.child.wait());
    }
}

#[test]
fn a_failing_command_fails_its_block() {
    let block = |text: &str| Block { chapter: "none.md".into(), line: 1, kind: Kind::Run, text: text.into() };
    let mut shell = Shell::start(&[("GREETING", "hello".into())], vec![("world".into(), "moon".into())]);
    assert_eq!(shell.run(&block("cd /\nname=world\n"), Duration::from_secs(10)), "");
    assert_eq!(shell.run(&block("pwd\necho $GREETING $name\n"), Duration::from_secs(10)), "/\nhello moon");
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        shell.run(&block("false\necho on\n"), Duration::from_secs(10))
    }));
    assert!(failed.is_err(), "a command that fails ends the block");
}
