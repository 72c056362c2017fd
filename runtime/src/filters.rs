//! Which calls pass where: in safe mode, through a proxy, at all.
//!
//! Every list names what is allowed. A call that nobody listed is refused, also one that a later
//! version adds. The lists go by the names in the metadata; a test compares them with all of it.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use iota_protocol::phase::Schedule;
use polkadot_sdk::frame_support::traits::{Contains, GetCallMetadata, InstanceFilter};
use scale_info::TypeInfo;

use crate::{governance, Runtime, RuntimeCall};

/// Calls of a pallet: all of them, or those listed.
enum Calls {
    All,
    These(&'static [&'static str]),
}

type Allowed = &'static [(&'static str, Calls)];

/// Calls that move no money and without which a run or the chain would stop, and those with which the
/// admin ends the trouble.
const SAFE_MODE: Allowed = &[
    ("System", Calls::These(&["apply_authorized_upgrade"])),
    // The inherent: without it there is no block.
    ("Timestamp", Calls::All),
    ("Session", Calls::These(&["set_keys"])),
    ("Multisig", Calls::All),
    ("Governance", Calls::All),
    (
        "Iota",
        Calls::These(&[
            "serve",
            "commit_work",
            "attest",
            "blind_merge",
            "open_merge",
            "commit_root",
            "commit_scores",
            "reveal_scores",
            "resume",
            // Held pay would lapse if requests went on without answers: both or neither.
            "request_evidence",
            "answer_evidence",
            "commit_transcripts",
            "submit_transcripts",
            // What ends the trouble may be the state of an earlier epoch.
            "attest_root",
            "vote_rollback",
            "roll_back",
        ]),
    ),
];

/// What a machine that looks after members needs: no transfer, and nothing that changes an owner.
const MEMBERS: Allowed = &[(
    "Iota",
    Calls::These(&["register", "bond", "leave", "claim", "release", "unbond", "withdraw", "resume"]),
)];

/// Rewards go to their owner whoever claims them.
const CLAIM: Allowed = &[("Iota", Calls::These(&["claim", "release"]))];

fn lists(allowed: Allowed, call: &RuntimeCall) -> bool {
    let call = call.get_call_metadata();
    names(allowed, call.pallet_name, call.function_name)
}

fn names(allowed: Allowed, pallet: &str, call: &str) -> bool {
    allowed.iter().filter(|(name, _)| *name == pallet).any(|(_, calls)| match calls {
        Calls::All => true,
        Calls::These(names) => names.contains(&call),
    })
}

/// Calls that go on in safe mode.
pub struct SafeModeCalls;

impl Contains<RuntimeCall> for SafeModeCalls {
    fn contains(call: &RuntimeCall) -> bool {
        lists(SAFE_MODE, call)
    }
}

/// Refuses runs whose epochs are shorter than this chain wants them.
pub struct LongEpochs;

impl Contains<RuntimeCall> for LongEpochs {
    fn contains(call: &RuntimeCall) -> bool {
        match call {
            RuntimeCall::Iota(
                pallet_iota::Call::create_run { params }
                | pallet_iota::Call::sponsor_run { params }
                | pallet_iota::Call::schedule_params { params, .. },
            ) => {
                let epoch = Schedule::new(&params.phases, false, 0, 0).next_start();
                epoch >= governance::LeastEpoch::<Runtime>::get()
            }
            _ => true,
        }
    }
}

/// What a proxy may send for the account that named it.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum ProxyType {
    /// Everything, transfers too.
    #[default]
    Any,
    /// Registers, bonds, leaves and claims for a coldkey.
    Members,
    /// Releases and claims rewards for their owner.
    Claim,
}

impl InstanceFilter<RuntimeCall> for ProxyType {
    fn filter(&self, call: &RuntimeCall) -> bool {
        match self {
            Self::Any => true,
            Self::Members => lists(MEMBERS, call),
            Self::Claim => lists(CLAIM, call),
        }
    }

    fn is_superset(&self, other: &Self) -> bool {
        // Each type is contained in those before it.
        self <= other
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::String, vec::Vec};

    use super::*;

    /// Every call of the metadata that a list lets pass, as `Pallet.call`.
    fn passing(allowed: Allowed) -> Vec<String> {
        let pallets = RuntimeCall::get_module_names().iter();
        let calls = pallets
            .flat_map(|pallet| RuntimeCall::get_call_names(pallet).iter().map(move |call| (*pallet, *call)));
        let passing = calls.filter(|(pallet, call)| names(allowed, pallet, call));
        passing.map(|(pallet, call)| format!("{pallet}.{call}")).collect()
    }

    #[test]
    fn every_listed_call_exists() {
        for (pallet, calls) in SAFE_MODE.iter().chain(MEMBERS).chain(CLAIM) {
            assert!(RuntimeCall::get_module_names().contains(pallet), "no pallet {pallet}");
            if let Calls::These(names) = calls {
                for name in *names {
                    assert!(RuntimeCall::get_call_names(pallet).contains(name), "no call {pallet}.{name}");
                }
            }
        }
    }

    #[test]
    fn exactly_these_calls_of_the_metadata_go_on_in_safe_mode() {
        let expected = [
            "System.apply_authorized_upgrade",
            "Timestamp.set",
            "Session.set_keys",
            "Iota.serve",
            "Iota.commit_work",
            "Iota.attest",
            "Iota.blind_merge",
            "Iota.open_merge",
            "Iota.commit_root",
            "Iota.commit_scores",
            "Iota.reveal_scores",
            "Iota.resume",
            "Iota.request_evidence",
            "Iota.answer_evidence",
            "Iota.commit_transcripts",
            "Iota.submit_transcripts",
            "Iota.attest_root",
            "Iota.vote_rollback",
            "Iota.roll_back",
            "Multisig.as_multi_threshold_1",
            "Multisig.as_multi",
            "Multisig.approve_as_multi",
            "Multisig.cancel_as_multi",
            "Multisig.poke_deposit",
            "Governance.set_authorities",
            "Governance.offer_admin",
            "Governance.accept_admin",
            "Governance.authorize_upgrade",
        ];
        assert_eq!(passing(SAFE_MODE), expected);
    }

    #[test]
    fn exactly_these_calls_of_the_metadata_pass_through_a_bounded_proxy() {
        assert_eq!(
            passing(MEMBERS),
            [
                "Iota.register",
                "Iota.bond",
                "Iota.leave",
                "Iota.claim",
                "Iota.release",
                "Iota.unbond",
                "Iota.withdraw",
                "Iota.resume"
            ]
        );
        assert_eq!(passing(CLAIM), ["Iota.claim", "Iota.release"]);
    }

    #[test]
    fn a_wider_proxy_contains_each_narrower_one() {
        use ProxyType::{Any, Claim, Members};
        assert!(Any.is_superset(&Members) && Any.is_superset(&Claim) && Members.is_superset(&Claim));
        assert!(!Claim.is_superset(&Members) && !Members.is_superset(&Any));
        let narrower = passing(CLAIM);
        assert!(narrower.iter().all(|call| passing(MEMBERS).contains(call)));
    }
}
