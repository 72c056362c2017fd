//! The file of weights, in the form that each pallet's `WeightInfo` asks for.

use std::fmt::Write;

use crate::{
    bench::Owner,
    factor::Factor,
    fit::{Line, Model},
};

/// The whole file.
pub fn file(models: &[Model], factor: &Factor, (steps, repeats): (u32, u32), header: &[String]) -> String {
    let mut text = String::from(
        "//! Weights of `pallet-iota`, governance and faucet, written by `scripts/weights` from measurements, not by hand.\n//!\n",
    );
    for line in header {
        text += &format!("//! {line}\n");
    }
    text += &format!("//! Steps {steps}, repeats {repeats}; least squares without outliers.\n");
    text += &format!(
        "//! Processor time of one thread, measured natively and multiplied by {}.{:03}:\n\
         //! a `Close` of 48 miners and 16 validators took {:.1} ms natively and {:.1} ms in the wasm blob.\n\n",
        factor.permille() / 1_000,
        factor.permille() % 1_000,
        factor.native.as_secs_f64() * 1e3,
        factor.wasm.as_secs_f64() * 1e3,
    );
    text += "use core::marker::PhantomData;\n\nuse polkadot_sdk::{\n    frame_support::{traits::Get, weights::Weight},\n    frame_system,\n};\n\n";
    text += "/// What was measured, with the database's costs of the chain that uses it.\n";
    text += "pub struct Measured<T>(PhantomData<T>);\n";
    for owner in [Owner::Iota, Owner::Governance, Owner::Faucet] {
        let functions = models.iter().filter(|model| model.owner == owner).map(function);
        let functions = functions.collect::<Vec<String>>().join("\n");
        let _ = write!(
            text,
            "\nimpl<T: frame_system::Config> {} for Measured<T> {{\n{functions}}}\n",
            asked_for(owner)
        );
    }
    text
}

/// The trait that asks for an owner's weights.
fn asked_for(owner: Owner) -> &'static str {
    match owner {
        Owner::Iota => "pallet_iota::weights::WeightInfo",
        Owner::Governance => "crate::governance::WeightInfo",
        Owner::Faucet => "crate::faucet::WeightInfo",
    }
}

fn function(model: &Model) -> String {
    let used = |at: usize| lines(model).iter().any(|line| line.slopes[at] > 0);
    let argument = |(at, (name, ..)): (usize, &(String, u32, u32))| {
        format!("{}{name}: u32", if used(at) { "" } else { "_" })
    };
    let arguments: Vec<String> = model.components.iter().enumerate().map(argument).collect();
    let mut text = String::new();
    for (name, low, high) in &model.components {
        let _ = writeln!(text, "    // `{name}` from {low} to {high}.");
    }
    let _ = writeln!(text, "    // Measured: {} to {} ns.", model.measured.0, model.measured.1);
    let _ = writeln!(text, "    fn {}({}) -> Weight {{", model.name, arguments.join(", "));
    let _ = writeln!(text, "        let db = T::DbWeight::get();");
    let _ = writeln!(text, "        Weight::from_parts({}, {})", model.time.base, model.proof.base);
    for (at, (name, ..)) in model.components.iter().enumerate() {
        let (time, proof) = (model.time.slopes[at], model.proof.slopes[at]);
        if time > 0 || proof > 0 {
            let _ = writeln!(
                text,
                "            .saturating_add(Weight::from_parts({time}, {proof}).saturating_mul(u64::from({name})))"
            );
        }
    }
    accesses(&mut text, "reads", &model.reads, model);
    accesses(&mut text, "writes", &model.writes, model);
    text += "    }\n";
    text
}

fn lines(model: &Model) -> [&Line; 4] {
    [&model.time, &model.reads, &model.writes, &model.proof]
}

fn accesses(text: &mut String, kind: &str, line: &Line, model: &Model) {
    if line.base > 0 {
        let _ = writeln!(text, "            .saturating_add(db.{kind}({}))", line.base);
    }
    for ((name, ..), slope) in model.components.iter().zip(&line.slopes).filter(|(_, slope)| **slope > 0) {
        let _ = writeln!(
            text,
            "            .saturating_add(db.{kind}({slope}).saturating_mul(u64::from({name})))"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_becomes_a_function_of_its_components() {
        let line = |base, slopes: &[u128]| Line { base, slopes: slopes.to_vec() };
        let model = Model {
            owner: Owner::Iota,
            name: "call".into(),
            components: vec![("a".into(), 0, 9), ("b".into(), 1, 2)],
            time: line(7_000, &[30, 0]),
            reads: line(2, &[1, 0]),
            writes: line(0, &[0, 0]),
            proof: line(40, &[0, 0]),
            measured: (7, 8),
        };
        let expected = "    // `a` from 0 to 9.
    // `b` from 1 to 2.
    // Measured: 7 to 8 ns.
    fn call(a: u32, _b: u32) -> Weight {
        let db = T::DbWeight::get();
        Weight::from_parts(7000, 40)
            .saturating_add(Weight::from_parts(30, 0).saturating_mul(u64::from(a)))
            .saturating_add(db.reads(2))
            .saturating_add(db.reads(1).saturating_mul(u64::from(a)))
    }
";
        assert_eq!(function(&model), expected);
    }
}
