//! Queries whose results are known, from Apache Flink and from Arroyo, run by our engine.
//!
//! `cargo test -p headland-detection --test conformance -- --nocapture` prints each suite's table.
//! A case that passed once is expected to pass: the lists of what does not stand in `DEVIATIONS.md`
//! beside the cases, each with the rule it deviates from and why.

/// What a case is, and how its results are compared.
#[cfg(test)]
mod case;
/// Cases of Apache Flink: the given ones and our own.
#[cfg(test)]
mod flink;
/// Cases of Arroyo.
#[cfg(test)]
#[expect(clippy::string_slice, reason = "the cases are ASCII, and a wrong one fails its test")]
mod arroyo;
/// Values as Flink's rows show them.
#[cfg(test)]
mod shown;

use case::Verdict;

/// Prints the table of a suite and compares it with what is expected to pass.
#[expect(clippy::print_stdout, reason = "the table is what --nocapture asks for")]
fn check(suite: &str, deviations: &str, least_share: f64, verdicts: &[Verdict]) {
    let failed: Vec<&Verdict> =
        verdicts.iter().filter(|verdict| verdict.reason.is_some()).collect();
    let passed = verdicts.len() - failed.len();
    println!("{suite}: {passed} of {} pass", verdicts.len());
    for verdict in verdicts {
        let outcome = verdict.reason.as_deref().unwrap_or("pass");
        println!("  {:<40} {outcome}", verdict.name);
    }
    let named = |verdict: &&Verdict| deviations.contains(&format!("`{}`", verdict.name));
    let unexpected: Vec<_> = failed.iter().filter(|v| !named(v)).map(|v| &v.name).collect();
    let mended: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.reason.is_none() && named(verdict))
        .map(|verdict| &verdict.name)
        .collect();
    assert!(
        unexpected.is_empty(),
        "{suite}: fail, and are in no list of deviations: {unexpected:?}"
    );
    assert!(mended.is_empty(), "{suite}: pass, and are still listed as deviations: {mended:?}");
    let share = passed as f64 / verdicts.len() as f64;
    assert!(share >= least_share, "{suite}: {share:.3} pass, {least_share} must");
}

#[test]
fn queries_answer_as_flink_does() {
    let verdicts = flink::run(flink::GIVEN);

    check("flink_sql", flink::DEVIATIONS, 28.0 / 30.0, &verdicts);
}

#[test]
fn our_own_queries_answer_as_flink_does() {
    let verdicts = flink::run(flink::OWN);

    assert!(verdicts.len() >= 150, "{} cases of our own", verdicts.len());
    check("flink", flink::DEVIATIONS, 0.9, &verdicts);
}

#[test]
fn queries_answer_as_arroyo_does() {
    let verdicts = arroyo::run();

    check("arroyo_sql", arroyo::DEVIATIONS, 0.9, &verdicts);
}
