//! Records that survive a crash, and files that are never half written.
//!
//! A [`Journal`] only grows. Each record is its length (4 bytes, little endian), the first 8 bytes of a
//! BLAKE3 hash over length and content, and the content. [`Journal::append`] hands a record to the system,
//! which keeps it when this process is killed; [`Journal::sync`] puts everything appended so far on the disk,
//! which keeps it when the machine stops. Call `sync` once for many records: that is the group commit.
//!
//! All calls block on the disk: keep them off the runtime's threads.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::Rng;

/// Longest record. Journals keep receipts and signed bodies; large tensors are files of their own.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// First bytes of every journal: format and version.
const MAGIC: &[u8; 8] = b"iota-jn1";

/// Bytes in front of each record's content.
const HEADER: usize = 12;

/// Journals hold what a worker signed: nobody else's business.
const MODE: u32 = 0o600;

/// An open journal, locked against other processes.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole records. What the file has beyond them is the rest of a failed write.
    len: u64,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Sound,
    /// A write failed half way; the rest must be cut off before the next one.
    Torn,
    /// The disk refused a sync: what it kept is unknown until the file is read again.
    Unknown,
}

impl Journal {
    /// Opens or creates a journal and returns its records in order.
    ///
    /// A record at the end that a crash left incomplete is cut off; it was never promised to anyone.
    ///
    /// # Errors
    /// [`OpenError`]; in particular, damage in front of sound records is an error and nothing is cut.
    pub fn open(path: &Path) -> Result<(Self, Vec<Vec<u8>>), OpenError> {
        let io_error = |cause| OpenError::Io { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        // Appending: after a cut, writes go to the new end.
        let file = options.read(true).append(true).create(true).mode(MODE).open(path).map_err(io_error)?;
        lock(&file).map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse { path: path.to_owned() },
            TryLockError::Error(cause) => io_error(cause),
        })?;
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).map_err(io_error)?;
        let mut journal = Self { path: path.to_owned(), file, len: 0, state: State::Sound };
        let records = journal.recover(&bytes)?;
        Ok((journal, records))
    }

    fn recover(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, OpenError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |cause| OpenError::Io { path, cause }
        };
        let Some(body) = bytes.strip_prefix(MAGIC) else {
            if !MAGIC.starts_with(bytes) {
                return Err(OpenError::Foreign { path: self.path.clone() });
            }
            self.begin().map_err(io_error(&self.path))?;
            return Ok(Vec::new());
        };
        let (records, rest) = split_records(body);
        self.len = as_u64(bytes.len() - rest.len());
        if !rest.is_empty() {
            if sound_record_follows(rest) {
                return Err(OpenError::Damaged { path: self.path.clone(), offset: self.len });
            }
            tracing::warn!(path = %self.path.display(), cut_bytes = rest.len(), "incomplete last record cut off");
            self.cut().and_then(|()| self.file.sync_data()).map_err(io_error(&self.path))?;
        }
        Ok(records)
    }

    /// Writes the first bytes of a new file and makes its name durable.
    fn begin(&mut self) -> io::Result<()> {
        self.cut()?;
        self.file.write_all(MAGIC)?;
        self.file.sync_all()?;
        self.len = as_u64(MAGIC.len());
        sync_parent(&self.path)
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)
    }

    /// Appends one record. It survives the death of this process, and of the machine after [`Journal::sync`].
    ///
    /// # Errors
    /// [`AppendError`]. A record that failed is not in the journal, not even in part, and the ones before it
    /// stay readable; after [`AppendError::DiskFull`] one can make room and append again.
    pub fn append(&mut self, record: &[u8]) -> Result<(), AppendError> {
        if self.state == State::Unknown {
            return Err(AppendError::Closed { path: self.path.clone() });
        }
        let header = header_of(record).ok_or(AppendError::TooLarge { got: record.len() })?;
        if self.state == State::Torn {
            self.cut().map_err(|cause| self.append_error(record, cause))?;
            self.state = State::Sound;
        }
        let mut whole = Vec::with_capacity(HEADER + record.len());
        whole.extend_from_slice(&header);
        whole.extend_from_slice(record);
        if let Err(cause) = self.file.write_all(&whole) {
            // A second failure is met before the next record.
            self.state = if self.cut().is_ok() { State::Sound } else { State::Torn };
            return Err(self.append_error(record, cause));
        }
        self.len += as_u64(whole.len());
        Ok(())
    }

    fn append_error(&self, record: &[u8], cause: io::Error) -> AppendError {
        let (path, got) = (self.path.clone(), record.len());
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                AppendError::DiskFull { path, got, cause }
            }
            _ => AppendError::Io { path, cause },
        }
    }

    /// Puts everything appended so far on the disk.
    ///
    /// # Errors
    /// What the disk says. The journal then takes nothing more: after a failed sync the system may have
    /// dropped data that it still shows, so that the file must be opened and read again.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        self.file.sync_data().map_err(|cause| {
            self.state = State::Unknown;
            SyncError { path: self.path.clone(), cause }
        })
    }

    /// Replaces the whole journal by these records, durably; used to drop what a closed epoch no longer needs.
    /// A crash leaves either the old journal or the new one.
    ///
    /// # Errors
    /// As for [`Journal::append`]; the old journal stays in use.
    pub fn replace<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<(), AppendError> {
        let mut whole = MAGIC.to_vec();
        for record in records {
            let header = header_of(record).ok_or(AppendError::TooLarge { got: record.len() })?;
            whole.extend_from_slice(&header);
            whole.extend_from_slice(record);
        }
        let staged =
            Staged::write(&self.path, &whole, MODE).map_err(|cause| self.append_error(&whole, cause))?;
        let opened = OpenOptions::new().read(true).append(true).open(&staged.path);
        // Locked before it gets the name, so that no other process can come in between.
        let locked = opened.and_then(|file| {
            file.try_lock().map_err(io::Error::from)?;
            Ok(file)
        });
        let file = locked.map_err(|cause| self.append_error(&whole, cause))?;
        staged.rename(&self.path).map_err(|cause| self.append_error(&whole, cause))?;
        self.file = file;
        self.len = as_u64(whole.len());
        self.state = State::Sound;
        Ok(())
    }

    /// Bytes of whole records: after an append, where the new record ends.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// Where each of the records that [`Journal::open`] returned ends in the file.
    pub fn ends(records: &[Vec<u8>]) -> impl Iterator<Item = u64> + '_ {
        records.iter().scan(as_u64(MAGIC.len()), |end, record| {
            *end += as_u64(HEADER + record.len());
            Some(*end)
        })
    }
}

/// Locks a journal against other processes. Tries for a second: a process that was killed, or that is just
/// starting another program, holds its files a little longer than it seems.
fn lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..10 {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
            decided => return decided,
        }
    }
    file.try_lock()
}

/// Header of a record: length and check; `None` if it is too long.
fn header_of(record: &[u8]) -> Option<[u8; HEADER]> {
    let length = u32::try_from(record.len()).ok().filter(|_| record.len() <= MAX_RECORD_BYTES)?;
    let mut header = [0; HEADER];
    let (len, check) = header.split_at_mut(4);
    len.copy_from_slice(&length.to_le_bytes());
    let hash = blake3::Hasher::new().update(len).update(record).finalize();
    check.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
    Some(header)
}

/// The first record of these bytes and what follows it, if it is whole and sound.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let (record, rest) = rest.split_at_checked(claimed_len(header)?)?;
    (header_of(record)? == *header).then_some((record, rest))
}

fn split_records(mut bytes: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut records = Vec::new();
    while let Some((record, rest)) = split_record(bytes) {
        records.push(record.to_vec());
        bytes = rest;
    }
    (records, bytes)
}

fn claimed_len(header: &[u8; HEADER]) -> Option<usize> {
    let length = u32::from_le_bytes(*header.first_chunk()?);
    usize::try_from(length).ok().filter(|length| *length <= MAX_RECORD_BYTES)
}

/// Whether a sound record comes after the broken one that these bytes begin with. Then it is no torn end,
/// and cutting would lose what was promised.
fn sound_record_follows(bytes: &[u8]) -> bool {
    let after = bytes
        .split_first_chunk::<HEADER>()
        .and_then(|(header, rest)| rest.split_at_checked(claimed_len(header)?));
    after.is_some_and(|(_, next)| split_record(next).is_some())
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Writes a file so that a crash leaves either what was there or all of the new bytes.
///
/// # Errors
/// What the disk says; the old file is then untouched.
pub fn atomic_write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    Staged::write(path, bytes, 0o644)?.rename(path)
}

/// Writes a new file with this mode: complete, or not at all, and never over another one.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if something is there; otherwise what the disk says.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let staged = Staged::write(path, bytes, mode)?;
    // Unlike a rename, a link fails if the name is taken. The staged name goes when `staged` does.
    fs::hard_link(&staged.path, path)?;
    drop(staged);
    sync_parent(path)
}

/// A complete, durable file beside its destination; removed unless it is renamed.
struct Staged {
    path: PathBuf,
}

impl Staged {
    fn write(destination: &Path, bytes: &[u8], mode: u32) -> io::Result<Self> {
        let name = destination.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let unique: u64 = rand::rng().random();
        let path = destination.with_file_name(format!(".{name}.{unique:016x}.tmp"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        let staged = Self { path };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }

    fn rename(self, destination: &Path) -> io::Result<()> {
        fs::rename(&self.path, destination)?;
        sync_parent(destination)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; otherwise a leftover costs space only.
        let _gone = fs::remove_file(&self.path);
    }
}

/// Makes a name durable: a file's own sync does not cover the folder that lists it.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Why a journal did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process writes it.
    #[error("journal {} is in use by another process; stop it, or two would sign for one key", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Not a journal.
    #[error("{} is not a journal of this version; choose another path", path.display())]
    Foreign {
        /// The path.
        path: PathBuf,
    },
    /// Broken in front of sound records: the disk lost something that was promised.
    #[error(
        "journal {} is damaged at byte {offset}, in front of sound records; check the disk, and move the file \
         away only if what it promised may be given up",
        path.display()
    )]
    Damaged {
        /// The path.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
    },
    /// The disk failed.
    #[error("cannot open journal {}: {cause}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Why a record is not in the journal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Longer than a record may be.
    #[error(
        "record of {got} bytes is over the limit of {MAX_RECORD_BYTES} bytes; keep it in a file of its own"
    )]
    TooLarge {
        /// Bytes of the record.
        got: usize,
    },
    /// No room.
    #[error("no room for {got} bytes in journal {} ({cause}); free some space, nothing is damaged", path.display())]
    DiskFull {
        /// The path.
        path: PathBuf,
        /// Bytes of the record.
        got: usize,
        /// What the system says.
        cause: io::Error,
    },
    /// A sync failed before.
    #[error("journal {} takes nothing more since its disk failed; restart to read it again", path.display())]
    Closed {
        /// The path.
        path: PathBuf,
    },
    /// The disk failed.
    #[error("cannot write journal {}: {cause}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// The disk did not confirm what was appended.
#[derive(Debug, thiserror::Error)]
#[error("disk did not confirm journal {}: {cause}; restart to see what it kept", path.display())]
pub struct SyncError {
    path: PathBuf,
    cause: io::Error,
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
