//! What a command answers on standard output, for people or for programs, how it shows that it waits, and how the
//! program ends.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use anyhow::Context;
use iota_protocol::emission::UNIT;
use iota_service::telemetry::{self, Format};
use serde::Serialize;

/// How often the sign of life moves: often enough to look alive, seldom enough to cost nothing.
const TURN: Duration = Duration::from_millis(120);

/// How an answer looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Sentences.
    Text,
    /// One JSON value.
    Json,
}

impl Answer {
    /// As the flag `--json` has it.
    #[must_use]
    pub fn of(json: bool) -> Self {
        match json {
            true => Self::Json,
            false => Self::Text,
        }
    }

    /// Prints the sentences or the facts in them.
    ///
    /// # Errors
    /// When the facts cannot be written as JSON.
    pub fn say(self, text: impl Display, facts: &impl Serialize) -> anyhow::Result<()> {
        println!("{}", self.written(text, facts)?);
        Ok(())
    }

    fn written(self, text: impl Display, facts: &impl Serialize) -> anyhow::Result<String> {
        match self {
            Self::Text => Ok(text.to_string()),
            Self::Json => serde_json::to_string_pretty(facts).context("writing the answer as JSON"),
        }
    }
}

/// Waits for something that takes seconds: a moving line on a terminal, one plain line on standard error elsewhere.
pub async fn waiting<T>(on: &str, work: impl Future<Output = T>) -> T {
    let _sign = Sign::show(on);
    work.await
}

/// A line that says what is waited for, until it is dropped.
pub struct Sign(indicatif::ProgressBar);

impl Sign {
    /// Shows it.
    #[must_use]
    pub fn show(on: &str) -> Self {
        let bar = indicatif::ProgressBar::new_spinner().with_message(on.to_owned());
        bar.enable_steady_tick(TURN);
        if bar.is_hidden() {
            eprintln!("{on} ...");
        }
        Self(bar)
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Which log lines `--json-log` asks for.
#[must_use]
pub fn log_format(json_log: bool) -> Format {
    match json_log {
        true => Format::Json,
        false => Format::Auto,
    }
}

/// Says on standard error why a program failed, if it did: the last line is `error: ...`, or a JSON line like those of
/// the log. Returns the exit code.
#[must_use]
pub fn ended(result: anyhow::Result<()>, format: Format) -> u8 {
    let Err(error) = result else { return 0 };
    if format == Format::Json {
        eprintln!("{}", telemetry::last_line(&format!("{error:#}")));
    } else {
        eprintln!("error: {error:#}");
    }
    1
}

/// An amount in tokens, every digit kept.
#[must_use]
pub fn tokens(units: u128) -> String {
    let text = format!("{}.{:09}", units / UNIT, units % UNIT);
    format!("{} tokens", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        assert_eq!(tokens(0), "0 tokens");
        assert_eq!(tokens(10 * UNIT), "10 tokens");
        assert_eq!(tokens(26_298_700_001), "26.298700001 tokens");
    }

    #[test]
    fn an_answer_is_a_sentence_or_its_facts() {
        let facts = serde_json::json!({ "uid": 3 });
        assert_eq!(Answer::of(false).written("uid 3", &facts).unwrap(), "uid 3");
        let json = Answer::of(true).written("uid 3", &facts).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), facts);
    }

    #[test]
    fn the_last_line_of_a_json_log_is_json_too() {
        let error = anyhow::anyhow!("no \"hotkey\"\nat all").context("starting");
        let line = telemetry::last_line(&format!("{error:#}"));
        assert_eq!(line.lines().count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (value["level"].as_str(), value["error"].as_str()),
            (Some("ERROR"), Some("starting: no \"hotkey\"\nat all"))
        );
        assert!(value["timestamp"].as_str().unwrap().contains('T'));
    }

    #[tokio::test]
    async fn waiting_gives_what_was_waited_for() {
        assert_eq!(waiting("a moment", async { 7 }).await, 7);
    }
}
