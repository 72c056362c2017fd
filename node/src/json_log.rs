//! `--json-log`: log lines of the node as JSON objects with the names that the workers' lines have.
//!
//! Substrate's own set-up of the log knows no such form and takes none from outside, so with the flag this module
//! does what it does: the panic hook, the filters, the log and the limit on open files. Without the flag nothing
//! here is called.

use std::fmt;

use polkadot_sdk::sc_cli::{self, build_runtime, CliConfiguration, Runner, Signals, SubstrateCli};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{format::Writer, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::EnvFilter;

use crate::cli::Cli;

/// What libraries below say only when asked: the choices that Substrate's log begins with.
const DEFAULTS: &str =
    "info,ws=off,yamux=off,regalloc=off,cranelift_codegen=off,cranelift_wasm=warn,hyper=warn,\
                        trust_dns_proto=off,hickory_proto=off,libp2p_mdns::behaviour::iface=off,\
                        rustls::common_state=off,rustls::conn=off";
/// Below this many open files a database or many peers fail: what `sc-cli` warns of, too.
const OPEN_FILES: u64 = 10_000;
/// Names that every line has; an event's own field of such a name gets a line under it.
const TAKEN: [&str; 3] = ["timestamp", "level", "target"];

/// Prepares to run `command`, as [`SubstrateCli::create_runner`] does, with a log of JSON lines.
///
/// # Errors
/// Options that cannot be had with JSON lines, a filter that does not parse, and what `create_runner` fails of.
pub fn runner<C: CliConfiguration>(cli: &Cli, command: &C) -> sc_cli::Result<Runner<Cli>> {
    if command.enable_log_reloading()? || command.tracing_targets()?.is_some() {
        return Err(sc_cli::Error::Input(
            "--json-log goes neither with --enable-log-reloading nor with --tracing-targets; leave one out"
                .into(),
        ));
    }
    let runtime = build_runtime()?;
    // Captured in the runtime and first of all: a signal that comes meanwhile is not lost.
    let signals = runtime.block_on(async { Signals::capture() })?;
    let config = command.create_configuration(cli, runtime.handle().clone())?;
    tell_panics();
    start(&command.log_filters()?).map_err(sc_cli::Error::Input)?;
    raise_file_limit();
    Runner::new(config, runtime, signals)
}

/// The last line of a node that logs JSON: why it ended.
pub fn last_line(error: &dyn fmt::Display) -> String {
    line(&[("level", "ERROR"), ("message", "ended by an error"), ("error", &error.to_string())])
}

fn line(fields: &[(&str, &str)]) -> String {
    let mut object = Map::from_iter([("timestamp".into(), timestamp().into())]);
    object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    Value::Object(object).to_string()
}

fn timestamp() -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; a clock that cannot be read is written as such.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// A panic is a line of the log. The library's hook comes after it and decides whether the process goes on; it
/// writes its backtrace as text.
fn tell_panics() {
    sp_panic_handler::set(&Cli::support_url(), &Cli::impl_version());
    let decide = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("{}", line(&[("level", "ERROR"), ("message", "panicked"), ("error", &panic.to_string())]));
        decide(panic);
    }));
}

/// Log lines to standard error: of `tracing` and of `log`. `RUST_LOG` over the defaults, `directives` over both.
fn start(directives: &str) -> Result<(), String> {
    let environment = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = filter(&[DEFAULTS, &environment, directives])?;
    // Some messages carry colours of their own where these are on.
    console::set_colors_enabled(false);
    console::set_colors_enabled_stderr(false);
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .event_format(JsonLines)
        .try_init()
        .map_err(|error| format!("the log cannot be started: {error}"))
}

/// What is logged: later directives win over earlier ones for the same target.
fn filter(directives: &[&str]) -> Result<EnvFilter, String> {
    let all = directives.iter().flat_map(|text| text.split(',')).map(str::trim);
    all.filter(|text| !text.is_empty()).try_fold(EnvFilter::default(), |filter, text| {
        let directive = text.parse().map_err(|error| {
            format!("log directive {text:?} cannot be read ({error}); write for example sync=debug")
        })?;
        Ok(filter.add_directive(directive))
    })
}

fn raise_file_limit() {
    match fdlimit::raise_fd_limit() {
        Ok(fdlimit::Outcome::LimitRaised { to, .. }) if to < OPEN_FILES => {
            tracing::warn!(limit = to, recommended = OPEN_FILES, "few files may be open at once");
        }
        Ok(_) => {}
        Err(error) => {
            tracing::warn!(%error, recommended = OPEN_FILES, "the limit on open files stays as it is")
        }
    }
}

/// Writes an event as one line with one JSON object.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let target = fields.log_target.unwrap_or_else(|| metadata.target().to_owned());
        let mut object = fields.object;
        object.insert("timestamp".into(), timestamp().into());
        object.insert("level".into(), metadata.level().as_str().into());
        object.insert("target".into(), target.into());
        writeln!(writer, "{}", Value::Object(object))
    }
}

/// The fields of one event.
#[derive(Default)]
struct Fields {
    object: Map<String, Value>,
    /// Target of a record of the crate `log`, which arrives as a field.
    log_target: Option<String>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let name = if TAKEN.contains(&name) { format!("{name}_") } else { name.to_owned() };
        self.object.insert(name, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.log_target = Some(value.to_owned()),
            // Where in the sources a record was made; events of `tracing` do not say it either.
            name if name.starts_with("log.") => {}
            _ => self.put(field, value.into()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() != "log.line" {
            self.put(field, value.into());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was written, and where it goes.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs under these directives.
    fn logged(directives: &[&str], work: impl FnOnce()) -> Vec<Value> {
        let paper = Paper::default();
        let to = paper.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(directives).unwrap())
            .with_writer(move || to.clone())
            .event_format(JsonLines)
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let text = String::from_utf8(paper.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn an_event_is_one_object_with_its_fields_beside_the_message() {
        let lines = logged(&["info"], || {
            tracing::info!(target: "sync", peers = 3_u64, idle = true, name = "a\n\"b\"", "new\nline");
            tracing::warn!(target: "sync", level = "deep", "named like ours");
        });
        let [first, second] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(first["level"], "INFO");
        assert_eq!(first["target"], "sync");
        assert_eq!(first["message"], "new\nline");
        assert_eq!((&first["peers"], &first["idle"]), (&3.into(), &true.into()));
        assert_eq!(first["name"], "a\n\"b\"");
        assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
        assert_eq!((&second["level"], &second["level_"]), (&"WARN".into(), &"deep".into()));
    }

    #[test]
    fn a_later_directive_wins() {
        let talk = || {
            tracing::info!(target: "aura", "said");
            tracing::debug!(target: "sync", "said");
        };
        assert_eq!(logged(&[DEFAULTS], talk).len(), 1);
        assert_eq!(logged(&[DEFAULTS, "aura=warn"], talk).len(), 0);
        assert_eq!(logged(&[DEFAULTS, "", "aura=warn, sync=debug"], talk).len(), 1);
        assert_eq!(logged(&[DEFAULTS, "aura=warn", "aura=info,sync=debug"], talk).len(), 2);
        let error = filter(&[DEFAULTS, "sync=loud"]).unwrap_err();
        assert!(error.contains("sync=loud"), "{error}");
    }

    #[test]
    fn the_last_line_is_one_object() {
        let line = last_line(&"no spec\n\"there\"");
        assert_eq!(line.lines().count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["level"], &value["error"]), (&"ERROR".into(), &"no spec\n\"there\"".into()));
    }
}
