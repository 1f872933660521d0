//! What bazar aims at beside its peers, and how far it is from it. A target that is missed is told, and fails nothing.

use super::samples::Metric;
use super::sections::Section;
use crate::common::report::Table;

/// Which ratio of bazar's number to the peer's is aimed at.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Target {
    section: &'static str,
    peer: &'static str,
    metric: Metric,
    bound: Bound,
}

const fn target(section: &'static str, peer: &'static str, metric: Metric, bound: Bound) -> Target {
    Target { section, peer, metric, bound }
}

const TARGETS: [Target; 11] = [
    target("cached-reads", "nginx", Metric::Cpu, Bound::AtMost(0.75)),
    target("cached-reads", "nginx, tuned", Metric::Cpu, Bound::AtMost(0.75)),
    target("cached-reads", "floor", Metric::Cpu, Bound::AtMost(1.2)),
    target("cached-reads", "nginx", Metric::Throughput, Bound::AtLeast(1.3)),
    target("cached-reads", "nginx, tuned", Metric::Throughput, Bound::AtLeast(1.3)),
    target("cached-reads-paced", "nginx", Metric::P99, Bound::AtMost(1.0)),
    target("cached-reads-paced", "nginx, tuned", Metric::P99, Bound::AtMost(1.0)),
    target("misses", "replicas", Metric::P50, Bound::AtMost(2.0)),
    target("purchases", "PostgreSQL", Metric::Throughput, Bound::AtLeast(3.0)),
    target("purchases", "etcd", Metric::Throughput, Bound::AtLeast(1.0)),
    target("purchases-single", "etcd", Metric::P50, Bound::AtMost(1.5)),
];

/// All targets with what was measured.
pub fn table(sections: &[Section]) -> Table {
    let columns = ["target", "bazar ÷", "aimed at", "measured", "verdict"];
    let mut table =
        Table::new("targets", "Targets", "Bazar's number divided by the peer's, the median round.", &columns);
    for target in TARGETS {
        let section = sections.iter().find(|section| section.name == target.section);
        let ratio = section.and_then(|section| section.ratio(target.peer, target.metric)).map(|spread| spread.median);
        let (aimed, verdict) = match target.bound {
            Bound::AtMost(limit) => {
                (format!("≤ {limit:.2}"), ratio.map(|ratio| verdict(ratio <= limit, ratio / limit)))
            }
            Bound::AtLeast(limit) => {
                (format!("≥ {limit:.2}"), ratio.map(|ratio| verdict(ratio >= limit, ratio / limit)))
            }
        };
        table.row([
            format!("{}, {}", section.map_or(target.section, |section| &section.title), target.metric.name()),
            target.peer.to_owned(),
            aimed,
            ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
            verdict.unwrap_or("not measured".to_owned()),
        ]);
    }
    table
}

/// `share` is what was measured divided by what is aimed at.
fn verdict(is_met: bool, share: f64) -> String {
    let percent = 100.0 * (share - 1.0).abs();
    let side = if share < 1.0 { "below" } else { "above" };
    format!("{}, {percent:.0} % {side}", if is_met { "met" } else { "NOT MET" })
}
