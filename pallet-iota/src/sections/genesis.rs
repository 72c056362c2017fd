//! What a chain begins with.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod genesis {
    /// Runs that exist from the first block, in the order of their ids.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        /// Parameters of each run.
        pub runs: Vec<RunParams>,
        /// Ties the configuration to the runtime.
        #[serde(skip)]
        pub marker: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Pallet::<T>::fund_own_accounts();
            for params in &self.runs {
                let created = Pallet::<T>::do_create_own_run(params.clone());
                assert!(
                    created.is_ok(),
                    "genesis run {}: {created:?}",
                    String::from_utf8_lossy(&params.preset)
                );
            }
        }
    }
}
