//! Tests of `journal`: crashes are played by cutting and editing the file.

use std::{os::unix::process::CommandExt, process::Command};

use super::*;

fn temporary() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal");
    (dir, path)
}

fn reopen(path: &Path) -> Vec<Vec<u8>> {
    Journal::open(path).expect("opens").1
}

fn written(path: &Path, records: &[&[u8]]) -> Vec<u8> {
    let (mut journal, _) = Journal::open(path).expect("opens");
    records.iter().for_each(|record| journal.append(record).expect("room"));
    journal.sync().expect("durable");
    fs::read(path).expect("there")
}

#[test]
fn records_come_back_in_order() {
    let (_dir, path) = temporary();
    assert_eq!(reopen(&path), Vec::<Vec<u8>>::new());
    let bytes = written(&path, &[b"one", b"", &[7; 100_000]]);
    assert_eq!(as_u64(bytes.len()), Journal::open(&path).expect("opens").0.len_bytes());
    assert_eq!(reopen(&path), [b"one".to_vec(), Vec::new(), vec![7; 100_000]]);
}

#[test]
fn end_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
    let (_dir, path) = temporary();
    let first = written(&path, &[b"first"]).len();
    let whole = written(&path, &[b"second"]);
    for cut in first..whole.len() {
        fs::write(&path, &whole[..cut]).expect("own file");
        assert_eq!(reopen(&path), [b"first"], "cut at {cut}");
        assert_eq!(fs::read(&path).expect("there").len(), first, "cut at {cut}");
        written(&path, &[b"third"]);
        assert_eq!(reopen(&path), [b"first", b"third"], "cut at {cut}");
    }
}

#[test]
fn torn_first_bytes_give_an_empty_journal() {
    let (_dir, path) = temporary();
    for cut in 0..MAGIC.len() {
        fs::write(&path, &MAGIC[..cut]).expect("own file");
        written(&path, &[b"a"]);
        assert_eq!(reopen(&path), [b"a"], "cut at {cut}");
    }
}

#[test]
fn changed_byte_in_the_last_record_cuts_it() {
    let (_dir, path) = temporary();
    let first = written(&path, &[b"first"]).len();
    let whole = written(&path, &[b"second"]);
    for at in first..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).expect("own file");
        assert_eq!(reopen(&path), [b"first"], "changed at {at}");
    }
}

#[test]
fn damage_in_front_of_sound_records_is_an_error_and_nothing_is_cut() {
    let (_dir, path) = temporary();
    let mut bytes = written(&path, &[b"first", b"second"]);
    bytes[MAGIC.len() + HEADER] ^= 1;
    fs::write(&path, &bytes).expect("own file");
    let error = Journal::open(&path).expect_err("damaged");
    assert!(matches!(error, OpenError::Damaged { offset: 8, .. }), "{error}");
    assert_eq!(fs::read(&path).expect("there"), bytes);
}

#[test]
fn file_of_another_kind_is_left_alone() {
    let (_dir, path) = temporary();
    fs::write(&path, b"dear diary").expect("own file");
    assert!(matches!(Journal::open(&path), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).expect("there"), b"dear diary");
}

#[test]
fn second_writer_is_refused_while_the_first_lives_even_after_a_replacement() {
    let (_dir, path) = temporary();
    let (mut journal, _) = Journal::open(&path).expect("opens");
    assert!(matches!(Journal::open(&path), Err(OpenError::InUse { .. })));
    journal.replace([&b"kept"[..]]).expect("room");
    assert!(matches!(Journal::open(&path), Err(OpenError::InUse { .. })));
    drop(journal);
    assert_eq!(reopen(&path), [b"kept"]);
}

#[test]
fn replaced_journal_holds_the_new_records_and_goes_on() {
    let (dir, path) = temporary();
    written(&path, &[b"old", b"kept"]);
    let (mut journal, _) = Journal::open(&path).expect("opens");
    journal.replace([&b"kept"[..]]).expect("room");
    journal.append(b"new").expect("room");
    assert_eq!(journal.len_bytes(), fs::metadata(&path).expect("there").len());
    drop(journal);
    assert_eq!(reopen(&path), [&b"kept"[..], b"new"]);
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "no temporary file stays");
}

#[test]
fn record_over_the_limit_is_refused_and_nothing_is_written() {
    let (_dir, path) = temporary();
    let (mut journal, _) = Journal::open(&path).expect("opens");
    let before = journal.len_bytes();
    let error = journal.append(&vec![0; MAX_RECORD_BYTES + 1]).expect_err("too large");
    assert!(matches!(error, AppendError::TooLarge { .. }), "{error}");
    assert_eq!(fs::metadata(&path).expect("there").len(), before);
}

/// A file size limit plays the full disk. It binds a whole process, so that the test runs itself again.
#[test]
fn full_disk_is_reported_and_leaves_the_journal_readable() {
    const PATH: &str = "JOURNAL_TEST_ON_A_FULL_DISK";
    if let Ok(path) = std::env::var(PATH) {
        return fill(Path::new(&path));
    }
    let (_dir, path) = temporary();
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.args(["--exact", "journal::tests::full_disk_is_reported_and_leaves_the_journal_readable"]);
    child.env(PATH, &path);
    // SAFETY: both calls are allowed between fork and exec and touch nothing of ours.
    unsafe {
        child.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: 10_000, rlim_max: 10_000 };
            match libc::setrlimit(libc::RLIMIT_FSIZE, &limit) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
    let output = child.output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(reopen(&path).len(), 4, "three large records and a small one");
}

fn fill(path: &Path) {
    let (mut journal, _) = Journal::open(path).expect("opens");
    (0..3).for_each(|_| journal.append(&[1; 3000]).expect("room for three"));
    let error = journal.append(&[1; 3000]).expect_err("no room for a fourth");
    assert!(matches!(error, AppendError::DiskFull { got: 3000, .. }), "{error}");
    assert_eq!(fs::metadata(path).expect("there").len(), journal.len_bytes());
    journal.append(b"small").expect("room for a small one");
    journal.sync().expect("durable");
}

#[test]
fn atomic_write_replaces_and_write_new_does_not() {
    let (dir, path) = temporary();
    atomic_write(&path, b"one").expect("room");
    atomic_write(&path, b"two").expect("room");
    let error = write_new(&path, b"three", 0o600).expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).expect("there"), b"two");
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "no temporary file stays");
    atomic_write(&dir.path().join("absent").join("file"), b"x").expect_err("no such folder");
}
