//! What a scenario gives back, in the form in which the laboratory's page takes it (`iota-lab --chain`).

use std::{fs, path::PathBuf, time::Instant};

use serde_json::{json, Value};

/// How much of everything is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// For the gate: seconds.
    Short,
    /// For the results page, by `scripts/lab`.
    Full,
}

impl Scale {
    /// What `IOTA_ARENA` says: `full`, and otherwise short.
    pub fn asked() -> Self {
        match std::env::var("IOTA_ARENA").as_deref() {
            Ok("full") => Self::Full,
            _ => Self::Short,
        }
    }

    /// One of two numbers.
    pub fn pick<T>(self, short: T, full: T) -> T {
        match self {
            Self::Short => short,
            Self::Full => full,
        }
    }
}

/// Notes, tables, claims.
pub struct Outcome {
    started: Instant,
    notes: Vec<String>,
    tables: Vec<Value>,
    claims: Vec<Value>,
    broken: Vec<String>,
}

impl Outcome {
    /// Nothing found yet; its time counts from here.
    pub fn new() -> Self {
        let (notes, tables) = (Vec::new(), Vec::new());
        Self { started: Instant::now(), notes, tables, claims: Vec::new(), broken: Vec::new() }
    }

    /// Adds a paragraph.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a table.
    pub fn table(&mut self, title: &str, columns: &[&str], rows: Vec<Vec<String>>) {
        for row in &rows {
            println!("{}", row.join(" | "));
        }
        self.tables.push(json!({ "title": title, "columns": columns, "rows": rows }));
    }

    /// Adds a claim that must hold.
    pub fn claim(&mut self, text: impl Into<String>, got: impl Into<String>, holds: bool) {
        let (text, got) = (text.into(), got.into());
        if !holds {
            self.broken.push(format!("{text}: {got}"));
        }
        self.claims.push(json!({ "text": text, "got": got, "holds": holds, "known_miss": null }));
    }

    /// Adds a claim that a share is below another.
    pub fn below(&mut self, text: &str, got: f64, most: f64) {
        self.claim(text, format!("{:+.1} %", got * 100.0), got < most);
    }

    /// Writes it into the folder that `IOTA_ARENA_OUT` names, if it names one; then asserts its claims.
    pub fn finish(self, name: &str, scale: Scale) {
        println!("arena {name}: {} claims", self.claims.len());
        if let Some(folder) = std::env::var_os("IOTA_ARENA_OUT") {
            assert_eq!(scale, Scale::Full, "IOTA_ARENA_OUT is for IOTA_ARENA=full");
            let path = PathBuf::from(folder).join(format!("{name}.json"));
            let seconds = self.started.elapsed().as_secs_f64();
            let outcome =
                json!({ "notes": self.notes, "tables": self.tables, "plots": [], "claims": self.claims });
            let all = json!({ "seconds": seconds, "outcome": outcome });
            let partial = path.with_extension("partial");
            fs::write(&partial, all.to_string()).unwrap();
            fs::rename(partial, path).unwrap();
        }
        assert!(self.broken.is_empty(), "{name}: {:?}", self.broken);
    }
}

/// Whether a scenario is to be run: not if the folder that `IOTA_ARENA_OUT` names has its result, nor if
/// `IOTA_ARENA_ONLY` names another.
pub fn is_wanted(name: &str) -> bool {
    let known = std::env::var_os("IOTA_ARENA_OUT")
        .is_some_and(|folder| PathBuf::from(folder).join(format!("{name}.json")).exists());
    let other = std::env::var("IOTA_ARENA_ONLY").is_ok_and(|only| only != name);
    !known && !other
}

/// A share as per cent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
