//! A coarse walk over what a crash can leave: the soak goes finer and longer.

use std::process::Command;

#[test]
fn no_subset_of_unsynced_writes_and_no_schedule_loses_or_splits_a_commit() {
    let mut proof = Command::new(env!("CARGO_BIN_EXE_storage-proof"));
    proof.args(["schedules", "--step", "509", "--subsets", "16", "--schedules", "400"]);

    let output = proof.output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(result["subsets_opened"].as_u64().unwrap() > 100);
    assert!(result["barriers_failed_one_by_one"].as_u64().unwrap() > 5);
    assert!(result["records_compacted_in_subsets"].as_u64().unwrap() > 0);
    assert!(result["records_compacted_in_random_schedules"].as_u64().unwrap() > 0);
}
