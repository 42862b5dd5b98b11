//! A few kills: the soak does two hundred.

use std::process::Command;

#[test]
fn killed_writers_leave_every_acknowledged_commit_and_no_part_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let mut proof = Command::new(env!("CARGO_BIN_EXE_storage-proof"));
    proof.args(["kill", "--kills", "6", "--directory"]).arg(directory.path());

    let output = proof.output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stdout));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["kills"], 6);
    assert_eq!(result["failures"]["acknowledged_lost"], 0);
}
