//! What a hub takes up from its log, and what it refuses.

use std::error::Error;

use headland_storage::MemoryDisk;

use super::hub::{CONFIG, Hub};
use crate::node::StartError;

#[test]
fn a_data_directory_of_another_node_is_refused_with_both_names() {
    let mut hub = Hub::new();
    hub.settle();
    let (disk, now): (MemoryDisk, _) = (hub.disk().clone(), hub.now);
    drop(hub);

    let errors = [("region = \"eu\"", "region = \"ap\""), ("\"hub-1\"\ndata", "\"hub-2\"\ndata")]
        .map(|(from, to)| Hub::start(&disk, &CONFIG.replacen(from, to, 1), now).err().unwrap());

    assert!(matches!(errors[0], StartError::OtherNode { .. }));
    assert!(errors.iter().all(|error| error.source().is_none()));
    assert_eq!(
        errors.map(|error| error.to_string()),
        [
            "the data directory hubs/eu is of region/eu/hub/hub-1, \
             the configuration is of region/ap/hub/hub-1",
            "the data directory hubs/eu is of region/eu/hub/hub-1, \
             the configuration is of region/eu/hub/hub-2"
        ]
    );
}

#[test]
fn a_hub_that_restarts_as_itself_writes_its_name_once() {
    let mut hub = Hub::new();
    hub.settle();
    let first = hub.commits();

    hub.restart(CONFIG);
    hub.settle();

    assert_eq!((first, hub.commits()), (1, 1));
}
