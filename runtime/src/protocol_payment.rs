//! The payment extension: who pays for a transaction, and who goes first.
//!
//! A protocol call inside its window pays nothing (`pallet_skip_feeless_payment` asks the pallet). A
//! call that pays nothing would also come last in a full pool, so that anybody with a few tokens could
//! keep a member out of its window. Therefore such a call gets the highest priority, and a tag that
//! names what it does and for which member, of which the pool holds one transaction: a member cannot
//! fill the pool with copies either. Calls that pay are left to the wrapped extension.

use alloc::{vec, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode};
use iota_protocol::ids::{Epoch, Incarnation, RunId, Uid};
use polkadot_sdk::{
    frame_support::{
        dispatch::{DispatchInfo, DispatchResult, GetDispatchInfo, PostDispatchInfo},
        traits::{GetCallIndex, OriginTrait},
        weights::Weight,
    },
    frame_system,
    pallet_skip_feeless_payment::{Intermediate, SkipCheckIfFeeless},
    pallet_transaction_payment::ChargeTransactionPayment,
    sp_runtime::{
        traits::{Implication, TransactionExtension, TransactionExtensionMetadata, ValidateResult},
        transaction_validity::{
            TransactionPriority, TransactionSource, TransactionValidityError, ValidTransaction,
        },
    },
};
use scale_info::{Type, TypeInfo};

use crate::{AccountId, Runtime, RuntimeCall, RuntimeOrigin};

type Call = pallet_iota::Call<Runtime>;
type Inner = SkipCheckIfFeeless<Runtime, ChargeTransactionPayment<Runtime>>;

/// Priority of a free call. No tip reaches it, and two free calls never outbid each other. There are
/// at most a few for each member and epoch, and of a judge one for each accusation, which has a deposit
/// behind it, and for each miner that it asks for evidence, so they cannot crowd out what pays.
pub const FREE_PRIORITY: TransactionPriority = TransactionPriority::MAX;

/// Charges for a transaction, or lets a protocol call go first and free.
#[derive(Encode, Decode, DecodeWithMemTracking, Clone, Eq, PartialEq)]
pub struct ProtocolPayment(Inner);

impl ProtocolPayment {
    /// With a tip in the smallest unit; free calls never pay it.
    #[must_use]
    pub fn with_tip(tip: crate::Balance) -> Self {
        Self(Inner::from(ChargeTransactionPayment::from(tip)))
    }
}

// Clients see the wrapped payment extension alone, under its own name and with its own bytes.
impl TypeInfo for ProtocolPayment {
    type Identity = <Inner as TypeInfo>::Identity;

    fn type_info() -> Type {
        Inner::type_info()
    }
}

impl core::fmt::Debug for ProtocolPayment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the pool holds one transaction of: this call, by this member, in this epoch.
#[derive(Encode, Clone, PartialEq, Eq, Debug)]
enum Slot {
    /// A protocol call of a member, about another member's segment or a stage if it is a judge's.
    Member {
        call: u8,
        run: RunId,
        uid: Uid,
        incarnation: Incarnation,
        epoch: Epoch,
        about: Option<(Uid, u32)>,
    },
    /// A proof against a member: one is enough, whoever brings it.
    Proof { call: u8, run: RunId, uid: Uid, epoch: Epoch },
    /// A free call that names no epoch: one at a time for each account.
    Account { call: u8, who: AccountId },
}

/// What a call says about its slot.
struct Named {
    run: RunId,
    /// The current one if absent.
    epoch: Option<Epoch>,
    /// Whose one reveal it is, whoever sends it.
    author: Option<Uid>,
    /// Whom it judges, and which segment; or which stage.
    about: Option<(Uid, u32)>,
}

impl Named {
    fn of(run: RunId, epoch: Option<Epoch>) -> Option<Self> {
        Some(Self { run, epoch, author: None, about: None })
    }
}

fn named(call: &Call) -> Option<Named> {
    match call {
        Call::serve { run, .. } | Call::resume { run } => Named::of(*run, None),
        Call::commit_work { run, epoch, .. }
        | Call::attest { run, epoch, .. }
        | Call::blind_merge { run, epoch, .. }
        | Call::open_merge { run, epoch, .. }
        | Call::commit_root { run, epoch, .. }
        | Call::commit_scores { run, epoch, .. }
        | Call::answer_evidence { run, epoch, .. }
        | Call::commit_transcripts { run, epoch, .. }
        | Call::submit_transcripts { run, epoch, .. } => Named::of(*run, Some(*epoch)),
        // Anybody may send it, and it is the author's one reveal whoever does.
        Call::reveal_scores { run, epoch, author, .. } => {
            Some(Named { author: Some(*author), ..Named::of(*run, Some(*epoch))? })
        }
        // A judge has one call for each segment or miner that it judges.
        Call::accuse { run, epoch, uid, segment, .. } | Call::vote { run, epoch, uid, segment, .. } => {
            Some(Named { about: Some((*uid, *segment)), ..Named::of(*run, Some(*epoch))? })
        }
        // One for each stage.
        Call::attest_root { run, epoch, stage, .. } => {
            Some(Named { about: Some((Uid(0), u32::from(stage.0))), ..Named::of(*run, Some(*epoch))? })
        }
        Call::vote_rollback { run, epoch, .. } => Named::of(*run, Some(*epoch)),
        Call::request_evidence { run, epoch, uid, .. } => {
            Some(Named { about: Some((*uid, 0)), ..Named::of(*run, Some(*epoch))? })
        }
        _ => None,
    }
}

/// Whether the first half of what the call does is done to find out whether it is free.
fn is_checked_first(call: &Call) -> bool {
    named(call).is_some() || matches!(call, Call::report_equivocation { .. })
}

fn member_slot(call: &Call, who: &AccountId) -> Option<Slot> {
    if let Call::report_equivocation { proof } = call {
        let header = &proof.first.header;
        return Some(Slot::Proof {
            call: index(call),
            run: header.run,
            uid: header.from,
            epoch: header.epoch,
        });
    }
    let Named { run, epoch, author, about } = named(call)?;
    let epoch = match epoch {
        Some(epoch) => epoch,
        None => pallet_iota::Clocks::<Runtime>::get(run)?.epoch,
    };
    let (uid, incarnation) = match author {
        Some(uid) => (uid, pallet_iota::Scores::<Runtime>::get((run, epoch), uid)?.incarnation),
        None => {
            let uid = pallet_iota::UidOf::<Runtime>::get(run, who)?;
            (uid, pallet_iota::Members::<Runtime>::get(run, uid)?.incarnation)
        }
    };
    Some(Slot::Member { call: index(call), run, uid, incarnation, epoch, about })
}

fn index(call: &Call) -> u8 {
    call.get_call_index()
}

/// Priority and tag of a free call by `who`.
pub(crate) fn first_and_once(call: &RuntimeCall, who: &AccountId) -> ValidTransaction {
    let slot = match call {
        RuntimeCall::Iota(call) => {
            member_slot(call, who).unwrap_or_else(|| Slot::Account { call: index(call), who: who.clone() })
        }
        // No other pallet has a free call today; one that had would not go first.
        _ => return ValidTransaction::default(),
    };
    ValidTransaction {
        priority: FREE_PRIORITY,
        provides: vec![(b"iota-slot", slot).encode()],
        ..ValidTransaction::default()
    }
}

impl TransactionExtension<RuntimeCall> for ProtocolPayment {
    const IDENTIFIER: &'static str = <Inner as TransactionExtension<RuntimeCall>>::IDENTIFIER;
    type Implicit = <Inner as TransactionExtension<RuntimeCall>>::Implicit;
    type Val = <Inner as TransactionExtension<RuntimeCall>>::Val;
    type Pre = <Inner as TransactionExtension<RuntimeCall>>::Pre;

    fn metadata() -> Vec<TransactionExtensionMetadata> {
        <Inner as TransactionExtension<RuntimeCall>>::metadata()
    }

    fn implicit(&self) -> Result<Self::Implicit, TransactionValidityError> {
        TransactionExtension::<RuntimeCall>::implicit(&self.0)
    }

    fn weight(&self, call: &RuntimeCall) -> Weight {
        let payment = self.0.weight(call);
        match call {
            // Whether it is free is decided by the first half of what the call then does.
            RuntimeCall::Iota(protocol) if is_checked_first(protocol) => {
                payment.saturating_add(protocol.get_dispatch_info().call_weight)
            }
            _ => payment,
        }
    }

    fn validate(
        &self,
        origin: RuntimeOrigin,
        call: &RuntimeCall,
        info: &DispatchInfo,
        len: usize,
        self_implicit: Self::Implicit,
        inherited_implication: &impl Implication,
        source: TransactionSource,
    ) -> ValidateResult<Self::Val, RuntimeCall> {
        let (validity, val, origin) =
            self.0.validate(origin, call, info, len, self_implicit, inherited_implication, source)?;
        let who = match (&val, origin.caller()) {
            (Intermediate::Skip(_), crate::OriginCaller::system(frame_system::RawOrigin::Signed(who))) => who,
            _ => return Ok((validity, val, origin)),
        };
        let first = first_and_once(call, who);
        Ok((validity.combine_with(first), val, origin))
    }

    fn prepare(
        self,
        val: Self::Val,
        origin: &RuntimeOrigin,
        call: &RuntimeCall,
        info: &DispatchInfo,
        len: usize,
    ) -> Result<Self::Pre, TransactionValidityError> {
        self.0.prepare(val, origin, call, info, len)
    }

    fn post_dispatch_details(
        pre: Self::Pre,
        info: &DispatchInfo,
        post_info: &PostDispatchInfo,
        len: usize,
        result: &DispatchResult,
    ) -> Result<Weight, TransactionValidityError> {
        <Inner as TransactionExtension<RuntimeCall>>::post_dispatch_details(pre, info, post_info, len, result)
    }
}
