//! `scripts/test` runs every test: each target of the workspace stands in it, each crate with tests is
//! selected, and none is switched off. What takes many minutes is a measurement of `scripts/bench`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{MetadataCommand, Package, TargetKind};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages() -> Vec<Package> {
    let mut command = MetadataCommand::new();
    let metadata = command.manifest_path(root().join("Cargo.toml")).no_deps().exec();
    metadata.expect("cargo reads its own manifests; qed").packages
}

/// Words of the gate and of the selections that it uses.
fn words() -> BTreeSet<String> {
    let files = ["scripts/test", "scripts/env.sh"];
    let text: String = files.map(|file| std::fs::read_to_string(root().join(file)).unwrap()).concat();
    text.split(|c: char| c.is_whitespace() || "()\"".contains(c)).map(str::to_owned).collect()
}

/// Text of all sources beneath a folder, by path.
fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let nested = entry.join("Cargo.toml").exists() || entry.ends_with("target");
        if entry.is_dir() && !nested {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            found.push((entry, text));
        }
    }
}

fn sources_of(package: &Package) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    sources(package.manifest_path.parent().unwrap().as_std_path(), &mut found);
    found
}

/// Whether a source has a test. The attribute stands on a line of its own.
fn has_test(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

#[test]
fn every_test_target_stands_in_the_gate() {
    let words = words();
    for package in packages() {
        let targets = package.targets.iter().filter(|target| target.kind.contains(&TargetKind::Test));
        let missing: Vec<_> =
            targets.map(|target| &target.name).filter(|name| !words.contains(*name)).collect();
        assert!(missing.is_empty(), "{}: scripts/test does not run {missing:?}", package.name);
    }
}

#[test]
fn every_crate_with_tests_is_selected() {
    let words = words();
    let packages = packages();
    let with_tests = packages.iter().filter(|own| sources_of(own).iter().any(|(_, text)| has_test(text)));
    let names: Vec<_> = with_tests.map(|own| own.name.to_string()).collect();
    assert!(names.contains(&"iota-protocol".to_owned()), "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !words.contains(*name)).collect();
    assert!(missing.is_empty(), "scripts/test selects {words:?}, not {missing:?}");
}

#[test]
fn no_test_is_switched_off_or_lies_where_cargo_does_not_look() {
    // Put together, so that this file does not accuse itself.
    let ignored = ["#[", "ignore"].concat();
    for package in packages() {
        for (path, text) in sources_of(&package) {
            let off = text.lines().any(|line| line.trim().starts_with(&ignored));
            assert!(!off, "{} has a test that is not run", path.display());
            let example = path.components().any(|part| part.as_os_str() == "examples");
            assert!(!(example && has_test(&text)), "{}: tests of examples are not run", path.display());
        }
    }
}
