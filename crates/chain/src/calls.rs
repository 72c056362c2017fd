//! Calls of `pallet-iota`, encoded from the protocol's types.

use codec::Encode;
use iota_protocol::equivocation::Equivocation;
use iota_protocol::ids::{AccountKey, Epoch, Hash, Incarnation, RunId, Stage, Uid};
use iota_protocol::params::RunParams;
use iota_protocol::work::{Bitmap, Endpoint, Role, ScoreReveal, ShardHashes, Transcripts, WorkCommit};
use subxt::ext::scale_encode::{EncodeAsFields, Error, FieldIter, TypeResolver};
use subxt::transactions::Payload;

/// A call by name, with its arguments already SCALE-encoded.
#[derive(Clone, Debug)]
pub struct Call {
    pallet: &'static str,
    name: &'static str,
    args: EncodedArgs,
}

/// Arguments that are copied as they are.
#[derive(Clone, Debug)]
pub struct EncodedArgs(Vec<u8>);

impl EncodeAsFields for EncodedArgs {
    fn encode_as_fields_to<R: TypeResolver>(
        &self,
        _fields: &mut dyn FieldIter<'_, R::TypeId>,
        _types: &R,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        out.extend_from_slice(&self.0);
        Ok(())
    }
}

impl Payload for Call {
    type CallData = EncodedArgs;

    fn pallet_name(&self) -> &str {
        self.pallet
    }

    fn call_name(&self) -> &str {
        self.name
    }

    fn call_data(&self) -> &EncodedArgs {
        &self.args
    }
}

impl Call {
    fn new(name: &'static str, args: &impl Encode) -> Self {
        Self::of("Iota", name, args)
    }

    /// A call of another pallet.
    pub(crate) fn of(pallet: &'static str, name: &'static str, args: &impl Encode) -> Self {
        Self { pallet, name, args: EncodedArgs(args.encode()) }
    }

    /// The call's name in the pallet.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Registers a hotkey under the signing coldkey; `proof` is the hotkey's consent.
    #[must_use]
    pub fn register(run: RunId, hotkey: AccountKey, role: Role, proof: [u8; 64], max_price: u128) -> Self {
        Self::new("register", &(run, hotkey, role, proof, max_price))
    }

    /// Adds to a validator's bond from the signing coldkey.
    #[must_use]
    pub fn bond(run: RunId, uid: Uid, amount: u128) -> Self {
        Self::new("bond", &(run, uid, amount))
    }

    /// Publishes where the signing hotkey can be reached.
    #[must_use]
    pub fn serve(run: RunId, endpoint: &Endpoint, peer_signature: [u8; 64]) -> Self {
        Self::new("serve", &(run, endpoint, peer_signature))
    }

    /// Commits an epoch's work.
    #[must_use]
    pub fn commit_work(run: RunId, epoch: Epoch, work: &WorkCommit) -> Self {
        Self::new("commit_work", &(run, epoch, work))
    }

    /// Says whose entries this owner holds.
    #[must_use]
    pub fn attest(run: RunId, epoch: Epoch, entries: Bitmap) -> Self {
        Self::new("attest", &(run, epoch, entries))
    }

    /// Blinded shard hashes.
    #[must_use]
    pub fn blind_merge(run: RunId, epoch: Epoch, blind: Hash) -> Self {
        Self::new("blind_merge", &(run, epoch, blind))
    }

    /// Opens the shard hashes.
    #[must_use]
    pub fn open_merge(run: RunId, epoch: Epoch, salt: [u8; 32], hashes: &ShardHashes) -> Self {
        Self::new("open_merge", &(run, epoch, salt, hashes))
    }

    /// Reports the root of weights and outer momentum after the outer step.
    #[must_use]
    pub fn commit_root(run: RunId, epoch: Epoch, root: Hash) -> Self {
        Self::new("commit_root", &(run, epoch, root))
    }

    /// Commits to a score row for `epoch`.
    #[must_use]
    pub fn commit_scores(run: RunId, epoch: Epoch, hash: Hash) -> Self {
        Self::new("commit_scores", &(run, epoch, hash))
    }

    /// Reveals the row of `author` for `epoch`.
    #[must_use]
    pub fn reveal_scores(run: RunId, epoch: Epoch, author: Uid, reveal: &ScoreReveal) -> Self {
        Self::new("reveal_scores", &(run, epoch, author, reveal))
    }

    /// Pays out what an account is owed.
    #[must_use]
    pub fn claim(account: AccountKey) -> Self {
        Self::new("claim", &account)
    }

    // Membership and money.

    /// Makes claimable what has vested of a member's pay.
    #[must_use]
    pub fn release(run: RunId, incarnation: Incarnation) -> Self {
        Self::new("release", &(run, incarnation))
    }

    /// Takes from a validator's bond; the amount is free after a delay.
    #[must_use]
    pub fn unbond(run: RunId, uid: Uid, amount: u128) -> Self {
        Self::new("unbond", &(run, uid, amount))
    }

    /// Takes off hold what `coldkey` unbonded from a member.
    #[must_use]
    pub fn withdraw(run: RunId, incarnation: Incarnation, coldkey: AccountKey) -> Self {
        Self::new("withdraw", &(run, incarnation, coldkey))
    }

    /// Asks for the permit that the signing validator lost by missing reveals.
    #[must_use]
    pub fn resume(run: RunId) -> Self {
        Self::new("resume", &run)
    }

    // Verdicts, evidence, transcripts.

    /// Accuses a miner of one segment of an epoch that closed; the deposit comes from the signing
    /// validator's bond.
    #[must_use]
    pub fn accuse(
        run: RunId,
        epoch: Epoch,
        accused: (Uid, Incarnation),
        segment: u32,
        evidence: Hash,
    ) -> Self {
        Self::new("accuse", &(run, epoch, accused.0, accused.1, segment, evidence))
    }

    /// Votes on an accusation.
    #[must_use]
    pub fn vote(run: RunId, epoch: Epoch, uid: Uid, segment: u32, guilty: bool) -> Self {
        Self::new("vote", &(run, epoch, uid, segment, guilty))
    }

    /// Says that the signing validator cannot get what `wanted` names of a miner's evidence.
    #[must_use]
    pub fn request_evidence(run: RunId, epoch: Epoch, miner: (Uid, Incarnation), wanted: Hash) -> Self {
        Self::new("request_evidence", &(run, epoch, miner.0, miner.1, wanted))
    }

    /// Says that the signing miner serves what was asked for.
    #[must_use]
    pub fn answer_evidence(run: RunId, epoch: Epoch, root: Hash) -> Self {
        Self::new("answer_evidence", &(run, epoch, root))
    }

    /// Commits to audit transcripts of `epoch`.
    #[must_use]
    pub fn commit_transcripts(run: RunId, epoch: Epoch, hash: Hash) -> Self {
        Self::new("commit_transcripts", &(run, epoch, hash))
    }

    /// Opens audit transcripts of `epoch`.
    #[must_use]
    pub fn submit_transcripts(run: RunId, epoch: Epoch, salt: [u8; 32], transcripts: &Transcripts) -> Self {
        Self::new("submit_transcripts", &(run, epoch, salt, transcripts))
    }

    /// Proves that a miner signed two bodies for one hop.
    #[must_use]
    pub fn report_equivocation(proof: &Equivocation) -> Self {
        Self::new("report_equivocation", proof)
    }

    // Runs, for their owners; the admin origin sends its own through governance.

    /// Makes a run behind a deposit of the signing account.
    #[must_use]
    pub fn sponsor_run(params: &RunParams) -> Self {
        Self::new("sponsor_run", params)
    }

    /// Sets parameters that a run has from its next epoch on.
    #[must_use]
    pub fn schedule_params(run: RunId, params: &RunParams) -> Self {
        Self::new("schedule_params", &(run, params))
    }

    /// Pauses a run after its current epoch.
    #[must_use]
    pub fn pause_run(run: RunId) -> Self {
        Self::new("pause_run", &run)
    }

    /// Starts the next epoch of a paused run.
    #[must_use]
    pub fn resume_run(run: RunId) -> Self {
        Self::new("resume_run", &run)
    }

    /// Makes the current epoch the last that trains.
    #[must_use]
    pub fn end_run(run: RunId) -> Self {
        Self::new("end_run", &run)
    }

    // Roots that validators attest, and the way back.

    /// Attests the root that a stage's merge leaves.
    #[must_use]
    pub fn attest_root(run: RunId, epoch: Epoch, stage: Stage, root: Hash) -> Self {
        Self::new("attest_root", &(run, epoch, stage, root))
    }

    /// Wants all stages to go back to the states after `to`; sent in `epoch`.
    #[must_use]
    pub fn vote_rollback(run: RunId, epoch: Epoch, to: Epoch) -> Self {
        Self::new("vote_rollback", &(run, epoch, to))
    }

    /// Allows the runtime with that blake2 hash; for the account that governs the chain.
    #[must_use]
    pub fn authorize_upgrade(code: Hash) -> Self {
        Self::of("Governance", "authorize_upgrade", &code)
    }

    // Keys and seats.

    /// Gives a member of the signing coldkey another hotkey from the next epoch on; `proof` is the new
    /// hotkey's consent, as in `register`.
    #[must_use]
    pub fn swap_hotkey(run: RunId, uid: Uid, hotkey: AccountKey, proof: [u8; 64]) -> Self {
        Self::new("swap_hotkey", &(run, uid, hotkey, proof))
    }

    /// Announces which account may take a member over once the delay has passed.
    #[must_use]
    pub fn announce_coldkey(run: RunId, uid: Uid, to: AccountKey) -> Self {
        Self::new("announce_coldkey", &(run, uid, to))
    }

    /// Takes that announcement back.
    #[must_use]
    pub fn cancel_coldkey(run: RunId, uid: Uid) -> Self {
        Self::new("cancel_coldkey", &(run, uid))
    }

    /// Takes over a member; signed by the account that was announced.
    #[must_use]
    pub fn take_over(run: RunId, uid: Uid) -> Self {
        Self::new("take_over", &(run, uid))
    }

    /// Gives up a membership at the next `Close`; signed by the coldkey or the hotkey.
    #[must_use]
    pub fn leave(run: RunId, uid: Uid) -> Self {
        Self::new("leave", &(run, uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(call: &Call, name: &str, args: &str) {
        assert_eq!((call.pallet_name(), call.call_name()), ("Iota", name));
        assert_eq!(hex::encode(&call.call_data().0), args);
    }

    /// Name and parameter types of every call of the pallet, from the runtime's blessed metadata.
    fn golden() -> Vec<(String, Vec<String>)> {
        let text = include_str!("../../../runtime/src/tests/metadata.golden");
        let calls = text.lines().filter_map(|line| line.split_once(" Iota.")?.1.strip_suffix(')'));
        let parts = calls.filter_map(|call| call.split_once('('));
        let types = |list: &str| {
            list.split(", ").filter_map(|one| Some(one.split_once(": ")?.1.to_owned())).collect()
        };
        parts.map(|(name, list)| (name.to_owned(), types(list))).collect()
    }

    /// Bytes of an argument whose length is fixed, by its type in the metadata.
    fn len(kind: &str) -> usize {
        match kind {
            "bool" => 1,
            "Uid" | "Stage" => 2,
            "RunId" | "Epoch" | "Incarnation" | "u32" => 4,
            "Hash" | "[u8; 32]" => 32,
            // One transcript: length, uid, incarnation, segment, root, agrees.
            "Transcripts" => 1 + 2 + 4 + 4 + 32 + 1,
            other => panic!("no length for {other}"),
        }
    }

    #[test]
    fn calls_of_judging_and_runs_are_those_of_the_blessed_metadata() {
        let (run, epoch, uid, incarnation, hash) =
            (RunId(1), Epoch(2), Uid(3), Incarnation(4), Hash([5; 32]));
        let one = iota_protocol::work::Transcript { uid, incarnation, segment: 6, root: hash, agrees: true };
        let calls = [
            Call::accuse(run, epoch, (uid, incarnation), 6, hash),
            Call::vote(run, epoch, uid, 6, true),
            Call::request_evidence(run, epoch, (uid, incarnation), hash),
            Call::answer_evidence(run, epoch, hash),
            Call::commit_transcripts(run, epoch, hash),
            Call::submit_transcripts(run, epoch, [7; 32], &vec![one].try_into().unwrap()),
            Call::pause_run(run),
            Call::resume_run(run),
            Call::end_run(run),
            Call::attest_root(run, epoch, Stage(3), hash),
            Call::vote_rollback(run, epoch, Epoch(1)),
        ];
        let golden = golden();
        for call in &calls {
            let (_, types) = golden.iter().find(|(name, _)| name == call.name()).unwrap();
            let expected: usize = types.iter().map(|kind| len(kind)).sum();
            assert_eq!(call.args.0.len(), expected, "{}: {types:?}", call.name());
        }
        let known = |name: &str| golden.iter().find(|(own, _)| own == name).map(|(_, types)| types.join(","));
        assert_eq!(known("report_equivocation").as_deref(), Some("Equivocation"));
        assert_eq!(known("sponsor_run").as_deref(), Some("RunParams"));
        assert_eq!(known("schedule_params").as_deref(), Some("RunId,RunParams"));
        let accuse = format!("01000000020000000300{}06000000{}", "04000000", "05".repeat(32));
        check(&calls[0], "accuse", &accuse);
        check(&calls[1], "vote", "010000000200000003000600000001");
    }

    #[test]
    fn arguments_stand_in_the_order_of_the_pallet() {
        let (run, epoch) = (RunId(1), Epoch(2));
        let root = "05".repeat(32);
        check(&Call::bond(run, Uid(3), 4), "bond", "01000000030004000000000000000000000000000000");
        check(&Call::attest(run, epoch, Bitmap(5)), "attest", "01000000020000000500000000000000");
        check(
            &Call::commit_root(run, epoch, Hash([5; 32])),
            "commit_root",
            &format!("0100000002000000{root}"),
        );
        check(&Call::claim(AccountKey([5; 32])), "claim", &root);
        check(&Call::release(run, Incarnation(3)), "release", "0100000003000000");
        check(&Call::unbond(run, Uid(3), 4), "unbond", "01000000030004000000000000000000000000000000");
        let withdraw = Call::withdraw(run, Incarnation(3), AccountKey([5; 32]));
        check(&withdraw, "withdraw", &format!("0100000003000000{root}"));
        check(&Call::resume(run), "resume", "01000000");
        let swap = Call::swap_hotkey(run, Uid(3), AccountKey([5; 32]), [5; 64]);
        check(&swap, "swap_hotkey", &format!("010000000300{}", root.repeat(3)));
        let announce = Call::announce_coldkey(run, Uid(3), AccountKey([5; 32]));
        check(&announce, "announce_coldkey", &format!("010000000300{root}"));
        check(&Call::cancel_coldkey(run, Uid(3)), "cancel_coldkey", "010000000300");
        check(&Call::take_over(run, Uid(3)), "take_over", "010000000300");
        check(&Call::leave(run, Uid(3)), "leave", "010000000300");
        let work = WorkCommit {
            entry_root: Hash([5; 32]),
            log_root: Hash([5; 32]),
            receipts_root: Hash([5; 32]),
            samples: 6,
            started: 7,
        };
        let expected = format!("0100000002000000{}0600000007000000", root.repeat(3));
        check(&Call::commit_work(run, epoch, &work), "commit_work", &expected);
    }
}
