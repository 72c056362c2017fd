//! Every command of the book is parsed by its program: subcommand, flags and values.

use std::path::PathBuf;
use std::process::Command;

use clap::CommandFactory;

use crate::blocks::{all, root, Block};

/// Words of the shell and tools of every Debian that may open a command; they are not looked at further.
const SHELL: [&str; 10] = ["cd", "mkdir", "export", ".", "curl", "cat", "cp", "chmod", "git", "sudo"];

/// The commands of a block, as words. Lines that end in a backslash go on.
pub fn commands(block: &Block) -> Vec<Vec<String>> {
    let text = block.text.replace("\\\n", " ");
    let lines = text.lines().map(|line| line.split(" # ").next().unwrap_or(line).trim());
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            shlex::split(line)
                .unwrap_or_else(|| panic!("{}:{}: unbalanced: {line}", block.chapter, block.line))
        })
        .collect()
}

/// Where a program's folder was named, or beside ours.
pub fn program(name: &str) -> PathBuf {
    let variable = if name == "iota-node" { "IOTA_BIN_CHAIN" } else { "IOTA_BIN_WORK" };
    let folder = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set; run scripts/test, or scripts/build and set it"));
    PathBuf::from(folder).join(name)
}

/// What is wrong with a command, if anything is.
fn wrong(words: &[String]) -> Option<String> {
    let words: Vec<&String> = words.iter().skip_while(|word| is_assignment(word)).collect();
    let name = words.first()?;
    let parser = match name.as_str() {
        "iota-miner" => iota_miner::cli::Cli::command(),
        "iota-run" => iota_miner::runs::Cli::command(),
        "iota-validator" => iota_validator::cli::Cli::command(),
        "iota-explorer" => iota_explorer::cli::Cli::command(),
        "scripts/devnet" => iota_tests::options::Options::command(),
        "iota-node" => return node(&words),
        script if script.starts_with("scripts/") => {
            let found = root().join(script).is_file();
            return (!found).then(|| format!("{script} does not exist"));
        }
        other if SHELL.contains(&other) => return None,
        other => return Some(format!("{other} is no program of ours and none that this test knows")),
    };
    match parser.try_get_matches_from(&words) {
        Ok(_) => None,
        Err(error) if !error.use_stderr() => None,
        Err(error) => Some(error.to_string()),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

/// The node's parser is on the other side of the workspace, so the program itself is asked: it refuses
/// an unknown flag before it comes to `--help`.
fn node(words: &[&String]) -> Option<String> {
    let output = Command::new(program("iota-node")).args(&words[1..]).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_of_the_book_is_understood_by_its_program() {
    let mut seen = 0;
    for block in all() {
        for words in commands(&block) {
            seen += 1;
            if let Some(error) = wrong(&words) {
                panic!("docs/{}:{}: {}\n{error}", block.chapter, block.line, words.join(" "));
            }
        }
    }
    assert!(seen > 40, "only {seen} commands were found");
}

/// Commands of ours in the blocks of a page that is no chapter of the book, with an address and a hash where the page
/// leaves out whose.
fn ours(page: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join(page)).unwrap().replace("\\\n", " ");
    let text = text.replace("5...", "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY");
    let text = text.replace("$(printf '%064x' 1)", &"01".repeat(32));
    let text = text.replace("0x...", &format!("0x{}", "00".repeat(32)));
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        (inside && !fence) || line.starts_with("    ")
    });
    let lines = lines.map(|line| line.split(" # ").next().unwrap_or(line).trim());
    let known = |words: &Vec<String>| {
        let name = words.iter().find(|word| !is_assignment(word));
        name.is_some_and(|name| {
            name.starts_with("scripts/") || (name.starts_with("iota-") && !name.ends_with(':'))
        })
    };
    lines.filter_map(shlex::split).filter(known).collect()
}

#[test]
fn every_command_of_the_pages_beside_the_book_is_understood_too() {
    for (page, least) in [("README.md", 10), ("chain-spec/README.md", 8), ("CONTRIBUTING.md", 0)] {
        let commands = ours(page);
        assert!(commands.len() >= least, "{page}: only {commands:?}");
        for words in commands {
            assert_eq!(wrong(&words), None, "{page}: {}", words.join(" "));
        }
    }
}

#[test]
fn every_systemd_unit_starts_a_program_as_it_wants_to_be_started() {
    let mut units = 0;
    for entry in std::fs::read_dir(root().join("scripts/systemd")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart=/opt/iota/bin/")).unwrap();
        let error = wrong(&shlex::split(start).unwrap());
        assert_eq!(error, None, "{}", entry.path().display());
        assert!(text.contains("StateDirectoryMode=0700"), "keys and journals are their owner's");
        units += 1;
    }
    assert_eq!(units, 4);
}

/// systemd's own opinion, with our programs where they are installed to.
#[test]
fn systemd_finds_nothing_wrong_with_a_unit() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let missing = "systemd-analyze is not installed (scripts/setup tests)";
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        eprintln!("SKIPPED: {missing}; no unit was looked at");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let verify = |name: &str, text: &str| {
        let file = place.path().join(name);
        std::fs::write(&file, text).unwrap();
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for name in ["iota-node", "iota-explorer", "iota-miner", "iota-validator"] {
        let unit = root().join(format!("scripts/systemd/{name}.service"));
        let installed = format!("/opt/iota/bin/{name}");
        let text = std::fs::read_to_string(&unit).unwrap();
        let text = text.replace(&installed, program(name).to_str().unwrap());
        let (fine, said) = verify(&format!("{name}.service"), &text);
        assert!(fine && !said.contains(name), "{name}: {said}");
        let (fine, said) = verify(&format!("{name}.service"), &text.replace("Restart=", "Restrat="));
        assert!(
            !fine || said.contains("Restrat"),
            "systemd says nothing of a key that it does not know: {said}"
        );
    }
}

#[test]
fn a_wrong_command_would_be_seen() {
    let wrong = |line: &str| wrong(&shlex::split(line).unwrap());
    assert_eq!(wrong("iota-miner keys new --out hotkey.json"), None);
    assert_eq!(wrong("NO_COLOR=1 iota-miner status --json"), None);
    for line in [
        "iota-miner keys make",
        "iota-miner keys new --output hotkey.json",
        "iota-miner run --threads many",
        "iota-validator bond --coldkey coldkey.json",
        "iota-explorer verify-epoch",
        "iota-node --no-such-flag",
        "scripts/devnet --no-such-flag",
        "scripts/no-such-script",
        "rm -r docs",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
}
