//! The pages in Debian's Chromium, where it is installed (`scripts/setup` does it): nothing on the
//! console, charts drawn, the injected script without effect. Live updates are tested without a browser.
//!
//! Pictures are kept in `IOTA_SCREENSHOTS` if that names a folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::web::{owner_page, site, Site, PAGES};

/// A page takes one to three seconds; more on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

struct Seen {
    dom: String,
    console: Vec<String>,
}

fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("chromium")).find(|program| program.exists())
}

/// One run of the browser; it is killed when it takes longer than [`LIMIT`].
async fn start(program: &Path, profile: &Path, more: &[String]) -> std::process::Output {
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--enable-logging=stderr", "--log-level=0", "--virtual-time-budget=4000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = tokio::time::timeout(LIMIT, output).await;
    ended.unwrap_or_else(|_| panic!("the browser did not end within {LIMIT:?} with {more:?}")).unwrap()
}

/// The page without its live stream: an open stream holds the browser's virtual time for ever.
fn url(site: &Site, path: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("http://{}{path}{separator}live=off", site.address)
}

async fn visit(program: &Path, site: &Site, path: &str) -> Seen {
    let profile = tempfile::tempdir().unwrap();
    let url = url(site, path);
    let output = start(program, profile.path(), &["--dump-dom".into(), url]).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    Seen { dom: String::from_utf8_lossy(&output.stdout).into_owned(), console }
}

async fn picture(program: &Path, site: &Site, path: &str, file: &Path, width: u32, dark: bool) {
    let profile = tempfile::tempdir().unwrap();
    let scheme = if dark { 0 } else { 1 };
    let more = [
        format!("--screenshot={}", file.display()),
        format!("--window-size={width},1600"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
        url(site, path),
    ];
    start(program, profile.path(), &more).await;
    assert!(file.exists(), "no picture of {path}");
}

#[tokio::test]
async fn pages_load_in_a_browser_without_complaints() {
    let Some(program) = chromium() else {
        let missing = "chromium is not installed (scripts/setup tests)";
        assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
        eprintln!("SKIPPED: {missing}; nothing was tested in a browser");
        return;
    };
    let site = site(1_000).await;
    let owner = owner_page(&site).await;
    let pages = || PAGES.into_iter().chain([owner.as_str()]);
    for path in pages() {
        let seen = visit(&program, &site, path).await;
        assert!(seen.dom.contains("</html>"), "{path}: {}", seen.dom);
        assert_eq!(seen.console, Vec::<String>::new(), "{path}");
        assert!(!seen.dom.contains("<script>window.pwned"), "{path}");
        // The library draws a chart on one canvas or on several, one above the other.
        let charts: Vec<&str> = seen.dom.split("data-chart=").skip(1).collect();
        let empty = charts.iter().filter(|chart| !chart.contains("<canvas")).count();
        let expected = matches!(path, "/run/0" | "/run/0/epoch/0" | "/run/0/epoch/1");
        assert!(!expected || (!charts.is_empty() && empty == 0), "{path}: {empty} of {} empty", charts.len());
    }
    if let Some(dir) = std::env::var_os("IOTA_SCREENSHOTS").map(PathBuf::from) {
        std::fs::create_dir_all(&dir).unwrap();
        for path in pages() {
            let name = path.trim_matches('/').replace(['/', '?', '=', '&', '+'], "-");
            let name = if name.is_empty() { "overview".to_owned() } else { name };
            for (kind, width, dark) in [("light", 1280, false), ("dark", 1280, true), ("phone", 375, false)] {
                picture(&program, &site, path, &dir.join(format!("{name}-{kind}.png")), width, dark).await;
            }
        }
    }
}
