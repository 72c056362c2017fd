//! Every message: round trip, exact bytes, and what broken bytes do.

use codec::{Decode, Encode};
use proptest::prelude::*;

use super::check_vectors;
use super::sheet::Sheet;
use crate::hash::{register_payload, serve_payload, signing_payload, Domain};
use crate::ids::{AccountKey, Attempt, Epoch, Hash, Incarnation, RunId, Sample, Stage, Uid, Version};
use crate::merkle::RangeProof;
use crate::params::WireCodec;
use crate::receipt::{Direction, LogEvent, Receipt, Skip, SkipCause};
use crate::sample_params::params_with_shares;
use crate::wire::{
    codes_hash, codes_len, decode, message_len, FetchReply, FetchRequest, Hop, HopHeader, TrainReply,
    TrainRequest, WIRE_VERSION,
};
use crate::work::{
    blind_hash, scores_hash, Bitmap, Endpoint, Role, ScoreEntry, ScoreReveal, ShardHashes, ShardStatus,
    WorkCommit,
};

const RUN: RunId = RunId(3);
const EPOCH: Epoch = Epoch(258);

fn bytes32(first: u8) -> Hash {
    Hash(core::array::from_fn(|index| first.wrapping_add(u8::try_from(index).unwrap())))
}

fn hop() -> Hop {
    let codes: Vec<u8> = (0..40).collect();
    let header = HopHeader {
        version: WIRE_VERSION,
        run: RUN,
        epoch: EPOCH,
        sample: Sample(70_000),
        attempt: Attempt(1),
        stage: Stage(2),
        direction: Direction::Forward,
        from: Uid(513),
        values: 32,
        codec: WireCodec::Int8,
        codes_hash: codes_hash(&codes),
        parent: bytes32(64),
    };
    Hop { header, signature: [9; 64], codes }
}

fn gradient() -> Hop {
    let Hop { header, signature, codes } = hop();
    Hop { header: HopHeader { direction: Direction::Backward, ..header }, signature, codes }
}

fn first_hop() -> Hop {
    let Hop { header, signature, codes } = hop();
    Hop { header: HopHeader { parent: Hash::ZERO, ..header }, signature, codes }
}

fn receipt() -> Receipt {
    Receipt {
        sample: Sample(70_000),
        attempt: Attempt(0),
        stage: Stage(2),
        direction: Direction::Backward,
        from: Uid(7),
        to: Uid(8),
        input: bytes32(1),
        output: bytes32(2),
        version: Version(12),
        sequence: 99,
        skips: vec![
            Skip { uid: Uid(5), cause: SkipCause::Busy },
            Skip { uid: Uid(6), cause: SkipCause::Refused },
            Skip { uid: Uid(9), cause: SkipCause::Unreachable },
        ]
        .try_into()
        .unwrap(),
        loss_micro: Some(2_214_000),
        logits: bytes32(3),
    }
}

fn log_events() -> Vec<LogEvent> {
    let (sample, attempt, version, input, output) =
        (Sample(1), Attempt(2), Version(3), bytes32(4), bytes32(5));
    vec![
        LogEvent::Forward { sample, attempt, version, input, output },
        LogEvent::Backward { sample, attempt, version, input, output },
        LogEvent::Abandon { sample, attempt },
        LogEvent::Step { version, state_root: bytes32(6) },
    ]
}

fn fetch_requests() -> Vec<FetchRequest> {
    let (run, epoch, stage) = (RUN, EPOCH, Stage(2));
    vec![
        FetchRequest::Entry { run, epoch, author: Uid(4), first: 10, count: 3 },
        FetchRequest::Merged { run, epoch, stage, shard: 5, part: 2 },
        FetchRequest::Receipts { run, epoch },
        FetchRequest::Log { run, epoch },
        FetchRequest::Codes { run, epoch, hash: bytes32(7) },
        FetchRequest::StateManifest { run, epoch, stage },
        FetchRequest::StateChunk { run, epoch, stage, index: 6 },
        FetchRequest::Report { run, epoch },
        FetchRequest::StepState { run, epoch, version: Version(8), part: 9 },
        FetchRequest::Case { run, epoch, uid: Uid(4), segment: 11, part: 1 },
    ]
}

fn fetch_replies() -> Vec<FetchReply> {
    vec![
        FetchReply::NotReady,
        FetchReply::NotFound,
        FetchReply::Bytes(vec![1, 2, 3]),
        FetchReply::Chunks {
            bytes: [[1; 33], [2; 33]].concat(),
            proof: RangeProof { nodes: vec![bytes32(8), bytes32(9)] },
        },
    ]
}

fn train_messages() -> (Vec<TrainRequest>, Vec<TrainReply>) {
    let requests = vec![
        TrainRequest::Hop(hop().into()),
        TrainRequest::Probe { run: RUN, epoch: EPOCH, sample: Sample(70_000) },
        TrainRequest::Hop(gradient().into()),
        TrainRequest::Hop(first_hop().into()),
    ];
    let accepted = TrainReply::Accepted { signature: [8; 64] };
    (
        requests,
        vec![accepted, TrainReply::Busy, TrainReply::Refused, TrainReply::Working, TrainReply::Unknown],
    )
}

fn shard_hashes() -> ShardHashes {
    vec![(0, Some(bytes32(10))), (3, None)].try_into().unwrap()
}

fn score_reveal() -> ScoreReveal {
    let entry = |uid, score| ScoreEntry { uid: Uid(uid), incarnation: Incarnation(70_000), score };
    ScoreReveal {
        entries: vec![entry(1, 65_535), entry(4, 1_000)].try_into().unwrap(),
        salt: [5; 32],
        report_root: bytes32(11),
    }
}

fn work_commit() -> WorkCommit {
    WorkCommit {
        entry_root: bytes32(1),
        log_root: bytes32(2),
        receipts_root: bytes32(3),
        samples: 300,
        started: 100,
    }
}

fn endpoint() -> Endpoint {
    let address = b"/ip4/192.0.2.7/udp/4001/quic-v1".to_vec().try_into().unwrap();
    Endpoint { peer: [6; 32], addresses: vec![address].try_into().unwrap() }
}

fn shard_statuses() -> Vec<ShardStatus> {
    vec![
        ShardStatus::Missing,
        ShardStatus::Single(bytes32(1)),
        ShardStatus::Agreed(bytes32(1)),
        ShardStatus::Differs(bytes32(1), bytes32(2)),
    ]
}

#[test]
fn wire_messages_keep_their_bytes() {
    let mut sheet = Sheet::new();
    let (requests, replies) = train_messages();
    sheet.add_all("train_request", &requests);
    sheet.add_all("train_reply", &replies);
    sheet.add_all("fetch_request", &fetch_requests());
    sheet.add_all("fetch_reply", &fetch_replies());
    sheet.add("hop", &hop());
    sheet.add("hop_header", &hop().header);
    sheet.hash("hop_header/id", hop().header.id());
    check_vectors("wire.json", &sheet.vectors);
}

#[test]
fn receipts_and_logs_keep_their_bytes() {
    let mut sheet = Sheet::new();
    sheet.add("receipt", &receipt());
    sheet.add("receipt/plain", &Receipt { skips: vec![].try_into().unwrap(), loss_micro: None, ..receipt() });
    sheet.add_all("log_event", &log_events());
    check_vectors("receipt.json", &sheet.vectors);
}

#[test]
fn work_keeps_its_bytes() {
    let mut sheet = Sheet::new();
    sheet.add("work_commit", &work_commit());
    sheet.add("endpoint", &endpoint());
    sheet.add("bitmap", &Bitmap(0x8000_0000_0000_0005));
    sheet.add("shard_hashes", &shard_hashes());
    sheet.add("score_reveal", &score_reveal());
    sheet.add_all("shard_status", &shard_statuses());
    sheet.add_all("role", &[Role::Miner, Role::Validator]);
    sheet.hash("blind_hash", blind_hash(Uid(1), Incarnation(2), EPOCH, &[4; 32], &shard_hashes()));
    let author = AccountKey([7; 32]);
    sheet.hash("scores_hash", scores_hash(&bytes32(0), RUN, &author, Incarnation(2), EPOCH, &score_reveal()));
    check_vectors("work.json", &sheet.vectors);
}

#[test]
fn signed_payloads_keep_their_hashes() {
    let mut sheet = Sheet::new();
    let (genesis, one, two) = (bytes32(0), AccountKey([1; 32]), AccountKey([2; 32]));
    sheet.hash("signing", signing_payload(Domain::Message, &genesis, RUN, EPOCH, &bytes32(9)));
    sheet.hash("register", register_payload(&genesis, RUN, &one, &two));
    sheet.hash("serve", serve_payload(&genesis, &one));
    sheet.add("run_params", &params_with_shares(&[400_000, 600_000]));
    check_vectors("payloads.json", &sheet.vectors);
}

#[test]
fn codes_have_the_length_of_their_codec() {
    let of = |codec| [0, 1, 32, 33].map(|values| codes_len(codec, values));
    assert_eq!(of(WireCodec::F32), [0, 4, 128, 132]);
    assert_eq!(of(WireCodec::Bf16), [0, 2, 64, 66]);
    assert_eq!(of(WireCodec::Int8), [0, 2, 33, 35]);
    assert_eq!(of(WireCodec::Int4), [0, 2, 17, 19]);
    assert_eq!(of(WireCodec::SubspaceF32), [0, 4, 128, 132]);
    assert_eq!(of(WireCodec::SubspaceBf16), [0, 2, 64, 66]);
    assert_eq!(of(WireCodec::SubspaceInt8), [0, 2, 33, 35]);
    assert_eq!(of(WireCodec::SubspaceInt4), [0, 2, 17, 19]);
}

#[test]
fn token_ids_go_up_in_the_shared_subspace_only() {
    let mut params = params_with_shares(&[1_000_000]);
    let lengths = |params: &_| [Direction::Forward, Direction::Backward].map(|d| message_len(params, d));
    let [up, down] = lengths(&params);
    assert_eq!(up, down);
    params.train.wire = WireCodec::SubspaceInt8;
    let tokens = params.tokens_per_sample() as usize;
    for (vocab, bytes) in [(256, 1), (257, 2), (65_536, 2), (65_537, 3)] {
        params.model.vocab = vocab;
        assert_eq!(lengths(&params), [down + bytes * tokens, down], "{vocab}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fn stable<T: Encode + Decode>(bytes: &[u8]) -> bool {
            decode::<T>(bytes, 300).map_or(true, |value| value.encode() == bytes)
        }
        prop_assert!(stable::<TrainRequest>(&bytes) && stable::<TrainReply>(&bytes));
        prop_assert!(stable::<FetchRequest>(&bytes) && stable::<FetchReply>(&bytes));
        prop_assert!(stable::<Receipt>(&bytes) && stable::<LogEvent>(&bytes));
        prop_assert!(stable::<WorkCommit>(&bytes) && stable::<ScoreReveal>(&bytes));
        prop_assert!(stable::<Endpoint>(&bytes) && stable::<ShardHashes>(&bytes));
    }
}
