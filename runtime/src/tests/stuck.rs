//! A migration that cannot go on: safe mode begins, and the clock of runs does not stand still.

use polkadot_sdk::{
    frame_support::migrations::MultiStepMigrator,
    pallet_migrations::{ActiveCursor, Cursor, MigrationCursor},
    pallet_safe_mode,
    sp_runtime::ExtrinsicInclusionMode,
};

use super::*;

/// Another upgrade arrives while a migration is under way, which is how one fails whatever it does.
fn interrupted() {
    let cursor = ActiveCursor { index: 0, inner_cursor: None, started_at: System::block_number() };
    Cursor::<Runtime>::put(MigrationCursor::Active(cursor));
    <Migrations as polkadot_sdk::frame_support::traits::OnRuntimeUpgrade>::on_runtime_upgrade();
}

#[test]
fn a_failed_migration_enters_safe_mode_and_the_epoch_still_closes() {
    on_running_chain(|schedule| {
        open_to(schedule.close() - 2);
        interrupted();
        assert_eq!(Cursor::<Runtime>::get(), Some(MigrationCursor::Stuck));
        assert_eq!(pallet_safe_mode::EnteredUntil::<Runtime>::get(), Some(BlockNumber::MAX));
        // Blocks take nothing but what every block has; hooks go on in them.
        assert!(Migrations::ongoing());
        let before = pallet_iota::Clocks::<Runtime>::get(RUN).unwrap();
        let mut number = System::block_number();
        while pallet_iota::Clocks::<Runtime>::get(RUN).unwrap().epoch == before.epoch {
            assert!(number < schedule.close() + 100, "the epoch never closes");
            number += 1;
            Grandpa::on_finalize(number - 1);
            let digest = DigestItem::PreRuntime(AURA_ENGINE_ID, Slot::from(u64::from(number) + 3).encode());
            let digest = Digest { logs: vec![digest] };
            let header = Header::new(number, Default::default(), Default::default(), Hash::zero(), digest);
            let mode = Executive::initialize_block(&header);
            assert_eq!(mode, ExtrinsicInclusionMode::OnlyInherents);
            Iota::check_invariants().unwrap();
        }
        let after = pallet_iota::Clocks::<Runtime>::get(RUN).unwrap();
        assert_eq!(after.epoch, before.epoch.next());
        assert_eq!(after.state, pallet_iota::types::State::Running);
    });
}
