//! Pages and API over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;

use iota_protocol::emission::UNIT;
use iota_protocol::ids::Epoch;
use iota_service::ss58;
use iota_service::tasks::Shutdown;
use serde_json::Value as Json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::audit::indexed;
use super::resume::index_until;
use super::world::{World, SCRIPT};
use crate::source::Source;
use crate::store::Store;
use crate::web::{serve, Served};

/// A server over the whole world; it lives as long as this.
pub struct Site {
    pub address: SocketAddr,
    pub newest: watch::Sender<Option<u32>>,
    pub last: u32,
    stop: Shutdown,
    _dir: tempfile::TempDir,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.request();
    }
}

pub async fn site(requests_per_second: u32) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = indexed(dir.path()).await;
    serving(dir, store, world.last(), requests_per_second).await
}

/// A server that has seen the chain up to the block that paid an epoch.
async fn site_of(epoch: Epoch) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let world = Arc::new(World::new());
    let store = Store::open(&dir.path().join("explorer.sqlite"), world.genesis(), 0).unwrap();
    let last = world.paid_at(epoch);
    index_until(&world, &store, last).await;
    serving(dir, store, last, 1_000).await
}

async fn serving(dir: tempfile::TempDir, store: Store, last: u32, requests_per_second: u32) -> Site {
    let newest = watch::Sender::new(Some(last));
    let served = Served::new(store, newest.subscribe(), requests_per_second);
    served_by(dir, served, newest, last).await
}

async fn served_by(
    dir: tempfile::TempDir,
    served: Served,
    newest: watch::Sender<Option<u32>>,
    last: u32,
) -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), Shutdown::new());
    tokio::spawn(serve(listener, served, stop.clone()));
    Site { address, newest, last, stop, _dir: dir }
}

struct Answer {
    head: String,
    body: String,
}

async fn get(site: &Site, path: &str) -> Answer {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { head: head.to_lowercase(), body: body.to_owned() }
}

async fn json(site: &Site, path: &str) -> Json {
    let answer = get(site, path).await;
    assert!(answer.head.starts_with("http/1.1 200"), "{path}: {}", answer.head);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
}

/// The page of the account that owns uid 0.
pub async fn owner_page(site: &Site) -> String {
    let members = json(site, "/api/v1/runs/0/members").await;
    format!("/account/{}", members["members"][0]["coldkey"].as_str().unwrap())
}

/// Every kind of page but an account's.
pub const PAGES: [&str; 13] = [
    "/",
    "/run/0",
    "/run/0/members",
    "/run/0/members?sort=score&order=desc",
    "/run/0/epoch/0",
    "/run/0/epoch/1",
    "/run/0/epoch/3",
    "/run/0/audit",
    "/run/0/verdicts",
    "/run/0/epoch/1/audit",
    "/block/60",
    "/search?q=nothing+like+that",
    "/api",
];

#[tokio::test]
async fn every_page_is_whole_and_under_the_policy() {
    let site = site(1_000).await;
    for path in PAGES {
        let answer = get(&site, path).await;
        assert!(answer.head.starts_with("http/1.1 200"), "{path}: {}", answer.head);
        assert!(
            answer.head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
            "{path}"
        );
        assert!(answer.body.ends_with("</html>"), "{path}");
        assert!(!answer.body.contains(" style="), "{path}: the policy forbids styles in markup");
        assert!(
            !answer.body.contains("http://") && !answer.body.contains("https://"),
            "{path}: another host"
        );
    }
    for path in [
        "/run/9",
        "/run/0/epoch/99",
        "/run/0/epoch/99/audit",
        "/block/99999",
        "/account/xyz",
        "/no",
        "/api/v1/runs/9",
    ] {
        let answer = get(&site, path).await;
        assert!(answer.head.starts_with("http/1.1 404"), "{path}: {}", answer.head);
        assert!(answer.head.contains("content-security-policy"), "{path}");
    }
}

#[tokio::test]
async fn verdicts_and_what_vests_are_shown_as_the_chain_has_them() {
    let site = site(1_000).await;
    let judged = json(&site, "/api/v1/runs/0/verdicts").await;
    assert_eq!(judged["epochs"].as_array().unwrap().len(), 1, "only one epoch had anything to judge");
    let epoch = &judged["epochs"][0];
    let accusation = &epoch["accusations"][0];
    assert_eq!((&epoch["epoch"], &accusation["uid"]), (&Json::from(1), &Json::from(4)));
    assert_eq!(
        (&accusation["guilty_stake"], &accusation["about"]),
        (&Json::from(1.0), &Json::from("segment 3"))
    );
    let of_shard = &epoch["accusations"][1];
    assert_eq!(
        (&of_shard["about"], &of_shard["outcome"]),
        (&Json::from("merge shard 3"), &Json::from("open"))
    );
    assert!(accusation["outcome"].as_str().unwrap().starts_with("guilty"));
    assert_eq!(
        (&epoch["requests"][0]["uid"], &epoch["requests"][0]["again"]),
        (&Json::from(5), &Json::from(true))
    );
    assert_eq!(epoch["pay"][0]["amount"], (7 * UNIT).to_string());
    for path in ["/run/0/verdicts", "/run/0/epoch/1"] {
        let page = get(&site, path).await.body;
        for part in ["Accusations", "forfeited", "Requests for evidence", "lapses", "Pay that was held"] {
            assert!(page.contains(part), "{path}: {part}");
        }
    }
    assert!(get(&site, "/run/0/epoch/0").await.body.contains("Nobody was accused"));
    for (epoch, leads_on) in [(2, true), (3, false)] {
        let page = get(&site, &format!("/run/0/epoch/{epoch}")).await.body;
        assert_eq!(page.contains("Epoch after"), leads_on, "epoch {epoch}");
    }

    let members = json(&site, "/api/v1/runs/0/members").await;
    let owner = members["members"][0]["coldkey"].as_str().unwrap().to_owned();
    let account = json(&site, &format!("/api/v1/accounts/{owner}")).await;
    let vesting = account["vesting"].as_array().unwrap();
    assert_eq!(vesting.len(), 2, "the owner of uid 0 has uid 1, too");
    assert_eq!(vesting[0]["vested"], (2 * UNIT).to_string());
    assert_eq!(vesting[0]["unvested"], (3 * UNIT).to_string());
    assert_eq!(vesting[0]["by_epoch"], serde_json::json!([[4, (3 * UNIT).to_string()]]));
    let balance = &account["balance"];
    let block = balance["at_block"].as_u64().unwrap();
    assert_eq!(balance["claimable"], block.to_string());
    assert_eq!(balance["free"], (10 * UNIT + u128::from(block)).to_string());
    assert_eq!(balance["held"], (3 * UNIT).to_string());
    let page = get(&site, &format!("/account/{owner}")).await.body;
    for part in
        ["Free balance", "On hold", "May be claimed", "What vests", "free from epoch 9", "By epoch, uid 0"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[tokio::test]
async fn a_script_in_an_endpoint_stays_text() {
    let site = site(1_000).await;
    let members = json(&site, "/api/v1/runs/0/members").await;
    let hostile = members["members"].as_array().unwrap().iter().find(|m| m["uid"] == 1).unwrap();
    assert_eq!(hostile["addresses"][0], SCRIPT);
    let account = format!("/account/{}", hostile["hotkey"].as_str().unwrap());
    for path in ["/run/0/members", &account] {
        let page = get(&site, path).await.body;
        assert!(page.contains("&lt;script&gt;window.pwned=1&lt;/script&gt;"), "{path}");
        assert!(!page.contains("<script>"), "{path}");
    }
    let page = get(&site, "/search?q=%3Cscript%3Ealert(1)%3C/script%3E").await.body;
    assert!(page.contains("&lt;script&gt;alert(1)") && !page.contains("<script>"));
}

#[tokio::test]
async fn pages_say_what_the_api_says() {
    let site = site(1_000).await;
    let run = json(&site, "/api/v1/runs/0").await;
    let page = get(&site, "/run/0").await.body;
    assert_eq!(run["newest_report"], 2);
    // A token of 128 values in bf16, there and back; 16 codes of a byte each way, and a byte of scale for 32.
    let bytes = (&run["bytes_per_token_uncompressed"], &run["bytes_per_token_codes"]);
    assert_eq!(bytes, (&Json::from(512.0), &Json::from(33.0)));
    assert!(page.contains("33.0 instead of 512") && page.contains("15.5 times"));
    assert!(page.contains("data-chart=\"flow\" data-source=\"/api/v1/runs/0/epochs/2\""), "pathways");
    let epochs = run["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 4);
    for epoch in &epochs[..3] {
        let loss = format!("{:.3}", epoch["train_loss"].as_f64().unwrap());
        assert!(page.contains(&format!(">{loss}<")), "{loss}");
    }
    assert!(epochs[0]["heldout_loss"].as_f64() < Some(3.0), "held-out loss after the first epoch");
    assert!(epochs[0]["tokens_per_second"].is_null(), "the run waited in epoch 0: its blocks say nothing");
    // 61,440 tokens in the 41 blocks, of a second each, from one close to the next.
    assert!((epochs[1]["tokens_per_second"].as_f64().unwrap() - 61_440.0 / 41.0).abs() < 0.01);
    let members = json(&site, "/api/v1/runs/0/members").await;
    let page = get(&site, "/run/0/members").await.body;
    for member in members["members"].as_array().unwrap() {
        assert!(
            page.contains(&format!("title=\"{} smallest units\"", member["paid_total"].as_str().unwrap()))
        );
    }
}

#[tokio::test]
async fn who_is_unpaid_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let (_, store) = indexed(dir.path()).await;
    let reader = store.reader().unwrap();
    let epoch = reader.epoch(super::world::RUN, Epoch(1)).unwrap().unwrap();
    let report = epoch.report.unwrap();
    let paid: Vec<u16> = report.payouts.iter().map(|payout| payout.uid.0).collect();
    assert!(!paid.contains(&4) && !paid.contains(&7), "{paid:?}: the harmful miner and the silent validator");
    let site = site(1_000).await;
    let page = get(&site, "/run/0/epoch/1").await.body;
    assert!(page.contains("missed"), "the missed commit shows");
    assert!(page.contains("class=\"num harm\""), "the harm shows");
    assert!(page.contains("class=\"cell differs\""), "the disagreement shows");

    // While epoch 1 is the newest paid one, each of the two is told in a sentence, and nobody else is.
    let site = site_of(Epoch(1)).await;
    let members = json(&site, "/api/v1/runs/0/members").await;
    let page = get(&site, "/run/0/members").await.body;
    let expected = |uid: u64| match uid {
        4 => Some("A verdict, or a proof that it signed twice, stopped its pay."),
        7 => Some("It committed no scores in the window."),
        _ => None,
    };
    for member in members["members"].as_array().unwrap() {
        let why = expected(member["uid"].as_u64().unwrap());
        assert_eq!(member["why_unpaid"].as_str(), why, "{member}");
        assert!(why.is_none_or(|why| page.contains(why)), "{why:?}");
    }
}

#[tokio::test]
async fn the_overview_of_audits_leads_to_older_epochs() {
    let site = site(1_000).await;
    let shown = async |query: &str| {
        let page = get(&site, &format!("/run/0/audit{query}")).await.body;
        let epochs: Vec<u32> =
            (0..9).filter(|e| page.contains(&format!("/run/0/epoch/{e}/audit\""))).collect();
        let older = page.split("href=\"/run/0/audit?before=").nth(1);
        (epochs, older.map(|rest| rest.split('"').next().unwrap().to_owned()))
    };
    assert_eq!(shown("").await, (vec![0, 1, 2], None));
    assert_eq!(shown("?limit=2").await, (vec![1, 2], Some("1&amp;limit=2".to_owned())));
    assert_eq!(shown("?before=1&limit=2").await, (vec![0], None));
    assert_eq!(shown("?before=2&limit=1").await, (vec![1], Some("1&amp;limit=1".to_owned())));
    assert_eq!(shown("?before=0").await, (vec![], None));
    assert_eq!(shown("?limit=0").await.0, [2], "at least one");
}

#[tokio::test]
async fn members_sort_by_every_column_both_ways() {
    let site = site(1_000).await;
    let order = |page: String| -> Vec<String> {
        let rows = page.split("<tbody>").nth(1).unwrap().split("<tr").skip(1);
        rows.map(|row| row.split("<td>").nth(1).unwrap().split(' ').next().unwrap().to_owned()).collect()
    };
    let by = async |column: &str, direction: &str| {
        order(get(&site, &format!("/run/0/members?sort={column}&order={direction}")).await.body)
    };
    assert_eq!(by("uid", "asc").await, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(by("uid", "desc").await[0], "7");
    assert_eq!(by("bond", "desc").await[..2], ["6", "7"]);
    for column in ["role", "stage", "samples", "clasp", "agreement", "score", "paid", "total", "%3Cx%3E"] {
        assert_eq!(by(column, "desc").await.len(), 8, "{column}");
    }
}

#[tokio::test]
async fn search_leads_to_members_blocks_epochs_and_accounts() {
    let site = site(1_000).await;
    let hits = json(&site, "/api/v1/search?q=1").await;
    let paths: Vec<&str> = hits.as_array().unwrap().iter().map(|hit| hit["path"].as_str().unwrap()).collect();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(paths.contains(&"/run/0/epoch/1") && paths.contains(&"/block/1"), "{paths:?}");
    let block = json(&site, "/api/v1/blocks/60").await;
    let hash = block["block"]["hash"].as_str().unwrap();
    assert!(get(&site, &format!("/search?q={hash}")).await.head.contains("location: /block/60"));
    let address = ss58::encode(&[7; 32]);
    let found = get(&site, &format!("/search?q={address}")).await;
    assert!(found.head.contains(&format!("location: /account/{}", address.to_lowercase())), "{}", found.head);
}

/// Every way in which a value is not what its schema says: only what our descriptions use.
fn differs(schema: &Json, value: &Json, all: &Json, at: &str, out: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return differs(&all[name], value, all, &format!("{at} ({name})"), out);
    }
    if let Some(either) = schema["anyOf"].as_array() {
        let inner = if value.is_null() { &either[1] } else { &either[0] };
        return differs(inner, value, all, at, out);
    }
    let fits = match schema["type"].as_str() {
        None => true,
        Some("object") => {
            let (fields, known) = (value.as_object(), schema["properties"].as_object().unwrap());
            for (name, value) in fields.into_iter().flatten() {
                match known.get(name) {
                    Some(inner) => differs(inner, value, all, &format!("{at}.{name}"), out),
                    None => out.push(format!("{at}.{name} is not described")),
                }
            }
            for name in schema["required"].as_array().unwrap() {
                if value.get(name.as_str().unwrap()).is_none() {
                    out.push(format!("{at} has no {name}"));
                }
            }
            fields.is_some()
        }
        Some("array") => {
            let fixed = schema["prefixItems"].as_array();
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                let inner = fixed.map_or(Some(&schema["items"]), |fixed| fixed.get(index));
                match inner {
                    Some(inner) => differs(inner, item, all, &format!("{at}[{index}]"), out),
                    None => out.push(format!("{at} is too long")),
                }
            }
            value.as_array().is_some_and(|list| list.len() >= fixed.map_or(0, Vec::len))
        }
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some(other) => panic!("the test does not know the kind {other}"),
    };
    if !fits {
        out.push(format!("{at}: {value} is no {}", schema["type"]));
    }
}

#[tokio::test]
async fn the_description_names_every_path_and_each_answer_is_as_described() {
    let site = site(1_000).await;
    let description = json(&site, "/api/openapi.json").await;
    assert_eq!(description["openapi"], "3.1.0");
    let schemas = &description["components"]["schemas"];
    let owner = owner_page(&site).await.replace("/account/", "");
    let mut described = std::collections::BTreeSet::new();
    for (path, about) in description["paths"].as_object().unwrap() {
        if path.ends_with("/live") {
            continue;
        }
        let schema = &about["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        let path = path.replace("{run}", "0").replace("{epoch}", "1").replace("{block}", "60");
        let path = path.replace("{account}", &owner);
        let answer =
            json(&site, &if path.ends_with("/search") { format!("{path}?q=1") } else { path.clone() }).await;
        let mut wrong = Vec::new();
        differs(schema, &answer, schemas, &path, &mut wrong);
        assert_eq!(wrong, Vec::<String>::new(), "{path}");
        described.extend(schema["$ref"].as_str().or(schema["items"]["$ref"].as_str()).map(str::to_owned));
    }
    assert_eq!(described.len(), 10, "{described:?}");
    // A checker that finds nothing would find nothing here, either.
    let mut altered = json(&site, "/api/v1/runs/0").await;
    altered["line"]["tokens"] = Json::from("many");
    altered["stages"][0].as_object_mut().unwrap().remove("layers");
    altered["more"] = Json::from(1);
    let mut wrong = Vec::new();
    differs(&schemas["Run"], &altered, schemas, "run", &mut wrong);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    let missing = get(&site, "/api/v1/runs/9").await;
    let mut wrong = Vec::new();
    differs(&schemas["Error"], &serde_json::from_str(&missing.body).unwrap(), schemas, "error", &mut wrong);
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test]
async fn the_text_behind_a_run_is_described_where_its_manifest_is_at_hand() {
    let text = r#"{ "license": "<b>public domain</b>", "tokenizer": "bytes", "tokens": 64001, "duplicates": 12,
        "overlap": 3, "encoding_errors": 5 }"#;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("manifest.json");
    std::fs::write(&file, text).unwrap();
    let root = iota_protocol::hash::hash(iota_protocol::hash::Domain::Data, text.as_bytes());
    let manifests = || crate::manifest::Manifests::read(std::slice::from_ref(&file)).unwrap();
    let site = site_of_data(root, manifests()).await;
    let run = json(&site, "/api/v1/runs/0").await;
    assert_eq!(run["data"]["manifest_root"], root.to_string());
    assert_eq!(run["data"]["manifest"]["encoding_errors"], 5);
    let page = get(&site, "/run/0").await.body;
    for part in ["&lt;b&gt;public domain&lt;/b&gt;", ">64,001<", ">12<", ">3<", ">5<", "Encoding errors"] {
        assert!(page.contains(part), "{part}");
    }
    // Of another run's text nothing is said.
    let site = site_of_data(iota_protocol::ids::Hash([3; 32]), manifests()).await;
    let run = json(&site, "/api/v1/runs/0").await;
    assert!(run["data"]["manifest"].is_null(), "{run}");
    assert!(get(&site, "/run/0").await.body.contains("was not given the manifest"));
}

/// A server over a world that trains on the text with this root.
async fn site_of_data(root: iota_protocol::ids::Hash, manifests: crate::manifest::Manifests) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::new();
    world.params.data.manifest_root = root;
    let world = Arc::new(world);
    let store = Store::open(&dir.path().join("explorer.sqlite"), world.genesis(), 0).unwrap();
    index_until(&world, &store, 20).await;
    let newest = watch::Sender::new(Some(20));
    let served = Served::new(store, newest.subscribe(), 1_000).with_manifests(manifests);
    served_by(dir, served, newest, 20).await
}

#[tokio::test]
async fn audit_and_bundle_are_served() {
    let site = site(1_000).await;
    let audit = json(&site, "/api/v1/runs/0/epochs/1/audit").await;
    assert_eq!(audit["verdict"], "pass");
    assert_eq!(audit["findings"].as_array().unwrap().len(), 11);
    let answer = get(&site, "/api/v1/runs/0/epochs/1/bundle").await;
    assert!(answer.head.contains("attachment; filename=\"iota-run-0-epoch-1.json\""), "{}", answer.head);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.json");
    std::fs::write(&path, &answer.body).unwrap();
    let bundle = crate::cli::read_bundle(&path, None).unwrap();
    assert_eq!(bundle.digest.to_string(), audit["digest"].as_str().unwrap());
}

#[tokio::test]
async fn too_many_requests_are_told_to_wait() {
    let site = site(1).await;
    let mut refused = 0;
    for _ in 0..15 {
        let answer = get(&site, "/api/v1/status").await;
        refused += u32::from(answer.head.starts_with("http/1.1 429"));
    }
    assert!((3..=5).contains(&refused), "{refused} of 15 were refused after a burst of ten");
}

#[tokio::test]
async fn live_updates_arrive_with_every_block() {
    let site = site(1_000).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(b"GET /api/v1/live HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut text = String::new();
    for wanted in 1..=2 {
        while text.matches("event: block").count() < wanted || !text.ends_with("\n\n\r\n") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.unwrap();
            assert!(count > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        assert!(text.contains(&format!("\"number\":{}", site.last)), "{text}");
        site.newest.send_replace(Some(site.last));
    }
}
