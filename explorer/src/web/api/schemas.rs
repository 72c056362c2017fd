//! What the answers of the API look like, for its OpenAPI description.
//!
//! One line for each field: its name, its kind, what it is. Kinds are JSON's, the name of another answer's part,
//! `[kind]` for a list, `{a, b}` for a list of fixed length, and `kind?` for what may be `null`. A test compares
//! them with answers, field by field.

use serde_json::{json, Map, Value};

/// Objects by name.
const OBJECTS: &[(&str, &str)] = &[
    ("Error", "error string Why there is no answer"),
    (
        "Status",
        "genesis string Hash of block 0
         newest Block? Newest finalized block that is indexed
         first_block integer? First indexed block
         blocks integer Indexed blocks
         blocks_with_state integer Of them, those whose state could be read
         runs [RunLine] All runs",
    ),
    (
        "Block",
        "number integer Its number
         hash string Its hash
         state_root string Root of its state
         has_state boolean Whether its state could be read
         timestamp_ms integer? Milliseconds since 1970
         issuance string? Total issuance, smallest units",
    ),
    ("BlockPage", "block Block The block\n events [Event] Its events"),
    (
        "Event",
        "block integer Its block
         index integer Its position there
         pallet string Name of the pallet
         name string Name of the event
         fields any Its fields; whole numbers as decimal text, bytes as hex",
    ),
    (
        "RunLine",
        "run integer The run
         preset string Name of the model
         state string Waiting, Running, Paused or Ended
         epoch integer The current epoch
         epochs integer Epochs that train
         phase string Window of the block that is built next, or the state
         phase_ends integer? First block after that window
         epoch_ends integer? First block of the next epoch
         block integer The block of all this
         tokens integer Tokens trained
         parameters integer Of the model
         stages integer Parts of the model
         miners integer Members that train
         validators integer Members that judge",
    ),
    (
        "Run",
        "line RunLine Where it stands
         stages [Stage] Its stages
         epochs [EpochLine] Its epochs, oldest first
         data DataSet The text that it trains on
         newest_report integer? Newest epoch of which a report is at hand
         bytes_per_token_uncompressed number At one boundary, both directions, as bf16 without a bottleneck
         bytes_per_token_codes number After bottleneck and codec, without headers",
    ),
    (
        "Stage",
        "stage integer Its number
         first_layer integer Its first layer
         layers integer How many
         parameters integer In it
         share_ppm integer Millionths of the miners' pay
         replicas [integer] Uids of its miners",
    ),
    (
        "EpochLine",
        "epoch integer The epoch
         first_block integer? First block whose clock showed it
         closed_block integer? Block of its close
         settling boolean Whether nothing is trained in it
         tokens integer? Trained in it
         tokens_total integer? Trained until its end
         tokens_per_second number? Over its blocks
         train_loss number? Mean over its samples, nats per token
         heldout_loss number? Of the weights after it, nats per token
         contributors integer Miners that committed
         agreed_shards integer Merged with one result
         differing_shards integer Merged with two
         missing_shards integer Not merged
         void boolean? Whether too little stake scored it
         minted string? Smallest units
         paid_block integer? Block that paid it",
    ),
    (
        "DataSet",
        "manifest_root string Hash of the manifest
         train_windows integer Windows to train on
         heldout_windows integer Windows to measure on
         manifest Manifest? What the manifest says, if this explorer has it",
    ),
    (
        "Manifest",
        "license string Terms of the text
         tokenizer string Its name
         tokens integer In all shards
         duplicates integer Training windows that occur twice
         overlap integer Held-out windows that begin as something in the training part
         encoding_errors integer? Bytes that were no text and were replaced",
    ),
    (
        "Members",
        "run integer The run
         epoch integer? The newest paid epoch, of which the numbers are
         members [Member] In uid order, those that left included",
    ),
    (
        "Member",
        "uid integer Index in the run
         incarnation integer Its registration
         role string Miner or Validator
         stage integer? Of a miner
         present boolean Whether it is still a member
         hotkey string Address that signs
         coldkey string Address that owns
         addresses [string] Where it says that it is reached
         bond string Smallest units
         samples integer? That it committed
         clasp Clasp? What the first report at hand finds
         agreement number? Part of its shards on which both owners agreed
         score number? Mean of its revealed scores, up to 65535
         paid_last string For that epoch, smallest units
         paid_total string For all epochs, smallest units
         why_unpaid string? One sentence, where it got nothing",
    ),
    (
        "Clasp",
        "effect number Nats above its stage's lower median; positive is harm
         interval {number, number}? 95 % interval
         significant boolean Whether the effect counts
         factor number On its score",
    ),
    ("Verdicts", "run integer The run\n epochs [Judged] Newest first, those with something to judge"),
    (
        "Judged",
        "epoch integer The epoch
         accusations [Accusation] With votes
         requests [Request] For evidence
         pay [Pay] Held or lapsed
         events [Event] About judging",
    ),
    (
        "Accusation",
        "uid integer The accused
         segment integer The number under which the chain keeps it
         about string What that number names
         accuser integer Its uid
         deposit string Smallest units
         evidence string Hash
         votes [Vote] So far
         guilty_stake number Part of the permitted stake
         innocent_stake number Part of the permitted stake
         outcome string In words",
    ),
    ("Vote", "uid integer Who\n guilty boolean What it says"),
    (
        "Request",
        "uid integer The miner
         again boolean Whether a second time
         wanted string Hash of what is wanted
         askers [integer] Uids that cannot get it
         quorum boolean Whether half of the stake asks
         answered boolean Whether the miner says that it serves it
         outcome string In words",
    ),
    (
        "Pay",
        "uid integer Whose
         amount string Smallest units
         what string In words
         block integer? Where that was decided",
    ),
    (
        "Epoch",
        "run integer The run
         line EpochLine In short
         has_next boolean Whether the run has begun the epoch after
         windows [Window] Of its clock
         validators [Validator] With a permit
         miners [Miner] That may be paid
         matrices [Matrix] Agreement on shards, by stage
         flow [Flow] Pathways
         payouts [Paid] Payments
         split Split? Where the emission went
         judged Judged Verdicts
         events [Event] The first of them",
    ),
    ("Window", "phase string Its name\n from integer First block\n to integer Last block"),
    (
        "Validator",
        "uid integer Its uid
         stake string Smallest units
         committed Turn Whether it committed scores
         revealed Turn Whether it revealed them
         report_root string? Root that it revealed
         report_at_hand boolean Whether the report could be fetched
         audits [Audit] That it published",
    ),
    ("Turn", "state string done, open or missed\n until! integer? Last block in which it may"),
    ("Audit", "uid integer The miner\n verdict string sound, invalid or undecided\n events integer Replayed"),
    (
        "Miner",
        "uid integer Its uid
         stage integer Its stage
         samples integer Committed
         clasp Clasp? What the first report at hand finds
         scores [{integer, integer}] Uid of the validator, and score
         paid string Smallest units",
    ),
    (
        "Matrix",
        "stage integer The stage
         uids [integer] Who merged
         cells [Cell] Pairs that own a shard
         canonical_root string? Root of the merged weights",
    ),
    ("Cell", "row integer Uid\n column integer Uid\n state string agreed, single, differs or missing"),
    (
        "Flow",
        "from_stage integer The stage
         from integer Uid in it
         to integer Uid in the next
         samples integer That prefer this",
    ),
    (
        "Paid",
        "uid integer Who earned it\n coldkey string Address that may claim\n amount string Smallest units",
    ),
    (
        "Split",
        "minted string Smallest units
         burned string Since the report before
         miners string To miners
         validators string To validators
         treasury string To the treasury",
    ),
    (
        "AuditOfEpoch",
        "run integer The run
         epoch integer The epoch
         verdict string pass, fail or not-checked
         digest string Of the bundle
         findings [Finding] I1 to I11",
    ),
    (
        "Finding",
        "id string I1 to I11
         claim string What must hold
         status string pass, fail or not-checked
         sides [Side] What was compared
         block integer? At which it was checked
         notes [string] Terms, differences, or what is missing",
    ),
    ("Side", "label string What it is\n value string Smallest units, a count, or a hash"),
    (
        "Account",
        "address string SS58
         hex string The key
         members [Membership] That it signs for or owns
         paid_total string Credited to its members, smallest units
         balance Balance? Of accounts that are or own members
         vesting [Vests] Earned and not yet got
         payouts [Payout] Newest first
         events [Event] That name it",
    ),
    (
        "Balance",
        "free string Smallest units
         held string Bonds, deposits, and what a newcomer registers with
         claimable string Rewards to claim
         at_block integer When that was read",
    ),
    (
        "Membership",
        "run integer The run
         uid integer Its uid
         incarnation integer Its registration
         role string Miner or Validator
         stage integer? Of a miner
         present boolean Whether it is still a member
         is_hotkey boolean Or else its coldkey
         bond string Smallest units
         addresses [string] Where it says that it is reached",
    ),
    (
        "Vests",
        "run integer The run
         uid integer? Of the member
         incarnation integer Its registration
         at_epoch integer As this began
         at_block integer Its first block
         vested string Not yet released
         unvested string Lost on a guilty verdict
         by_epoch [{integer, string}] Epoch, and what vests in it
         entry string On hold since the registration
         entry_until integer? From when that is free",
    ),
    (
        "Payout",
        "run integer The run
         epoch integer The scored epoch
         uid integer Who earned it
         incarnation integer Its registration
         amount string Smallest units
         block integer That credited it",
    ),
    ("Hit", "title string What was found\n path string Its page"),
    (
        "Bundle",
        "version integer Of the file
         genesis string Hash of block 0
         run integer The run
         epoch integer The scored epoch
         params any Parameters of the run
         scoring any Clock of the epoch that scored it
         members [any] As the epoch began
         snapshot any Who may be paid
         scores [any] Commits and reveals
         salts [Salt] Of the reveals
         report any What the chain paid
         carried any What a void epoch was scored by
         issuance any Before and after, with the terms
         minted_before any By all earlier reports
         bonds any Before the epoch
         funds any Sums over accounts
         claims [any] What owners of paid members could claim
         submissions [any] When scores were committed and revealed
         rulings [any] Votes, proofs and opened transcripts
         published [Published] Validators' reports
         proof any Header and trie nodes
         finality any Votes and changes of the voters
         digest string Over all of the above",
    ),
    ("Salt", "uid integer The validator\n salt string 32 bytes as hex"),
    ("Published", "uid integer The validator\n body string Hex of the report's SCALE bytes"),
];

/// All objects by name.
pub(super) fn all() -> Map<String, Value> {
    OBJECTS.iter().map(|(name, fields)| ((*name).to_owned(), object(fields))).collect()
}

/// The schema of a kind.
pub(super) fn kind(text: &str) -> Value {
    let list = |inner: &str| json!({ "type": "array", "items": kind(inner) });
    match text {
        "any" => json!({}),
        "integer" | "number" | "string" | "boolean" => json!({ "type": text }),
        _ => {
            if let Some(inner) = text.strip_suffix('?') {
                json!({ "anyOf": [kind(inner), { "type": "null" }] })
            } else if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                list(inner)
            } else if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
                let items: Vec<Value> = inner.split(", ").map(kind).collect();
                json!({ "type": "array", "prefixItems": items, "minItems": items.len(), "items": false })
            } else {
                json!({ "$ref": format!("#/components/schemas/{text}") })
            }
        }
    }
}

/// A field's name, kind and meaning; a name that ends in `!` may be left out.
fn field(line: &str) -> (&str, bool, &str, &str) {
    let (name, rest) = line.trim().split_once(' ').unwrap_or((line, ""));
    // Kinds with a space in them are closed by a brace.
    let end = rest.rfind(['}', ']']).map_or(0, |at| at + 1);
    let end = rest.get(end..).and_then(|tail| tail.find(' ')).map_or(rest.len(), |at| end + at);
    let (kind, meaning) = rest.split_at(end);
    (name.trim_end_matches('!'), name.ends_with('!'), kind, meaning.trim())
}

fn object(lines: &str) -> Value {
    let fields: Vec<_> = lines.lines().map(field).collect();
    let describe = |(name, _, of, meaning): &(&str, bool, &str, &str)| {
        let mut schema = kind(of);
        // Beside a reference, too: OpenAPI 3.1 allows it.
        schema["description"] = json!(meaning);
        ((*name).to_owned(), schema)
    };
    let needed = fields.iter().filter(|(_, may_lack, ..)| !may_lack).map(|(name, ..)| *name);
    json!({
        "type": "object",
        "properties": fields.iter().map(describe).collect::<Map<_, _>>(),
        "required": needed.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_with_their_lists_and_pairs() {
        assert_eq!(field("  a integer Its number"), ("a", false, "integer", "Its number"));
        assert_eq!(
            field("b! [{integer, string}]? Pairs of two"),
            ("b", true, "[{integer, string}]?", "Pairs of two")
        );
        assert_eq!(field("c {number, number}? Of a, b"), ("c", false, "{number, number}?", "Of a, b"));
        assert_eq!(kind("[integer]"), json!({ "type": "array", "items": { "type": "integer" } }));
        assert_eq!(kind("Block?")["anyOf"][0]["$ref"], "#/components/schemas/Block");
        let pair = kind("{integer, string}");
        assert_eq!((&pair["prefixItems"][1]["type"], &pair["minItems"]), (&json!("string"), &json!(2)));
    }

    /// Every kind that is named is described.
    #[test]
    fn no_reference_leads_nowhere() {
        let all = all();
        let text = serde_json::to_string(&all).unwrap();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(all.contains_key(name), "{name}");
        }
    }
}
