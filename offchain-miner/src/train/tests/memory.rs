//! Memory over many epochs of one process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::World;
use crate::commit;
use crate::retention::Tidy;
use crate::store::Store;
use crate::trainer::Trainer;

/// Until then the allocator, libtorch and three epochs of artefacts fill up.
const WARM_UP: Duration = Duration::from_secs(60);
/// Issue 4: flat over ten minutes after that.
const WATCHED: Duration = Duration::from_secs(600);
/// Growth that is not growth: pages that the allocator moves between its arenas.
const SLACK: u64 = 4 << 20;

fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4_096
}

/// One epoch as the miner has it: samples, entry, roots, what audits may ask for, the next state.
async fn epoch(world: &World, store: &Arc<Store>, trainer: Trainer) -> Trainer {
    Tidy::after(30).look(store, world.epoch, std::time::SystemTime::now());
    let (mut life, _) = world.go_on(Arc::clone(store), trainer).await.unwrap();
    life.finish(world).await;
    let local = life.trainer.weights().await.unwrap();
    let ctx = life.training.ctx.clone();
    let mut trained = life.training.into_trained();
    commit::prepare(&ctx, &world.state, &local, &mut trained).unwrap();
    store.put_state(world.epoch.next(), world.stage, world.state.clone()).unwrap();
    life.trainer
}

#[tokio::test]
#[ignore = "eleven minutes: iota_cargo work test -p iota-miner --lib memory_is_flat -- --ignored --nocapture"]
async fn memory_is_flat_over_ten_minutes_of_epochs() {
    let mut world = World::with_samples(1, 2, 100).await;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut trainer = Trainer::start(1, Arc::clone(&store), std::time::Duration::ZERO).unwrap();
    let (start, mut warm, mut most, mut said) = (Instant::now(), None, 0, 0);
    while start.elapsed() < WARM_UP + WATCHED {
        trainer = epoch(&world, &store, trainer).await;
        world.epoch = world.epoch.next();
        if start.elapsed() < WARM_UP {
            continue;
        }
        let now = resident();
        let warm = *warm.get_or_insert(now);
        most = most.max(now);
        if start.elapsed().as_secs() / 60 > said {
            said = start.elapsed().as_secs() / 60;
            println!("minute {said}, epoch {}: {} MB resident", world.epoch, now >> 20);
        }
        assert!(
            now <= warm + warm / 50 + SLACK,
            "{} MB after epoch {}, {} MB warm",
            now >> 20,
            world.epoch,
            warm >> 20
        );
    }
    println!("{} MB warm, {} MB at most, {} epochs", warm.unwrap_or(0) >> 20, most >> 20, world.epoch);
}
