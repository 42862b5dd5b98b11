//! Regions that are left and returned to, or lose their disk; at length by
//! `cargo xtask soak failover`, which also measures what links carry and how soon agents go on.

use anyhow::Result;
use headland_tests::failover::disks::{self, Ack};
use headland_tests::failover::groups;

#[tokio::test]
async fn groups_go_there_and_back_at_any_lag_and_read_each_record_once() -> Result<()> {
    let found = groups::run(&[300], (0, 1), 400).await?;

    assert!(found.is_exact(), "{}", found.json());
    Ok(())
}

#[tokio::test]
async fn of_a_disk_lost_under_load_the_other_region_has_all_that_two_had_to_have() -> Result<()> {
    let found = disks::run(Ack::TwoRegions, 2, 1, 1).await?;

    assert!(found.is_exact(), "{}", found.json());
    Ok(())
}
