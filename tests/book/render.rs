//! The book as mdBook renders it, by the script that people use; `scripts/setup tests` builds mdBook.

use std::path::Path;
use std::process::Command;

use crate::blocks::{chapters, root};

#[test]
fn mdbook_renders_every_chapter_and_no_link_leads_nowhere() {
    let mdbook = std::env::var_os("IOTA_MDBOOK");
    if !mdbook.as_deref().is_some_and(|file| Path::new(file).exists()) {
        let missing = format!("no mdBook at IOTA_MDBOOK={mdbook:?} (scripts/setup tests builds one)");
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        eprintln!("SKIPPED: {missing}; the book was not rendered");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let built = Command::new(root().join("scripts/book")).arg(out.path()).output().unwrap();
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(built.status.success(), "{}{}", said(&built.stdout), said(&built.stderr));
    for chapter in chapters() {
        let page = out.path().join(chapter.replace(".md", ".html"));
        let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.contains("<main>") && text.contains("<h1"), "{chapter} is an empty page");
    }
}
