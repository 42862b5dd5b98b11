//! What would have to change for those who are not admitted.

use headland_platform::tls::{Role, SpiffeId};

use super::Node;

impl Node {
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
