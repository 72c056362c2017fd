//! The parts of a running node and how they are wired: database, pool, network, RPC, Aura, GRANDPA.

use std::{sync::Arc, time::Duration};

use iota_runtime::{apis::RuntimeApi, opaque::Block};
use polkadot_sdk::{
    sc_basic_authorship, sc_consensus,
    sc_consensus_aura::{self, ImportQueueParams, SlotProportion, StartAuraParams},
    sc_consensus_grandpa::{
        self, protocol_standard_name, FinalityProofProvider, GrandpaBlockImport, GrandpaParams, LinkHalf,
        SharedVoterState, ThreeQuartersOfTheUnfinalizedChain, VotingRulesBuilder,
    },
    sc_executor::WasmExecutor,
    sc_network::{
        config::FullNetworkConfiguration,
        service::traits::{NetworkBackend, NetworkService, NotificationService},
        types::ProtocolName,
    },
    sc_network_sync::SyncingService,
    sc_service::{
        self, BuildNetworkParams, Configuration, Error, SpawnTasksParams, TaskManager, WarpSyncConfig,
    },
    sc_telemetry::{Telemetry, TelemetryHandle, TelemetryWorker},
    sc_transaction_pool::{self, TransactionPoolHandle},
    sc_transaction_pool_api::OffchainTransactionPoolFactory,
    sp_consensus_aura::{self, sr25519::AuthorityPair as AuraPair},
    sp_io,
    sp_keystore::KeystorePtr,
    sp_timestamp,
    substrate_prometheus_endpoint::Registry,
};

use crate::rpc::Finality;

/// Answers from the chain's state.
pub type FullClient = sc_service::TFullClient<Block, RuntimeApi, WasmExecutor<sp_io::SubstrateHostFunctions>>;
/// The database.
pub type FullBackend = sc_service::TFullBackend<Block>;
type SelectChain = sc_consensus::LongestChain<FullBackend, Block>;
type BlockImport = GrandpaBlockImport<FullBackend, Block, FullClient, SelectChain>;
type Link = LinkHalf<Block, FullClient, SelectChain>;
/// Holds transactions until they are in a block.
pub type Pool = TransactionPoolHandle<Block, FullClient>;
type ImportQueue = sc_consensus::DefaultImportQueue<Block>;
type Syncing = Arc<SyncingService<Block>>;

/// Blocks between two stored justifications. Whoever audits a block fetches the next justification and the
/// headers up to it: 16 headers are 5 KB, and votes of the most authorities, 32, take 4 KB every 16 blocks.
const JUSTIFICATION_PERIOD: u32 = 16;
/// Expected time for a vote to cross the network. It paces GRANDPA's rounds and so bounds finality
/// lag: with slots of a second, a fifth of one.
const GOSSIP_DURATION: Duration = Duration::from_millis(200);

/// Everything of a node that does not touch the network.
struct Parts {
    client: Arc<FullClient>,
    backend: Arc<FullBackend>,
    task_manager: TaskManager,
    keystore: KeystorePtr,
    select_chain: SelectChain,
    pool: Arc<Pool>,
    block_import: BlockImport,
    telemetry: Option<Telemetry>,
}

/// Slot and time of a new block, from this machine's clock.
type Inherents = (sp_consensus_aura::inherents::InherentDataProvider, sp_timestamp::InherentDataProvider);

fn inherents(slot: sp_consensus_aura::SlotDuration) -> Inherents {
    let now = sp_timestamp::InherentDataProvider::from_system_time();
    let slot =
        sp_consensus_aura::inherents::InherentDataProvider::from_timestamp_and_slot_duration(*now, slot);
    (slot, now)
}

impl Parts {
    fn new(config: &Configuration) -> Result<(Self, ImportQueue, Link), Error> {
        let telemetry = telemetry(config)?;
        let handle = telemetry.as_ref().map(|(_, telemetry)| telemetry.handle());
        let executor = sc_service::new_wasm_executor(&config.executor);
        let (client, backend, keystore, task_manager) =
            sc_service::new_full_parts::<Block, RuntimeApi, _>(config, handle.clone(), executor, Vec::new())?;
        let client = Arc::new(client);
        let telemetry = telemetry.map(|(worker, telemetry)| {
            task_manager.spawn_handle().spawn("telemetry", None, worker.run());
            telemetry
        });
        let select_chain = sc_consensus::LongestChain::new(backend.clone());
        let pool = sc_transaction_pool::Builder::new(
            task_manager.spawn_essential_handle(),
            client.clone(),
            config.role.is_authority().into(),
        )
        .with_options(config.transaction_pool.clone())
        .with_prometheus(config.prometheus_registry())
        .build();
        let (block_import, link) = sc_consensus_grandpa::block_import(
            client.clone(),
            JUSTIFICATION_PERIOD,
            &client,
            select_chain.clone(),
            handle.clone(),
        )?;
        let import_queue = import_queue(config, &client, &block_import, &task_manager, handle)?;
        let parts = Self {
            client,
            backend,
            task_manager,
            keystore: keystore.keystore(),
            select_chain,
            pool: Arc::new(pool),
            block_import,
            telemetry,
        };
        Ok((parts, import_queue, link))
    }

    fn telemetry_handle(&self) -> Option<TelemetryHandle> {
        self.telemetry.as_ref().map(Telemetry::handle)
    }
}

fn telemetry(config: &Configuration) -> Result<Option<(TelemetryWorker, Telemetry)>, Error> {
    let Some(endpoints) = config.telemetry_endpoints.clone().filter(|endpoints| !endpoints.is_empty()) else {
        return Ok(None);
    };
    // Messages waiting for a slow telemetry server; beyond that they are dropped.
    let worker = TelemetryWorker::new(16)?;
    let telemetry = worker.handle().new_telemetry(endpoints);
    Ok(Some((worker, telemetry)))
}

fn import_queue(
    config: &Configuration,
    client: &Arc<FullClient>,
    block_import: &BlockImport,
    task_manager: &TaskManager,
    telemetry: Option<TelemetryHandle>,
) -> Result<ImportQueue, Error> {
    let slot = sc_consensus_aura::slot_duration(&**client)?;
    let queue = sc_consensus_aura::import_queue::<AuraPair, _, _, _, _, _>(ImportQueueParams {
        block_import: block_import.clone(),
        justification_import: Some(Box::new(block_import.clone())),
        client: client.clone(),
        create_inherent_data_providers: move |_, ()| async move { Ok(inherents(slot)) },
        spawner: &task_manager.spawn_essential_handle(),
        registry: config.prometheus_registry(),
        check_for_equivocation: Default::default(),
        telemetry,
        compatibility_mode: Default::default(),
    })?;
    Ok(queue)
}

/// Starts a node; it runs until the returned tasks end.
///
/// # Errors
/// Whatever part could not be started.
pub fn start<N>(config: Configuration) -> Result<TaskManager, Error>
where
    N: NetworkBackend<Block, iota_runtime::Hash>,
{
    let (mut parts, import_queue, link) = Parts::new(&config)?;
    let mut net_config = FullNetworkConfiguration::<_, _, N>::new(
        &config.network,
        config.prometheus_config.as_ref().map(|prometheus| prometheus.registry.clone()),
    );
    let metrics = N::register_notification_metrics(config.prometheus_registry());
    let protocol = protocol_standard_name(&parts.client.chain_info().genesis_hash, &config.chain_spec);
    let (grandpa_config, votes) = sc_consensus_grandpa::grandpa_peers_set_config::<_, N>(
        protocol.clone(),
        metrics.clone(),
        net_config.peer_store_handle(),
    );
    net_config.add_notification_protocol(grandpa_config);
    let (network, rpc_tx, tx_controller, sync, _) = sc_service::build_network(BuildNetworkParams {
        config: &config,
        net_config,
        client: parts.client.clone(),
        transaction_pool: parts.pool.clone(),
        spawn_handle: parts.task_manager.spawn_handle(),
        spawn_essential_handle: parts.task_manager.spawn_essential_handle(),
        import_queue,
        block_announce_validator_builder: None,
        warp_sync_config: Some(warp_sync(&parts, &link)),
        block_relay: None,
        metrics,
        gap_sync_body_policy: None,
    })?;
    let tasks = Consensus::new(&config, protocol, votes, network.clone(), sync.clone());
    let (client, pool) = (parts.client.clone(), parts.pool.clone());
    let finality = finality(&parts, &link);
    let voter = finality.voter.clone();
    sc_service::spawn_tasks(SpawnTasksParams {
        config,
        client: parts.client.clone(),
        backend: parts.backend.clone(),
        task_manager: &mut parts.task_manager,
        keystore: parts.keystore.clone(),
        transaction_pool: parts.pool.clone(),
        rpc_builder: Box::new(move |executor| {
            crate::rpc::create(client.clone(), pool.clone(), finality.clone(), executor)
                .map_err(Error::Application)
        }),
        network,
        system_rpc_tx: rpc_tx,
        tx_handler_controller: tx_controller,
        sync_service: sync,
        telemetry: parts.telemetry.as_mut(),
        tracing_execute_block: None,
    })?;
    tasks.spawn(&parts, link, voter)?;
    Ok(parts.task_manager)
}

fn finality(parts: &Parts, link: &Link) -> Finality {
    let authorities = link.shared_authority_set().clone();
    Finality {
        proofs: FinalityProofProvider::new_for_service(parts.backend.clone(), Some(authorities.clone())),
        authorities,
        voter: SharedVoterState::empty(),
        justifications: link.justification_stream(),
    }
}

fn warp_sync(parts: &Parts, link: &Link) -> WarpSyncConfig<Block> {
    WarpSyncConfig::WithProvider(Arc::new(sc_consensus_grandpa::warp_proof::NetworkProvider::new(
        parts.backend.clone(),
        link.shared_authority_set().clone(),
        Vec::new(),
    )))
}

/// What block authoring and finality need of configuration and network.
struct Consensus {
    is_authority: bool,
    force_authoring: bool,
    votes_enabled: bool,
    grandpa: sc_consensus_grandpa::Config,
    votes: Box<dyn NotificationService>,
    network: Arc<dyn NetworkService>,
    sync: Syncing,
    registry: Option<Registry>,
}

impl Consensus {
    fn new(
        config: &Configuration,
        protocol: ProtocolName,
        votes: Box<dyn NotificationService>,
        network: Arc<dyn NetworkService>,
        sync: Syncing,
    ) -> Self {
        let grandpa = sc_consensus_grandpa::Config {
            gossip_duration: GOSSIP_DURATION,
            justification_generation_period: JUSTIFICATION_PERIOD,
            observer_enabled: false,
            local_role: config.role,
            name: Some(config.network.node_name.clone()),
            keystore: None,
            telemetry: None,
            protocol_name: protocol,
        };
        Self {
            is_authority: config.role.is_authority(),
            force_authoring: config.force_authoring,
            votes_enabled: !config.disable_grandpa,
            grandpa,
            votes,
            network,
            sync,
            registry: config.prometheus_registry().cloned(),
        }
    }

    fn spawn(self, parts: &Parts, link: Link, voter: SharedVoterState) -> Result<(), Error> {
        if self.is_authority {
            self.spawn_aura(parts)?;
        }
        if self.votes_enabled {
            self.spawn_grandpa(parts, link, voter)?;
        }
        Ok(())
    }

    fn spawn_aura(&self, parts: &Parts) -> Result<(), Error> {
        let slot_duration = sc_consensus_aura::slot_duration(&*parts.client)?;
        let proposer_factory = sc_basic_authorship::ProposerFactory::new(
            parts.task_manager.spawn_handle(),
            parts.client.clone(),
            parts.pool.clone(),
            self.registry.as_ref(),
            parts.telemetry_handle(),
        );
        let aura =
            sc_consensus_aura::start_aura::<AuraPair, _, _, _, _, _, _, _, _, _, _>(StartAuraParams {
                slot_duration,
                client: parts.client.clone(),
                select_chain: parts.select_chain.clone(),
                block_import: parts.block_import.clone(),
                proposer_factory,
                create_inherent_data_providers: move |_, ()| async move { Ok(inherents(slot_duration)) },
                force_authoring: self.force_authoring,
                // Epochs are counted in blocks; workers wait for finality themselves.
                backoff_authoring_blocks: None::<()>,
                keystore: parts.keystore.clone(),
                sync_oracle: self.sync.clone(),
                justification_sync_link: self.sync.clone(),
                // Half of a slot, as the runtime's block weight assumes.
                block_proposal_slot_portion: SlotProportion::new(0.5),
                max_block_proposal_slot_portion: None,
                telemetry: parts.telemetry_handle(),
                compatibility_mode: Default::default(),
            })?;
        parts.task_manager.spawn_essential_handle().spawn_blocking("aura", Some("block-authoring"), aura);
        Ok(())
    }

    fn spawn_grandpa(self, parts: &Parts, link: Link, state: SharedVoterState) -> Result<(), Error> {
        let mut config = self.grandpa;
        config.keystore = self.is_authority.then(|| parts.keystore.clone());
        config.telemetry = parts.telemetry_handle();
        // Votes may name the best block: a lag of two blocks would be a third of a short window.
        let voting_rule = VotingRulesBuilder::new().add(ThreeQuartersOfTheUnfinalizedChain).build();
        let voter = sc_consensus_grandpa::run_grandpa_voter(GrandpaParams {
            config,
            link,
            network: self.network,
            sync: self.sync,
            notification_service: self.votes,
            voting_rule,
            prometheus_registry: self.registry,
            shared_voter_state: state,
            telemetry: parts.telemetry_handle(),
            offchain_tx_pool_factory: OffchainTransactionPoolFactory::new(parts.pool.clone()),
        })?;
        parts.task_manager.spawn_essential_handle().spawn_blocking("grandpa-voter", None, voter);
        Ok(())
    }
}
