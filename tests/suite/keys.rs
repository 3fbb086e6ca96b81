//! keys: the text whose digest names a record, and the differences that explain a run.

use crate::toys::{Add, Draw, NUMBER, write};
use dcpipe::base::{Digest, Epoch, Seed};
use dcpipe::engine::keys::Told;
use dcpipe::engine::{Context, Keep, KeyText, Noun, Pool, Port, Stage, why};
use proptest::prelude::*;

#[test]
fn a_key_is_a_text_that_a_person_can_read() {
    let add = Add { add: 20, option: None };
    let one = Digest::of(b"one");
    let text = KeyText::of(
        &add,
        &[("b", one), ("a", one)],
        &Told { numerics: Some("faiss 1.12.0 cpu".to_owned()), ..Told::default() },
    );
    let expected = "dcpipe-key 1\nstage add 1\noutput number 1\nnumerics faiss 1.12.0 cpu\nparam.add = 20\n";
    assert_eq!(text.as_str(), format!("{expected}input a = {one}\ninput b = {one}\n"));
    let (seed, seen) = (Some(Seed::of_node(31, "draw@17")), Digest::of(b"what was seen"));
    let told = Told { seed, epoch: Some(Epoch(17)), observed: Some(seen), ..Told::default() };
    let text = KeyText::of(&Draw {}, &[], &told);
    assert_eq!(
        text.as_str(),
        format!("dcpipe-key 1\nstage draw 1\noutput number 1\nseed 31 draw@17\nepoch 17\nobserved {seen}\n")
    );
    assert_eq!(text.shard("007").as_str(), format!("{}shard 007\n", text.as_str()));
}

#[test]
fn an_absent_option_leaves_no_line_and_so_old_keys_alone() {
    let key = |option| KeyText::of(&Add { add: 1, option }, &[], &Told::default());
    assert_eq!(key(None).as_str(), "dcpipe-key 1\nstage add 1\noutput number 1\nparam.add = 1\n");
    assert_eq!(why::difference(key(None).as_str(), key(Some(5)).as_str()), ["+ param.option = 5"]);
}

#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
struct Any(#[schemars(skip)] serde_json::Value);

impl Stage for Any {
    const VERB: &'static str = "any";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Port] = &[];
    const OUTPUT: Noun = NUMBER;
    const POOL: Pool = Pool::Light;
    const KEEP: Keep = Keep::All;

    fn run(&self, cx: &mut Context<'_>) -> anyhow::Result<()> {
        write(cx, 0)
    }
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0u64..3).prop_map(Value::from),
        (0u32..3).prop_map(|n| Value::from(f64::from(n))),
        "[ab\n=.0\\[\\]]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab\n=.0]{0,2}", inner, 0..3).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_parameter_sets_have_one_key_only_if_they_are_one(a in value(), b in value()) {
        let parameters = |value: &serde_json::Value| Any(serde_json::json!({ "p": value }));
        let key = |value| KeyText::of(&parameters(value), &[], &Told::default());
        prop_assert_eq!(key(&a) == key(&b), a == b, "{}", key(&a).as_str());
    }
}
