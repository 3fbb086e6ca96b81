//! vars: a variable's text arrives as it was given, and keys stay as they were.

use crate::pipelines::{described, is_fit_to_read, toy_text, toy_with};
use crate::space::{DCPIPE, Space};
use dcpipe::engine::Plan;
use dcpipe::pipeline::Loaded;
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt;

/// The toy pipeline with variables where a text, a whole number, and a number that changes are wanted.
fn text() -> String {
    let text = toy_text().replace("k: 100", "k: \"${many}\"").replace("vars: {", "vars: { many: 100,");
    assert!(text.contains("many: 100") && text.contains("${many}") && text.contains("${images}"), "{text}");
    text
}

fn parameter(plan: &Plan, node: &str, name: &str) -> serde_json::Value {
    let node = plan.find(node).unwrap();
    let params: serde_json::Value = serde_json::from_str(&plan.node(node[0]).stage.params().to_string()).unwrap();
    params[name].clone()
}

fn root(loaded: &Loaded) -> String {
    parameter(&loaded.plan, "dataset", "root").as_str().unwrap().to_owned()
}

#[test]
fn a_variable_that_looks_like_yaml_is_text() {
    for value in [
        "0123", "2024", "a: b", "[x]", "{x", "a #1", "#", ":", "@x", "?", "- a", "'", "\"a", "x ", " x", "~", "null",
        "true", "${many}", "$${", "*a", "&a", "!x", "a\nb", "\u{feff}", "\u{2028}", "\u{85}",
    ] {
        let loaded = toy_with(&text(), &[&format!("vars.images={value}")]).unwrap_or_else(|e| panic!("{value:?}: {e}"));
        assert_eq!(root(&loaded), value);
        assert_eq!(root(&toy_with(&loaded.resolved, &[]).unwrap()), value, "{}", loaded.resolved);
    }
    let environment = text().replace("images: photos", "images: \"${HASH}\"");
    assert_eq!(root(&toy_with(&environment, &[]).unwrap()), "a #1");
}

#[test]
fn a_variable_is_read_as_yaml_where_a_parameter_takes_no_text() {
    let k = |text: &str, set: &str| parameter(&toy_with(text, &[set]).unwrap().plan, "clusters@1", "k");
    assert_eq!(k(&text(), "vars.many=50"), 50);
    assert_eq!(k(&text().replace("many: 100", "many: \"${FIFTY}\""), "seed=1"), 50);
    assert_eq!(k(&text().replace("${many}", "${FIFTY}"), "seed=1"), 50);
    let schedule = toy_with(&text(), &["vars.many={ from_epoch: { 1: 50, 2: 60 } }"]).unwrap();
    assert_eq!(parameter(&schedule.plan, "clusters@2", "k"), 60);
    let inside = text().replace("\"${many}\"", "{ from_epoch: { 1: 50, 2: \"${many}\" } }");
    assert_eq!(parameter(&toy_with(&inside, &["vars.many=70"]).unwrap().plan, "clusters@2", "k"), 70);
}

#[test]
fn a_leading_tilde_is_the_home_folder() {
    assert_eq!(root(&toy_with(&text(), &["vars.images=~/x"]).unwrap()), "/home/me/x");
    assert_eq!(root(&toy_with(&text().replace("photos", "~/x"), &[]).unwrap()), "/home/me/x");
    assert_eq!(root(&toy_with(&text(), &["vars.images=a/~/x"]).unwrap()), "a/~/x");
}

#[test]
fn an_error_of_a_set_points_at_the_set() {
    let told = |set: &str| toy_with(&text(), &[set]).err().unwrap().to_string();
    assert!(told("vars.many=a #1").starts_with("--set:1:11: `k` of the stage cluster takes a whole number"));
    assert!(told("vars.many=0").starts_with("--set:1:11: "), "{}", told("vars.many=0"));
    assert!(told("vars.images=").starts_with("--set:1:13: the variable images is empty"), "{}", told("vars.images="));
    let bad = told("dataset.root=a: b: c");
    assert!(bad.starts_with("--set:1:") && bad.contains("--set 'dataset.root=\"TEXT\"'"), "{bad}");
}

#[test]
fn variables_that_worked_before_keep_their_keys() {
    let plan = |text: &str, sets: &[&str]| described(&toy_with(text, sets).unwrap().plan);
    let written = plan(&text(), &[]);
    assert_eq!(written, plan(&text(), &["vars.images=photos", "vars.many=100"]));
    assert_eq!(written, plan(&toy_text(), &[]));
    // Key texts hold these lines.
    assert!(written.contains(r#"{"root":"photos"}"#) && written.contains(r#""k":100"#), "{written}");
    assert_eq!(plan(&text(), &["clusters.k=50"]), plan(&text(), &["vars.many=50"]));
}

#[test]
fn sizes_that_only_the_scan_tells_are_told_together() {
    let space = Space::filled();
    let told = space.run(&["run", "tiny.yaml", "-q", "--set", "vectors.dims=61", "--set", "clusters.k=61"]).stderr;
    for words in ["60 images cannot be whitened to dims = 61", "60 images cannot make k = 61 clusters"] {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_variable_of_the_environment_that_is_not_utf8_is_said_to_be() {
    let space = Space::filled();
    let written = std::fs::read_to_string(space.path("tiny.yaml")).unwrap();
    assert!(written.contains("${images}"), "{written}");
    space.write("by_env.yaml", written.replace("${images}", "${IMAGES_HERE}"));
    let mut command = space.command(DCPIPE);
    let value = std::ffi::OsString::from_vec(b"/a\xff".to_vec());
    let out = command.args(["plan", "by_env.yaml"]).env("IMAGES_HERE", value).output().unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(2) && told.contains("IMAGES_HERE of the environment is not UTF-8"), "{told}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_of_a_variable_arrives_as_that_text(
        value in prop_oneof![any::<String>(), "[#:@?\\[\\]{}'\"$~0-9a \\n\\t,*&!|>%`-]{1,12}"]
    ) {
        prop_assume!(!value.is_empty() && !value.contains('\0') && !value.starts_with("~/"));
        let loaded = toy_with(&text(), &[&format!("vars.images={value}")]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(root(&loaded), value.clone());
        let again = toy_with(&loaded.resolved, &[]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(root(&again), value);
    }

    #[test]
    fn any_text_where_a_number_is_wanted_is_that_number_or_refused_at_the_set(value in "\\PC{1,8}", number in 2_u32..) {
        let loaded = toy_with(&text(), &[&format!("vars.many={number}")]).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(parameter(&loaded.plan, "clusters@1", "k"), number);
        if let Err(error) = toy_with(&text(), &[&format!("vars.many={value}")]) {
            let told = error.to_string();
            prop_assert!(told.starts_with("--set:1:") && is_fit_to_read(&told), "{}", told);
        }
    }
}
