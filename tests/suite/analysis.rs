//! analysis: docs/analysis.md answers ten questions; DuckDB, DataFusion, pandas and Polars run its blocks and agree.

use crate::readers::script;
use crate::space::{Space, TINY, image, start};
use serde_json::{Value, json};
use std::path::Path;

const GALLERY: &str = "  gallery: { stage: gallery, epochs: { every: 100 }, from: { dataset: dataset, crops: crops, \
                       clusters: clusters, before: clusters@prev, vectors: vectors } }\n";

/// A run called demo of three epochs. Labels are no kinds, so that clusters mix them; two images have copies, and three
/// files are left out.
fn demo() -> Space {
    let space = Space::empty();
    space.write("tiny.yaml", format!("{TINY}{GALLERY}"));
    for number in 0..60 {
        space.write(&format!("images/shelf-{}/{number:02}.jpg", number % 4), image(number).1);
    }
    space.write("images/shelf-0/again.jpg", image(4).1);
    space.write("images/shelf-3/again.jpg", image(4).1);
    space.write("images/shelf-2/other.jpg", image(30).1);
    space.write("images/shelf-1/cut.jpg", &image(7).1[..700]);
    space.write("images/shelf-1/short.jpg", &image(8).1[..700]);
    space.write("images/shelf-2/phone.heic", "a picture of another kind");
    space.run(&["run", "tiny.yaml", "-q", "--name", "demo", "--set", "epochs=3", "--set", "clusters.k=11"]).ok();
    space
}

/// The answers to the ten questions, after the script has compared those of the four tools.
fn answers() -> Option<Vec<Value>> {
    let space = demo();
    let mut command = script(&space, "answer_questions.py")?;
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/analysis.md"));
    let told = start(command).wait().ok();
    Some(told.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

#[test]
fn four_tools_give_the_same_answers() {
    let Some(answers) = answers() else { return };
    assert_eq!(answers.len(), 10);
    let rows = |question: usize| answers[question - 1]["rows"].as_array().unwrap();
    let column = |question: usize, at: usize| rows(question).iter().map(|row| row[at].clone()).collect::<Vec<_>>();
    let numbers = |question: usize, at: usize| -> Vec<f64> {
        column(question, at).iter().map(|value| value.as_f64().unwrap()).collect()
    };

    // No answer is empty, and each says what the run is known to hold.
    assert_eq!(column(1, 0), [1, 2, 3]);
    assert_eq!(column(1, 3).iter().map(Value::is_null).collect::<Vec<_>>(), [true, false, false]);
    assert!(numbers(1, 1).iter().all(|loss| *loss > 0.0) && numbers(1, 2).iter().all(|nmi| *nmi > 0.0));
    assert!(rows(2).len() == 10 && numbers(2, 3)[0] < 1.0 && numbers(2, 3).is_sorted());
    assert!(
        rows(3).len() == 10 && numbers(3, 1).is_sorted_by(|a, b| a >= b) && numbers(3, 3).iter().any(|iou| *iou > 0.0)
    );
    assert!(rows(4).len() == 10 && numbers(4, 3)[0] > 1.0);
    assert!((numbers(5, 2).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((1..=10).contains(&rows(6).len()) && numbers(6, 2).iter().all(|moves| (1.0..=2.0).contains(moves)));
    assert!(rows(7).len() == 10 && numbers(7, 2).iter().all(|overlap| (0.0..=1.0).contains(overlap)));
    assert!(rows(8).len() == 10 && numbers(8, 4)[0] > 0.0 && numbers(8, 4).is_sorted());
    assert!(rows(8).iter().all(|row| row[2] != row[3]));
    assert_eq!(rows(9), &[json!(["truncated", 2, "shelf-1/cut.jpg"]), json!(["not_read", 1, "shelf-2/phone.heic"])]);
    let copies = [
        ["shelf-0/again.jpg", "shelf-0/04.jpg"],
        ["shelf-2/other.jpg", "shelf-2/30.jpg"],
        ["shelf-3/again.jpg", "shelf-0/04.jpg"],
    ];
    assert_eq!(rows(10), &copies.map(|copy| json!(copy)));
}
