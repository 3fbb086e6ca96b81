"""Opens labels.csv in FiftyOne with every column, and with the map if there is one (pip install fiftyone)."""
import pathlib

import fiftyone as fo
import fiftyone.brain as fob

types = dict(image_id=int, label=str, cluster=str, cluster_id=int, distance=float, margin=float, x=float, y=float)
table = pathlib.Path(__file__).resolve().with_name("labels.csv")
dataset = fo.Dataset.from_dir(dataset_type=fo.types.CSVDataset, labels_path=str(table), fields=types)
points = {sample.id: [sample["x"], sample["y"]] for sample in dataset if dataset.has_field("x")}
if points:
    fob.compute_visualization(dataset, points=points, brain_key="dcpipe")
fo.launch_app(dataset).wait()
