//! Metrics, from the calls that set them.

use std::collections::BTreeMap;

use syn::visit::Visit;
use syn::{Expr, ExprMethodCall, Local, Pat};

use super::text;

/// What stands above the metrics.
pub(super) const HEAD: &str = "\
# Metrics
Made from the sources by `cargo xtask reference`. `GET /metrics` on the socket of `[api]` answers
with them in Prometheus' text format (`curl --unix-socket hub.sock http://hub/metrics`). A counter
is of what only grows while the node runs, and begins anew with it; a gauge may fall. A series is
there as long as what it is of: that of a group ends when the group is deleted.
";

/// The metrics of one program, by name.
pub(super) fn section(program: &str, source: &syn::File) -> String {
    let mut found = Calls::default();
    found.visit_file(source);
    let mut text = format!("\n## {program}\n| Metric | Kind | Labels | What it says |\n");
    text += "| --- | --- | --- | --- |\n";
    for (name, Metric { kind, labels, help }) in &found.metrics {
        text += &format!("| `{name}` | {kind} | {labels} | {help} |\n");
    }
    text
}

struct Metric {
    kind: &'static str,
    labels: String,
    help: String,
}

/// What the calls name, and what the variables before them are.
#[derive(Default)]
struct Calls {
    texts: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    metrics: BTreeMap<String, Metric>,
}

impl<'a> Visit<'a> for Calls {
    fn visit_local(&mut self, local: &'a Local) {
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init) {
            let name = name.ident.to_string();
            if let Some(text) = text(&init.expr) {
                self.texts.insert(name, text);
            } else if let Expr::Array(_) = &*init.expr {
                self.labels.insert(name, names(&init.expr));
            }
        }
        syn::visit::visit_local(self, local);
    }

    fn visit_expr_method_call(&mut self, call: &'a ExprMethodCall) {
        match call.method.to_string().as_str() {
            "set_total" => self.note("counter", call.args.iter()),
            "set" => self.note("gauge", call.args.iter()),
            "set_histogram" => self.note("histogram", call.args.iter()),
            _ => {}
        }
        syn::visit::visit_expr_method_call(self, call);
    }
}

impl Calls {
    /// Takes note of a call with a name, a help and labels, if it is one.
    fn note<'a>(&mut self, kind: &'static str, mut arguments: impl Iterator<Item = &'a Expr>) {
        let name = arguments.next().and_then(text).filter(|name| name.starts_with("headland_"));
        let (Some(mut name), Some(help)) = (name, arguments.next()) else { return };
        if kind == "counter" {
            name += "_total";
        }
        let help = text(help).or_else(|| self.texts.get(&variable(help)?).cloned());
        let labels = arguments.next().map_or_else(String::new, |labels| {
            let known = variable(labels).and_then(|name| self.labels.get(&name).cloned());
            known.unwrap_or_else(|| names(labels))
        });
        let help = help.unwrap_or_default();
        self.metrics.insert(name, Metric { kind, labels, help });
    }
}

/// The variable an expression names, or refers to.
fn variable(of: &Expr) -> Option<String> {
    match of {
        Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        Expr::Reference(reference) => variable(&reference.expr),
        _ => None,
    }
}

/// The names in a list of labels.
fn names(of: &Expr) -> String {
    match of {
        Expr::Reference(reference) => names(&reference.expr),
        Expr::Array(array) => {
            let names = array.elems.iter().filter_map(|pair| match pair {
                Expr::Tuple(pair) => pair.elems.first().and_then(text),
                _ => None,
            });
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_stand_by_name_with_labels_and_help() {
        let source = r#"
            fn observe(metrics: &mut Metrics) {
                let topic = [("topic", name.as_str()), ("lane", "state")];
                let help = "Records of a topic";
                metrics.set("headland_b", help, &topic, 1);
                for link in links {
                    metrics.set_total("headland_a", "Links", &[("peer", link)], 1);
                }
                metrics.set_histogram("headland_c", "All", &[], of);
                other.insert("headland_d", "No metric");
            }
        "#;
        let file = syn::parse_file(source).unwrap();

        assert_eq!(
            section("Hub", &file),
            "\n## Hub\n| Metric | Kind | Labels | What it says |\n| --- | --- | --- | --- |\n\
             | `headland_a_total` | counter | `peer` | Links |\n\
             | `headland_b` | gauge | `topic`, `lane` | Records of a topic |\n\
             | `headland_c` | histogram |  | All |\n"
        );
    }
}
