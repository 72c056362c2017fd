//! Salts of revealed scores, which stand in the call that revealed them and nowhere in the state.
//!
//! The call may have come by itself or wrapped in others (a batch, a proxy, a multisig), so the whole call is
//! decoded by the metadata of its block and searched.

use iota_protocol::ids::{parse_hex32, Epoch, Hash, RunId, Uid};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value as Json};
use subxt::ext::scale_value::Composite;
use subxt::extrinsics::Extrinsics;
use subxt::SubstrateConfig;

use crate::block::of_composite;

const PALLET: &str = "Iota";
const CALL: &str = "reveal_scores";

/// What a `reveal_scores` call adds to the state's record of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ScoreSalt {
    /// The extrinsic that carries the call. Whether the call succeeded, its events say.
    pub extrinsic: u32,
    /// The run.
    pub run: RunId,
    /// The scored epoch.
    pub epoch: Epoch,
    /// Whose row it is.
    pub author: Uid,
    /// What the commit was salted with.
    pub salt: Hash,
}

/// The salts in a block's extrinsics. An extrinsic that does not decode has none.
pub(crate) fn salts<C>(body: &Extrinsics<'_, SubstrateConfig, C>) -> Vec<ScoreSalt>
where
    C: subxt::client::OfflineClientAtBlockT<SubstrateConfig>,
{
    let mut found = Vec::new();
    for each in body.iter().filter_map(Result::ok) {
        let Ok(fields) = each.decode_call_data_fields_unchecked_as::<Composite<()>>() else { continue };
        let call = json!({ each.pallet_name(): { each.call_name(): of_composite(&fields) } });
        find(&call, u32::try_from(each.index()).unwrap_or(u32::MAX), &mut found);
    }
    found
}

/// Calls of ours anywhere within a call. The runtime limits how deep calls nest.
fn find(call: &Json, extrinsic: u32, out: &mut Vec<ScoreSalt>) {
    match call {
        Json::Object(fields) => {
            let own = fields.get(PALLET).and_then(|call| call.get(CALL));
            out.extend(own.and_then(|fields| read(fields, extrinsic)));
            fields.values().for_each(|inner| find(inner, extrinsic, out));
        }
        Json::Array(items) => items.iter().for_each(|inner| find(inner, extrinsic, out)),
        _ => {}
    }
}

fn read(fields: &Json, extrinsic: u32) -> Option<ScoreSalt> {
    let number = |name: &str| fields.get(name)?.as_str()?.parse::<u32>().ok();
    Some(ScoreSalt {
        extrinsic,
        run: RunId(number("run")?),
        epoch: Epoch(number("epoch")?),
        author: Uid(u16::try_from(number("author")?).ok()?),
        salt: parse_hex32(fields.get("reveal")?.get("salt")?.as_str()?).map(Hash)?,
    })
}

#[cfg(test)]
mod tests {
    use subxt::ext::scale_value::Value;

    use super::*;

    fn reveal(author: u128, salt: u8) -> Value<()> {
        let newtype = |number| Value::unnamed_composite([Value::u128(number)]);
        let reveal = Value::named_composite([
            ("entries", Value::unnamed_composite([Value::unnamed_composite(Vec::<Value<()>>::new())])),
            ("salt", Value::from_bytes([salt; 32])),
            ("report_root", Value::unnamed_composite([Value::from_bytes([9u8; 32])])),
        ]);
        let fields =
            [("run", newtype(0)), ("epoch", newtype(3)), ("author", newtype(author)), ("reveal", reveal)];
        Value::unnamed_variant(PALLET, [Value::named_variant(CALL, fields)])
    }

    fn check(call: &Value<()>, expected: &[(u16, u8)]) {
        let mut found = Vec::new();
        find(&of_composite(&Composite::unnamed([call.clone()])), 4, &mut found);
        let expected = expected.iter().map(|(author, salt)| ScoreSalt {
            extrinsic: 4,
            run: RunId(0),
            epoch: Epoch(3),
            author: Uid(*author),
            salt: Hash([*salt; 32]),
        });
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_salt_is_found_in_a_call_and_in_calls_that_wrap_it() {
        check(&reveal(6, 1), &[(6, 1)]);
        let batch = |calls: Vec<Value<()>>| {
            let calls = Value::unnamed_composite(calls);
            Value::unnamed_variant("Utility", [Value::named_variant("batch", [("calls", calls)])])
        };
        check(&batch(vec![reveal(6, 1)]), &[(6, 1)]);
        check(&batch(vec![reveal(6, 1), reveal(7, 2)]), &[(6, 1), (7, 2)]);
        let proxied =
            Value::named_variant("proxy", [("real", Value::from_bytes([3u8; 32])), ("call", reveal(7, 5))]);
        check(&batch(vec![Value::unnamed_variant("Proxy", [proxied])]), &[(7, 5)]);
        let other =
            Value::unnamed_variant(PALLET, [Value::named_variant("claim", [("run", Value::u128(1))])]);
        check(&batch(vec![other]), &[]);
    }

    #[test]
    fn what_is_no_whole_call_has_no_salt() {
        let mut found = Vec::new();
        let short = json!({ PALLET: { CALL: { "run": "0", "epoch": "3", "author": "70000", "reveal": { "salt": "0x01" } } } });
        find(&short, 0, &mut found);
        assert!(found.is_empty(), "{found:?}");
    }
}
