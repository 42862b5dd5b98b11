//! What would have to change for those who are not admitted.

use headland_event::{AgentName, HubName, NameError, Now, Random};
use headland_platform::tls::{Role, SpiffeId};
use headland_replication::{
    CloseReason, Identity, Link, LinkConfig, LinkOutput, Refusal, RefusalCode,
};

use super::{Node, Output};
use crate::peer_link::LinkId;

impl Node {
    /// Tells a peer that is not configured what would have to be added, and closes.
    pub(super) fn turn_away(&mut self, now: Now, link_id: LinkId, id: &SpiffeId) {
        let text = self.who_may_enter(id);
        tracing::warn!(%id, "{text}");
        let refusal = Refusal::new(RefusalCode::NotAuthorised, text);
        let Ok(identity) = identity_of(id) else {
            let reason = CloseReason::RefusedHere(refusal);
            return self.outputs.push_back(Output::Close { link_id, reason });
        };
        let config = LinkConfig::new(self.identity.clone(), self.incarnation, identity);
        let mut link = Link::new(config, self.random.next_u64(), now.monotonic);
        link.refuse_peer(refusal);
        while let Some(output) = link.poll_output() {
            match output {
                LinkOutput::Send { lane, frame } => {
                    self.outputs.push_back(Output::Send { link_id, lane, frame });
                }
                LinkOutput::Close(reason) => {
                    self.outputs.push_back(Output::Close { link_id, reason });
                }
                other => debug_assert!(false, "a link that refuses its peer asks for {other:?}"),
            }
        }
    }

    /// What would have to change for a certificate that is not admitted.
    pub(super) fn who_may_enter(&self, id: &SpiffeId) -> String {
        let (own, region) = (&self.fleet, self.identity.region());
        if id.fleet != *own {
            return format!(
                "the certificate is of {id}, this hub is of fleet {own}; \
                 issue one with headland pki for fleet {own}"
            );
        }
        match &id.role {
            Role::Agent(name) if id.region != *region => format!(
                "the certificate is of {id}, this hub of region {region} takes agents of other \
                 regions that it names only; add [[agent]] name = \"{name}\" region = \"{}\", \
                 set [hub] of the agent to a hub of region {}, or issue a certificate of {region}",
                id.region, id.region
            ),
            Role::Agent(name) => format!(
                "{id} is not configured at this hub of region {region}; \
                 add [[agent]] name = \"{name}\""
            ),
            Role::Hub(name) => format!(
                "{id} is not configured at this hub of region {region}; \
                 add [[peer]] region = \"{}\" name = \"{name}\"",
                id.region
            ),
        }
    }
}

fn identity_of(id: &SpiffeId) -> Result<Identity, NameError> {
    let region = id.region.clone();
    Ok(match &id.role {
        Role::Agent(name) => Identity::Agent { region, name: AgentName::new(name)? },
        Role::Hub(name) => Identity::Hub { region, name: HubName::new(name)? },
    })
}
