//! The calls, in the order of their indices. Each is thin: who may send it, when it is free, and which `do_`
//! of the other modules does it. FRAME takes all calls of a pallet from one block, so that this file is long.
//!
//! A section of the pallet: `lib.rs` imports it, and names what it uses.

use polkadot_sdk::frame_support::pallet_macros::pallet_section;

#[pallet_section]
mod calls {
    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Starts a run, which waits until enough miners have registered and served.
        ///
        /// # Errors
        /// `InvalidParams`, `TooManyRuns`.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::create_run(count(params.stages.len())))]
        pub fn create_run(origin: OriginFor<T>, params: RunParams) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_create_own_run(params)?;
            Ok(())
        }

        /// Makes `hotkey` a member owned by the sender; burns the price. `proof` is the hotkey's
        /// sr25519 signature of `iota_protocol::hash::register_payload`.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `AlreadyRegistered`, `RunFull`, `PriceTooHigh`,
        /// `BadProof`, or what the token answers when the price cannot be paid.
        #[pallet::call_index(1)]
        #[pallet::weight(most_for_a_seat::<T>())]
        pub fn register(
            origin: OriginFor<T>,
            run: RunId,
            hotkey: AccountId32,
            role: Role,
            proof: [u8; 64],
            max_price: u128,
        ) -> DispatchResultWithPostInfo {
            let coldkey = ensure_signed(origin)?;
            let place = Self::do_register(run, coldkey, hotkey, role, &proof, max_price)?;
            Ok(Some(weight_of_seat::<T>(place)).into())
        }

        /// Adds to the bond of a validator; `amount` goes on hold on the sender, its coldkey.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `NotMember`, `NotOwner`, `NotValidator`, `BondTooLow`, or
        /// what the token answers when the coldkey has less.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::bond())]
        pub fn bond(origin: OriginFor<T>, run: RunId, uid: Uid, amount: u128) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_bond(run, uid, &coldkey, amount)
        }

        /// Publishes where the sender, a hotkey, can be reached. `peer_signature` is the ed25519
        /// signature of `iota_protocol::hash::serve_payload` by `endpoint.peer`. Free once an epoch.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NoAddress`, `BadProof`.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::serve(count(endpoint.addresses.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, endpoint: &Endpoint, peer_signature: &[u8; 64]| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::serves_for_free(&who, *run, endpoint, peer_signature))
        })]
        pub fn serve(
            origin: OriginFor<T>,
            run: RunId,
            endpoint: Endpoint,
            peer_signature: [u8; 64],
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_serve(&hotkey, run, endpoint, &peer_signature)
        }

        /// Asks to leave at the next `Close`; sent by the hotkey or the coldkey of a member. A
        /// validator's bond then unbonds.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `AlreadyLeaving`.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::leave())]
        pub fn leave(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_leave(run, uid, &who)
        }

        /// Commits to everything that the sender did in the current epoch. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotMiner`,
        /// `NotAssigned`, `BadCounts`, `AlreadyCommitted`, `StageFull`.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::commit_work())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, work: &WorkCommit| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_work(&who, *run, *epoch, work).is_ok())
        })]
        pub fn commit_work(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            work: WorkCommit,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_work(&hotkey, run, epoch, work)
        }

        /// Attests whose entries the sender holds and has verified, by position among the stage's
        /// commits in uid order, its own included. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `BadBitmap`, `AlreadyAttested`.
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::attest())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, entries: &Bitmap| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_attest(&who, *run, *epoch, *entries).is_ok())
        })]
        pub fn attest(origin: OriginFor<T>, run: RunId, epoch: Epoch, entries: Bitmap) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_attest(&hotkey, run, epoch, entries)
        }

        /// Commits to the sender's merged shard hashes (`iota_protocol::work::blind_hash`), so that
        /// nobody copies its partner. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `AlreadyBlinded`.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::blind_merge())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_blind_merge(&who, *run, *epoch).is_ok())
        })]
        pub fn blind_merge(origin: OriginFor<T>, run: RunId, epoch: Epoch, hash: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_blind_merge(&hotkey, run, epoch, hash)
        }

        /// Opens the sender's shard hashes and compares them with those of its partners. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `NotBlinded`, `AlreadyOpened`,
        /// `BlindMismatch`, `WrongShards`.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::open_merge(count(hashes.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, salt: &[u8; 32], hashes: &ShardHashes| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_open_merge(&who, *run, *epoch, salt, hashes).is_ok())
        })]
        pub fn open_merge(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            salt: [u8; 32],
            hashes: ShardHashes,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_open_merge(&hotkey, run, epoch, &salt, &hashes)
        }

        /// Reports the root of weights and outer momentum after the outer step: the state at the
        /// start of the next epoch. Free once.
        ///
        /// # Errors
        /// As for `commit_work`, and `NotCommitted`, `AlreadyRooted`.
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::commit_root())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_root(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_root(origin: OriginFor<T>, run: RunId, epoch: Epoch, root: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_root(&hotkey, run, epoch, root)
        }

        /// Commits to a row of scores for `epoch`, the one before the current
        /// (`iota_protocol::work::scores_hash`). Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `CommitTooLate`, `NotMember`, `NotValidator`,
        /// `AlreadyCommitted`.
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::commit_scores())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_scores(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_scores(origin: OriginFor<T>, run: RunId, epoch: Epoch, hash: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_scores(&hotkey, run, epoch, hash)
        }

        /// Reveals the row that `author` committed to; anyone may send it. Free when it matches.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `RevealTooEarly`, `RevealTooLate`, `NoCommit`,
        /// `AlreadyRevealed`, `NotMember`, `CopiedCommit`, `HashMismatch`, `Unsorted`, `UnknownMiner`.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::reveal_scores(count(reveal.entries.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, author: &Uid, reveal: &ScoreReveal| -> bool {
            Pallet::<T>::signer(origin).is_some()
                && Pallet::<T>::check_reveal_scores(*run, *epoch, *author, reveal).is_ok()
        })]
        pub fn reveal_scores(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            author: Uid,
            reveal: ScoreReveal,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_reveal_scores(run, epoch, author, reveal)
        }

        /// Pays `account` what it is owed; anyone may send it.
        ///
        /// # Errors
        /// `NothingOwed`, or what the token answers when the account cannot take it.
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, account: AccountId32) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_claim(account)
        }

        // Membership and money: indices 20 to 39.

        /// Makes claimable what has vested of a member's pay, and frees the hold that it started with
        /// once that is over; anyone may send it. Members who are paid need it only at the end.
        ///
        /// # Errors
        /// `NothingVested`, or what the token answers when the hold cannot be released.
        #[pallet::call_index(20)]
        #[pallet::weight(T::WeightInfo::release())]
        pub fn release(origin: OriginFor<T>, run: RunId, incarnation: Incarnation) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_release(run, incarnation)
        }

        /// Takes from a validator's bond; sent by its coldkey. What is left must be nothing or at
        /// least the least bond. The amount stays on hold for `UnbondDelay` blocks.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `NotValidator`, `BadAmount`, `BondTooLow`.
        #[pallet::call_index(21)]
        #[pallet::weight(T::WeightInfo::unbond())]
        pub fn unbond(origin: OriginFor<T>, run: RunId, uid: Uid, amount: u128) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_unbond(run, uid, &coldkey, amount)
        }

        /// Takes off hold what `coldkey` unbonded from a member, once the delay is over; anyone may
        /// send it.
        ///
        /// # Errors
        /// `NotUnbonding`, `StillBonded`, or what the token answers.
        #[pallet::call_index(22)]
        #[pallet::weight(T::WeightInfo::withdraw())]
        pub fn withdraw(
            origin: OriginFor<T>,
            run: RunId,
            incarnation: Incarnation,
            coldkey: AccountId32,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_withdraw(run, incarnation, coldkey)
        }

        /// Asks for the permit that the sender, a validator's hotkey, lost by missing reveals. The
        /// next miss takes it again. Free.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `NotMember`, `NotValidator`, `HasPermit`.
        #[pallet::call_index(23)]
        #[pallet::weight(T::WeightInfo::resume())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId| -> bool {
            Pallet::<T>::signer(origin).is_some_and(|who| Pallet::<T>::check_resume(*run, &who).is_ok())
        })]
        pub fn resume(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_resume(run, &hotkey)
        }

        /// Gives a member another hotkey from the next epoch on; sent by its coldkey. `proof` is the
        /// new hotkey's consent, as in `register`.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `NotMember`, `NotOwner`, `AlreadyLeaving`,
        /// `AlreadyRegistered`, `SwapTooSoon`, `BadProof`, `TooManySwaps`.
        #[pallet::call_index(24)]
        #[pallet::weight(T::WeightInfo::swap_hotkey())]
        pub fn swap_hotkey(
            origin: OriginFor<T>,
            run: RunId,
            uid: Uid,
            hotkey: AccountId32,
            proof: [u8; 64],
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_swap_hotkey(run, uid, &coldkey, hotkey, &proof)
        }

        /// Announces who may take a member over after `ColdkeyDelay` blocks; sent by its coldkey.
        /// Replaces an earlier announcement.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `SameColdkey`.
        #[pallet::call_index(25)]
        #[pallet::weight(T::WeightInfo::announce_coldkey())]
        pub fn announce_coldkey(
            origin: OriginFor<T>,
            run: RunId,
            uid: Uid,
            to: AccountId32,
        ) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_announce_coldkey(run, uid, &coldkey, to)
        }

        /// Takes an announcement back; sent by the member's coldkey.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotOwner`, `NotAnnounced`.
        #[pallet::call_index(26)]
        #[pallet::weight(T::WeightInfo::cancel_coldkey())]
        pub fn cancel_coldkey(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let coldkey = ensure_signed(origin)?;
            Self::do_cancel_coldkey(run, uid, &coldkey)
        }

        /// Takes over a member; sent by the account that was announced, once the delay is over.
        ///
        /// # Errors
        /// `UnknownRun`, `NotMember`, `NotAnnounced`, `NotOwner`, `TooEarly`, or what the token
        /// answers when holds cannot be moved.
        #[pallet::call_index(27)]
        #[pallet::weight(T::WeightInfo::take_over())]
        pub fn take_over(origin: OriginFor<T>, run: RunId, uid: Uid) -> DispatchResult {
            let who = ensure_signed(origin)?;
            Self::do_take_over(run, uid, &who)
        }

        // ---- Verdicts, evidence, transcripts and runs: 40 to 59 ----

        /// Accuses a miner of one segment of an epoch that closed, behind a deposit out of the sender's
        /// bond. The sender, a validator that had a permit in that epoch, votes guilty by it. Free of
        /// fees: the deposit is the price.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NotValidator`, `UnknownMiner`,
        /// `AlreadyAccused`, `TooManyAccusations`, `BondTooLow`.
        #[pallet::call_index(40)]
        #[pallet::weight(T::WeightInfo::accuse())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, incarnation: &Incarnation, segment: &u32, _evidence: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_accuse(&who, *run, *epoch, (*uid, *incarnation), *segment).is_ok())
        })]
        pub fn accuse(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            segment: u32,
            evidence: Hash,
        ) -> DispatchResultWithPostInfo {
            let hotkey = ensure_signed(origin)?;
            let others = Self::do_accuse(&hotkey, run, epoch, (uid, incarnation), segment, evidence)?;
            // Charged as the last of an epoch that may be, which looks at all others.
            let most = MAX_ACCUSATIONS.saturating_sub(1);
            let unread = T::DbWeight::get().reads(u64::from(most.saturating_sub(others)));
            Ok(Some(T::WeightInfo::accuse().saturating_sub(unread)).into())
        }

        /// Votes on an accusation; sent by a validator that had a permit in the accused epoch. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NotValidator`, `NoAccusation`,
        /// `AlreadyDecided`, `AlreadyVoted`.
        #[pallet::call_index(41)]
        #[pallet::weight(T::WeightInfo::vote())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, segment: &u32, _guilty: &bool| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_vote(&who, *run, *epoch, *uid, *segment).is_ok())
        })]
        pub fn vote(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            segment: u32,
            guilty: bool,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_vote(&hotkey, run, epoch, uid, segment, guilty)
        }

        /// Asks a miner for evidence of an epoch that closed; `wanted` names it. In `Train`, and after the
        /// miner's answer until `Close`. Free once for each miner, and once more after its answer.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotValidator`,
        /// `UnknownMiner`, `NothingHeld`, `AlreadyAsked`.
        #[pallet::call_index(42)]
        #[pallet::weight(T::WeightInfo::request_evidence())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, uid: &Uid, incarnation: &Incarnation, wanted: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| {
                    let miner = (*uid, *incarnation);
                    Pallet::<T>::check_request_evidence(&who, *run, *epoch, miner, *wanted).is_ok()
                })
        })]
        pub fn request_evidence(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            uid: Uid,
            incarnation: Incarnation,
            wanted: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_request_evidence(&hotkey, run, epoch, (uid, incarnation), wanted)
        }

        /// Answers all requests about the sender, a miner, with the root of what it serves; before `Blind`.
        /// Who still cannot get it has to ask again. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `NoRequest`, `AlreadyAnswered`,
        /// `WrongPhase`.
        #[pallet::call_index(43)]
        #[pallet::weight(T::WeightInfo::answer_evidence())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_answer_evidence(&who, *run, *epoch).is_ok())
        })]
        pub fn answer_evidence(origin: OriginFor<T>, run: RunId, epoch: Epoch, root: Hash) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_answer_evidence(&hotkey, run, epoch, root)
        }

        /// Commits to audit transcripts of the epoch before the current
        /// (`iota_protocol::work::transcripts_hash`), while score rows are committed. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `CommitTooLate`, `NotMember`, `NotValidator`,
        /// `AlreadyCommitted`.
        #[pallet::call_index(44)]
        #[pallet::weight(T::WeightInfo::commit_transcripts())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, _hash: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_commit_transcripts(&who, *run, *epoch).is_ok())
        })]
        pub fn commit_transcripts(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            hash: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_commit_transcripts(&hotkey, run, epoch, hash)
        }

        /// Opens the sender's transcripts, while score rows are revealed. Free when they match.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `RevealTooEarly`, `RevealTooLate`, `NotMember`,
        /// `NoCommit`, `AlreadyRevealed`, `HashMismatch`, `NoTranscript`, `Unsorted`, `UnknownMiner`.
        #[pallet::call_index(45)]
        #[pallet::weight(T::WeightInfo::submit_transcripts(count(transcripts.len())))]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, salt: &[u8; 32], transcripts: &Transcripts| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_submit_transcripts(&who, *run, *epoch, salt, transcripts).is_ok())
        })]
        pub fn submit_transcripts(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            salt: [u8; 32],
            transcripts: Transcripts,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_submit_transcripts(&hotkey, run, epoch, &salt, transcripts)
        }

        /// Proves that a miner signed two contradicting headers; anyone may send it, and who is right
        /// needs no funds and pays no fee.
        ///
        /// # Errors
        /// `NoEquivocation`, `UnknownRun`, `NotRunning`, `WrongEpoch`, `NotMember`, `BadProof`,
        /// `AlreadyGated`.
        #[pallet::call_index(46)]
        #[pallet::weight(T::WeightInfo::report_equivocation())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, proof: &Equivocation| -> bool {
            Pallet::<T>::signer(origin).is_some() && Pallet::<T>::check_equivocation(proof).is_ok()
        })]
        pub fn report_equivocation(origin: OriginFor<T>, proof: Equivocation) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_report_equivocation(&proof)?;
            Ok(Pays::No.into())
        }

        /// Makes a run behind a deposit, without a share of the emission.
        ///
        /// # Errors
        /// `InvalidParams`, `TooManyRuns`, or what the token answers when the sender has less.
        #[pallet::call_index(47)]
        #[pallet::weight(T::WeightInfo::sponsor_run(count(params.stages.len())))]
        pub fn sponsor_run(origin: OriginFor<T>, params: RunParams) -> DispatchResult {
            let owner = ensure_signed(origin)?;
            Self::do_sponsor_run(&owner, params)
        }

        /// Gives a run a share of the chain's emission from its next `Close` on; the admin origin's.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning` (ended), `Frozen`, `ShareTaken`.
        #[pallet::call_index(48)]
        #[pallet::weight(T::WeightInfo::set_run_share())]
        pub fn set_run_share(origin: OriginFor<T>, run: RunId, share_ppm: u32) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_set_run_share(run, share_ppm)
        }

        /// Sets parameters that the run has from its next epoch on; the admin origin's or the owner's.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning` (ended), `Frozen`, `InvalidParams`.
        #[pallet::call_index(49)]
        #[pallet::weight(T::WeightInfo::schedule_params(count(params.stages.len())))]
        pub fn schedule_params(origin: OriginFor<T>, run: RunId, params: RunParams) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_schedule_params(run, params)
        }

        /// Pauses a run after its current epoch; the admin origin's or the owner's.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning`, `Frozen`.
        #[pallet::call_index(50)]
        #[pallet::weight(T::WeightInfo::pause_run())]
        pub fn pause_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_pause_run(run)
        }

        /// Starts the next epoch of a paused run in the next block, or takes a pause back.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotPaused`.
        #[pallet::call_index(51)]
        #[pallet::weight(T::WeightInfo::resume_run())]
        pub fn resume_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_resume_run(run)
        }

        /// Makes the current epoch the last that trains; it is settled and the run ends.
        ///
        /// # Errors
        /// `NotOwner`, `UnknownRun`, `NotRunning` (ended), `Frozen`.
        #[pallet::call_index(52)]
        #[pallet::weight(T::WeightInfo::end_run())]
        pub fn end_run(origin: OriginFor<T>, run: RunId) -> DispatchResult {
            Self::ensure_controls(origin, run)?;
            Self::do_end_run(run)
        }

        // ---- Roots that validators attest, and the way back: 53 to 55 ----

        /// Attests the root of weights and outer momentum that the agreed shards leave in a stage, while
        /// roots are reported; sent by a validator that had a permit in the epoch before. Two thirds of
        /// the stake overrule the committers. Free once for each stage.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase`, `NotMember`, `NotValidator`,
        /// `UnknownStage`, `AlreadyVoted`.
        #[pallet::call_index(53)]
        #[pallet::weight(T::WeightInfo::attest_root())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, stage: &Stage, _root: &Hash| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_attest_root(&who, *run, *epoch, *stage).is_ok())
        })]
        pub fn attest_root(
            origin: OriginFor<T>,
            run: RunId,
            epoch: Epoch,
            stage: Stage,
            root: Hash,
        ) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_attest_root(&hotkey, run, epoch, stage, root)
        }

        /// Wants all stages to go back, at the next `Close`, to the states after epoch `to`; sent in
        /// `epoch`, the current one, by a validator that had a permit in the one before. Two thirds of the
        /// stake decide. Free once.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongEpoch`, `WrongPhase` (settling or closing), `NotMember`,
        /// `NotValidator`, `NoCheckpoint`, `AlreadyDecided`, `AlreadyVoted`.
        #[pallet::call_index(54)]
        #[pallet::weight(T::WeightInfo::vote_rollback())]
        #[pallet::feeless_if(|origin: &OriginFor<T>, run: &RunId, epoch: &Epoch, to: &Epoch| -> bool {
            Pallet::<T>::signer(origin)
                .is_some_and(|who| Pallet::<T>::check_vote_rollback(&who, *run, *epoch, *to).is_ok())
        })]
        pub fn vote_rollback(origin: OriginFor<T>, run: RunId, epoch: Epoch, to: Epoch) -> DispatchResult {
            let hotkey = ensure_signed(origin)?;
            Self::do_vote_rollback(&hotkey, run, epoch, to)
        }

        /// Lets all stages go back, at the next `Close`, to the states after epoch `to`; the admin
        /// origin's, over any votes.
        ///
        /// # Errors
        /// `UnknownRun`, `NotRunning`, `WrongPhase` (settling or closing), `NoCheckpoint`.
        #[pallet::call_index(55)]
        #[pallet::weight(T::WeightInfo::roll_back())]
        pub fn roll_back(origin: OriginFor<T>, run: RunId, to: Epoch) -> DispatchResult {
            T::AdminOrigin::ensure_origin(origin)?;
            Self::do_roll_back(run, to)
        }
    }
}
