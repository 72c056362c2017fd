//! Chain specs: the runtime's presets by name, anything else from a file.

use iota_runtime::{
    ceremony::Ceremony,
    genesis::{PRODUCTION_RUNTIME_PRESET, TESTNET_RUNTIME_PRESET},
    TOKEN_DECIMALS, TOKEN_SYMBOL, WASM_BINARY,
};
use polkadot_sdk::{
    sc_chain_spec::{GenericChainSpec, Properties},
    sc_service::ChainType,
    sp_genesis_builder::{DEV_RUNTIME_PRESET, LOCAL_TESTNET_RUNTIME_PRESET},
};

/// The chain spec of this node; no extensions.
pub type ChainSpec = GenericChainSpec;

fn wasm() -> Result<&'static [u8], String> {
    WASM_BINARY.ok_or_else(|| {
        "this node was built without a runtime blob (SKIP_WASM_BUILD was set): build it again without it, \
         or give a chain spec file that holds one"
            .to_string()
    })
}

fn properties() -> Properties {
    let mut properties = Properties::new();
    properties.insert("tokenSymbol".into(), TOKEN_SYMBOL.into());
    properties.insert("tokenDecimals".into(), TOKEN_DECIMALS.into());
    properties.insert("ss58Format".into(), 42.into());
    properties
}

fn preset(name: &str, id: &str, kind: ChainType, preset: &str) -> Result<ChainSpec, String> {
    Ok(ChainSpec::builder(wasm()?, None)
        .with_name(name)
        .with_id(id)
        .with_chain_type(kind)
        .with_properties(properties())
        .with_genesis_config_preset_name(preset)
        .build())
}

/// The spec named `id`: `dev`, `local`, or the path of a spec file.
///
/// # Errors
/// What is wrong with the file, or that this node holds no runtime blob.
pub fn load(id: &str) -> Result<ChainSpec, String> {
    match id {
        "dev" => preset("IOTA development", "iota_dev", ChainType::Development, DEV_RUNTIME_PRESET),
        TESTNET_RUNTIME_PRESET | PRODUCTION_RUNTIME_PRESET => {
            Err("a public network has keys of its own, which no preset holds: make its spec with \
             `iota-node testnet-spec` and give the file"
                .into())
        }
        "" | "local" => preset("IOTA local", "iota_local", ChainType::Local, LOCAL_TESTNET_RUNTIME_PRESET),
        path => ChainSpec::from_json_file(path.into())
            .map_err(|error| format!("chain spec {path}: {error}; expected dev, local or a spec file")),
    }
}

/// The spec of a public network.
///
/// # Errors
/// What is wrong with the ceremony, or that this node holds no runtime blob.
pub fn of_ceremony(ceremony: &Ceremony) -> Result<ChainSpec, String> {
    let genesis = ceremony.genesis().map_err(|error| error.to_string())?;
    let boot_node = |text: &String| text.parse().map_err(|error| format!("boot node {text}: {error}"));
    let boot_nodes = ceremony.boot_nodes.iter().map(boot_node).collect::<Result<Vec<_>, String>>()?;
    Ok(ChainSpec::builder(wasm()?, None)
        .with_name(&ceremony.name)
        .with_id(&ceremony.id)
        .with_chain_type(ChainType::Live)
        .with_properties(properties())
        .with_boot_nodes(boot_nodes)
        .with_genesis_config_patch(genesis)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_load_with_their_own_ids() {
        let ids = ["dev", "local", ""].map(|name| load(name).map(|spec| spec.id().to_string()));
        match WASM_BINARY {
            Some(_) => assert_eq!(ids.map(Result::unwrap), ["iota_dev", "iota_local", "iota_local"]),
            None => {
                assert!(ids.iter().all(|id| id.as_ref().is_err_and(|why| why.contains("without a runtime"))))
            }
        }
    }

    #[test]
    fn a_public_network_is_not_a_preset() {
        for name in ["testnet", "production"] {
            let error = load(name).err().unwrap();
            assert!(error.contains("testnet-spec"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named_in_the_error() {
        let error = load("no/such/spec.json").err().unwrap();
        assert!(error.starts_with("chain spec no/such/spec.json: "), "{error}");
    }
}
