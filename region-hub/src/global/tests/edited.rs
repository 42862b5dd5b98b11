//! Rules that are edited, added and taken away while regions are cut off and hubs restart.

use super::*;

/// What the rules file comes to say: as at first; with another definition of a rule, a rule more, a
/// rule less, few keys for one, and several of that.
fn files() -> Vec<String> {
    let (head, rest) = SQL.split_once("CREATE TABLE cumulated").unwrap();
    let (cumulated, united) = rest.split_once("CREATE TABLE united").unwrap();
    let less = format!("{head}CREATE TABLE united{united}");
    let more = format!("CREATE TABLE cumulated{cumulated}").replace("cumulated", "more");
    let few = |keys: u32| {
        let with = format!("'topic' = 'tumbled', 'limit.keys' = '{keys}'");
        SQL.replace("'topic' = 'tumbled'", &with)
    };
    vec![
        SQL.to_owned(),
        SQL.replace("INTERVAL '3' SECOND))", "INTERVAL '3' SECOND)) WHERE pm > 10"),
        format!("{SQL}{more}"),
        less,
        few(3),
        few(9),
        few(1).replace("HAVING COUNT(*) > 1", "HAVING COUNT(*) > 2"),
        sited("s0,a;s1,b"),
        sited("s0,b;s1,a;s2,a"),
    ]
}

/// Final results by record key, each with the file under which it was said.
type Finals = BTreeMap<String, (usize, String)>;

/// Writes the next result; whether there was one.
fn write_one(hub: &mut Simulated, file: usize, finals: &mut Finals) -> bool {
    let Some(step) = hub.rules.poll_step_of(1) else { return false };
    hub.durable.0.extend(step.state);
    for record in step.batches.iter().flat_map(|(_, batch)| batch.records().unwrap()) {
        if record.header(FINALITY_HEADER) == Some(b"final")
            && let Some(value) = record.value
        {
            let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let before = finals.insert(text(record.key.unwrap()), (file, text(value)));
            assert_eq!(before, None, "final once, whatever the rule was");
        }
    }
    true
}

/// What a hub says to be final whose file is edited at some of its restarts.
fn edited(files: &[String], logs: &[Vec<Stored>], random: &mut SeededRandom) -> Finals {
    let (mut hub, mut file, mut finals) = (Simulated::new(&files[0]), 0, Finals::new());
    let mut heads: Vec<_> = logs.iter().map(|log| log.iter().peekable()).collect();
    let below = |random: &mut SeededRandom, bound: usize| {
        usize::try_from(random.below(u64::try_from(bound).unwrap())).unwrap()
    };
    let mut cut = 0;
    while heads.iter_mut().any(|head| head.peek().is_some()) {
        if random.below(20) == 0 {
            cut = below(random, 4);
        }
        let which = below(random, heads.len());
        let is_cut = which % 3 == cut && random.below(50) > 0;
        let Some(stored) = (!is_cut).then(|| heads[which].next()).flatten() else { continue };
        hub.log.push(stored.clone());
        hub.read(hub.log.len());
        while random.below(8) > 0 && write_one(&mut hub, file, &mut finals) {}
        if random.below(20) == 0 {
            while write_one(&mut hub, file, &mut finals) {}
            hub.snapshot = Some((hub.log.len(), hub.rules.snapshot()));
        }
        if random.below(30) == 0 {
            file = below(random, files.len());
            restart(&mut hub, &files[file]);
        }
    }
    while write_one(&mut hub, file, &mut finals) {}
    finals
}

/// Starts again with a file on what is durable.
fn restart(hub: &mut Simulated, file: &str) {
    hub.rules = rules_of(program(file)).unwrap();
    hub.rules.read_progress(&hub.durable).unwrap();
    let mut from = 0;
    if let Some((at, state)) = hub.snapshot.clone() {
        let commit = CommitNumber::new(u64::try_from(at).unwrap());
        from = at;
        match hub.rules.decode(state) {
            Ok(state) => hub.rules.take_up(state, commit, Hlc::new(NOW, 0)),
            // A rule that was taken away is in it: all begin where the log ends.
            Err(_) => hub.rules.begin_new(commit),
        }
    }
    (from + 1..=hub.log.len()).for_each(|number| hub.read(number));
    hub.rules.on_replay_ended(Hlc::new(NOW, 0));
}

#[test]
fn what_a_hub_says_to_be_final_while_its_rules_are_edited_is_what_others_say_of_the_same_rules() {
    let files = files();
    let (mut under_edits, mut of_first) = (0, 0);
    for seed in 1..=8 {
        let mut random = SeededRandom::new(seed);
        let logs = REGIONS.map(|origin| draw_region(&mut random, origin).into_values());
        let mut logs: Vec<Vec<Stored>> = logs.into_iter().flatten().collect();
        logs.sort_by_key(|log| (log[0].0.partition, log[0].0.topic.to_string()));
        let whole: Vec<_> = files.iter().map(|file| hub(file, &logs, seed, Fate::Runs).0).collect();
        let roomy = &whole[0];

        for other in 0..2 {
            let mut random = SeededRandom::new(seed * 100 + other);
            for (key, (file, value)) in edited(&files, &logs, &mut random) {
                // With few keys less is final, and nothing otherwise.
                let expected = whole[file].get(&key).or_else(|| roomy.get(&key));
                assert_eq!(Some(&value), expected, "seed {seed}, hub {other}, file {file}");
                under_edits += usize::from(file > 0);
                of_first += usize::from(file == 0);
            }
        }
    }
    assert!(under_edits > 100 && of_first > 20, "{under_edits} and {of_first} finals");
}
