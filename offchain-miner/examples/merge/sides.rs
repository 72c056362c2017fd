//! The sides that are timed. Ours is led through its steps from here: this program is the chain.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Context;
use iota_protocol::ids::{Epoch, Hash, Incarnation, Stage, Uid};
use iota_protocol::shard::Shards;
use iota_protocol::view::{CommitView, MergeView};
use iota_protocol::work::{Bitmap, ShardStatus, WorkCommit};

use crate::member::{params, seed_of, Size};
use crate::process::Process;

/// Seconds of the steps of one merge, each until the slowest member was done, and what it moved.
#[derive(Clone, Debug)]
pub struct Merge {
    /// Entry, its Merkle root, both to disk.
    pub commit: f64,
    /// Everybody's entries for the own shards, checked against their roots.
    pub gather: f64,
    /// The robust rule over the own shards, to disk.
    pub merge: f64,
    /// The other shards from their owners, checked against the agreed hashes, and the outer step.
    pub share: f64,
    /// Root of the new state, which an averager has not.
    pub root: f64,
    /// As many bytes without meaning.
    pub raw: f64,
    /// As many bytes onto the disk, of all members at once.
    pub disk: f64,
    /// Bytes in and out of each member.
    pub bytes: Vec<u64>,
}

impl Merge {
    /// All that an averager does as well.
    pub fn seconds(&self) -> f64 {
        self.commit + self.gather + self.merge + self.share
    }
}

/// Hashes that an owner opens, by shard.
type Opened = Vec<(u16, Option<Hash>)>;

/// Merges among our processes.
///
/// # Errors
/// When a member fails or members differ.
pub fn ours(folder: &Path, size: Size, rounds: u32) -> anyhow::Result<Vec<Merge>> {
    let mut members = Vec::new();
    for uid in 0..size.members {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--part", &uid.to_string(), "--members", &size.members.to_string()]);
        command.args(["--megabytes", &size.megabytes.to_string(), "--rounds", &rounds.to_string()]);
        members.push(Process::start(command.arg("--folder").arg(folder))?);
    }
    let mut addresses = Vec::new();
    for member in &mut members {
        let opened: Vec<String> = member.hear()?;
        addresses.push(opened.into_iter().next().context("a member listens nowhere")?);
    }
    members.iter_mut().try_for_each(|member| member.say(&addresses))?;
    for member in &mut members {
        let _ready: String = member.hear()?;
    }
    let merges = (0..rounds).map(|round| one(&mut members, size, Epoch(round))).collect::<Result<_, _>>()?;
    members.iter_mut().try_for_each(|member| member.say(&"stop"))?;
    members.into_iter().try_for_each(Process::finish)?;
    Ok(merges)
}

fn one(members: &mut [Process], size: Size, epoch: Epoch) -> anyhow::Result<Merge> {
    let (commit, works): (_, Vec<WorkCommit>) = together(members, &"commit")?;
    let mut view = MergeView { commits: commits(works), ..MergeView::default() };
    view.entry_set = Some((0..members.len()).fold(Bitmap::default(), Bitmap::with));
    let (gather, held): (_, Vec<Bitmap>) = together(members, &view)?;
    anyhow::ensure!(
        held.iter().all(|held| Some(*held) == view.entry_set),
        "not all entries are held: {held:?}"
    );
    let (merge, opened): (_, Vec<Opened>) = together(members, &"merge")?;
    let shards = Shards::new(&seed_of(epoch), Stage(0), members.len(), size.chunks(&params()?));
    view.shards = agreed(&shards.context("no shards")?, &opened)?;
    let (share, _): (_, Vec<String>) = together(members, &view)?;
    let (root, ends): (_, Vec<(Hash, u64)>) = together(members, &"root")?;
    let (roots, bytes): (Vec<Hash>, Vec<u64>) = ends.into_iter().unzip();
    anyhow::ensure!(
        roots.windows(2).all(|pair| pair[0] == pair[1]),
        "members end with other states: {roots:?}"
    );
    let (raw, _): (_, Vec<String>) = together(members, &"raw")?;
    let (disk, _): (_, Vec<String>) = together(members, &"disk")?;
    Ok(Merge { commit, gather, merge, share, root, raw, disk, bytes })
}

/// Tells all members the same and waits for all answers.
fn together<A: for<'a> serde::Deserialize<'a>, Q: serde::Serialize + ?Sized>(
    members: &mut [Process],
    question: &Q,
) -> anyhow::Result<(f64, Vec<A>)> {
    let start = Instant::now();
    members.iter_mut().try_for_each(|member| member.say(question))?;
    let answers = members.iter_mut().map(Process::hear).collect::<anyhow::Result<Vec<A>>>()?;
    Ok((start.elapsed().as_secs_f64(), answers))
}

fn commits(works: Vec<WorkCommit>) -> Vec<CommitView> {
    let commit = |(uid, work)| CommitView {
        uid: Uid(uid),
        incarnation: Incarnation(u32::from(uid)),
        work,
        attested: None,
        blind: None,
        opened: false,
        root: None,
    };
    (0u16..).zip(works).map(commit).collect()
}

/// What both owners of each shard opened, which must be the same.
fn agreed(shards: &Shards, opened: &[Opened]) -> anyhow::Result<Vec<ShardStatus>> {
    let hash_of = |shard: u16, owner: usize| {
        let own = opened.get(owner)?.iter().find(|(at, _)| *at == shard)?;
        own.1
    };
    let status = |shard: u16| {
        let (low, high) = shards.owners(shard).context("a shard without owners")?;
        let (one, other) = (hash_of(shard, low), hash_of(shard, high));
        anyhow::ensure!(
            one.is_some() && one == other,
            "owners of shard {shard} differ: {one:?} and {other:?}"
        );
        Ok(ShardStatus::Agreed(one.context("no hash")?))
    };
    (0..shards.count()).map(status).collect()
}

/// Seconds of each round of another averager.
///
/// # Errors
/// When it fails.
pub fn averager(python: &Path, kind: &str, size: Size, rounds: u32) -> anyhow::Result<Vec<f64>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/merge/averager.py");
    let mut command = Command::new(python);
    // Its PyTorch brings a libtorch of its own.
    command.arg(script).arg(kind).env_remove("LD_LIBRARY_PATH");
    command.args([size.members.to_string(), size.megabytes.to_string(), rounds.to_string()]);
    let mut process = Process::start(&mut command)?;
    let times = process.hear()?;
    process.finish()?;
    Ok(times)
}
