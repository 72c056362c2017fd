//! The other side: PyTorch eager in a process of its own, driven over its standard streams.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::operators::{self, Counts};
use crate::ours::Step;

/// A running `eager.py`.
pub struct Eager {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Version of PyTorch.
    pub version: String,
}

impl Eager {
    /// Starts it on a stage.
    ///
    /// # Errors
    /// When Python does not start or cannot build the stage.
    pub fn start(python: &Path, description: &Value) -> Result<Self, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/stage/eager.py");
        // Its PyTorch brings a libtorch of its own.
        let mut child = (Command::new(python).arg(script).env_remove("LD_LIBRARY_PATH"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut eager = Self { child, input, output, version: String::new() };
        let answer = eager.ask(&description.to_string())?;
        eager.version = answer["torch"].as_str().unwrap_or("unknown").to_owned();
        Ok(eager)
    }

    /// One sample forward and back and an optimizer step.
    ///
    /// # Errors
    /// When it fails.
    pub fn step(&mut self) -> Result<Step, Box<dyn Error>> {
        let answer = self.ask("step")?;
        let times = |field: &str| -> Result<[f64; 3], Box<dyn Error>> {
            let values: Vec<f64> = serde_json::from_value(answer[field].clone())?;
            Ok(values.try_into().map_err(|_| "not three times")?)
        };
        Ok(Step { wall: times("wall")?, cpu: times("cpu")? })
    }

    /// Most memory that training took, beyond what the program held before.
    ///
    /// # Errors
    /// When it fails.
    pub fn peak_bytes(&mut self) -> Result<u64, Box<dyn Error>> {
        Ok(self.ask("memory")?["bytes"].as_u64().ok_or("no bytes")?)
    }

    /// Operators of one forward and one backward pass.
    ///
    /// # Errors
    /// When it fails.
    pub fn operators(&mut self, library: &Path) -> Result<Counts, Box<dyn Error>> {
        let answer = self.ask(&format!("count {}", library.display()))?;
        operators::parse(answer["text"].as_str().ok_or("no counts")?)
    }

    /// Its weights, written to `path` on the way.
    ///
    /// # Errors
    /// When it fails.
    pub fn weights(&mut self, path: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
        self.ask(&format!("weights {}", path.display()))?;
        let bytes = std::fs::read(path)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    fn ask(&mut self, line: &str) -> Result<Value, Box<dyn Error>> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        if self.output.read_line(&mut answer)? == 0 {
            return Err("the PyTorch side ended; its message is above".into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Eager {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to stop.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
