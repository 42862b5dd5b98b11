//! A hub at either end of a link is killed under load; often, by `cargo xtask soak links-kill`.

use anyhow::Result;
use headland_tests::kills;

/// Each end twice.
const KILLS: usize = 4;

#[tokio::test]
async fn a_link_whose_ends_are_killed_flows_again_and_loses_and_doubles_nothing() -> Result<()> {
    let found = kills::run(KILLS).await?;

    assert_eq!(found.flowed_ms.len(), KILLS);
    assert_eq!((found.lost, found.doubled), (0, 0));
    Ok(())
}
