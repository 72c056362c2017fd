//! `scripts/devnet`'s program: start, follow, summarise, stop.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use iota_tests::network::Devnet;
use iota_tests::options::Options;
use iota_tests::run;
use iota_tests::summary::Summary;

fn main() -> ExitCode {
    let options = Options::parse();
    let result = iota_service::telemetry::init(iota_service::telemetry::Format::Auto, Some("error"))
        .map_err(anyhow::Error::from)
        .and_then(|()| tokio::runtime::Runtime::new().context("starting the async runtime"))
        .and_then(|runtime| runtime.block_on(devnet(options)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn devnet(options: Options) -> anyhow::Result<bool> {
    iota_compute::init_runtime(1);
    if options.measure {
        println!("{:.0}", iota_tests::speed::measure()?);
        return Ok(true);
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        result = whole_run(options) => result,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; everything that was started has been stopped"),
        _ = terminate.recv() => anyhow::bail!("terminated; everything that was started has been stopped"),
    }
}

async fn whole_run(options: Options) -> anyhow::Result<bool> {
    let (keep, summary_file) = (options.keep, options.summary.clone());
    eprintln!(
        "starting {} authorities, {} x {} miners, {} validators",
        options.authorities, options.stages, options.miners, options.validators
    );
    let mut devnet = Devnet::start(options).await?;
    eprintln!("data, keys and logs: {}", devnet.dir.display());
    eprintln!("node: {} (genesis {})", devnet.node_url, devnet.chain.genesis());
    eprintln!(
        "{} parameters in {} stages; byte-bigram entropy of the held-out text: {:.3} nats per byte",
        devnet.params.total_parameters(),
        devnet.params.n_stages(),
        devnet.dataset.bigram_entropy()
    );
    eprintln!(
        "training epochs: {}, each with {} blocks of training at this machine's speed; one more settles",
        devnet.params.epochs, devnet.params.phases.train
    );
    let records = run::follow(&mut devnet, async |_, _| Ok(Vec::new())).await?;
    let summary = run::summarise(&devnet, &records)?;
    let text = serde_json::to_string_pretty(&summary)?;
    if let Some(path) = &summary_file {
        std::fs::write(path, &text).with_context(|| format!("writing {}", path.display()))?;
    }
    print(&summary, summary_file.is_none().then_some(text.as_str()));
    if keep {
        eprintln!("everything keeps running; Ctrl-C stops it");
        std::future::pending::<()>().await;
    }
    drop(devnet);
    Ok(summary.checks.all_hold())
}

fn print(summary: &Summary, json: Option<&str>) {
    if let Some(json) = json {
        println!("{json}");
    }
    eprintln!("\nepoch  train loss  held-out  tokens    tok/s  committed  agreed/differ/missing");
    for line in &summary.epochs {
        let loss = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        eprintln!(
            "{:>5}  {:>10}  {:>8}  {:>7}  {:>6.0}  {:>9}  {}/{}/{}",
            line.epoch.0,
            loss(line.train_loss),
            loss(line.heldout_loss),
            line.tokens,
            line.tokens_per_second,
            line.contributors,
            line.agreed_shards,
            line.disagreeing_shards,
            line.missing_shards,
        );
    }
    eprintln!("\nbyte-bigram entropy {:.3}; boundary bytes per token: {:.0} uncompressed, {:.1} as codes, measured {:?}",
        summary.run.bigram_entropy, summary.run.bytes_per_token_uncompressed, summary.run.bytes_per_token_codes,
        summary.run.bytes_per_token_measured.iter().map(|bytes| (bytes * 10.0).round() / 10.0).collect::<Vec<_>>());
    eprintln!("\n{}\n", summary.sample);
    for (name, holds) in &summary.checks.0 {
        eprintln!("{} {name}", if *holds { "ok  " } else { "FAIL" });
    }
}
