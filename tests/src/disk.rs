//! A disk of a few megabytes for one member's data, which a test can fill and free: a `tmpfs`, mounted before
//! the member starts and taken away when dropped. Needs root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context};

/// The file that takes what is left of the disk.
const FILLER: &str = "filler";

/// A mounted disk.
pub struct SmallDisk {
    place: PathBuf,
}

fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    bail!("`{program} {}` failed: {}; a disk of its own needs root", args.join(" "), said.trim())
}

impl SmallDisk {
    /// Mounts a disk of `mib` MiB at a folder, which is made.
    ///
    /// # Errors
    /// When it cannot be mounted.
    pub fn mount(place: &Path, mib: u32) -> anyhow::Result<Self> {
        std::fs::create_dir_all(place).with_context(|| format!("creating {}", place.display()))?;
        let shown = place.to_str().context("the folder's name is not UTF-8")?;
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", shown])?;
        Ok(Self { place: place.to_owned() })
    }

    /// Fills what is left of it.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = File::create(self.place.join(FILLER)).context("making the file that fills a disk")?;
        let block = vec![0u8; 1 << 16];
        // Ends with the error that is wanted; the last bytes go one page at a time.
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..512]).is_ok() {}
        Ok(())
    }

    /// Frees it again.
    pub fn free(&self) {
        // It is not there before the first fill.
        drop(std::fs::remove_file(self.place.join(FILLER)));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let place = self.place.display().to_string();
        // Lazily: a process that is being killed may have files open.
        if let Err(error) = run("umount", &["--lazy", &place]) {
            tracing::warn!(%error, "a small disk stays behind");
        }
    }
}
