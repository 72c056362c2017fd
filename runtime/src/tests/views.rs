//! View functions and runtime API: the same answers both ways.

use codec::{Decode, DecodeAll};
use iota_protocol::view::OwedView;
use pallet_iota::runtime_api::runtime_decl_for_iota_api::IotaApi;
use polkadot_sdk::{
    frame_support::view_functions::{ViewFunction, ViewFunctionId},
    sp_genesis_builder::DEV_RUNTIME_PRESET,
};

use super::*;

/// Asks one view function the way a client does: by id, with encoded arguments.
fn view<V: ViewFunction + Encode>(query: V) -> V::ReturnType
where
    V::ReturnType: Decode,
{
    let answer = Runtime::execute_view_function(V::id(), query.encode()).unwrap();
    V::ReturnType::decode_all(&mut &answer[..]).unwrap()
}

#[test]
fn view_functions_answer_like_the_runtime_api() {
    on_chain(DEV_RUNTIME_PRESET, run(), || {
        open_block();
        let (known, unknown) = (RunId(0), RunId(7));
        assert_eq!(view(pallet_iota::RunParamsViewFunction::<Runtime>::new(known)), Runtime::run(known));
        assert!(Runtime::run(known).is_some());
        assert_eq!(view(pallet_iota::ClockViewFunction::<Runtime>::new(known)), Runtime::clock(known));
        assert!(Runtime::clock(known).is_some());
        assert_eq!(view(pallet_iota::ClockViewFunction::<Runtime>::new(unknown)), None);
        assert_eq!(view(pallet_iota::MembersViewFunction::<Runtime>::new(known)), Runtime::members(known));
        let account = Sr25519Keyring::Alice.to_account_id();
        assert_eq!(view(pallet_iota::OwedViewFunction::<Runtime>::new(account)), OwedView::default());
        let strange = ViewFunctionId { prefix: [1; 16], suffix: [2; 16] };
        assert!(Runtime::execute_view_function(strange, Vec::new()).is_err());
    });
}
