//! The running explorer in a headless Chromium, driven by playwright-core (`scripts/setup tests` fetches
//! both). `browser.cjs` looks; this file starts it and reads what it found.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use iota_protocol::ids::AccountKey;
use iota_service::ss58;
use tokio::process::Command;

use crate::blocks::root;

/// Forty pages in four forms take a minute; more on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.exists())
}

/// Where npm's packages are: in `NODE_PATH`, or where `scripts/setup tests` puts them.
fn packages() -> Option<PathBuf> {
    let named = std::env::var_os("NODE_PATH").map(PathBuf::from);
    if let Some(named) = named.filter(|dir| dir.join("playwright-core").exists()) {
        return Some(named);
    }
    let own = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/iota"));
    let cache = std::env::var_os("IOTA_CACHE").map(PathBuf::from).or_else(own)?;
    let packages = cache.join("browser/node_modules");
    packages.join("playwright-core").exists().then_some(packages)
}

/// Looks at every kind of page. Pictures are kept in `IOTA_SCREENSHOTS` if that names a folder.
pub async fn look(address: &str, hostile: &AccountKey) {
    let (Some(node), Some(chromium), Some(packages)) = (in_path("node"), in_path("chromium"), packages())
    else {
        let missing = "node, chromium or playwright-core is not there (scripts/setup tests)";
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        eprintln!("SKIPPED: {missing}; the running explorer was not looked at in a browser");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let pictures = std::env::var_os("IOTA_SCREENSHOTS").map_or(scratch.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&pictures).unwrap();
    let output = Command::new(node)
        .arg(root().join("tests/book/browser.cjs"))
        .arg(format!("http://{address}"))
        .arg(&pictures)
        .arg(&chromium)
        .arg(ss58::encode(&hostile.0))
        .env("NODE_PATH", packages)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LIMIT, output).await.expect("the browser ends in time").unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{said}{errors}");
    assert!(output.status.success(), "the browser found something wrong, see above");
    assert!(said.contains("pages looked at"), "the browser said nothing");
}
