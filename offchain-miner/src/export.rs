//! `iota-miner export`: a checkpoint as a folder that transformers loads: weights in safetensors,
//! configuration, tokenizer, and the model's code in Python.
//!
//! The code runs the boundaries and the wire codec's rounding, as the stages do. The shared subspace is
//! not exported: its basis and fixed embedding follow from the seed by this project's own generator.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context};
use clap::Args;
use iota_compute::layout::{StageLayout, TensorSpec};
use iota_compute::outer::OuterState;
use iota_protocol::ids::Stage;
use iota_protocol::params::{BoundaryTier, RunParams, WireCodec};
use iota_worker::answer::{Answer, Sign};
use safetensors::{Dtype, View};
use serde_json::{json, Value};

use crate::cli::read_checkpoints;

/// The model's code.
const MODEL: &str = include_str!("export/modeling_iota.py");

/// Arguments of `export`.
#[derive(Args)]
pub struct Export {
    /// Folder with `run.json` and one `stage-K.safetensors` per stage.
    #[arg(long)]
    checkpoints: PathBuf,
    /// Folder to write; it must not exist.
    #[arg(long)]
    out: PathBuf,
}

impl Export {
    /// Writes the folder.
    ///
    /// # Errors
    /// When the checkpoint cannot be read, is of a kind that cannot be exported, or the folder exists.
    pub fn run(&self, answer: Answer) -> anyhow::Result<()> {
        let sign = Sign::show("reading and writing the weights");
        let (params, stages) = read_checkpoints(&self.checkpoints)?;
        write(&params, &stages, &self.out)?;
        drop(sign);
        answer.say(
            format_args!(
                "wrote {} parameters to {}; load it with AutoModelForCausalLM.from_pretrained(\"{}\", trust_remote_code=True)",
                params.total_parameters(),
                self.out.display(),
                self.out.display()
            ),
            &json!({ "parameters": params.total_parameters(), "folder": self.out }),
        )
    }
}

fn write(params: &RunParams, stages: &[OuterState], out: &Path) -> anyhow::Result<()> {
    if params.tier() == BoundaryTier::Subspace {
        bail!("runs with a shared subspace cannot be exported yet; codes and bottlenecks can");
    }
    if params.model.vocab != 256 {
        bail!("only the byte tokenizer is exported, and this run has {} tokens", params.model.vocab);
    }
    std::fs::create_dir(out).with_context(|| format!("creating {}; choose a new folder", out.display()))?;
    let put = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    };
    put("model.safetensors", &weights(params, stages)?)?;
    put("modeling_iota.py", MODEL.as_bytes())?;
    put("config.json", &serde_json::to_vec_pretty(&config(params))?)?;
    put("tokenizer.json", &serde_json::to_vec_pretty(&tokenizer())?)?;
    put(
        "tokenizer_config.json",
        &serde_json::to_vec_pretty(&json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": params.model.seq_len,
            "clean_up_tokenization_spaces": false,
        }))?,
    )
}

/// One tensor of the file.
struct Stored<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

fn weights(params: &RunParams, stages: &[OuterState]) -> anyhow::Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for (number, state) in (0u16..).zip(stages) {
        for spec in StageLayout::new(params, Stage(number))?.tensors() {
            let TensorSpec { name, shape, .. } = spec;
            let shape = shape.iter().map(|n| usize::try_from(*n).unwrap_or(0)).collect();
            let values = state.weights.get(spec.range());
            let values = values.with_context(|| format!("stage {number} ends before {name}"))?;
            tensors.push((name.clone(), Stored { shape, values }));
        }
    }
    // transformers asks for the framework that wrote it.
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(tensors, Some(metadata))?)
}

fn config(params: &RunParams) -> Value {
    let model = &params.model;
    let boundaries: Vec<u16> = params.stages.iter().skip(1).map(|stage| stage.first_layer).collect();
    let wire = match params.train.wire.values() {
        WireCodec::Bf16 => "bf16",
        WireCodec::Int8 => "int8",
        WireCodec::Int4 => "int4",
        _ => "f32",
    };
    json!({
        "architectures": ["IotaForCausalLM"],
        "model_type": "iota",
        "auto_map": {
            "AutoConfig": "modeling_iota.IotaConfig",
            "AutoModelForCausalLM": "modeling_iota.IotaForCausalLM",
        },
        "vocab_size": model.vocab, "hidden_size": model.d_model, "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads, "num_key_value_heads": model.n_kv_heads,
        "intermediate_size": model.d_ff, "max_position_embeddings": model.seq_len,
        "rope_base": model.rope_base, "bottleneck": model.bottleneck, "boundaries": boundaries, "wire": wire,
        "dtype": "float32", "use_cache": false, "tie_word_embeddings": false,
    })
}

/// A tokenizer whose tokens are bytes: byte-level BPE without a single merge. Its alphabet writes each
/// byte as a visible character, as that of GPT-2 does.
fn tokenizer() -> Value {
    let vocabulary: BTreeMap<String, u32> =
        (0..=255u8).map(|byte| (letter(byte).to_string(), u32::from(byte))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": [],
        },
    })
}

/// Printable bytes stand for themselves; the others follow from U+0100 on, in their order.
fn letter(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if visible(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|other| !visible(*other)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap_or(0)).unwrap_or('?')
}

#[cfg(test)]
mod tests {
    use super::*;
    use iota_compute::{evaluate, presets};
    use iota_protocol::ids::Hash;
    use iota_protocol::params::DataParams;
    use std::process::Command;

    const TEXT: &str = "ROMEO:\nWhat, é?\n";

    fn trained(stages: u16) -> (RunParams, Vec<OuterState>) {
        let data = DataParams { manifest_root: Hash::ZERO, train_windows: 10, heldout_windows: 1 };
        let params = presets::run_params("nano", stages, 7, 1, 1, data).unwrap();
        let state = |stage: u16| {
            let layout = StageLayout::new(&params, Stage(stage)).unwrap();
            let mut state = OuterState::initial(&params, &layout);
            // Encoders and decoders start at zero, and would not be seen.
            let wave = |(at, value): (usize, &mut f32)| *value += 0.05 * (at as f32 * 0.37).sin();
            state.weights[..layout.len()].iter_mut().enumerate().for_each(wave);
            state
        };
        let stages = (0..stages).map(state).collect();
        (params, stages)
    }

    /// A Python with transformers: `IOTA_EXPORT_PYTHON`, or the system's.
    fn python() -> Option<std::ffi::OsString> {
        let python = std::env::var_os("IOTA_EXPORT_PYTHON").unwrap_or_else(|| "python3".into());
        let found = Command::new(&python).args(["-c", "import transformers, torch, safetensors"]).output();
        found.is_ok_and(|out| out.status.success()).then_some(python)
    }

    #[test]
    fn transformers_computes_the_logits_that_the_stages_compute() {
        let Some(python) = python() else {
            let missing = "no Python with transformers (scripts/setup tests, or set IOTA_EXPORT_PYTHON)";
            assert!(std::env::var_os("IOTA_NO_SKIP").is_none(), "{missing}");
            eprintln!("SKIPPED: {missing}; the export was not loaded");
            return;
        };
        iota_compute::init_runtime(1);
        for stages in [1, 3] {
            let (params, states) = trained(stages);
            let place = tempfile::tempdir().unwrap();
            let out = place.path().join("exported");
            write(&params, &states, &out).unwrap();
            let check = concat!(env!("CARGO_MANIFEST_DIR"), "/src/export/check.py");
            let told = Command::new(&python)
                .arg(check)
                .arg(&out)
                .arg(TEXT)
                .env("HF_HUB_OFFLINE", "1")
                .output()
                .unwrap();
            assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
            let line = String::from_utf8(told.stdout).unwrap();
            let line = line.lines().find(|line| line.starts_with('{')).unwrap_or_else(|| panic!("{line}"));
            let seen: Value = serde_json::from_str(line).unwrap();
            let bytes: Vec<u32> = TEXT.bytes().map(u32::from).collect();
            assert_eq!(seen["ids"], json!(bytes), "tokens are bytes");
            assert_eq!(seen["text"], TEXT);
            assert_eq!(seen["generated"], 4);
            let weights: Vec<Vec<f32>> = states.into_iter().map(|state| state.weights).collect();
            let ours = evaluate::logits(&params, &weights, &bytes).unwrap();
            let theirs: Vec<f64> =
                seen["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            assert_eq!(ours.len(), theirs.len());
            let far = ours.iter().zip(&theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            eprintln!("{stages} stages: logits differ by {far:e} at most");
            assert!(far < 1e-4, "{stages} stages: logits differ by {far}");
        }
    }

    #[test]
    fn the_folder_names_every_weight_once_and_is_never_written_over() {
        let (params, states) = trained(3);
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("exported");
        write(&params, &states, &out).unwrap();
        assert!(write(&params, &states, &out).is_err());
        let bytes = std::fs::read(out.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values: usize = file.tensors().iter().map(|(_, view)| view.data().len() / 4).sum();
        assert_eq!(values as u64, params.total_parameters());
        let config: Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!((&config["boundaries"], &config["wire"]), (&json!([1, 2]), &json!("int8")));
    }

    #[test]
    fn letters_are_those_of_byte_level_tokenizers() {
        assert_eq!(
            [letter(b'A'), letter(b' '), letter(b'\n'), letter(0), letter(0xad)],
            ['A', 'Ġ', 'Ċ', 'Ā', 'Ń']
        );
        let all: std::collections::BTreeSet<char> = (0..=255).map(letter).collect();
        assert_eq!(all.len(), 256);
    }
}
