//! What nodes and clients may ask the runtime.

use alloc::vec::Vec;
use iota_protocol::{
    consensus::bonds::BondRow,
    court::CourtView,
    ids::{AccountKey, Epoch, RunId, Stage},
    params::RunParams,
    view::{
        AgreementView, ClockView, EpochReportView, MemberView, MergeView, Payout, ScoreView, SnapshotView,
        API_VERSION,
    },
};
use polkadot_sdk::{
    frame_support::{
        genesis_builder_helper::{build_state, get_preset},
        view_functions,
        weights::Weight,
    },
    frame_system_rpc_runtime_api, pallet_aura, pallet_grandpa, pallet_transaction_payment,
    pallet_transaction_payment_rpc_runtime_api, sp_api,
    sp_api::impl_runtime_apis,
    sp_block_builder,
    sp_consensus_aura::{self, sr25519::AuthorityId as AuraId},
    sp_consensus_grandpa::{self, AuthorityId as GrandpaId},
    sp_core::{crypto::KeyTypeId, OpaqueMetadata},
    sp_genesis_builder,
    sp_inherents::{CheckInherentsResult, InherentData},
    sp_runtime::{
        traits::Block as BlockT,
        transaction_validity::{TransactionSource, TransactionValidity},
        ApplyExtrinsicResult, ExtrinsicInclusionMode,
    },
    sp_session::{self, OpaqueGeneratedSessionKeys},
    sp_transaction_pool,
    sp_version::RuntimeVersion,
};

use crate::{
    genesis, AccountId, Balance, Block, Executive, Grandpa, InherentDataExt, Iota, Nonce, Runtime,
    RuntimeCall, RuntimeGenesisConfig, SessionKeys, System, TransactionPayment, SLOT_DURATION, VERSION,
};

type BlockHash = <Block as BlockT>::Hash;
type Extrinsic = <Block as BlockT>::Extrinsic;
type FeeDetails = pallet_transaction_payment::FeeDetails<Balance>;
type DispatchInfo = pallet_transaction_payment_rpc_runtime_api::RuntimeDispatchInfo<Balance>;

impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block);
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(data: InherentData) -> Vec<Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(
            block: <Block as BlockT>::LazyBlock,
            data: InherentData,
        ) -> CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            tx: Extrinsic,
            block_hash: BlockHash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, tx, block_hash)
        }
    }

    impl sp_consensus_aura::AuraApi<Block, AuraId> for Runtime {
        fn slot_duration() -> sp_consensus_aura::SlotDuration {
            sp_consensus_aura::SlotDuration::from_millis(SLOT_DURATION)
        }

        fn authorities() -> Vec<AuraId> {
            pallet_aura::Authorities::<Runtime>::get().into_inner()
        }
    }

    impl sp_session::SessionKeys<Block> for Runtime {
        fn generate_session_keys(owner: Vec<u8>, seed: Option<Vec<u8>>) -> OpaqueGeneratedSessionKeys {
            SessionKeys::generate(&owner, seed).into()
        }

        fn decode_session_keys(encoded: Vec<u8>) -> Option<Vec<(Vec<u8>, KeyTypeId)>> {
            SessionKeys::decode_into_raw_public_keys(&encoded)
        }
    }

    impl sp_consensus_grandpa::GrandpaApi<Block> for Runtime {
        fn grandpa_authorities() -> sp_consensus_grandpa::AuthorityList {
            Grandpa::grandpa_authorities()
        }

        fn current_set_id() -> sp_consensus_grandpa::SetId {
            pallet_grandpa::CurrentSetId::<Runtime>::get()
        }

        // Authorities hold no stake that a report could take.
        fn submit_report_equivocation_unsigned_extrinsic(
            _equivocation_proof: sp_consensus_grandpa::EquivocationProof<
                <Block as BlockT>::Hash,
                polkadot_sdk::sp_runtime::traits::NumberFor<Block>,
            >,
            _key_owner_proof: sp_consensus_grandpa::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            None
        }

        fn generate_key_ownership_proof(
            _set_id: sp_consensus_grandpa::SetId,
            _authority_id: GrandpaId,
        ) -> Option<sp_consensus_grandpa::OpaqueKeyOwnershipProof> {
            None
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentApi<Block, Balance> for Runtime {
        fn query_info(uxt: Extrinsic, len: u32) -> DispatchInfo {
            TransactionPayment::query_info(uxt, len)
        }

        fn query_fee_details(uxt: Extrinsic, len: u32) -> FeeDetails {
            TransactionPayment::query_fee_details(uxt, len)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentCallApi<Block, Balance, RuntimeCall>
        for Runtime
    {
        fn query_call_info(call: RuntimeCall, len: u32) -> DispatchInfo {
            TransactionPayment::query_call_info(call, len)
        }

        fn query_call_fee_details(call: RuntimeCall, len: u32) -> FeeDetails {
            TransactionPayment::query_call_fee_details(call, len)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl pallet_iota::runtime_api::IotaApi<Block> for Runtime {
        fn api_version() -> u32 {
            API_VERSION
        }

        fn run(run: RunId) -> Option<RunParams> {
            Iota::run_view(run)
        }

        fn clock(run: RunId) -> Option<ClockView> {
            Iota::clock_view(run)
        }

        fn members(run: RunId) -> Vec<MemberView> {
            Iota::members_view(run)
        }

        fn merge(run: RunId, epoch: Epoch, stage: Stage) -> Option<MergeView> {
            Iota::merge_view(run, epoch, stage)
        }

        fn agreement(run: RunId, epoch: Epoch, stage: Stage) -> Option<AgreementView> {
            Iota::agreement_view(run, epoch, stage)
        }

        fn held(run: RunId, epoch: Epoch) -> Vec<Payout> {
            Iota::held_view(run, epoch)
        }

        fn court(run: RunId, epoch: Epoch) -> CourtView {
            Iota::court_view(run, epoch)
        }

        fn may_resume(run: RunId, hotkey: AccountKey) -> bool {
            Iota::may_resume(run, &pallet_iota::types::account(&hotkey))
        }

        fn snapshot(run: RunId, epoch: Epoch) -> Option<SnapshotView> {
            Iota::snapshot_view(run, epoch)
        }

        fn scores(run: RunId, epoch: Epoch) -> Vec<ScoreView> {
            Iota::scores_view(run, epoch)
        }

        fn report(run: RunId, epoch: Epoch) -> Option<EpochReportView> {
            Iota::report_view(run, epoch)
        }

        fn bonds(run: RunId) -> Vec<BondRow> {
            Iota::supports_view(run)
        }

        fn owed(account: AccountKey) -> u128 {
            Iota::owed_to(&account)
        }

        fn registration_price() -> u128 {
            Iota::price_now()
        }

        fn treasury() -> AccountKey {
            Iota::treasury_key()
        }

        fn issuance() -> u128 {
            Iota::issuance()
        }
    }

    impl view_functions::runtime_api::RuntimeViewFunction<Block> for Runtime {
        fn execute_view_function(
            id: view_functions::ViewFunctionId,
            input: Vec<u8>,
        ) -> Result<Vec<u8>, view_functions::ViewFunctionDispatchError> {
            Runtime::execute_view_function(id, input)
        }
    }

    impl sp_genesis_builder::GenesisBuilder<Block> for Runtime {
        fn build_state(config: Vec<u8>) -> sp_genesis_builder::Result {
            build_state::<RuntimeGenesisConfig>(config)
        }

        fn get_preset(id: &Option<sp_genesis_builder::PresetId>) -> Option<Vec<u8>> {
            get_preset::<RuntimeGenesisConfig>(id, genesis::get)
        }

        fn preset_names() -> Vec<sp_genesis_builder::PresetId> {
            genesis::names()
        }
    }
}
