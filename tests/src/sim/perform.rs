//! What nodes ask for, done; what happens to them, told to them.

use std::time::Duration;

use headland_event::{ByteCount, Monotonic, Now, Random};
use headland_storage::{CleanReport, Cleaning, Composed, LogReader, LogStore, Missing, Snapshot};

use super::agenda::{Event, Life};
use super::check::Check;
use super::input::index;
use super::machine::Running;
use super::planted_fault::{PLANTED_FROM, Planted};
use super::schedule::{FAULTS_UNTIL, skew};
use super::topology::{
    Clocks, CopyOf, NodeId, agent_config, hub_config, hub_program, hubs_of, identity, peer_of,
    program, regions, spiffe_id,
};
use super::witness::Acknowledged;
use super::world::World;

impl World {
    pub(super) fn start_hub(&mut self, hub: usize) {
        if self.hubs[hub].running.is_some() {
            return;
        }
        if self.joins == Some(hub) {
            self.joins = None;
            self.meet("regions_that_join_later");
        }
        self.hubs[hub].skew = skew(&mut self.random);
        if self.hubs[hub].skew != 0 {
            self.meet("starts_with_a_wrong_clock");
        }
        let id = NodeId::Hub(hub);
        let now = self.now_of(id);
        let (store, commits, lost) = self.hubs[hub].open(self.random.next_u64());
        self.on_opened(id, lost.map(|lost| format!("{lost:?}")));
        let config = hub_config(hub, self.settings, self.called[hub]);
        let seed = self.random.next_u64();
        let log = (&store.reader(), &store);
        let mut node =
            region_hub::Node::new(&config, &spiffe_id(id), store.incarnation(), log, seed, now)
                .and_then(|node| node.with_rules(hub_program(), &regions(), log))
                .expect("a hub starts on its own log");
        let kept = store.snapshots().newest_first(&region_hub::Node::snapshot_owner());
        let from = node.take_up(kept.unwrap());
        let rest = commits.into_iter().filter(|commit| commit.number >= from);
        rest.for_each(|commit| node.on_replayed(commit));
        node.on_replay_ended(now, Missing::default()).expect("nothing is missing");
        node.on_opened(now, store.report());
        self.hubs[hub].running = Some(Running::new(node, store));
        self.drain_hub(hub);
        self.arm(id);
    }

    pub(super) fn start_agent(&mut self, agent: usize) {
        if self.agents[agent].running.is_some() {
            return;
        }
        let id = NodeId::Agent(agent);
        if self.settings.clocks == Clocks::OfAll {
            self.agents[agent].skew = skew(&mut self.random);
            self.agents[agent].was_slow |= self.agents[agent].skew < 0;
            if self.agents[agent].skew != 0 {
                self.meet("starts_of_agents_with_a_wrong_clock");
            }
        }
        let (store, commits, lost) = self.agents[agent].open(self.random.next_u64());
        self.on_opened(id, lost.map(|lost| format!("{lost:?}")));
        let hubs = hubs_of(agent, self.settings.homes).into_iter().map(identity).collect();
        let seed = self.random.next_u64();
        let (config, log) = (agent_config(agent, self.settings), (&store.reader(), &store));
        let mut node =
            edge_agent::Node::new(&config, hubs, program(), store.incarnation(), log, seed)
                .expect("an agent starts on its own log");
        let kept = store.snapshots().newest_first(&edge_agent::Node::snapshot_owner());
        let from = node.take_up(kept.unwrap());
        let rest = commits.iter().filter(|commit| commit.number >= from);
        rest.for_each(|commit| node.on_replayed(commit));
        for (index, file) in self.inputs[agent].iter().enumerate() {
            let position = node.source_position(index).unwrap_or_default();
            if position.lines > 0 {
                node.on_first_line(index, &file.first_line());
            }
        }
        self.agents[agent].running = Some(Running::new(node, store));
        self.drain_agent(agent);
        self.arm(id);
        self.agenda.after(Duration::from_millis(50), Event::Grown(agent));
    }

    /// What was durable before a crash has to be there after it.
    fn on_opened(&mut self, node: NodeId, lost: Option<String>) {
        if let Some(lost) = lost {
            let text = format!("{node:?} had {lost} on disk, and has not after its crash");
            self.witness.fail(Check::AcknowledgedSurvives, text);
        }
        let NodeId::Hub(hub) = node else { return };
        let said: Vec<Acknowledged> = self
            .witness
            .acknowledged
            .iter()
            .filter(|((of, _, _), _)| *of == hub)
            .map(|((hub, sender, partition), next)| Acknowledged {
                hub: *hub,
                sender: *sender,
                partition: partition.clone(),
                next: *next,
            })
            .collect();
        for said in said {
            self.check_acknowledged(&said, headland_event::Offset::default());
        }
    }

    /// Feeds a hub something and then the time, and does what it asks for.
    pub(super) fn feed_hub(&mut self, hub: usize, input: impl FnOnce(&mut region_hub::Node, Now)) {
        let now = self.now_of(NodeId::Hub(hub));
        let Some(running) = &mut self.hubs[hub].running else { return };
        input(&mut running.node, now);
        self.drain_hub(hub);
        if let Some(running) = &mut self.hubs[hub].running {
            running.node.on_timeout(now);
        }
        self.drain_hub(hub);
        self.arm(NodeId::Hub(hub));
    }

    /// Feeds an agent something and then the time, and does what it asks for.
    pub(super) fn feed_agent(
        &mut self,
        agent: usize,
        input: impl FnOnce(&mut edge_agent::Node, Now),
    ) {
        let now = self.now_of(NodeId::Agent(agent));
        let Some(running) = &mut self.agents[agent].running else { return };
        input(&mut running.node, now);
        running.node.on_timeout(now);
        self.drain_agent(agent);
        self.arm(NodeId::Agent(agent));
    }

    fn drain_hub(&mut self, hub: usize) {
        use region_hub::Output;

        let (id, now) = (NodeId::Hub(hub), self.now_of(NodeId::Hub(hub)));
        while let Some(running) = &mut self.hubs[hub].running {
            let Some(output) = running.node.poll_output() else { return };
            match output {
                Output::Commit(composed) => self.commit(id, composed),
                Output::Send { link_id, lane, frame } => self.send(id, link_id, lane, frame),
                Output::Read { link_id, channel, partition, from, limit } => {
                    let read = running.store.reader().read(&partition, from, limit);
                    running.node.on_entries(now, link_id, channel, read.unwrap());
                }
                Output::Dial(index) => {
                    let to = peer_of(hub, index);
                    let life = self.hubs[hub].life;
                    let delay = self.delay(5, 200);
                    let dialled = Event::Dialled { from: id, to, index, life, attempt: 0 };
                    self.agenda.after(delay, dialled);
                }
                Output::Close { link_id, reason: _ } => self.close(id, link_id),
                Output::Snapshot(Snapshot { at, state }) => {
                    let owner = region_hub::Node::snapshot_owner();
                    running.store.snapshots().save(&owner, at, &state).unwrap();
                }
                Output::Clean(policy) => {
                    let cut = self.cut_in_cleaning();
                    match self.hubs[hub].clean(&policy, now.wall, cut) {
                        Some(report) => self.on_hub_cleaned(hub, report),
                        None => self.crash_and_start(id),
                    }
                }
                Output::Look { partition, from, limit } => {
                    let found = running.store.reader().read(&partition, from, limit);
                    running.node.on_looked(now, found);
                }
                Output::Recall { partition, from, limit } => {
                    let found = running.store.reader().read(&partition, from, limit);
                    running.node.on_recalled(now, found);
                }
                Output::Refill(refill) => running.store.refill(refill),
                Output::Trace(_) | Output::Scrub(_) => {}
            }
        }
    }

    fn drain_agent(&mut self, agent: usize) {
        use edge_agent::Output;

        let (id, now) = (NodeId::Agent(agent), self.now_of(NodeId::Agent(agent)));
        while let Some(running) = &mut self.agents[agent].running {
            let Some(output) = running.node.poll_output() else { return };
            let uplink = self.uplinks[agent];
            match output {
                Output::Commit(composed) => self.commit(id, composed),
                Output::Send { lane, frame } => {
                    if let Some(link_id) = uplink {
                        self.send(id, link_id, lane, frame);
                    }
                }
                Output::Read { channel, partition, from, limit } => {
                    let read = running.store.reader().read(&partition, from, limit);
                    running.node.on_entries(now, channel, read.unwrap());
                }
                Output::Dial(index) => {
                    let NodeId::Hub(to) = hubs_of(agent, self.settings.homes)[index] else {
                        return;
                    };
                    let life = self.agents[agent].life;
                    self.attempts[agent] += 1;
                    let (delay, attempt) = (self.delay(1, 40), self.attempts[agent]);
                    let dialled = Event::Dialled { from: id, to, index, life, attempt };
                    self.agenda.after(delay, dialled);
                }
                Output::Snapshot(Snapshot { at, state }) => {
                    let owner = edge_agent::Node::snapshot_owner();
                    running.store.snapshots().save(&owner, at, &state).unwrap();
                }
                Output::Clean(policy) => {
                    let cut = self.cut_in_cleaning();
                    match self.agents[agent].clean(&policy, now.wall, cut) {
                        Some(report) => self.on_agent_cleaned(agent, report),
                        None => self.crash_and_start(id),
                    }
                }
                Output::Close(_) => uplink.into_iter().for_each(|link_id| self.close(id, link_id)),
                Output::Trace(_) | Output::Scrub(_) => {}
            }
        }
    }

    fn on_hub_cleaned(&mut self, hub: usize, report: CleanReport) {
        let now = self.now_of(NodeId::Hub(hub));
        self.cleaned += report.files_removed + report.moved.len();
        if let Some(running) = &mut self.hubs[hub].running {
            let reader = running.store.reader();
            let starts = report.moved.into_iter().map(|partition| {
                let start = reader.start(&partition);
                (partition, start)
            });
            running.node.on_cleaned(starts, report.dropped);
            running.node.on_refilled(now, report.refilled);
        }
    }

    fn on_agent_cleaned(&mut self, agent: usize, report: CleanReport) {
        self.cleaned += report.files_removed + report.moved.len();
        let Some(running) = &mut self.agents[agent].running else { return };
        let reader = running.store.reader();
        let starts = report.moved.into_iter().map(|partition| {
            let start = reader.start(&partition);
            (partition, start)
        });
        running.node.on_cleaned(starts, report.dropped);
    }

    /// After how many bytes that cleaning writes the power fails; only where faults are planned.
    fn cut_in_cleaning(&mut self) -> Option<ByteCount> {
        let is_over = self.agenda.now() >= Monotonic::from_millis(FAULTS_UNTIL);
        if is_over || !self.has_faults || self.random.below(4) > 0 {
            return None;
        }
        Some(ByteCount::new(self.random.below(30_000)))
    }

    /// The power fails in the middle of cleaning, and comes back.
    fn crash_and_start(&mut self, node: NodeId) {
        self.meet("crashes_in_cleaning");
        self.crash(node);
        let delay = self.delay(200, 900);
        self.agenda.after(delay, Event::Start(node));
    }

    /// Plans when a node wants to be told the time.
    fn arm(&mut self, node: NodeId) {
        let (at, timer, life) = match node {
            NodeId::Hub(hub) => {
                let is_stopped = self.tampering.stopped_at(hub).is_some();
                let machine = &mut self.hubs[hub];
                let Some(running) = &mut machine.running else { return };
                let due = running.node.poll_timeout().filter(|_| !is_stopped);
                (due, &mut running.timer, machine.life)
            }
            NodeId::Agent(agent) => {
                let machine = &mut self.agents[agent];
                let Some(running) = &mut machine.running else { return };
                (running.node.poll_timeout(), &mut running.timer, machine.life)
            }
        };
        let is_new = at != *timer;
        *timer = at;
        if let Some(at) = at.filter(|_| is_new) {
            self.agenda.at(at, Event::Timer(node, life, at));
        }
    }

    pub(super) fn on_timer(&mut self, node: NodeId, life: Life, at: Monotonic) {
        match node {
            NodeId::Hub(hub) => {
                let machine = &mut self.hubs[hub];
                let Some(running) = &mut machine.running else { return };
                if machine.life == life && running.timer == Some(at) {
                    running.timer = None;
                    self.feed_hub(hub, |_, _| {});
                }
            }
            NodeId::Agent(agent) => {
                let machine = &mut self.agents[agent];
                let Some(running) = &mut machine.running else { return };
                if machine.life == life && running.timer == Some(at) {
                    running.timer = None;
                    self.feed_agent(agent, |_, _| {});
                }
            }
        }
    }

    fn commit(&mut self, node: NodeId, composed: Composed) {
        let is_early = self.plants_early_report(node, &composed);
        let (queue, is_busy, life) = match node {
            NodeId::Hub(hub) => {
                let machine = &mut self.hubs[hub];
                let Some(running) = &mut machine.running else { return };
                (&mut running.queue, &mut running.is_disk_busy, machine.life)
            }
            NodeId::Agent(agent) => {
                let machine = &mut self.agents[agent];
                let Some(running) = &mut machine.running else { return };
                (&mut running.queue, &mut running.is_disk_busy, machine.life)
            }
        };
        let ticket = composed.ticket;
        queue.push_back(composed);
        let is_idle = !std::mem::replace(is_busy, true);
        if let (true, NodeId::Hub(hub)) = (is_early, node) {
            self.tampering.is_done = true;
            let now = self.now_of(node);
            if let Some(running) = &mut self.hubs[hub].running {
                let number = running.store.reader().last_commit().after(1);
                running.node.on_committed(now, ticket, number);
            }
            self.agenda.after(Duration::from_millis(300), Event::Crash(node));
            self.agenda.after(Duration::from_millis(900), Event::Start(node));
        } else if is_idle {
            self.plan_disk(node, life);
        }
    }

    /// Whether the planted fault reports this commit, the only one on its way, before its time.
    fn plants_early_report(&self, node: NodeId, composed: &Composed) -> bool {
        let holds_inventory = composed
            .commit
            .entries
            .iter()
            .any(|(partition, _)| partition.topic.as_str() == "inventory.events");
        self.tampering.planted == Planted::EarlyReport
            && !self.tampering.is_done
            && node == NodeId::Hub(0)
            && self.agenda.now() >= PLANTED_FROM
            && holds_inventory
            && self.hubs[0].running.as_ref().is_some_and(|running| !running.is_disk_busy)
    }

    fn plan_disk(&mut self, node: NodeId, life: Life) {
        // One barrier of forty waits for a disk that is busy with something else.
        let most = if self.random.below(40) == 0 { 600 } else { 25 };
        let delay = self.delay(1, most);
        self.agenda.after(delay, Event::Disk(node, life));
    }

    pub(super) fn on_disk(&mut self, node: NodeId, life: Life) {
        match node {
            NodeId::Hub(hub) => {
                let machine = &mut self.hubs[hub];
                if machine.life != life || machine.running.is_none() {
                    return;
                }
                let durable = machine.append(&mut self.random);
                self.committed_at = self.agenda.now();
                self.feed_hub(hub, |node, now| {
                    for (composed, number) in durable {
                        let number = headland_event::CommitNumber::new(number);
                        node.on_committed(now, composed.ticket, number);
                    }
                });
            }
            NodeId::Agent(agent) => {
                let machine = &mut self.agents[agent];
                if machine.life != life || machine.running.is_none() {
                    return;
                }
                let durable = machine.append(&mut self.random);
                self.committed_at = self.agenda.now();
                self.feed_agent(agent, |node, now| {
                    for (composed, number) in durable {
                        let number = headland_event::CommitNumber::new(number);
                        node.on_committed(now, composed.ticket, number);
                    }
                });
            }
        }
        self.go_on_writing(node, life);
    }

    /// Plans the next group when one waits.
    fn go_on_writing(&mut self, node: NodeId, life: Life) {
        let (waits, is_busy) = match node {
            NodeId::Hub(hub) => {
                let Some(running) = &mut self.hubs[hub].running else { return };
                (!running.queue.is_empty(), &mut running.is_disk_busy)
            }
            NodeId::Agent(agent) => {
                let Some(running) = &mut self.agents[agent].running else { return };
                (!running.queue.is_empty(), &mut running.is_disk_busy)
            }
        };
        *is_busy = waits;
        if waits {
            self.plan_disk(node, life);
        }
    }

    pub(super) fn on_grown(&mut self, agent: usize) {
        let Some(running) = &self.agents[agent].running else { return };
        let files = &self.inputs[agent];
        let unread: Vec<usize> = (0..files.len())
            .filter(|at| {
                let position = running.node.source_position(*at).unwrap_or_default();
                !files[*at].is_read(position)
            })
            .collect();
        if unread.is_empty() {
            return;
        }
        let at = unread[index(&mut self.random, unread.len())];
        let count = 1 + index(&mut self.random, 4);
        let wants_lines = running.node.wants_lines();
        let from = running.node.source_position(at).unwrap_or_default();
        let (lines, position) = self.inputs[agent][at].chunk(from, count);
        if wants_lines {
            self.feed_agent(agent, |node, now| node.on_lines(now, at, &lines, position));
        }
        let delay = self.delay(30, 900);
        self.agenda.after(delay, Event::Grown(agent));
    }

    pub(super) fn crash(&mut self, node: NodeId) {
        let is_early_report = self.tampering.planted == Planted::EarlyReport;
        match node {
            NodeId::Hub(hub) if is_early_report => self.hubs[hub].crash_hard(),
            NodeId::Hub(hub) => self.hubs[hub].crash(&mut self.random),
            NodeId::Agent(agent) => {
                self.agents[agent].crash(&mut self.random);
                self.uplinks[agent] = None;
            }
        }
        self.meet(if matches!(node, NodeId::Hub(_)) {
            "crashes_of_hubs"
        } else {
            "crashes_of_agents"
        });
        for link_id in self.network.of(node) {
            let end = self.network.connections[&link_id].end_of(node);
            self.network.leave(link_id, end);
            // A process that dies says so, a machine that dies does not.
            if self.random.below(2) == 0 {
                let delay = self.delay(1, 40);
                self.agenda.after(delay, Event::Lost { link_id, end: 1 - end });
            }
        }
    }

    /// A node loses its disk and what was on it; what was said of that is not to be held against
    /// it.
    pub(super) fn lose_disk(&mut self, node: NodeId) {
        self.crash(node);
        self.look_who_is_down();
        let seed = self.random.next_u64();
        match node {
            NodeId::Hub(hub) => {
                self.meet("disks_of_hubs_lost");
                self.hubs[hub].lose_disk(seed);
            }
            NodeId::Agent(agent) => {
                self.meet("agents_imaged_anew");
                self.agents[agent].lose_disk(seed);
            }
        }
        self.witness.forget(node);
    }

    /// A node's data directory is copied.
    pub(super) fn copy(&mut self, node: NodeId, how: CopyOf) {
        match node {
            NodeId::Agent(agent) => {
                self.meet(match how {
                    CopyOf::Files => "agents_copied_file_by_file",
                    CopyOf::Image => "agents_copied_with_their_file_system",
                });
                self.agents[agent].copy(how);
            }
            NodeId::Hub(hub) => {
                self.meet(match how {
                    CopyOf::Files => "hubs_copied_file_by_file",
                    CopyOf::Image => "hubs_copied_with_their_file_system",
                });
                self.hubs[hub].copy(how);
            }
        }
    }

    /// Who runs on a node's data directory ends, and another one begins on its copy.
    pub(super) fn swap(&mut self, node: NodeId) {
        self.crash(node);
        match node {
            NodeId::Agent(agent) if self.agents[agent].swap() => {
                self.meet("turns_of_two_that_write_as_one_agent");
                if let Some(inputs) = &mut self.copys_inputs {
                    std::mem::swap(&mut self.inputs[agent], inputs);
                }
                self.witness.forget(node);
            }
            NodeId::Hub(hub) if self.hubs[hub].swap() => {
                self.meet("turns_of_two_that_write_as_one_hub");
                self.witness.forget(node);
            }
            NodeId::Agent(_) | NodeId::Hub(_) => {}
        }
        let delay = self.delay(1, 300);
        self.agenda.after(delay, Event::Start(node));
    }

    /// A node goes back to its backup.
    pub(super) fn restore(&mut self, node: NodeId) {
        self.crash(node);
        self.look_who_is_down();
        let is_restored = match node {
            NodeId::Hub(hub) => self.hubs[hub].restore(),
            NodeId::Agent(agent) => self.agents[agent].restore(),
        };
        if is_restored {
            self.meet(match node {
                NodeId::Hub(_) => "hubs_restored_from_a_backup",
                NodeId::Agent(_) => "agents_restored_from_a_backup",
            });
            self.witness.forget(node);
        }
    }

    fn look_who_is_down(&mut self) {
        if self.hubs.iter().filter(|hub| hub.running.is_none()).count() > 1 {
            self.meet("disks_taken_while_two_hubs_are_down");
        }
    }

    /// A time between two numbers of milliseconds.
    pub(super) fn delay(&mut self, least: u64, most: u64) -> Duration {
        let micros = 1_000 * least + self.random.below(1_000 * (most - least));
        Duration::from_micros(micros)
    }
}
