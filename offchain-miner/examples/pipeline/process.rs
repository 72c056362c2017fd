//! Processes of a measurement and the lines of JSON between them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// Writes a line to whoever started this process.
///
/// # Errors
/// When nobody reads.
pub fn say<T: Serialize + ?Sized>(what: &T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

/// Reads a line from whoever started this process.
///
/// # Errors
/// When it has gone or says something else.
pub fn hear<T: for<'a> Deserialize<'a>>() -> anyhow::Result<T> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    serde_json::from_str(&line).with_context(|| format!("the parent said {line:?}"))
}

/// A child that is spoken to in lines of JSON; killed if it is dropped before it ended.
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it with its standard streams held here.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no standard input")?;
        let output = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, input, output })
    }

    /// Writes a line to it.
    ///
    /// # Errors
    /// When it has ended.
    pub fn say<T: Serialize + ?Sized>(&mut self, what: &T) -> anyhow::Result<()> {
        writeln!(self.input, "{}", serde_json::to_string(what)?)?;
        Ok(self.input.flush()?)
    }

    /// Reads a line from it.
    ///
    /// # Errors
    /// When it has ended or says something else.
    pub fn hear<T: for<'a> Deserialize<'a>>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        anyhow::ensure!(read > 0, "a process ended early; its message is above");
        serde_json::from_str(&line).with_context(|| format!("a process said {line:?}"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it failed.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
