//! The book's chapters and the blocks of commands in them.
//!
//! The words behind a block's language say what the tests do with it:
//! `sh` alone: every command is parsed by its program. `sh,run`: it is run, too, in order, in the shell
//! of its chapter. `sh,start`: run in the background until the test is over. `sh,devnet`: the network that
//! the tutorials need; the test starts it in its own process, smaller and on free ports.

use std::path::PathBuf;

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Parse,
    Run,
    Start,
    Devnet,
}

/// A block of commands.
#[derive(Clone, Debug)]
pub struct Block {
    pub chapter: String,
    pub line: usize,
    pub kind: Kind,
    pub text: String,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub fn docs() -> PathBuf {
    root().join("docs")
}

/// Files that `SUMMARY.md` links, in its order.
pub fn chapters() -> Vec<String> {
    let summary = std::fs::read_to_string(docs().join("SUMMARY.md")).unwrap();
    let links = summary.lines().filter_map(|line| line.split_once("](")?.1.strip_suffix(')'));
    links.map(str::to_owned).collect()
}

fn kind(info: &str) -> Option<Kind> {
    let mut words = info.split(',').map(str::trim);
    if words.next() != Some("sh") {
        return None;
    }
    Some(match words.next() {
        None => Kind::Parse,
        Some("run") => Kind::Run,
        Some("start") => Kind::Start,
        Some("devnet") => Kind::Devnet,
        Some(other) => panic!("a block marked {other:?}; known are run, start and devnet"),
    })
}

/// Blocks of commands of one chapter. A block without a language is refused: nothing says whether its
/// text is a command.
pub fn of_chapter(chapter: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(docs().join(chapter)).unwrap_or_else(|e| panic!("{chapter}: {e}"));
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Option<Kind>, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, open.take()) {
            (Some(_), Some((line, Some(kind), text))) => {
                blocks.push(Block { chapter: chapter.to_owned(), line, kind, text });
            }
            (Some(_), Some((_, None, _))) => {}
            (Some(info), None) => {
                let generated = chapter.starts_with("results/");
                assert!(generated || !info.is_empty(), "{chapter}:{number}: a block without a language");
                open = Some((number, kind(info), String::new()));
            }
            (None, Some((at, kind, mut text))) => {
                text.push_str(line);
                text.push('\n');
                open = Some((at, kind, text));
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{chapter}: a block is never closed");
    blocks
}

/// Blocks of the whole book.
pub fn all() -> Vec<Block> {
    chapters().iter().flat_map(|chapter| of_chapter(chapter)).collect()
}

#[test]
fn the_summary_names_every_file_and_every_link_leads_somewhere() {
    let chapters = chapters();
    assert!(chapters.len() > 10, "{chapters:?}");
    let mut files = Vec::new();
    for dir in ["", "results"] {
        for entry in std::fs::read_dir(docs().join(dir)).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.ends_with(".md") && name != "SUMMARY.md" {
                files.push(if dir.is_empty() { name } else { format!("{dir}/{name}") });
            }
        }
    }
    for file in &files {
        assert!(chapters.contains(file), "docs/{file} is in no chapter of SUMMARY.md");
    }
    for chapter in &chapters {
        let text = std::fs::read_to_string(docs().join(chapter)).unwrap_or_else(|e| panic!("{chapter}: {e}"));
        let folder = docs().join(chapter).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap();
            let outside = file.is_empty() || file.starts_with("http");
            assert!(outside || folder.join(file).exists(), "{chapter}: the link {link} leads nowhere");
        }
    }
}
