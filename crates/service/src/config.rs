//! One configuration from four layers, and where each value came from.
//!
//! Layers, each over the one before: the type's defaults, a TOML file, environment variables, flags. The type
//! itself is the schema: a key is known if it survives reading into the type and writing back. Types must
//! therefore write every key that they read (no serde aliases, no skipped fields except absent options).
//!
//! Environment: the prefix, then the key in capitals, `__` between levels. With prefix `IOTA_`, the variable
//! `IOTA_NETWORK__LISTEN` is `network.listen`. Values are TOML if they parse as such, otherwise plain text.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{de::DeserializeOwned, Serialize};
pub use toml::{Table, Value};

/// Longest configuration file; anything longer is another file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The program.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// Where each value came from, by dotted key.
#[derive(Clone, Debug, Default)]
pub struct Provenance {
    sources: BTreeMap<String, Source>,
    ignored: Vec<String>,
}

impl Provenance {
    /// The source of a key such as `network.listen`.
    #[must_use]
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.sources.get(key)
    }

    /// Environment variables with our prefix that name no key; other programs may own them.
    #[must_use]
    pub fn ignored_variables(&self) -> &[String] {
        &self.ignored
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file {}: {cause}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is no TOML.
    #[error("configuration file {} is not valid TOML: {cause}", path.display())]
    Syntax {
        /// The path.
        path: PathBuf,
        /// Line, column and what was expected.
        cause: String,
    },
    /// A key that means nothing, most often a typing error.
    #[error("unknown configuration key {key} (from {from}); print-config lists the known ones")]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// The layer it is in.
        from: Source,
    },
    /// A value that does not fit.
    #[error("configuration from {from} does not fit: {cause}")]
    Invalid {
        /// The layer that broke it.
        from: Source,
        /// The key and what was expected.
        cause: String,
    },
}

/// Resolves a configuration with this process's environment.
///
/// # Errors
/// [`ConfigError`], naming the key and the layer.
pub fn resolve<T>(
    file: Option<&Path>,
    env_prefix: &str,
    overrides: Table,
) -> Result<(T, Provenance), ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    // Names and values that are not Unicode can name none of our keys.
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    resolve_with(file, env_prefix, variables, overrides)
}

/// Resolves a configuration with a given environment.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with<T>(
    file: Option<&Path>,
    env_prefix: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    overrides: Table,
) -> Result<(T, Provenance), ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut layers = Layers::<T>::of_defaults()?;
    if let Some(path) = file {
        layers.apply(read_file(path)?, &Source::File(path.to_owned()))?;
    }
    let mut variables: Vec<_> = variables.into_iter().collect();
    // In a fixed order, so that of two variables for one key the same one always wins.
    variables.sort();
    for (name, text) in variables {
        let Some(key) = name.strip_prefix(env_prefix).filter(|key| !key.is_empty()) else { continue };
        let path: Vec<String> = key.split("__").map(str::to_lowercase).collect();
        layers.apply_variable(&name, &path, &text)?;
    }
    layers.apply(overrides, &Source::Flag)?;
    let config = layers.read(&Source::Default)?;
    Ok((config, layers.provenance))
}

/// Every value with its source, one a line, as valid TOML.
#[must_use]
pub fn print_config<T: Serialize>(config: &T, provenance: &Provenance) -> String {
    let table = Table::try_from(config).unwrap_or_default();
    let mut lines = String::new();
    for (key, value) in leaves(&table) {
        let source = provenance.source(&key).unwrap_or(&Source::Default);
        lines.push_str(&format!("{key} = {value}  # {source}\n"));
    }
    for name in provenance.ignored_variables() {
        lines.push_str(&format!("# environment {name} names no key and was ignored\n"));
    }
    lines
}

/// The layers merged so far.
struct Layers<T> {
    table: Table,
    provenance: Provenance,
    schema: std::marker::PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned + Default> Layers<T> {
    fn of_defaults() -> Result<Self, ConfigError> {
        let table = Table::try_from(T::default())
            .map_err(|error| ConfigError::Invalid { from: Source::Default, cause: error.to_string() })?;
        let mut provenance = Provenance::default();
        for (key, _) in leaves(&table) {
            provenance.sources.insert(key, Source::Default);
        }
        Ok(Self { table, provenance, schema: std::marker::PhantomData })
    }

    fn read(&self, from: &Source) -> Result<T, ConfigError> {
        Value::Table(self.table.clone()).try_into().map_err(|error: toml::de::Error| ConfigError::Invalid {
            from: from.clone(),
            cause: one_line(&error),
        })
    }

    /// Merges a layer, reads the result, and finds keys that did not survive it.
    fn apply(&mut self, layer: Table, from: &Source) -> Result<(), ConfigError> {
        let keys: Vec<String> = leaves(&layer).into_iter().map(|(key, _)| key).collect();
        merge(&mut self.table, layer);
        let kept = Table::try_from(self.read(from)?)
            .map_err(|error| ConfigError::Invalid { from: from.clone(), cause: error.to_string() })?;
        for key in keys {
            if lookup(&kept, &key).is_none() {
                return Err(ConfigError::UnknownKey { key, from: from.clone() });
            }
            self.provenance.forget_below(&key);
            self.provenance.sources.insert(key, from.clone());
        }
        Ok(())
    }

    fn apply_variable(&mut self, name: &str, path: &[String], text: &str) -> Result<(), ConfigError> {
        let from = Source::Environment(name.to_owned());
        let default_is_text = lookup(&self.table, &path.join(".")).is_some_and(Value::is_str);
        let parsed = if default_is_text { None } else { parse_value(text) };
        let plain = Value::String(text.to_owned());
        let (before, sources) = (self.table.clone(), self.provenance.sources.clone());
        let mut first = None;
        // A text such as 007 parses as nothing, and a version such as 1.2 as a number where text is meant.
        for value in parsed.into_iter().chain([plain]) {
            match self.apply(nested(path, value), &from) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    self.table.clone_from(&before);
                    self.provenance.sources.clone_from(&sources);
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if !is_unknown(&error) => Err(error),
            _ => {
                self.provenance.ignored.push(name.to_owned());
                Ok(())
            }
        }
    }
}

impl Provenance {
    /// A table that became a value, or the reverse, leaves no old sources behind.
    fn forget_below(&mut self, key: &str) {
        let below = format!("{key}.");
        self.sources.retain(|known, _| !known.starts_with(&below) && !key.starts_with(&format!("{known}.")));
    }
}

/// Whether the key rather than the value is at fault. Types that deny unknown fields say so themselves.
fn is_unknown(error: &ConfigError) -> bool {
    match error {
        ConfigError::UnknownKey { .. } => true,
        ConfigError::Invalid { cause, .. } => cause.contains("unknown field"),
        _ => false,
    }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let file_error = |cause| ConfigError::File { path: path.to_owned(), cause };
    let file = std::fs::File::open(path).map_err(file_error)?;
    let mut text = String::new();
    let read = io::Read::read_to_string(&mut io::Read::take(file, MAX_FILE_BYTES + 1), &mut text);
    if u64::try_from(read.map_err(file_error)?).unwrap_or(u64::MAX) > MAX_FILE_BYTES {
        let cause = format!("longer than {MAX_FILE_BYTES} bytes");
        return Err(file_error(io::Error::new(io::ErrorKind::FileTooLarge, cause)));
    }
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax {
        path: path.to_owned(),
        cause: error.to_string().trim_end().to_owned(),
    })
}

fn merge(into: &mut Table, layer: Table) {
    for (key, value) in layer {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// All values that are not tables (empty tables count as values), by dotted key.
fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            value => found.push((key.clone(), value)),
        }
    }
    found
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => lookup(table.get(first)?.as_table()?, rest),
    }
}

fn nested(path: &[String], value: Value) -> Table {
    let value =
        path.iter().rev().fold(value, |value, key| Value::Table(Table::from_iter([(key.clone(), value)])));
    match value {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

/// Reads one TOML value; `None` if the text is none.
fn parse_value(text: &str) -> Option<Value> {
    let mut table: Table = format!("value = {text}").parse().ok()?;
    // A line break in the text could bring further keys.
    let value = table.remove("value")?;
    table.is_empty().then_some(value)
}

fn one_line(error: &toml::de::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(default)]
    struct Sample {
        name: String,
        memory_bytes: u64,
        limit: Option<u32>,
        network: Network,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    #[serde(default, deny_unknown_fields)]
    struct Network {
        listen: Vec<String>,
        ratio: f64,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { name: "default".to_owned(), memory_bytes: 1, limit: None, network: Network::default() }
        }
    }

    impl Default for Network {
        fn default() -> Self {
            Self { listen: vec!["a".to_owned()], ratio: 0.5 }
        }
    }

    struct Case {
        dir: tempfile::TempDir,
        variables: Vec<(String, String)>,
        flags: Table,
    }

    impl Case {
        fn new(file: &str, variables: &[(&str, &str)], flags: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join("iota.toml"), file).expect("room");
            let variables =
                variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
            Self { dir, variables, flags: flags.parse().expect("TOML") }
        }

        fn resolve(self) -> Result<(Sample, Provenance), ConfigError> {
            let file = self.dir.path().join("iota.toml");
            resolve_with(Some(&file), "IOTA_", self.variables, self.flags)
        }

        fn error(self) -> String {
            self.resolve().expect_err("must be refused").to_string()
        }
    }

    #[test]
    fn later_layers_win_and_each_value_says_where_it_came_from() {
        let file = "name = \"file\"\nmemory_bytes = 2\n[network]\nratio = 0.1";
        let variables = [("IOTA_MEMORY_BYTES", "3"), ("IOTA_NETWORK__LISTEN", "[\"b\", \"c\"]")];
        let (sample, from) = Case::new(file, &variables, "memory_bytes = 4").resolve().expect("fits");
        let network = Network { listen: vec!["b".to_owned(), "c".to_owned()], ratio: 0.1 };
        assert_eq!(sample, Sample { name: "file".to_owned(), memory_bytes: 4, limit: None, network });
        assert_eq!(from.source("memory_bytes"), Some(&Source::Flag));
        assert!(matches!(from.source("name"), Some(Source::File(_))));
        assert!(matches!(from.source("network.ratio"), Some(Source::File(_))));
        assert_eq!(
            from.source("network.listen"),
            Some(&Source::Environment("IOTA_NETWORK__LISTEN".to_owned()))
        );
    }

    #[test]
    fn without_layers_the_defaults_stand() {
        let none: [(String, String); 0] = [];
        let (sample, from) = resolve_with::<Sample>(None, "IOTA_", none, Table::new()).expect("fits");
        assert_eq!(sample, Sample::default());
        assert_eq!(from.source("network.ratio"), Some(&Source::Default));
    }

    #[test]
    fn option_that_is_absent_by_default_is_a_known_key_in_every_layer() {
        let limit = |file, variables: &[(&str, &str)], flags| {
            Case::new(file, variables, flags).resolve().expect("fits").0.limit
        };
        assert_eq!(limit("limit = 7", &[], ""), Some(7));
        assert_eq!(limit("", &[("IOTA_LIMIT", "8")], ""), Some(8));
        assert_eq!(limit("", &[], "limit = 9"), Some(9));
    }

    #[test]
    fn unknown_keys_in_file_and_flags_are_named() {
        let at_top = Case::new("nmae = 1", &[], "").error();
        assert!(at_top.contains("key nmae") && at_top.contains("iota.toml"), "{at_top}");
        let denied = Case::new("[network]\nlisten_to = 1", &[], "").error();
        assert!(denied.contains("listen_to") && denied.contains("iota.toml"), "{denied}");
        let flag = Case::new("", &[], "bogus = 1").error();
        assert!(flag.contains("key bogus") && flag.contains("flag"), "{flag}");
    }

    #[test]
    fn variables_of_other_programs_are_ignored_and_listed() {
        let variables = [("IOTA_CACHE", "/tmp"), ("IOTA_NETWORK__X", "1"), ("IOTAX", "1"), ("IOTA_", "1")];
        let (sample, from) = Case::new("", &variables, "").resolve().expect("fits");
        assert_eq!(sample, Sample::default());
        assert_eq!(from.ignored_variables(), ["IOTA_CACHE", "IOTA_NETWORK__X"]);
        assert!(print_config(&sample, &from).contains("# environment IOTA_CACHE names no key"));
    }

    #[test]
    fn values_of_the_wrong_kind_name_their_key_and_layer() {
        let file = Case::new("memory_bytes = \"much\"", &[], "").error();
        assert!(file.contains("memory_bytes") && file.contains("iota.toml"), "{file}");
        let variable = Case::new("", &[("IOTA_LIMIT", "many")], "").error();
        assert!(variable.contains("limit") && variable.contains("IOTA_LIMIT"), "{variable}");
        let syntax = Case::new("name = ", &[], "").error();
        assert!(syntax.contains("not valid TOML") && syntax.contains("line 1"), "{syntax}");
    }

    #[test]
    fn text_in_the_environment_needs_no_quotes() {
        let variables = [("IOTA_NAME", "1.2"), ("IOTA_NETWORK__RATIO", "0.25")];
        let (sample, _) = Case::new("", &variables, "").resolve().expect("fits");
        assert_eq!((sample.name.as_str(), sample.network.ratio), ("1.2", 0.25));
        let (sample, _) = Case::new("", &[("IOTA_NAME", "a\nmemory_bytes = 9")], "").resolve().expect("fits");
        assert_eq!(sample.memory_bytes, 1);
    }

    #[test]
    fn printed_configuration_reads_back_and_names_its_sources() {
        let (sample, from) = Case::new("memory_bytes = 2", &[], "name = \"me\"").resolve().expect("fits");
        let text = print_config(&sample, &from);
        assert!(text.contains("name = \"me\"  # flag\n"), "{text}");
        assert!(text.contains("network.ratio = 0.5  # default\n"), "{text}");
        let again: Sample = toml::from_str(&text).expect("valid TOML");
        assert_eq!(again, sample);
    }

    #[test]
    fn missing_file_is_named() {
        let none: [(String, String); 0] = [];
        let result = resolve_with::<Sample>(Some(Path::new("/absent.toml")), "IOTA_", none, Table::new());
        let error = result.expect_err("missing").to_string();
        assert!(error.contains("/absent.toml"), "{error}");
    }
}
