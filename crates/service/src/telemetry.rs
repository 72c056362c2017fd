//! The log: to standard error, coloured for people and as lines or JSON for machines.

use std::io::{self, IsTerminal};

use tracing::{field, Span};
use tracing_subscriber::{fmt, EnvFilter};

/// What is logged unless configured otherwise: what an operator cares about, from us.
pub const DEFAULT_FILTER: &str =
    "info,libp2p=warn,quinn=warn,quinn_proto=warn,yamux=warn,hickory_resolver=warn,\
                                  hickory_proto=warn,multistream_select=warn";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pretty on a terminal, plain otherwise.
    #[default]
    Auto,
    /// Coloured, with short times.
    Pretty,
    /// One line each, without colour.
    Plain,
    /// One JSON object each.
    Json,
}

impl std::str::FromStr for Format {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, TelemetryError> {
        match text {
            "auto" => Ok(Self::Auto),
            "pretty" => Ok(Self::Pretty),
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(TelemetryError::Format { text: text.to_owned() }),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter does not parse.
    #[error("log filter {filter:?} cannot be read ({cause}); write for example info,iota_network=debug")]
    Filter {
        /// As configured.
        filter: String,
        /// What the parser says.
        cause: String,
    },
    /// No such format.
    #[error("log format {text:?} is unknown; choose auto, pretty, plain or json")]
    Format {
        /// As given.
        text: String,
    },
    /// Called a second time.
    #[error("the log is set up already; set it up once, at the start of main")]
    Twice,
}

/// Starts logging. `filter` is in the syntax of `tracing`, or `None` for [`DEFAULT_FILTER`].
///
/// # Errors
/// [`TelemetryError`].
pub fn init(format: Format, filter: Option<&str>) -> Result<(), TelemetryError> {
    let filter = read_filter(filter.unwrap_or(DEFAULT_FILTER))?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match choose(format, io::stderr().is_terminal()) {
        Format::Json => builder.json().flatten_event(true).with_current_span(true).try_init(),
        Format::Pretty => builder.compact().with_ansi(true).try_init(),
        Format::Plain | Format::Auto => builder.with_ansi(false).try_init(),
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// The span in which a worker does everything: `run` and `me` on every line, `epoch` once it is recorded.
#[must_use]
pub fn worker_span(run: u32, me: &str) -> Span {
    tracing::info_span!("worker", run, me, epoch = field::Empty)
}

fn read_filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::try_new(text)
        .map_err(|error| TelemetryError::Filter { filter: text.to_owned(), cause: error.to_string() })
}

fn choose(format: Format, terminal: bool) -> Format {
    match (format, terminal) {
        (Format::Auto, true) => Format::Pretty,
        (Format::Auto, false) => Format::Plain,
        (chosen, _) => chosen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_filter_is_valid_and_a_broken_one_is_named() {
        read_filter(DEFAULT_FILTER).expect("valid");
        let error = read_filter("iota=loud").expect_err("no such level").to_string();
        assert!(error.contains("iota=loud"), "{error}");
    }

    #[test]
    fn automatic_format_follows_the_terminal() {
        assert_eq!(choose(Format::Auto, true), Format::Pretty);
        assert_eq!(choose(Format::Auto, false), Format::Plain);
        assert_eq!(choose(Format::Json, true), Format::Json);
        assert_eq!("json".parse::<Format>().expect("known"), Format::Json);
        assert!("loud".parse::<Format>().expect_err("unknown").to_string().contains("loud"));
    }

    #[test]
    fn second_start_is_refused() {
        init(Format::Json, None).expect("the first");
        assert!(matches!(init(Format::Plain, None), Err(TelemetryError::Twice)));
    }
}
