//! `iota-miner join`: checks the network of a file and writes the configuration for it, saying what has to be
//! trusted from then on and what need not.

use std::path::PathBuf;

use clap::Args;
use iota_worker::answer::{waiting, Answer};
use iota_worker::network_file::{write_new, Checked, NetworkFile};
use serde_json::json;

/// Arguments of `join`.
#[derive(Args)]
pub struct Join {
    /// The network's file, from somebody who runs it.
    #[arg(long)]
    network: PathBuf,
    /// The run to work for; the file's when absent.
    #[arg(long)]
    run: Option<u32>,
    /// Where to write the configuration; an old one is not overwritten.
    #[arg(long, default_value = "miner.toml")]
    out: PathBuf,
}

impl Join {
    /// Asks every node of the file for its chain, writes the configuration, and says what comes next.
    ///
    /// # Errors
    /// When a node runs another chain, none answers, or the configuration is there already.
    pub async fn run(&self, answer: Answer) -> anyhow::Result<()> {
        let file = NetworkFile::read(&self.network)?;
        let checked = waiting("asking the nodes of the file", file.check()).await?;
        write_new(&self.out, &self.configuration(&file, &checked))?;
        let answered: Vec<_> = checked.answered.iter().map(|(url, _)| url).collect();
        let silent: Vec<_> = checked.silent.iter().map(|(url, _)| url).collect();
        answer.say(
            self.tell(&file, &checked).trim_end(),
            &json!({
                "network": file.name, "genesis": file.genesis, "configuration": self.out,
                "answered": answered, "silent": silent,
            }),
        )
    }

    /// Only nodes that were seen to run the chain are written down.
    fn configuration(&self, file: &NetworkFile, checked: &Checked) -> String {
        let nodes: Vec<&str> = checked.answered.iter().map(|(url, _)| url.as_str()).collect();
        let settings = toml::Table::from_iter([
            ("node".to_owned(), nodes.join(",").into()),
            ("genesis".to_owned(), file.genesis.clone().into()),
            ("run".to_owned(), i64::from(self.run.unwrap_or(file.run)).into()),
        ]);
        let name: String = file.name.chars().filter(|c| !c.is_control()).collect();
        format!("# Written by `iota-miner join` for the network \"{name}\".\n{settings}")
    }

    fn tell(&self, file: &NetworkFile, checked: &Checked) -> String {
        let out = self.out.display();
        let mut lines = vec![format!("network {:?}, genesis {}", file.name, file.genesis)];
        for (url, block) in &checked.answered {
            lines.push(format!("ok   {url}: this chain, final block {block}"));
        }
        for (url, why) in &checked.silent {
            lines.push(format!("away {url}: {why}"));
            lines.push("     it could not be checked and is left out; join again when it is there".into());
        }
        lines.push(format!("written to {out}"));
        lines.extend(trusted(file, checked));
        let next = if file.faucet {
            "first tokens come from the faucet"
        } else {
            "this network has no faucet: somebody has to send you first tokens"
        };
        lines.push(format!("\nNext ({next}):"));
        if file.faucet {
            lines.push(format!("  iota-miner --config {out} faucet --coldkey coldkey.json"));
        }
        lines.push(format!("  iota-miner --config {out} register --coldkey coldkey.json"));
        lines.push(format!("  iota-miner --config {out} run"));
        lines.join("\n") + "\n"
    }
}

/// What nobody can check for the user, and what is checked all the time.
fn trusted(file: &NetworkFile, checked: &Checked) -> Vec<String> {
    let mut lines = vec![
        "\nWhat you trust from now on:".to_owned(),
        "  - whoever gave you the file: the genesis in it decides which chain is meant. Compare it with a second source.".into(),
        format!(
            "  - the {} above: which blocks are final and what they hold is their word. A node that lies can hide your \
             work or show you an old state; it cannot sign for you, and it never sees a key.",
            if checked.answered.len() == 1 { "node".to_owned() } else { format!("{} nodes", checked.answered.len()) }
        ),
    ];
    if checked.answered.len() == 1 {
        lines.push("    With a single node nothing goes on while it is away.".into());
    }
    match file.bootnodes.as_slice() {
        [] => lines.push("    A node of your own takes that trust away.".into()),
        nodes => lines.push(format!(
            "    A node of your own takes that trust away: iota-node --chain SPEC --bootnodes {}",
            nodes.join(" ")
        )),
    }
    lines.push("What you need not trust:".into());
    lines.push("  - other miners: weights, merged shards and messages are checked against roots and signatures on chain".into());
    lines.push("  - validators: their reports can be computed again, and the epoch's pay with them (`iota-miner explain`)".into());
    lines.push("  - the data set: its root is on chain".into());
    if let Some(explorer) = &file.explorer {
        lines.push(format!("  - the explorer at {explorer}: its audits can be repeated offline with `iota-explorer verify-epoch`"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MinerConfig;

    fn file(rpc: &[&str]) -> NetworkFile {
        NetworkFile {
            name: "small\nnode = \"ws://evil\"".into(),
            genesis: format!("0x{}", "07".repeat(32)),
            run: 3,
            rpc: rpc.iter().map(|url| (*url).to_owned()).collect(),
            bootnodes: vec!["/ip4/10.0.0.1/tcp/1/p2p/x".into()],
            explorer: None,
            faucet: true,
        }
    }

    fn join(out: PathBuf) -> Join {
        Join { network: "network.toml".into(), run: None, out }
    }

    #[test]
    fn the_configuration_holds_the_nodes_that_answered_and_is_one_that_the_miner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("miner.toml");
        let checked = Checked {
            answered: vec![("ws://a".into(), 5), ("ws://b".into(), 6)],
            silent: vec![("ws://c".into(), "connection refused".into())],
        };
        let (join, file) = (join(out.clone()), file(&["ws://a", "ws://c", "ws://b"]));
        write_new(&out, &join.configuration(&file, &checked)).unwrap();
        let none: [(String, String); 0] = [];
        let read =
            iota_service::config::resolve_with::<MinerConfig>(Some(&out), "X_", none, toml::Table::new());
        let config = read.unwrap().0;
        assert_eq!(config.node, "ws://a,ws://b", "not what the name smuggles in");
        assert_eq!((config.genesis, config.run), (Some(file.genesis.clone()), 3));
        let told = join.tell(&file, &checked);
        for part in [
            "ok   ws://a",
            "away ws://c: connection refused",
            "faucet --coldkey",
            "--bootnodes /ip4",
            "2 nodes",
        ] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
    }
}
