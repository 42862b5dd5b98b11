use super::*;
use crate::oracle;

/// Every record of every log as the oracle reads it.
fn records(fleet: &Fleet) -> Vec<oracle::Record> {
    let of = |actor: &headland_event::Actor| -> oracle::Actor {
        let life = (actor.incarnation.counter(), actor.incarnation.nonce());
        (actor.region.as_str().to_owned(), life, actor.partition.get())
    };
    let mut records = Vec::new();
    for hub in &fleet.hubs {
        for (offset, stamped) in (0..).zip(&hub.log) {
            records.push(oracle::Record {
                actor: of(hub.actor()),
                offset,
                hlc: (stamped.hlc.wall().millis(), stamped.hlc.logical()),
                context: {
                    let ends = stamped.context.ends().iter();
                    ends.map(|(at, end)| (of(at), std::iter::once(0..end.get()).collect()))
                        .collect()
                },
                verdict: match stamped.verdict {
                    headland_event::Verdict::OnTime => "on-time",
                    headland_event::Verdict::Late => "late",
                    headland_event::Verdict::Future => "future",
                    headland_event::Verdict::Forbidden => "forbidden",
                    headland_event::Verdict::Unlisted => "unlisted",
                },
                value: serde_json::from_slice(&stamped.value).unwrap(),
            });
        }
    }
    records
}

/// Units by sku and location, as the oracle's stock table says.
fn stock(tables: &oracle::Tables) -> BTreeMap<String, i64> {
    let of_stock = tables.iter().filter(|((topic, _), _)| topic == "inventory.stock");
    of_stock.map(|((_, key), value)| (key.clone(), value["units"].as_i64().unwrap())).collect()
}

fn shown(fleet: &Fleet) -> BTreeMap<String, i64> {
    let reconciler = &fleet.hubs[0].reconciler;
    let views = reconciler.skus().filter_map(|sku| reconciler.product(sku));
    views
        .flat_map(|view| {
            let sku = view.sku.clone();
            view.units.into_iter().map(move |(at, units)| (format!("{sku}|{at}"), units))
        })
        .collect()
}

#[test]
fn net_units_of_the_excerpt_are_exact_on_every_hub_however_it_is_cut() {
    let source = excerpt();

    for split in [Split::Country, Split::Hash] {
        let fleet = play(&source, split, Dirt::Recorded, 1).unwrap();

        assert_eq!(fleet.hubs.len(), source.regions.len());
        for hub in &fleet.hubs {
            assert_eq!(hub.net(split), source.truth(split), "{split:?}");
        }
    }
}

#[test]
fn with_copies_disorder_lateness_and_cuts_all_hubs_equal_truth_and_oracle() {
    let source = excerpt();

    for split in [Split::Country, Split::Hash] {
        let fleet = play(&source, split, Dirt::Added, 3).unwrap();

        let state = fleet.hubs[0].reconciler.canonical_state();
        for hub in &fleet.hubs {
            assert!(hub.reconciler.canonical_state() == state, "{split:?}");
            assert_eq!(hub.net(split), source.truth(split), "{split:?}");
        }
        assert!(fleet.reviewed > 10, "{} late events", fleet.reviewed);
        assert_eq!(shown(&fleet), stock(&oracle::tables(&records(&fleet))), "{split:?}");
    }
}
