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

/// Starts logging. The environment's `RUST_LOG` decides what is logged, where it is set; otherwise `filter`, in the
/// same syntax (that of `tracing`), or [`DEFAULT_FILTER`]. `NO_COLOR` takes the colours away. With JSON lines a panic
/// is one of them too, whatever the filter.
///
/// # Errors
/// [`TelemetryError`].
pub fn init(format: Format, filter: Option<&str>) -> Result<(), TelemetryError> {
    let wish = std::env::var("RUST_LOG").ok();
    let filter = read_filter(wanted(wish.as_deref(), filter))?;
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    let colours =
        if io::stderr().is_terminal() { colours(std::env::var_os("NO_COLOR")) } else { Colours::None };
    let started = match choose(format, colours) {
        Format::Json => {
            std::panic::set_hook(Box::new(|panic| {
                eprintln!("{}", line_of_error("panicked", &panic.to_string()));
            }));
            builder.json().flatten_event(true).with_current_span(true).try_init()
        }
        Format::Pretty => builder.compact().with_ansi(true).try_init(),
        Format::Plain | Format::Auto => builder.with_ansi(false).try_init(),
    };
    started.map_err(|_| TelemetryError::Twice)
}

/// The time as log lines have it.
#[must_use]
pub fn timestamp() -> String {
    use fmt::time::FormatTime;
    let mut text = String::new();
    // Writing to a string cannot fail; a clock that cannot be read is written as such.
    let _ = fmt::time::SystemTime.format_time(&mut fmt::format::Writer::new(&mut text));
    text
}

/// The last line of a program that logs JSON: why it ended, with the names of a log line. Written past the log,
/// which may be filtered, or not be there at all.
#[must_use]
pub fn last_line(error: &str) -> String {
    line_of_error("ended by an error", error)
}

fn line_of_error(message: &str, error: &str) -> String {
    serde_json::json!({
        "timestamp": timestamp(), "level": "ERROR", "message": message, "error": error,
    })
    .to_string()
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

/// The user's filter over the program's. An empty variable asks for nothing.
fn wanted<'a>(environment: Option<&'a str>, filter: Option<&'a str>) -> &'a str {
    environment.filter(|text| !text.trim().is_empty()).or(filter).unwrap_or(DEFAULT_FILTER)
}

/// Whether whoever reads standard error sees colours and wants them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Colours {
    Seen,
    None,
}

/// On a terminal: none where `NO_COLOR` is set to anything (<https://no-color.org>).
fn colours(no_color: Option<std::ffi::OsString>) -> Colours {
    no_color.filter(|value| !value.is_empty()).map_or(Colours::Seen, |_| Colours::None)
}

fn choose(format: Format, colours: Colours) -> Format {
    match (format, colours) {
        (Format::Json, _) => Format::Json,
        (Format::Auto | Format::Pretty, Colours::Seen) => Format::Pretty,
        // Asked for by name, colours still give way to the one who reads.
        (Format::Plain, _) | (Format::Auto | Format::Pretty, Colours::None) => Format::Plain,
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
    fn automatic_format_follows_the_terminal_and_no_color_takes_the_colours() {
        assert_eq!(choose(Format::Auto, Colours::Seen), Format::Pretty);
        assert_eq!(choose(Format::Auto, Colours::None), Format::Plain);
        assert_eq!(choose(Format::Pretty, Colours::None), Format::Plain);
        assert_eq!(choose(Format::Json, Colours::None), Format::Json);
        for (value, expected) in [("1", Colours::None), ("0", Colours::None), ("", Colours::Seen)] {
            assert_eq!(colours(Some(value.into())), expected, "NO_COLOR={value:?}");
        }
        assert_eq!(colours(None), Colours::Seen);
        assert_eq!("json".parse::<Format>().expect("known"), Format::Json);
        assert!("loud".parse::<Format>().expect_err("unknown").to_string().contains("loud"));
    }

    #[test]
    fn the_environment_decides_what_is_logged_before_the_program_does() {
        assert_eq!(wanted(Some("debug"), Some("warn")), "debug");
        assert_eq!(wanted(Some(" "), Some("warn")), "warn");
        assert_eq!(wanted(None, Some("warn")), "warn");
        assert_eq!(wanted(Some(""), None), DEFAULT_FILTER);
    }

    /// Set in the process that the test starts of itself.
    const CHILD: &str = "IOTA_TEST_OF_PANICS";

    #[test]
    fn a_panic_is_one_line_of_json() {
        if std::env::var_os(CHILD).is_some() {
            init(Format::Json, Some("off")).expect("the first");
            drop(std::thread::spawn(|| panic!("shard 9\nof 8")).join());
            return;
        }
        let output = std::process::Command::new(std::env::current_exe().expect("known"))
            .args(["telemetry::tests::a_panic_is_one_line_of_json", "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line: serde_json::Value = serde_json::from_str(said.trim_end()).expect(&said);
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"panicked".into()));
        assert!(line["error"].as_str().is_some_and(|error| error.contains("shard 9\nof 8")), "{said}");
    }

    #[test]
    fn second_start_is_refused() {
        init(Format::Json, None).expect("the first");
        assert!(matches!(init(Format::Plain, None), Err(TelemetryError::Twice)));
    }
}
