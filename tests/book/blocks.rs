//! The book's chapters and the blocks of commands in them.
//!
//! The words behind a block's language say what the tests do with it:
//! Every command is parsed by its program. `sh,run`: it is run, too, in order, in the shell of its chapter.
//! `sh,later`: the same, once an epoch has been paid and the reader's validator has reported. `sh,start`: run in the
//! background until the test is over. `sh,settings`: a program that runs until it is stopped is run with
//! `--print-config` instead. `sh,devnet`: the network that the tutorials need; the test starts it in its own process,
//! smaller and on free ports. `sh,refused`: run like `sh,run`, and every command of it has to fail, because it is
//! too early or there is nothing to do it for; the page's source says right above it with what words. `sh` alone: only
//! parsed, and the page's source says right above it why. `sh,node`: a node, run for some seconds on free ports.

use std::path::PathBuf;

/// What becomes of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Parse,
    Run,
    Refused,
    Later,
    Settings,
    Start,
    Devnet,
    Node,
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
        Some("refused") => Kind::Refused,
        Some("later") => Kind::Later,
        Some("settings") => Kind::Settings,
        Some("start") => Kind::Start,
        Some("devnet") => Kind::Devnet,
        Some("node") => Kind::Node,
        Some(other) => {
            panic!(
                "a block marked {other:?}; known are run, refused, later, start, settings, devnet and node"
            )
        }
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

/// In front of a reason why a block is not run, which the rendered book does not show.
const REASON: &str = "<!-- not run: ";

/// In front of the words with which the commands of a block are refused.
const REFUSED: &str = "<!-- refused: ";

/// The words with which a block's commands are refused.
pub fn refusal(block: &Block) -> String {
    let text = std::fs::read_to_string(docs().join(&block.chapter)).unwrap();
    let before: Vec<&str> = text.lines().take(block.line - 1).collect();
    let above = before.iter().rev().find(|line| !line.trim().is_empty());
    let words = above.and_then(|line| line.strip_prefix(REFUSED)?.strip_suffix(" -->"));
    words.unwrap_or_else(|| panic!("docs/{}:{}: no {REFUSED}", block.chapter, block.line)).to_owned()
}

/// Lines of a chapter that open a block which is only parsed, and have no reason above them.
fn without_reason(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let opens = |line: &&str| line.trim() == "```sh";
    let reason = |at: usize| lines[..at].iter().rev().find(|line| !line.trim().is_empty());
    let reasoned =
        |at: usize| reason(at).is_some_and(|line| line.starts_with(REASON) && line.ends_with("-->"));
    (0..lines.len()).filter(|at| opens(&lines[*at]) && !reasoned(*at)).map(|at| at + 1).collect()
}

#[test]
fn a_block_that_is_not_run_says_why() {
    let fence = "```sh\nls\n```\n";
    assert_eq!(without_reason(&format!("text\n\n{fence}")), [3]);
    assert_eq!(without_reason(&format!("text\n\n<!-- not run: it takes a week -->\n\n{fence}")), [0; 0]);
    let (mut run, mut parsed) = (0, 0);
    for chapter in chapters() {
        let text = std::fs::read_to_string(docs().join(&chapter)).unwrap();
        assert_eq!(without_reason(&text), [0; 0], "docs/{chapter}: lines of blocks without a reason");
        let blocks = of_chapter(&chapter);
        let refused = blocks.iter().filter(|block| block.kind == Kind::Refused);
        refused.for_each(|block| assert!(refusal(block).len() > 8, "docs/{chapter}:{}", block.line));
        parsed += blocks.iter().filter(|block| block.kind == Kind::Parse).count();
        run += blocks.iter().filter(|block| block.kind != Kind::Parse).count();
    }
    assert!(run > 3 * parsed, "{run} blocks are run, {parsed} are not");
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
