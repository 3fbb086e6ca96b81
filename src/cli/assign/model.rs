//! model: what a run has for new images at an epoch, in records and in bytes.

use crate::cli::error::CliError;
use crate::cli::program::this;
use crate::engine::keys::follows;
use crate::engine::{NodeId, Plan};
use crate::pipeline::Route;
use crate::store::{NodeKeys, Record, RunState, Stand, Store};
use std::collections::BTreeMap;

/// A finished run, at one epoch.
pub struct Model<'a> {
    run: Run<'a>,
    /// The way of the images.
    pub route: Route,
}

/// A run, and which record each of its nodes has.
struct Run<'a> {
    store: &'a Store,
    name: &'a str,
    plan: &'a Plan,
    keys: NodeKeys,
}

/// Why an epoch cannot be used.
enum Lack {
    /// Records: the run did not come so far, or is of something else by now.
    Records(String),
    /// Bytes of these nodes, which only the run could rebuild.
    Bytes(Vec<(NodeId, Stand)>),
}

impl<'a> Model<'a> {
    /// The run at `epoch`, or at its last one.
    ///
    /// # Errors
    /// If the run has no clusters there, or has not finished and no epoch is named. If bytes are missing: nothing is
    /// trained for them without being asked for.
    pub fn of(store: &'a Store, name: &'a str, plan: &'a Plan, epoch: Option<u32>) -> Result<Self, CliError> {
        let run = Run { store, name, plan, keys: store.node_keys(name) };
        let routes = run.routes();
        let Some(last) = routes.keys().next_back() else {
            if plan.order().iter().any(|id| plan.node(*id).stage.def().verb == "pic") {
                return Err(CliError::Usage(format!(
                    "the clusters of run {name} follow a flow (pic), and no rule finds that of another image. Cluster by the \
                     stage cluster to assign new images"
                )));
            }
            return Err(CliError::Usage(format!(
                "run {name} has no clusters that images could go to: none is made of whitened features. To its pipeline, add \
                 nodes of the stages extract, whiten and cluster"
            )));
        };
        let is_done = store.standing(name).is_some_and(|standing| standing.state == RunState::Done);
        if epoch.is_none() && !is_done {
            let usable = run.usable(&routes);
            return Err(CliError::Usage(format!(
                "run {name} has not finished. Finish it with its own command, or name an epoch that is done with --epoch: \
                 {usable}"
            )));
        }
        let epoch = epoch.unwrap_or(*last);
        let Some(route) = routes.get(&epoch).copied() else {
            let all = ranges(routes.keys().copied());
            return Err(CliError::Usage(format!("run {name} has no clusters at epoch {epoch}; it has some at {all}")));
        };
        match run.lack(&route) {
            Ok(()) => Ok(Self { run, route }),
            Err(lack) => Err(run.refusal(epoch, &lack, &routes)),
        }
    }

    /// The text of a node's key.
    pub fn key_text(&self, id: NodeId) -> String {
        self.run.record(id).map(|record| record.key_text).unwrap_or_default()
    }

    /// What the images go through, in a line.
    pub fn told(&self) -> String {
        let Run { name, plan, .. } = self.run;
        let [clusters, weights, vectors] =
            [self.route.clusters, self.route.weights, self.route.vectors].map(|id| plan.node(id).name());
        format!("images go to {clusters} of run {name}, through {weights} and the whitening of {vectors}")
    }
}

impl Run<'_> {
    /// The route at each epoch that has clusters; to the node called clusters, where there are several.
    fn routes(&self) -> BTreeMap<u32, Route> {
        let mut routes = BTreeMap::new();
        for id in self.plan.order() {
            let node = self.plan.node(*id);
            if node.stage.def().verb == "cluster"
                && let Some(route) = Route::to(self.plan, *id)
            {
                let known = routes.entry(node.epoch.0).or_insert(route);
                if node.noun == "clusters" {
                    *known = route;
                }
            }
        }
        routes
    }

    fn record(&self, id: NodeId) -> Option<Record> {
        let key = self.keys.get(&self.plan.node(id).name())?;
        self.store.record(*key).ok().flatten()
    }

    fn lack(&self, route: &Route) -> Result<(), Lack> {
        let name = |id: NodeId| self.plan.node(id).name();
        let found = |id: NodeId| {
            let what = || Lack::Records(format!("the store has no record of {}", name(id)));
            self.record(id).ok_or_else(what)
        };
        let Route { crops, weights, features, vectors, clusters, .. } = *route;
        let (of_crops, of_weights, of_features) = (found(crops)?, found(weights)?, found(features)?);
        let (of_vectors, of_clusters) = (found(vectors)?, found(clusters)?);
        // An interrupted run with other parameters leaves records of both: together they would give wrong clusters.
        for (id, record, inputs) in [
            (features, &of_features, &[("crops", &of_crops), ("weights", &of_weights)][..]),
            (vectors, &of_vectors, &[("features", &of_features)]),
            (clusters, &of_clusters, &[("vectors", &of_vectors)]),
        ] {
            if !follows(record, &*self.plan.node(id).stage, inputs) {
                return Err(Lack::Records(format!("{} is not made of what the run has by now", name(id))));
            }
        }
        let mut lacking = Vec::new();
        for (id, record, (verb, port)) in [
            (weights, of_weights, ("extract", "weights")),
            (vectors, of_vectors, ("assign", "vectors")),
            (clusters, of_clusters, ("assign", "clusters")),
        ] {
            let def = (this().stages)().iter().find(|def| def.verb == verb).expect("BUG: a verb is registered");
            let stand = self.store.stand(&record.artifact.only(def.reads(port)));
            // The first weights are drawn again in a moment.
            if stand != Stand::Whole && !(id == weights && route.begins(self.plan)) {
                lacking.push((id, stand));
            }
        }
        if lacking.is_empty() { Ok(()) } else { Err(Lack::Bytes(lacking)) }
    }

    /// The epochs at which nothing is lacking.
    fn usable(&self, routes: &BTreeMap<u32, Route>) -> String {
        let usable = routes.iter().filter(|(_, route)| self.lack(route).is_ok());
        ranges(usable.map(|(epoch, _)| *epoch))
    }

    fn refusal(&self, epoch: u32, lack: &Lack, routes: &BTreeMap<u32, Route>) -> CliError {
        let (name, usable) = (self.name, self.usable(routes));
        let bytes = match lack {
            Lack::Records(what) => {
                return CliError::Artifact(format!(
                    "run {name} cannot take images at epoch {epoch}: {what}. Run its pipeline to the end, or name \
                     another epoch with --epoch: {usable}"
                ));
            }
            Lack::Bytes(bytes) => bytes,
        };
        let are = |(id, stand): &(NodeId, Stand)| {
            let how = match stand {
                Stand::Wrong => "damaged",
                Stand::Unknown => "unreadable",
                Stand::Gone | Stand::Whole => "evicted",
            };
            format!("{} ({how})", self.plan.node(*id).name())
        };
        let mut nouns: Vec<_> = bytes.iter().map(|(id, _)| self.plan.node(*id).noun.as_str()).collect();
        nouns.dedup();
        CliError::Artifact(format!(
            "run {name} cannot take images at epoch {epoch}: it needs bytes of {}, and to rebuild them trains again. \
             Epochs that have all: {usable}; name one with --epoch. To have them at every epoch, add keep: [{}] to the \
             pipeline. Run it again, and it trains what it lacks",
            bytes.iter().map(are).collect::<Vec<_>>().join(", "),
            nouns.join(", ")
        ))
    }
}

/// Numbers as ranges, such as `1, 10 to 12`.
fn ranges(numbers: impl Iterator<Item = u32>) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => ranges.push((number, number)),
        }
    }
    let told = |(start, end): &(u32, u32)| match end - start {
        0 => start.to_string(),
        1 => format!("{start}, {end}"),
        _ => format!("{start} to {end}"),
    };
    if ranges.is_empty() { "none".to_owned() } else { ranges.iter().map(told).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_are_a_range() {
        assert_eq!(ranges([1, 3, 4, 10, 11, 12].into_iter()), "1, 3, 4, 10 to 12");
        assert_eq!(ranges([].into_iter()), "none");
    }
}
