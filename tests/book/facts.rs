//! The tables of the book's reference chapters, written from the comments of the sources that they
//! describe: a table that differs fails, and `IOTA_BLESS=1` writes it anew.

use std::fmt::Write;

use iota_compute::presets;
use iota_protocol::ids::Hash;
use iota_protocol::params::DataParams;

use crate::blocks::{docs, root};

/// A documented item of a source file: a field, a variant, or a call.
struct Item {
    doc: Vec<String>,
    attributes: Vec<String>,
    code: String,
}

impl Item {
    /// The comment up to its list of errors, in one line.
    fn text(&self) -> String {
        let lines = self.doc.iter().take_while(|line| !line.starts_with('#'));
        cell(&lines.map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    fn errors(&self) -> String {
        let lines = self.doc.iter().skip_while(|line| !line.starts_with("# Errors")).skip(1);
        cell(&lines.map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    /// The number in `call_index(7)` or `codec(index = 7)`.
    fn index(&self) -> Option<u32> {
        let found = self.attributes.iter().find(|line| line.contains("index"))?;
        found.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok()
    }

    fn name(&self) -> &str {
        let code = self.code.trim_start_matches("pub fn ").trim_start_matches("pub ");
        code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap_or_default()
    }

    /// What follows a field's colon.
    fn kind(&self) -> String {
        self.code
            .split_once(':')
            .map_or_else(String::new, |(_, kind)| kind.trim().trim_end_matches(',').into())
    }
}

fn cell(text: &str) -> String {
    text.trim().replace('|', "\\|").replace("[`", "`").replace("`]", "`")
}

/// Items with comments at one depth between `opening` and the line that closes it.
fn items(file: &str, opening: &str) -> Vec<Item> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let mut lines = text.lines().skip_while(|line| line.trim() != opening);
    let first = lines.next().unwrap_or_else(|| panic!("{file} has no line {opening:?}"));
    let depth = first.len() - first.trim_start().len();
    let mut items = Vec::new();
    let (mut doc, mut attributes) = (Vec::new(), Vec::new());
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let code = line.trim();
        if !code.is_empty() && indent <= depth {
            break;
        }
        if indent != depth + 4 || code.is_empty() {
            continue;
        }
        if let Some(text) = code.strip_prefix("///") {
            doc.push(text.trim().to_owned());
        } else if code.starts_with("#[") {
            attributes.push(code.to_owned());
        } else if code.starts_with(char::is_alphabetic) {
            let (doc, attributes) = (std::mem::take(&mut doc), std::mem::take(&mut attributes));
            items.push(Item { doc, attributes, code: code.to_owned() });
        }
    }
    assert!(!items.is_empty(), "{file}: nothing below {opening:?}");
    items
}

fn calls() -> String {
    let mut out = String::from("| index | call | what it does | errors |\n| ---: | --- | --- | --- |\n");
    for item in items("pallet-iota/src/sections/calls.rs", "impl<T: Config> Pallet<T> {") {
        let Some(index) = item.index().filter(|_| item.code.starts_with("pub fn")) else { continue };
        let free = item.attributes.iter().any(|line| line.contains("feeless_if"));
        let free = if free && !item.text().contains("Free") { " Free." } else { "" };
        writeln!(out, "| {index} | `{}` | {}{free} | {} |", item.name(), item.text(), item.errors()).unwrap();
    }
    out
}

fn variants(file: &str, opening: &str) -> String {
    let mut out = String::from("| name | meaning |\n| --- | --- |\n");
    for item in items(file, opening) {
        writeln!(out, "| `{}` | {} |", item.name(), item.text()).unwrap();
    }
    out
}

/// Variants with their first byte, and the fields that follow it.
fn messages(opening: &str) -> String {
    let file = "crates/protocol/src/wire.rs";
    let mut out = String::from("| first byte | message | meaning | then |\n| ---: | --- | --- | --- |\n");
    for item in items(file, opening) {
        let Some(index) = item.index() else { continue };
        let inner = item.code.split_once('(').map(|(_, rest)| format!("`{}`", rest.trim_end_matches("),")));
        let fields = || {
            let own = items_after(file, opening, &item.code);
            own.iter()
                .map(|field| format!("`{}: {}`", field.name(), field.kind()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let then = inner.unwrap_or_else(|| if item.code.ends_with('{') { fields() } else { String::new() });
        writeln!(out, "| {index} | `{}` | {} | {then} |", item.name(), item.text()).unwrap();
    }
    out
}

/// Fields of a variant of an enum.
fn items_after(file: &str, opening: &str, variant: &str) -> Vec<Item> {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    let lines = text.lines().skip_while(|line| line.trim() != opening);
    let lines = lines.skip_while(|line| line.trim() != variant).skip(1);
    let lines = lines.take_while(|line| line.trim() != "},").map(str::trim);
    let fields = lines.filter(|line| line.contains(':') && !line.starts_with("///"));
    fields.map(|code| Item { doc: Vec::new(), attributes: Vec::new(), code: code.to_owned() }).collect()
}

fn fields(file: &str, opening: &str) -> String {
    let mut out = String::from("| field | type | meaning |\n| --- | --- | --- |\n");
    for item in items(file, opening) {
        writeln!(out, "| `{}` | `{}` | {} |", item.name(), item.kind(), item.text()).unwrap();
    }
    out
}

/// Fields with the value of the preset `tiny` in three stages and the reason for it: the comment above the field in the
/// functions of `presets.rs` that give it.
fn defaults(file: &str, opening: &str, part: &str) -> String {
    let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1, heldout_windows: 1 };
    let run = presets::run_params("tiny", 3, 0, 1, 3, data).unwrap();
    let run = serde_json::to_value(&run).unwrap();
    let mut out =
        String::from("| field | type | meaning | `tiny` | why |\n| --- | --- | --- | ---: | --- |\n");
    for item in items(file, opening) {
        let value = &run[part][item.name()];
        assert!(!value.is_null(), "{part} has no {}", item.name());
        let (name, kind, text) = (item.name(), item.kind(), item.text());
        writeln!(out, "| `{name}` | `{kind}` | {text} | {} | {} |", shown(value), reason(item.name()))
            .unwrap();
    }
    out
}

fn shown(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first comment above a line that sets this field in `presets.rs`: a preset's own value stands before the one
/// that others have in common.
fn reason(field: &str) -> String {
    let text = std::fs::read_to_string(root().join("crates/compute/src/presets.rs")).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
    let (mut comment, mut found) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("// ") {
            comment.push(text.to_owned());
            continue;
        }
        let whole = line.starts_with(&format!("{field}: ")) && !line.contains('{');
        let sets = whole || line == format!("{field},") || line.contains(&format!("{{ {field}: "));
        if sets && !comment.is_empty() && found.is_none() {
            found = Some(comment.join(" "));
        }
        comment.clear();
    }
    cell(&found.unwrap_or_else(|| panic!("presets.rs gives no reason for {field}")))
}

/// Every hash's tag.
fn tags() -> String {
    let text = std::fs::read_to_string(root().join("crates/protocol/src/hash.rs")).unwrap();
    let tag = |name: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(&format!("Self::{name} =>")));
        line.and_then(|line| line.split('"').nth(1)).unwrap_or_else(|| panic!("no tag of {name}")).to_owned()
    };
    let mut out = String::from("| tag | hashed under it |\n| --- | --- |\n");
    for item in items("crates/protocol/src/hash.rs", "pub enum Domain {") {
        writeln!(out, "| `{}` | {} |", tag(item.name()), item.text()).unwrap();
    }
    out
}

/// The tables of the book by name.
fn table(name: &str) -> String {
    let (events, errors) = ("pallet-iota/src/sections/events.rs", "pallet-iota/src/sections/errors.rs");
    let params = "crates/protocol/src/params.rs";
    match name {
        "calls" => calls(),
        "events" => variants(events, "pub enum Event<T: Config> {"),
        "errors" => variants(errors, "pub enum Error<T> {"),
        "tags" => tags(),
        "hop" => fields("crates/protocol/src/wire.rs", "pub struct HopHeader {"),
        "packed-hop" => fields("crates/protocol/src/packed.rs", "pub struct PackedHop {"),
        "train-requests" => messages("pub enum TrainRequest {"),
        "train-replies" => messages("pub enum TrainReply {"),
        "fetch-requests" => messages("pub enum FetchRequest {"),
        "fetch-replies" => messages("pub enum FetchReply {"),
        "receipt" => fields("crates/protocol/src/receipt.rs", "pub struct Receipt {"),
        "run" => fields(params, "pub struct RunParams {"),
        "model" => defaults(params, "pub struct ModelParams {", "model"),
        "stage" => fields(params, "pub struct StageParams {"),
        "train" => defaults(params, "pub struct TrainParams {", "train"),
        "merge" => defaults(params, "pub struct MergeParams {", "merge"),
        "phases" => defaults(params, "pub struct PhaseParams {", "phases"),
        "data" => fields(params, "pub struct DataParams {"),
        other => panic!("no source is known for the table {other:?}"),
    }
}

/// A chapter with its tables as the sources have them.
fn renewed(text: &str) -> (String, usize) {
    let (mut out, mut count, mut rest) = (String::new(), 0, text);
    while let Some((before, after)) = rest.split_once("<!-- table ") {
        let (name, after) = after.split_once(" -->\n").expect("a marker ends its line");
        let (_, after) = after.split_once("<!-- end -->").expect("a table has an end");
        write!(out, "{before}<!-- table {name} -->\n\n{}\n<!-- end -->", table(name)).unwrap();
        (rest, count) = (after, count + 1);
    }
    out.push_str(rest);
    (out, count)
}

#[test]
fn the_reference_chapters_say_what_the_sources_say() {
    for (chapter, least) in [("pallet-reference.md", 3), ("protocol-reference.md", 12)] {
        let path = docs().join(chapter);
        let text = std::fs::read_to_string(&path).unwrap();
        let (wanted, tables) = renewed(&text);
        assert!(tables >= least, "{chapter}: only {tables} tables are made from the sources");
        if wanted == text {
            continue;
        }
        assert!(
            std::env::var_os("IOTA_BLESS").is_some(),
            "docs/{chapter} differs from the sources; write it anew with IOTA_BLESS=1 and read the diff"
        );
        std::fs::write(&path, wanted).unwrap();
    }
}

/// What the formulas of the reference are checked by: `FILE.json: KEY` of the vectors, or `FILE.rs: TEST`.
#[test]
fn every_formula_names_vectors_and_tests_that_there_are() {
    let text = std::fs::read_to_string(docs().join("protocol-reference.md")).unwrap();
    let mut seen = 0;
    for paragraph in text.split("\n\n").filter_map(|text| text.strip_prefix("Checked by ")) {
        for (file, name) in paragraph.split('`').filter_map(|part| part.split_once(": ")) {
            seen += 1;
            let found = if file.ends_with(".json") {
                let vectors = std::fs::read_to_string(root().join("tests/vectors").join(file)).unwrap();
                !serde_json::from_str::<serde_json::Value>(&vectors).unwrap()[name].is_null()
            } else {
                std::fs::read_to_string(root().join(file)).unwrap().contains(&format!("fn {name}("))
            };
            assert!(found, "{file} has no {name}");
        }
    }
    assert!(seen > 20, "only {seen} names were found");
}

#[test]
fn the_tables_are_read_from_the_comments() {
    let calls = calls();
    assert!(
        calls.contains("| 12 | `claim` | Pays `account` what it is owed; anyone may send it. |"),
        "{calls}"
    );
    assert!(calls.contains("| 5 | `commit_work` | ") && calls.contains("Free once."), "{calls}");
    let source = std::fs::read_to_string(root().join("pallet-iota/src/sections/calls.rs")).unwrap();
    assert_eq!(calls.lines().count() - 2, source.matches("#[pallet::call_index(").count(), "{calls}");
    assert!(calls.contains("| 46 | `report_equivocation` |") && calls.contains("`NothingOwed`"), "{calls}");
    let requests = table("fetch-requests");
    assert!(requests.contains("`first: u32`, `count: u32`"), "{requests}");
    assert!(table("train").contains("| `lr_ppm` | `u32` | Peak learning rate of AdamW. | 1500 | Half of the"));
}

#[test]
fn operations_names_every_setting_and_every_metric() {
    let text = std::fs::read_to_string(docs().join("operations.md")).unwrap();
    let named = |word: &str| text.contains(&format!("`{word}`"));
    let configs = [
        serde_json::to_value(iota_miner::config::MinerConfig::default()).unwrap(),
        serde_json::to_value(iota_validator::config::ValidatorConfig::default()).unwrap(),
        serde_json::to_value(iota_explorer::config::ExplorerConfig::default()).unwrap(),
    ];
    for key in configs.iter().flat_map(|config| config.as_object().unwrap().keys()) {
        let is_for_tests = key.starts_with("fault") || key == "pace_ms";
        assert!(named(key) || is_for_tests, "operations.md does not explain the setting {key}");
    }
    let folders = ["offchain-miner/src", "offchain-validator/src"];
    let files = folders.iter().flat_map(|dir| std::fs::read_dir(root().join(dir)).unwrap().flatten());
    for file in files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "rs")) {
        let source = std::fs::read_to_string(&file).unwrap();
        for metric in source.split("\"iota_").skip(1).filter_map(|rest| rest.split('"').next()) {
            let name = format!("iota_{metric}");
            let is_metric = metric.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(!is_metric || named(&name), "operations.md does not explain the metric {name}");
        }
    }
}
