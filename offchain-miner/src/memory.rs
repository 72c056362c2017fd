//! What a stage needs of this machine's memory, and how a limit that the owner gave is divided: first the
//! stage itself, then what the network may hold, then samples in flight.
//!
//! The stage cannot shrink. What is bounded is the number of open samples, each of which holds a graph, and
//! the bytes of requests that wait; states of earlier epochs are left on disk. Code bytes need no bound of
//! their own: the store reads them from the journal, and has in memory only those of open samples.

use iota_compute::plan;
use iota_protocol::ids::Stage;
use iota_protocol::params::RunParams;
use iota_protocol::wire;
use iota_service::quantity::ByteSize;
use iota_worker::exchange::FETCH_LIMIT;
use iota_worker::listen::Memory;

/// Bytes that a stage keeps in memory for each parameter, all fp32: masters in two versions, summed
/// gradients and two moments (20), weights at the start of the epoch and outer momentum, twice, for this
/// epoch and for whoever still asks for the one before (16), the copies that a merge makes of both (12), and
/// entries, held ranges and merged shards of three epochs (12).
pub const PER_PARAMETER: u64 = 60;
/// libtorch and the program: a miner of the smallest model holds less than this in all.
pub const BASE: u64 = 400 << 20;
/// Open samples at one stage beyond which it answers `Busy`, where no limit says less: each holds one
/// autograd graph; two in flight from each of eight upstream miners fit.
pub const MOST_OPEN: usize = 16;
/// The part of a limit that the network has for requests, for answers on their way out and for answers that it
/// waits for: one of so many for each.
const NETWORK_PART: u64 = 16;
/// Fetches at once where there is no limit.
const FETCHES: u64 = 32;
/// Answers that fit at least in each direction: one is read or written while the next comes.
const ANSWERS: u64 = 2;
/// What the network takes where there is no limit; more is never needed.
const NETWORK_MOST: u64 = 256 << 20;
/// Largest messages that fit into the network's part at least: its buffers grow by doubling, and one is
/// taken while the next arrives.
const NETWORK_MESSAGES: u64 = 4;
/// The largest question of a stranger, which must fit as well.
const QUESTION: u64 = 64 << 10;

/// What one stage needs, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Without any sample.
    pub stage: u64,
    /// What one pass takes beside the samples that are open: passes run one after another.
    pub pass: u64,
    /// For each open sample.
    pub sample: u64,
}

/// A stage does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "stage {stage} needs {needed} bytes of memory by what it keeps ({parameters} parameters at {PER_PARAMETER} bytes, \
     {BASE} for libtorch and the program, {network} for the network, {pass} for a pass, {sample} for one \
     sample), max_memory allows {allowed}; raise it, or work for a run with smaller stages"
)]
pub struct TooSmall {
    stage: Stage,
    parameters: u64,
    network: u64,
    pass: u64,
    sample: u64,
    needed: u64,
    allowed: u64,
}

/// What a stage of a run needs.
#[must_use]
pub fn need(params: &RunParams, stage: Stage) -> Need {
    let parameters = params.stage(stage).map_or(0, |stage| stage.parameters);
    let plan::Memory { samples, pass, .. } = plan::memory(params, stage, 1);
    Need { stage: BASE.saturating_add(parameters.saturating_mul(PER_PARAMETER)), pass, sample: samples }
}

/// What the network may hold: requests that wait, answers that go out, answers that come.
#[must_use]
pub fn network(limit: Option<ByteSize>, params: &RunParams) -> Option<Memory> {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let message = u64::try_from(wire::train_limit(params)).unwrap_or(u64::MAX).max(QUESTION);
    let answer = u64::try_from(FETCH_LIMIT).unwrap_or(u64::MAX).max(message);
    limit.map(|limit| {
        let part = (limit.0 / NETWORK_PART).min(NETWORK_MOST);
        Memory {
            requests: size(part.max(message.saturating_mul(NETWORK_MESSAGES))),
            answers: size(part.max(answer.saturating_mul(ANSWERS))),
            fetches: size(part.checked_div(answer).unwrap_or(0).clamp(ANSWERS, FETCHES)),
        }
    })
}

/// All bytes of that.
fn bytes(memory: Memory) -> u64 {
    let fetched = memory.fetches.saturating_mul(FETCH_LIMIT);
    let all = memory.requests.saturating_add(memory.answers).saturating_add(fetched);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// Samples that may be open at once at a stage: what the stage itself and the network leave of a limit, at
/// most [`MOST_OPEN`].
///
/// # Errors
/// [`TooSmall`] when the stage with a single sample does not fit.
pub fn most_open(limit: Option<ByteSize>, params: &RunParams, stage: Stage) -> Result<usize, TooSmall> {
    let (Some(allowed), Some(network)) = (limit, network(limit, params).map(bytes)) else {
        return Ok(MOST_OPEN);
    };
    let need = need(params, stage);
    let fixed = need.stage.saturating_add(need.pass).saturating_add(network);
    let needed = fixed.saturating_add(need.sample);
    let Some(free) = allowed.0.checked_sub(needed) else {
        let parameters = params.stage(stage).map_or(0, |stage| stage.parameters);
        let (Need { pass, sample, .. }, allowed) = (need, allowed.0);
        return Err(TooSmall { stage, parameters, network, pass, sample, needed, allowed });
    };
    let more = free.checked_div(need.sample).unwrap_or(u64::MAX);
    Ok(usize::try_from(more.saturating_add(1)).unwrap_or(usize::MAX).min(MOST_OPEN))
}

/// At the start: the stage that the miner has must fit; if it has none yet, the smallest of the run.
///
/// # Errors
/// [`TooSmall`].
pub fn check(
    limit: Option<ByteSize>,
    params: &RunParams,
    assigned: Option<Stage>,
) -> Result<usize, TooSmall> {
    let smallest = || {
        let all = (0..params.n_stages()).map(Stage);
        all.min_by_key(|stage| need(params, *stage).stage).unwrap_or(Stage(0))
    };
    most_open(limit, params, assigned.unwrap_or_else(smallest))
}

/// Bytes of this process that lie in memory, where the system tells.
#[must_use]
pub fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use iota_compute::presets::run_params;
    use iota_protocol::ids::Hash;
    use iota_protocol::params::DataParams;

    use super::*;

    fn tiny() -> RunParams {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 1_000, heldout_windows: 10 };
        run_params("tiny", 3, 1, 5, 2, data).unwrap()
    }

    fn at(bytes: u64) -> Result<usize, TooSmall> {
        most_open(Some(ByteSize(bytes)), &tiny(), Stage(1))
    }

    #[test]
    fn hand_worked_middle_stage_of_tiny() {
        // 399,872 parameters; one sample of 512 tokens, two layers of 3,040 values of 4 bytes; a layer's
        // backward pass with 5·344 + 2·128 values of each token.
        let need = need(&tiny(), Stage(1));
        let (pass, sample) = (512 * 1_976 * 4, 512 * 2 * 3_040 * 4);
        assert_eq!(need, Need { stage: BASE + 60 * 399_872, pass, sample });
        // The network gets three sixteenths: 34 MiB of 544 for requests, 34 for answers, and four fetches of 8.
        let free = (544 << 20) - need.stage - pass - ((34 + 34 + 4 * 8) << 20) - need.sample;
        let open = 1 + (free / need.sample) as usize;
        assert!((1..MOST_OPEN).contains(&open), "{open}");
        assert_eq!(at(544 << 20), Ok(open));
        let held = network(Some(ByteSize(544 << 20)), &tiny()).unwrap();
        assert_eq!((held.requests, held.answers, held.fetches), (34 << 20, 34 << 20, 4));
    }

    #[test]
    fn a_stage_that_does_not_fit_is_refused_with_both_numbers() {
        let least = need(&tiny(), Stage(1));
        let error = at(100 << 20).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.needed, least.stage + least.pass + least.sample + error.network);
        assert!(text.contains(&error.needed.to_string()) && text.contains("allows 104857600"), "{text}");
        assert!(text.contains("stage 1") && text.contains("raise it"), "{text}");
    }

    #[test]
    fn whoever_has_no_stage_yet_is_refused_only_if_none_fits() {
        let params = tiny();
        let sizes: Vec<u64> = (0..3).map(|stage| need(&params, Stage(stage)).stage).collect();
        let (small, large) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(small < large, "the last stage has the head: {sizes:?}");
        let limit = Some(ByteSize(small + (128 << 20)));
        assert!(check(limit, &params, None).is_ok());
        assert!(check(Some(ByteSize(*small)), &params, None).is_err(), "no room for a sample");
        assert!(check(None, &params, Some(Stage(2))).is_ok());
    }

    #[test]
    fn nothing_is_handed_out_twice_and_more_memory_never_gives_less() {
        let params = tiny();
        let mut before = 0;
        for mib in (480..4_096).step_by(16) {
            let limit = ByteSize(mib << 20);
            let Ok(open) = most_open(Some(limit), &params, Stage(1)) else { continue };
            let need = need(&params, Stage(1));
            let network = bytes(network(Some(limit), &params).unwrap());
            let sum = need.stage + need.pass + network + open as u64 * need.sample;
            assert!(sum <= limit.0, "{mib} MiB");
            assert!(open == MOST_OPEN || sum + need.sample > limit.0, "{mib} MiB: room for one more");
            assert!(open >= before && open <= MOST_OPEN);
            before = open;
        }
        assert_eq!(before, MOST_OPEN);
    }

    #[test]
    fn the_system_tells_how_much_lies_in_memory() {
        let bytes = resident().unwrap();
        assert!((1 << 20..1 << 40).contains(&bytes), "{bytes}");
    }
}
