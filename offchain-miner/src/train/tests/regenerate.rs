//! The state after any local step can be made again for an audit, from the log and the recorded codes.

use std::sync::Arc;

use codec::{Decode, Encode};
use iota_compute::{state_root, StepState};
use iota_protocol::ids::Hash;
use iota_protocol::receipt::LogEvent;
use iota_protocol::wire::FetchReply;
use iota_worker::fetch::list_root;
use tokio::sync::{watch, Semaphore};

use super::world::World;
use crate::answers::serves;
use crate::serve::Server;
use crate::store::EntryBytes;

async fn check_stage(stage: u16) {
    let world = World::new(stage, 1).await;
    let folder = world.folder_with(&[]);
    let (mut life, _) = world.start(&folder).await.unwrap();
    life.finish(&world).await;
    let (ctx, log) = (&life.training.ctx, life.training.log.clone());
    let entry = EntryBytes { bytes: Vec::new(), chunk_len: 33 };
    ctx.store.put_commit(ctx.epoch, life.training.receipts.encode(), log.encode(), entry).unwrap();
    let past = ctx.past();
    let (_keep, past) = watch::channel(vec![past]);
    let server = Server {
        run: ctx.run,
        me: ctx.me.uid,
        store: Arc::clone(&ctx.store),
        dataset: ctx.dataset.clone(),
        device: iota_compute::init_runtime(1),
        past,
        regenerations: Arc::new(Semaphore::new(1)),
        withholds_from: None,
    };
    let steps = log.iter().filter_map(|event| match event {
        LogEvent::Step { version, state_root } => Some((*version, *state_root)),
        _ => None,
    });
    let mut checked = 0;
    for (version, committed) in steps {
        let reply = server.step_state(ctx.epoch, version, 0).await;
        let FetchReply::Bytes(bytes) = reply else { panic!("stage {stage}, step {version}: {reply:?}") };
        let state = StepState::decode(&mut bytes.as_slice()).unwrap();
        assert_eq!(state_root(&state), committed, "stage {stage}, step {version}");
        assert!(serves(&server, ctx.epoch, committed).await, "stage {stage}, step {version}");
        checked += 1;
    }
    for wanted in [list_root(&log), list_root(&life.training.receipts)] {
        assert!(serves(&server, ctx.epoch, wanted).await, "stage {stage}: {wanted}");
    }
    assert!(!serves(&server, ctx.epoch, Hash([9; 32])).await, "nothing is promised that is not there");
    let refusing = Server { withholds_from: Some(ctx.epoch), ..server.clone() };
    assert!(!serves(&refusing, ctx.epoch, list_root(&log)).await);
    assert!(checked > 1, "stage {stage}: {checked} local steps");
    assert_eq!(
        server.step_state(ctx.epoch.next(), iota_protocol::ids::Version(1), 0).await,
        FetchReply::NotFound
    );
}

#[tokio::test]
async fn every_step_of_every_stage_is_regenerated_to_its_committed_root() {
    for stage in 0..3 {
        check_stage(stage).await;
    }
}
