//! formats: every kind of file keeps its columns, its bytes and its temper.
//!
//! `DCPIPE_ACCEPT=1` rewrites `schemas/*.txt` and `tests/data/formats/`; their diff is the review of a format.

#[path = "formats/samples.rs"]
pub mod samples;

use bytes::Bytes;
use dcpipe::base::{ClusterId, Digest, ImageId, PseudoLabel};
use dcpipe::format::dataset::{Image, open_bad, write_images};
use dcpipe::format::element::Element;
use dcpipe::format::metrics::{open_metrics, open_steps};
use dcpipe::format::neighbors::Neighbors;
use dcpipe::format::projection::open_projection;
use dcpipe::format::scatter::SavedScatter;
use dcpipe::format::search::Search;
use dcpipe::format::weights::{MOMENTUM, WEIGHTS, write_tensors};
use dcpipe::format::{clusters, crops, features, schema, vectors, whitening, *};
use half::f16;
use proptest::prelude::*;
use samples::*;
use std::path::PathBuf;
use std::sync::Arc;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn accept() -> bool {
    std::env::var_os("DCPIPE_ACCEPT").is_some_and(|value| value == "1")
}

/// Holds a committed file equal to `bytes`.
fn holds(path: &std::path::Path, bytes: &[u8]) {
    if accept() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let committed =
        std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}; DCPIPE_ACCEPT=1 writes it", path.display()));
    assert!(committed == bytes, "{} differs; if that is meant, DCPIPE_ACCEPT=1 rewrites it", path.display());
}

#[test]
fn schema_pages_are_those_committed() {
    for kind in schema::KINDS {
        holds(&root().join("schemas").join(schema::page_name(kind)), schema::page(kind).as_bytes());
    }
    let pages = std::fs::read_dir(root().join("schemas")).unwrap();
    let pages = pages.filter(|page| page.as_ref().unwrap().path().extension().is_some_and(|ending| ending == "txt"));
    assert_eq!(pages.count(), schema::KINDS.len(), "a page of no kind stands in schemas/");
}

#[test]
fn every_kind_has_a_sample_and_every_part_of_a_noun_a_kind() {
    let samples: Vec<String> = samples().iter().map(|(name, bytes)| describe(name, bytes, 0).unwrap().schema).collect();
    // What an export writes for another program is held by that program's reader, in exports.rs.
    for kind in schema::KINDS.iter().filter(|kind| !kind.name.starts_with("atlas")) {
        assert!(samples.contains(&kind.tag()), "add a sample of {} to tests/suite/formats/samples.rs", kind.tag());
    }
    for def in dcpipe::stages::registry() {
        for row in def.output.parts.iter().filter(|row| !row.is_many && !row.name.ends_with(".pack")) {
            let known = schema::KINDS.iter().any(|kind| kind.file == row.name);
            assert!(known, "{} of {}: add its kind to KINDS in src/format/schema.rs", row.name, def.output.name);
        }
    }
}

#[test]
fn a_column_of_nothing_but_nan_has_no_statistics() {
    let mut sample = sample_evaluation();
    let statistics = |sample: &Evaluation| {
        let described = describe("evaluation.parquet", &sample.write(Vec::new()).unwrap().into(), 0).unwrap();
        ["value", "random"].map(|name| described.columns.iter().find(|column| column.name == name).unwrap().statistics)
    };
    assert!(statistics(&sample).iter().all(Option::is_some));
    sample.measures.iter_mut().for_each(|measure| measure.random = None);
    let [value, random] = statistics(&sample);
    assert!(value.is_some() && random.is_none());
}

fn committed(name: &str) -> Bytes {
    let path = root().join("tests/data/formats").join(name);
    if let (true, Some((_, bytes))) = (accept(), samples().into_iter().find(|(sample, _)| *sample == name)) {
        return bytes;
    }
    let hint = "DCPIPE_ACCEPT=1 writes it";
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; {hint}", path.display())).into()
}

#[test]
fn the_same_rows_are_the_same_bytes_as_ever() {
    for (name, bytes) in samples() {
        holds(&root().join("tests/data/formats").join(name), &bytes);
        assert!(samples().iter().any(|(other, again)| *other == name && *again == bytes), "{name}");
    }
}

#[test]
fn committed_samples_still_hold_their_values() {
    let dataset = Dataset::open(&committed("dataset-v1/images.parquet")).unwrap();
    assert!(dataset.iter().eq(sample_images()));
    assert_eq!((dataset.labels(), dataset.label_ids()), (&["dog".to_owned(), "ähre".to_owned()][..], &[0, 1, -1][..]));
    assert_eq!(open_bad(&committed("dataset-v1/bad.parquet")).unwrap(), sample_bad());
    let (pixels, crop) = crops::open(&[committed("crops-v1/part-00000.arrow")]).unwrap();
    assert_eq!((crop, pixels.whole().unwrap()), (2, &sample_pixels(3)[..]));
    let features = Features::open(&[committed("features-v1/part-00000.arrow")]).unwrap();
    assert_eq!((features.dims(), features.batch(0).1.as_ref()), (5, &sample_numbers(20)[..]));
    let half = Features::open(&[committed("features-v1/half.arrow")]).unwrap();
    assert_eq!((half.first(), half.batch(0).1.as_ref()), (ImageId(4), &sample_numbers(10)[..]));
    let (pixels, crop) = crops::open(&[committed("crops-v2/part-00000.arrow")]).unwrap();
    assert_eq!((crop, pixels.whole().unwrap()), (2, &sample_pixels(3)[..]));
    let part = committed("features-v2/part-00000.arrow");
    let features = Features::open(&[part.clone(), part]).unwrap();
    assert_eq!((features.rows(), features.batch(1).1.as_ref()), (8, &sample_numbers(20)[..]));
    let half = Features::open(&[committed("features-v2/half.arrow")]).unwrap();
    assert_eq!((half.first(), half.batch(0).1.as_ref()), (ImageId(0), &sample_numbers(10)[..]));
    let vectors = vectors::open(&[committed("vectors-v1/part-00000.arrow")]).unwrap();
    assert_eq!(vectors.whole().unwrap(), sample_numbers(8));
    assert_eq!(Whitening::open(&committed("vectors-v1/whitening.arrow")).unwrap(), sample_whitening());
    assert_eq!(whitening::open_mean(&committed("vectors-v1/mean.arrow")).unwrap()[..2], [-3.0, -2.75]);
    assert_eq!(Clusters::open(&committed("clusters-v1/clusters.parquet")).unwrap(), sample_clusters());
    assert_eq!(Centroids::open(&committed("clusters-v1/centroids.arrow")).unwrap(), sample_centroids());
    let iterations = clusters::open_iterations(&committed("clusters-v1/iterations.parquet")).unwrap();
    assert_eq!(iterations, sample_iterations());
    assert_eq!(Search::open(&committed("clusters-v1/search.safetensors")).unwrap(), sample_search());
    assert_eq!(SavedScatter::open(&committed("vectors-v1/scatter.safetensors")).unwrap(), sample_scatter());
    let assignments = Assignments::open(&committed("assignments-v1/assignments.parquet")).unwrap();
    assert_eq!((assignments.paths.get(0), assignments.images), ("dog/a b.jpg", sample_assigned()));
    assert_eq!(Manifest::open(&committed("manifest-v1/manifest.parquet")).unwrap(), sample_manifest());
    assert_eq!(open_metrics(&committed("metrics-v1/metrics.parquet")).unwrap(), sample_metrics());
    assert_eq!(Neighbors::open(&committed("neighbors-v1/neighbors.arrow")).unwrap(), sample_neighbors());
    assert_eq!(open_projection(&committed("map-v1/projection.parquet")).unwrap(), sample_places());
    assert_eq!(Evaluation::open(&committed("evaluation-v1/evaluation.parquet")).unwrap(), sample_evaluation());
    assert_eq!(open_steps(&committed("weights-v1/steps.parquet")).unwrap(), sample_steps());
    for (kind, name) in [(&WEIGHTS, "weights"), (&MOMENTUM, "momentum")] {
        let tensors = Tensors::open(kind, &committed(&format!("weights-v1/{name}.safetensors"))).unwrap();
        let head = tensors.get("top_layer.weight").unwrap();
        assert_eq!((head.shape(), head.numbers::<f32>().unwrap()), (&[2, 3][..], &sample_numbers(6)[..]));
        assert_eq!(tensors.get("features.1.num_batches_tracked").unwrap().numbers::<i64>(), Some(&[7][..]));
        assert_eq!(tensors.metadata()["arch"], "alexnet");
    }
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    for (name, bytes) in samples() {
        open(name, &bytes).unwrap();
        for length in 0..bytes.len() {
            assert!(open(name, &bytes.slice(..length)).is_err(), "{name} cut to {length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn a_file_with_any_byte_changed_opens_or_is_refused_but_never_panics() {
    quietly(|| {
        for (name, bytes) in samples() {
            for at in 0..bytes.len() {
                let mut hostile = bytes.to_vec();
                hostile[at] ^= [0x01, 0x80, 0xff, bytes[at]][at % 4];
                let _ = open(name, &hostile.into());
            }
        }
    });
}

/// Without the words of panics that are caught: the Parquet reader has some for bytes like these.
pub fn quietly<T>(test: impl FnOnce() -> T) -> T {
    thread_local!(static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    QUIET.set(true);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
    QUIET.set(false);
    ended.expect("bytes like these must not get through to a panic")
}

#[test]
fn every_reader_refuses_every_other_kind() {
    for (name, bytes) in samples() {
        for (other, _) in samples() {
            // One reader takes every version and precision of these.
            let one = |noun: &str| name.starts_with(noun) && other.starts_with(noun);
            let same = name == other || one("features-v") || one("crops-v");
            assert_eq!(open(other, &bytes).is_ok(), same, "the reader of {other} given {name}");
        }
    }
}

#[test]
fn another_version_or_other_columns_are_refused_by_name() {
    let metadata = Metadata::new();
    let table = |tag: &str, column: (&'static str, Column)| -> Bytes {
        let columns = vec![("name", Column::text(["nmi"])), column];
        write_table(Vec::new(), tag, columns, &metadata).unwrap().into()
    };
    let refusal = |bytes: Bytes| open_metrics(&bytes).unwrap_err().to_string();
    assert!(open_metrics(&table("metrics/v1", ("value", Column::f64([1.0])))).is_ok());
    let message = refusal(table("metrics/v2", ("value", Column::f64([1.0]))));
    assert!(message.contains("metrics/v1") && message.contains("metrics/v2"), "{message}");
    let message = refusal(table("metrics/v1", ("value", Column::f32([1.0]))));
    assert!(message.contains("float64") && message.contains("float32"), "{message}");
    let message = refusal(table("metrics/v1", ("worth", Column::f64([1.0]))));
    assert!(message.contains("value") && message.contains("worth"), "{message}");
}

#[test]
fn values_that_cannot_be_are_refused() {
    let beyond = Clusters { k: 3, ..sample_clusters() }.write(Vec::new()).unwrap();
    assert!(Clusters::open(&beyond.into()).unwrap_err().to_string().contains("row 3"));
    let beyond = Manifest { classes: 2, ..sample_manifest() }.write(Vec::new()).unwrap();
    assert!(Manifest::open(&beyond.into()).unwrap_err().to_string().contains("pseudo_label"));
    let gap = [part(vectors::plan(1, ImageId(0), 2), &[0_f32; 2]), part(vectors::plan(1, ImageId(3), 1), &[0_f32])];
    assert!(vectors::open(&gap).is_err(), "image 2 is in no part");
}

#[test]
fn a_writer_of_rows_takes_exactly_what_was_announced() {
    let writer = || RowsWriter::<f32, _>::create(Vec::new(), vectors::plan(2, ImageId(0), 3)).unwrap();
    let mut short = writer();
    short.push(&[0.0; 4]).unwrap();
    assert_eq!(short.written(), ImageId(0)..ImageId(2));
    assert!(short.finish().is_err());
    assert!(writer().push(&[0.0; 8]).is_err(), "four rows for three");
    assert!(writer().push(&[0.0; 3]).is_err(), "a row and a half");
}

#[test]
fn rows_leave_the_writer_as_they_come() {
    struct Counter(Arc<std::sync::atomic::AtomicUsize>);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.fetch_add(bytes.len(), std::sync::atomic::Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let seen = Arc::default();
    let rows = vec![0_f32; 256 * 1024];
    let plan = vectors::plan(256, ImageId(0), 16 * 1024);
    let mut writer = RowsWriter::create(Counter(Arc::clone(&seen)), plan).unwrap();
    for pushed in 1..=16_usize {
        writer.push(&rows).unwrap();
        let held = (pushed << 20).saturating_sub(seen.load(std::sync::atomic::Ordering::Relaxed));
        assert!(held <= 256 << 10, "{held} bytes are held in memory");
    }
    writer.finish().unwrap();
}

#[test]
fn rows_are_lent_from_the_file_at_multiples_of_64_bytes() {
    let plan = RowsPlan { batch_rows: 100, ..features::plan(16, 250) };
    let bytes = part(plan, &sample_numbers(250 * 16));
    let start = bytes.as_ptr() as usize;
    let Features::Single(rows) = Features::open(std::slice::from_ref(&bytes)).unwrap() else { panic!("single") };
    assert_eq!(rows.batches(), 3);
    for (_, numbers) in rows.iter() {
        let at = (numbers.as_ptr() as usize).checked_sub(start).unwrap();
        assert!(at + size_of_val(numbers) <= bytes.len() && at.is_multiple_of(64), "at byte {at}");
    }
    let tensors = Bytes::from(sample_tensors(&WEIGHTS));
    let file = Tensors::open(&WEIGHTS, &tensors).unwrap();
    let head = file.get("top_layer.weight").unwrap().bytes().as_ptr() as usize;
    assert!((tensors.as_ptr() as usize..tensors.as_ptr() as usize + tensors.len()).contains(&head));
}

#[test]
fn arrows_own_reader_and_writer_agree_with_ours() {
    use arrow::array::AsArray;
    use arrow::ipc::{reader::FileReader, writer::FileWriter};
    for (name, bytes) in samples().into_iter().filter(|(name, _)| name.ends_with(".arrow")) {
        let reader = FileReader::try_new(std::io::Cursor::new(bytes), None).unwrap();
        let schema = reader.schema();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        let mut writer = FileWriter::try_new(Vec::new(), &schema).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        open(name, &writer.into_inner().unwrap().into()).unwrap_or_else(|error| panic!("{name}: {error}"));
        if name.starts_with("vectors-v1/part") {
            let lists = batches[0].column(1).as_fixed_size_list();
            let numbers = lists.values().as_primitive::<arrow::datatypes::Float32Type>();
            assert_eq!(numbers.values().as_ref(), sample_numbers(8));
        }
    }
}

#[test]
fn misaligned_bytes_are_refused_rather_than_copied() {
    let bytes = part(vectors::plan(2, ImageId(0), 4), &sample_numbers(8));
    let mut shifted = vec![0];
    shifted.extend_from_slice(&bytes);
    let shifted = Bytes::from(shifted).slice(1..);
    assert!(vectors::open(&[shifted]).is_err());
}

/// A table of so many images.
fn images_named_by_number(count: usize) -> Bytes {
    let paths: Vec<String> = (0..count).map(|number| format!("{number}.jpg")).collect();
    let images = paths.iter().map(|path| Image {
        path,
        digest: Digest::of(path.as_bytes()),
        bytes: 1,
        width: 1,
        height: 1,
        split: "",
        label: "",
        offset: None,
    });
    write_images(Vec::new(), images).unwrap().into()
}

#[test]
fn a_description_tells_schema_rows_head_and_statistics() {
    let clusters = describe("clusters.parquet", &committed("clusters-v1/clusters.parquet"), 10).unwrap();
    assert_eq!((clusters.schema.as_str(), clusters.rows), ("clusters/v1", 4));
    assert_eq!(clusters.head[3], ["3", "3", "2", "1"]);
    assert_eq!(clusters.metadata["dcpipe.k"], "5");
    let distance = clusters.columns[2].statistics.unwrap();
    assert_eq!((distance.min, distance.max, distance.mean), (0.0, 2.0, 0.9375));
    let vectors = describe("part-00000.arrow", &committed("vectors-v1/part-00000.arrow"), 10).unwrap();
    assert_eq!((vectors.rows, vectors.columns[1].holds.as_str()), (4, "fixed_size_list<float32>[2]"));
    assert_eq!(vectors.head[1], ["1", "[-2.500000, -2.250000]"]);
    let many = images_named_by_number(70_000);
    let long = describe("images.parquet", &many, 69_000).unwrap();
    assert!(
        long.head.len() == 69_000 && long.head[68_999].contains(&"68999.jpg".to_owned()),
        "{:?}",
        long.head[68_999]
    );
    let weights = describe("weights.safetensors", &committed("weights-v1/weights.safetensors"), 10).unwrap();
    assert_eq!((weights.rows, weights.columns[0].holds.as_str()), (3, "float32[1, 2, 1, 1]"));
}

fn check_rows<T: Element + PartialEq>(numbers: &[T], width: usize, batch_rows: usize, cut: usize, push: usize) {
    let rows = numbers.len() / width;
    let cut = cut.min(rows);
    let parts: Vec<Bytes> = [(0, cut), (cut, rows)]
        .into_iter()
        .map(|(start, end)| {
            let plan = features_1(width, ImageId(5 + start as u32), end - start);
            let mut writer = RowsWriter::create(Vec::new(), RowsPlan { batch_rows, ..plan }).unwrap();
            for piece in numbers[start * width..end * width].chunks(push * width) {
                writer.push(piece).unwrap();
            }
            writer.finish().unwrap().into()
        })
        .collect();
    let table = Rows::<T>::open(&features::FEATURES_1, &parts).unwrap();
    assert_eq!((table.rows(), table.width()), (rows, width));
    assert!(table.iter().flat_map(|(_, numbers)| numbers).eq(numbers));
    for row in 0..rows {
        assert!(table.row(row).unwrap() == &numbers[row * width..(row + 1) * width]);
        assert!(table.image(ImageId(5 + row as u32)) == table.row(row));
        assert!(
            table.pieces(row..rows - row / 2).flatten().eq(&numbers[row * width..(rows - row / 2).max(row) * width])
        );
    }
    assert!(table.row(rows).is_none() && table.image(ImageId(4)).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_back_however_they_were_cut(
        width in 1..9_usize, rows in 0..40_usize, batch_rows in 1..12_usize, cut in 0..40_usize, push in 1..20_usize,
        noise in proptest::collection::vec(any::<u32>(), 400),
    ) {
        let numbers: Vec<f32> = noise[..rows * width].iter().map(|bits| *bits as f32).collect();
        let halves: Vec<f16> = numbers.iter().map(|number| f16::from_f32(number / 1e6)).collect();
        check_rows(&numbers, width, batch_rows, cut, push);
        check_rows(&halves, width, batch_rows, cut, push);
    }

    #[test]
    fn clusters_and_manifest_come_back(rows in proptest::collection::vec((0..9_u32, any::<f32>(), any::<f32>()), 0..300)) {
        let finite = |number: f32| if number.is_nan() { 0.0 } else { number };
        let clusters = Clusters {
            k: 9,
            cluster_id: rows.iter().map(|row| ClusterId(row.0)).collect(),
            distance: rows.iter().map(|row| finite(row.1)).collect(),
            margin: rows.iter().map(|row| finite(row.2)).collect(),
        };
        prop_assert_eq!(Clusters::open(&clusters.write(Vec::new()).unwrap().into()).unwrap(), clusters);
        let manifest = Manifest {
            k: 9,
            classes: 9,
            image_id: rows.iter().map(|row| ImageId(row.1.to_bits() >> 1)).collect(),
            cluster_id: rows.iter().map(|row| ClusterId(row.0)).collect(),
            pseudo_label: rows.iter().map(|row| PseudoLabel(8 - row.0)).collect(),
        };
        prop_assert_eq!(Manifest::open(&manifest.write(Vec::new()).unwrap().into()).unwrap(), manifest);
    }

    #[test]
    fn datasets_come_back(rows in proptest::collection::vec(("\\PC{0,12}", "[a-c]{0,2}", any::<u32>()), 0..80)) {
        let images: Vec<_> = rows.iter().map(|(path, label, number)| Image {
            path, label, split: "", digest: Digest::of(path.as_bytes()), bytes: u64::from(*number),
            width: number >> 8, height: number >> 16, offset: (number % 2 == 0).then_some(u64::from(*number)),
        }).collect();
        let bytes = write_images(Vec::new(), images.iter().copied()).unwrap().into();
        let dataset = Dataset::open(&bytes).unwrap();
        prop_assert!(dataset.iter().eq(images.iter().copied()));
        prop_assert_eq!(bytes, Bytes::from(write_images(Vec::new(), dataset.iter()).unwrap()));
    }

    #[test]
    fn tensors_come_back_in_any_order(sizes in proptest::collection::vec((0..5_usize, 0..4_usize, 0..3_u8), 0..12), turn in 0..12_usize) {
        let data: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(at, (a, b, kind))| {
            vec![at as u8; a * b * [4, 8, 2][usize::from(*kind)]]
        }).collect();
        let names: Vec<String> = (0..sizes.len()).map(|at| format!("layer \"{at}\" ü")).collect();
        let shapes: Vec<[usize; 2]> = sizes.iter().map(|(a, b, _)| [*a, *b]).collect();
        let mut tensors: Vec<_> = (0..sizes.len()).map(|at| TensorRef {
            name: &names[at],
            scalar: [Scalar::F32, Scalar::I64, Scalar::F16][usize::from(sizes[at].2)],
            shape: &shapes[at],
            bytes: &data[at],
        }).collect();
        let write = |tensors: &[TensorRef<'_>]| write_tensors(Vec::new(), &WEIGHTS, tensors, &Metadata::new()).unwrap();
        let bytes = write(&tensors);
        let turn = turn.min(tensors.len());
        tensors.rotate_left(turn);
        prop_assert_eq!(&bytes, &write(&tensors));
        let file = Tensors::open(&WEIGHTS, &bytes.into()).unwrap();
        prop_assert_eq!(file.iter().count(), tensors.len());
        for tensor in tensors {
            let found = file.get(tensor.name).unwrap();
            prop_assert_eq!((found.scalar(), found.shape(), found.bytes()), (tensor.scalar, tensor.shape, tensor.bytes));
        }
    }

    #[test]
    fn noise_in_a_file_never_panics(at in any::<proptest::sample::Index>(), noise in proptest::collection::vec(any::<u8>(), 1..40)) {
        quietly(|| for (name, bytes) in samples() {
            let mut hostile = bytes.to_vec();
            let start = at.index(hostile.len());
            let end = hostile.len().min(start + noise.len());
            hostile[start..end].copy_from_slice(&noise[..end - start]);
            let _ = open(name, &hostile.into());
        });
    }
}
