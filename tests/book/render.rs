//! The book as mdBook renders it, where mdBook is installed.

use std::process::Command;

use crate::blocks::{chapters, docs};

#[test]
fn mdbook_renders_every_chapter() {
    let installed = Command::new("mdbook").arg("--version").output().is_ok_and(|out| out.status.success());
    if !installed {
        eprintln!("SKIPPED: mdbook is not installed (cargo install mdbook); the book was not rendered");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let built =
        Command::new("mdbook").arg("build").arg(docs()).arg("--dest-dir").arg(out.path()).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for chapter in chapters() {
        let page = out.path().join(chapter.replace(".md", ".html"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains("<main>") && text.contains("<h1"), "{chapter} is an empty page");
    }
}
