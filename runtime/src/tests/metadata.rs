//! The metadata against what was blessed, so that no change of it goes out under an old version.
//!
//! `metadata.golden` holds both versions, a hash of the metadata, a hash of everything that encodes in a
//! transaction, and the list of calls, which makes a change readable in a review. When a change is
//! meant: raise `spec_version`, and `transaction_version` too if calls or extensions changed, then
//! `IOTA_BLESS=1 cargo test -p iota-runtime golden`. Blessing refuses versions that were not raised.

use alloc::format;
use std::{fmt::Write, fs, path::PathBuf};

use polkadot_sdk::{
    frame_support::traits::GetCallMetadata, sp_io::hashing::blake2_256,
    sp_runtime::traits::TransactionExtension,
};
use scale_info::{form::MetaForm, MetaType, Registry, TypeDef, TypeInfo};

use super::*;

/// What is blessed, as text: `field value` lines, then one line for each call.
#[derive(PartialEq, Eq, Debug, Clone)]
struct Golden {
    spec_version: u32,
    transaction_version: u32,
    metadata: String,
    transactions: String,
    calls: String,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/tests/metadata.golden")
}

impl Golden {
    fn current() -> Self {
        Self {
            spec_version: VERSION.spec_version,
            transaction_version: VERSION.transaction_version,
            metadata: hex::encode(blake2_256(&Runtime::metadata().encode())),
            transactions: transactions(),
            calls: calls(),
        }
    }

    fn write(&self) -> String {
        format!(
            "spec_version {}\ntransaction_version {}\nmetadata {}\ntransactions {}\n{}",
            self.spec_version, self.transaction_version, self.metadata, self.transactions, self.calls
        )
    }

    fn read(text: &str) -> Self {
        let mut lines = text.splitn(5, '\n');
        let mut field = |name: &str| {
            let line = lines.next().unwrap_or_default();
            let value = line.strip_prefix(name).map(str::trim);
            value.unwrap_or_else(|| panic!("metadata.golden: expected {name}, got {line:?}")).to_string()
        };
        let number = |text: String| text.parse().unwrap();
        Self {
            spec_version: number(field("spec_version")),
            transaction_version: number(field("transaction_version")),
            metadata: field("metadata"),
            transactions: field("transactions"),
            calls: lines.next().unwrap_or_default().to_string(),
        }
    }

    /// What is missing before this may follow `old`.
    fn follows(&self, old: &Self) -> Result<(), String> {
        if self.metadata != old.metadata && self.spec_version <= old.spec_version {
            return Err(format!("the metadata changed: raise spec_version above {}", old.spec_version));
        }
        if self.transactions != old.transactions && self.transaction_version <= old.transaction_version {
            return Err(format!(
                "calls or extensions changed: raise transaction_version above {}",
                old.transaction_version
            ));
        }
        Ok(())
    }
}

/// Hash of the types of calls, addresses, signatures and extensions, without their documentation.
fn transactions() -> String {
    let mut registry = Registry::new();
    for part in [
        MetaType::new::<RuntimeCall>(),
        MetaType::new::<Address>(),
        MetaType::new::<Signature>(),
        MetaType::new::<TxExtension>(),
    ] {
        registry.register_type(&part);
    }
    let mut types = scale_info::PortableRegistry::from(registry);
    for entry in &mut types.types {
        entry.ty.docs.clear();
        match &mut entry.ty.type_def {
            TypeDef::Variant(variants) => variants.variants.iter_mut().for_each(|variant| {
                variant.docs.clear();
                variant.fields.iter_mut().for_each(|field| field.docs.clear());
            }),
            TypeDef::Composite(composite) => {
                composite.fields.iter_mut().for_each(|field| field.docs.clear());
            }
            _ => {}
        }
    }
    let extensions: Vec<_> = <TxExtension as TransactionExtension<RuntimeCall>>::metadata()
        .iter()
        .map(|extension| extension.identifier)
        .collect();
    hex::encode(blake2_256(&(types, extensions).encode()))
}

/// Variants of an enum: index, name, fields.
fn variants(of: &scale_info::Type<MetaForm>) -> Vec<(u8, &'static str, Vec<scale_info::Field<MetaForm>>)> {
    match &of.type_def {
        TypeDef::Variant(variants) => variants
            .variants
            .iter()
            .map(|variant| (variant.index, variant.name, variant.fields.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

/// One line for each call: its indices, names and arguments.
fn calls() -> String {
    let mut text = String::new();
    for (pallet_index, pallet, fields) in variants(&RuntimeCall::type_info()) {
        let calls = fields.first().map(|field| field.ty.type_info());
        for (index, call, arguments) in calls.iter().flat_map(variants) {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|field| format!("{}: {}", field.name.unwrap_or("_"), field.type_name.unwrap_or("_")))
                .collect();
            writeln!(text, "{pallet_index}.{index} {pallet}.{call}({})", arguments.join(", ")).unwrap();
        }
    }
    text
}

#[test]
fn row_25_golden_metadata_changes_only_together_with_the_version() {
    let current = Golden::current();
    let stored = fs::read_to_string(path()).ok().map(|text| Golden::read(&text));
    if std::env::var_os("IOTA_BLESS").is_some() {
        let allowed = stored.map_or(Ok(()), |stored| current.follows(&stored));
        allowed.unwrap_or_else(|why| panic!("not blessed: {why}"));
        fs::write(path(), current.write()).unwrap();
        return;
    }
    let stored = stored.expect("runtime/src/tests/metadata.golden is missing: bless it");
    current.follows(&stored).unwrap_or_else(|why| panic!("{why}, then bless (see metadata.rs)"));
    assert_eq!(current, stored, "the version was raised; bless what it stands for (see metadata.rs)");
}

#[test]
fn every_call_of_the_metadata_stands_in_the_list() {
    let list = calls();
    for pallet in RuntimeCall::get_module_names() {
        for call in RuntimeCall::get_call_names(pallet) {
            assert!(list.contains(&format!(" {pallet}.{call}(")), "{pallet}.{call}");
        }
    }
    assert!(list.contains("10.0 Iota.create_run(params: RunParams)\n"), "{list}");
}

#[test]
fn blessing_wants_each_version_that_a_change_concerns() {
    let old = Golden::current();
    let changed = |metadata: &str, transactions: &str, spec: u32, transaction: u32| Golden {
        metadata: metadata.to_string(),
        transactions: transactions.to_string(),
        spec_version: old.spec_version + spec,
        transaction_version: old.transaction_version + transaction,
        ..old.clone()
    };
    assert!(changed(&old.metadata, &old.transactions, 0, 0).follows(&old).is_ok());
    assert!(changed("a", &old.transactions, 0, 0).follows(&old).is_err());
    assert!(changed("a", &old.transactions, 1, 0).follows(&old).is_ok());
    assert!(changed("a", "b", 1, 0).follows(&old).is_err());
    assert!(changed("a", "b", 1, 1).follows(&old).is_ok());
    assert_eq!(Golden::read(&old.write()), old);
}
