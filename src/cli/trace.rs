//! trace: a run as a Chrome trace: one row per pool, and more if nodes of a pool overlap.

use crate::cli::changes::phrase;
use crate::engine::past::{PastNode, PastRun};
use crate::engine::{Plan, Pool};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rows are numbered by pool and lane; every pool has fewer lanes.
const LANES: usize = 100;
/// The name of each pool's rows; the last is for nodes that the plan does not have.
const ROWS: [&str; 4] = ["device", "cpu", "light", "other"];

/// The text of the trace. Without a plan, the pools are unknown.
pub fn of(run: &PastRun, plan: Option<&Plan>) -> String {
    let row = |node: &str| match plan.and_then(|plan| Some(plan.node(*plan.find(node).ok()?.first()?))) {
        Some(node) => match node.stage.def().pool {
            Pool::Device => 0,
            Pool::Cpu => 1,
            Pool::Light => 2,
        },
        None => 3,
    };
    let mut events = vec![named("process_name", 0, &run.name)];
    let mut rows: BTreeMap<usize, String> =
        ROWS[..3].iter().enumerate().map(|(row, name)| (row * LANES, (*name).to_owned())).collect();
    let mut busy_until: [Vec<f64>; 4] = Default::default();
    for node in &run.ran {
        let row = row(&node.node);
        let lane = lane(&mut busy_until[row], node);
        let name = if lane == 0 { ROWS[row].to_owned() } else { format!("{} {}", ROWS[row], lane + 1) };
        rows.insert(row * LANES + lane, name);
        events.push(complete(run, node, row * LANES + lane));
    }
    for (at, node, key) in &run.hits {
        let row = row(node);
        rows.entry(row * LANES).or_insert_with(|| ROWS[row].to_owned());
        events.push(json!({
            "name": node, "cat": "hit", "ph": "i", "s": "t", "pid": 1, "tid": row * LANES, "ts": micros(*at),
            "args": { "key": key },
        }));
    }
    for (row, name) in rows {
        events.push(named("thread_name", row, &name));
        events.push(json!({
            "name": "thread_sort_index", "ph": "M", "pid": 1, "tid": row, "args": { "sort_index": row },
        }));
    }
    let about = json!({ "run": run.name, "began_unix_ms": run.began_unix_ms, "program": run.program });
    json!({ "traceEvents": events, "displayTimeUnit": "ms", "otherData": about }).to_string()
}

fn named(what: &str, row: usize, name: &str) -> Value {
    json!({ "name": what, "ph": "M", "pid": 1, "tid": row, "args": { "name": name } })
}

fn micros(seconds: f64) -> f64 {
    (seconds * 1e6).round()
}

/// The first lane that is free when `node` begins. A viewer takes overlapping entries of a row for nested calls.
fn lane(busy_until: &mut Vec<f64>, node: &PastNode) -> usize {
    let free = busy_until.iter().position(|until| micros(*until) <= micros(node.began_s));
    let lane = free.unwrap_or_else(|| {
        busy_until.push(0.0);
        busy_until.len() - 1
    });
    busy_until[lane] = node.began_s + node.took_s;
    lane
}

fn complete(run: &PastRun, node: &PastNode, row: usize) -> Value {
    let error = run.failures.iter().find(|(name, _)| *name == node.node && node.bytes.is_none());
    let (begin, end) = (micros(node.began_s), micros(node.began_s + node.took_s));
    let mut event = json!({
        "name": node.node, "cat": "ran", "ph": "X", "pid": 1, "tid": row, "ts": begin, "dur": end - begin,
        "args": { "key": node.key, "bytes": node.bytes, "reason": node.reason.as_ref().map(phrase) },
    });
    let metrics = node.metrics.iter().map(|(name, value)| (name.as_str(), json!(value)));
    for (name, value) in metrics.chain(error.map(|(_, error)| ("error", json!(error)))) {
        event["args"][name] = value;
    }
    event
}
