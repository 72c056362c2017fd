//! Benchmarks over the runtime's own configuration: which there are, and what one measures at one choice of its
//! components. Natively, on a state that counts reads and writes.

use anyhow::anyhow;
use iota_runtime::{AllPalletsWithSystem, Runtime};
use polkadot_sdk::{
    frame_benchmarking::{BenchmarkParameter, BenchmarkResult, Benchmarking},
    frame_support::traits::WhitelistedStorageKeys,
    sp_storage::{Storage, TrackedStorageKey},
};

use crate::{
    own::{self, Own},
    state,
};

type Pallet = pallet_iota::Pallet<Runtime>;
/// One value for each component.
pub type Components = Vec<(BenchmarkParameter, u32)>;

/// Whose calls a benchmark is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// `pallet-iota`.
    Iota,
    /// The runtime's governance.
    Governance,
    /// The runtime's faucet.
    Faucet,
}

/// A benchmark.
pub struct Benchmark {
    pub owner: Owner,
    pub name: String,
    /// How it runs, if not by the pallet's own macro.
    own: Option<Own>,
    /// Components with their least and greatest value.
    pub components: Vec<(BenchmarkParameter, u32, u32)>,
}

/// What was measured: times without counting, counts without timing.
pub struct Points {
    pub times: Vec<BenchmarkResult>,
    pub counts: Vec<BenchmarkResult>,
}

/// The runtime on the genesis of its development preset.
pub struct Bench {
    whitelist: Vec<TrackedStorageKey>,
    timed: state::State,
    counted: state::State,
}

impl Bench {
    /// Every measurement starts from `genesis`.
    pub fn new(genesis: &Storage) -> anyhow::Result<Self> {
        let whitelist = AllPalletsWithSystem::whitelisted_storage_keys();
        let (timed, counted) = (state::fresh(genesis, false)?, state::fresh(genesis, true)?);
        Ok(Self { whitelist, timed, counted })
    }

    /// All benchmarks, by owner and in the order of their source.
    pub fn list() -> Vec<Benchmark> {
        let pallet = |own: polkadot_sdk::frame_benchmarking::BenchmarkMetadata| Benchmark {
            owner: Owner::Iota,
            name: String::from_utf8_lossy(&own.name).into_owned(),
            own: None,
            components: own.components,
        };
        let small = |owner, own: Own| Benchmark {
            owner,
            name: own.name.to_owned(),
            own: Some(own),
            components: own.component.into_iter().collect(),
        };
        let governance = own::governance().map(|own| small(Owner::Governance, own));
        let faucet = own::faucet().map(|own| small(Owner::Faucet, own));
        Pallet::benchmarks(false).into_iter().map(pallet).chain(governance).chain(faucet).collect()
    }

    /// Checks the benchmark once and measures it along each component, the others at their greatest.
    pub fn run(&self, benchmark: &Benchmark, steps: u32, repeats: u32) -> anyhow::Result<Points> {
        let mut points = Points { times: Vec::new(), counts: Vec::new() };
        let all = choices(&benchmark.components, steps);
        for (at, components) in all.iter().enumerate() {
            if at == 0 || at + 1 == all.len() {
                self.dispatch(&self.timed, benchmark, components, true, 1)?;
            }
            points.counts.extend(self.dispatch(&self.counted, benchmark, components, false, 1)?);
            points.times.extend(self.dispatch(&self.timed, benchmark, components, false, repeats)?);
        }
        Ok(points)
    }

    fn dispatch(
        &self,
        on: &state::State,
        benchmark: &Benchmark,
        components: &Components,
        verify: bool,
        repeats: u32,
    ) -> anyhow::Result<Vec<BenchmarkResult>> {
        let name = &benchmark.name;
        if let Some(own) = benchmark.own {
            let value = components.first().map_or(0, |(_, value)| *value);
            return own.measure(on, &self.whitelist, value, repeats);
        }
        let run = || Pallet::run_benchmark(name.as_bytes(), components, &self.whitelist, verify, repeats);
        state::on(on, run).map_err(|why| anyhow!("benchmark {name} at {components:?}: {why:?}"))
    }
}

/// The points at which a benchmark is measured.
fn choices(components: &[(BenchmarkParameter, u32, u32)], steps: u32) -> Vec<Components> {
    let greatest: Components = components.iter().map(|(name, _, high)| (*name, *high)).collect();
    if components.is_empty() {
        return vec![greatest];
    }
    let along = |at: usize, (name, low, high): (BenchmarkParameter, u32, u32)| {
        let greatest = greatest.clone();
        (0..steps).map(move |step| {
            let value = u64::from(low) + u64::from(high - low) * u64::from(step) / u64::from(steps - 1);
            let mut point = greatest.clone();
            point[at] = (name, u32::try_from(value).unwrap_or(high));
            point
        })
    };
    let mut points: Vec<Components> =
        components.iter().enumerate().flat_map(|(at, component)| along(at, *component)).collect();
    points.dedup();
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_goes_from_its_least_to_its_greatest_while_the_others_stay_greatest() {
        let (first, second) = (BenchmarkParameter::a, BenchmarkParameter::b);
        let points = choices(&[(first, 1, 5), (second, 0, 3)], 3);
        let expected = [(1, 3), (3, 3), (5, 3), (5, 0), (5, 1), (5, 3)];
        assert_eq!(points, expected.map(|(x, y)| vec![(first, x), (second, y)]).to_vec());
        assert_eq!(choices(&[], 3), vec![Components::new()]);
    }
}
