"""A real network on a real street: nuScenes' key frame, its six images labelled, lifted, and compared with its boxes.

    python benchmarks/key_frame.py

Needs the recordings beside the project and the extra `litert`. The network knows Cityscapes' 19 classes and gives
labels only (one-hot: its doubts are lost). It is lifted by the package's rule for a LiDAR with cameras
(`own_scan.scan.lift_colors`: the points' own z-buffer hides what is behind). Each annotated point gets a class twice:
by the network's own names, the most frequent answer over the cameras, where Cityscapes has the class at all; and
through the text space, by the MiniLM embedding of the ten names that is nearest to its lifted feature. Boxes label
984 of the points, and no background: recall only. Writes results/key_frame.json, marked real.
"""

import json

import numpy as np
from _measure import GOLDEN

from geoguide.datasets.nuscenes import load_key_frame
from geoguide.lifting import SPLAT, fuse
from geoguide.paths import results_root, write_text
from geoguide.teachers.closed_set import ClosedSetModel, one_hot, resized
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.litert import LiteRTSegmenter
from geoguide.text.minilm import MiniLMTextEncoder

DATA = GOLDEN.parent / "data"
NETWORK = "deeplab_mobilenet_edgetpu_slim_cityscapes_quant"
CLASSES = ("car", "truck", "trailer", "bus", "construction vehicle", "bicycle", "motorcycle", "pedestrian",
           "traffic cone", "barrier")  # fmt: skip
CITYSCAPES = {name: (name,) for name in ("car", "truck", "bus", "bicycle", "motorcycle")}
CITYSCAPES |= {"pedestrian": ("person", "rider")}
RULE = {"use_depth": SPLAT, "depth_tolerance": 0.1, "rule": "devkit"}


def main() -> None:
    names = (DATA / "networks_2d" / "cityscapes19.txt").read_text().split("\n")
    names = [name.strip() for name in names if name.strip()]
    network = LiteRTSegmenter(DATA / "networks_2d" / f"{NETWORK}.tflite", names)
    scene = load_key_frame(DATA / "nuscenes_sample")
    with np.load(DATA / "nuscenes_sample" / "point_labels_from_boxes.npz") as boxes:
        labels = boxes["label"].astype(np.int64)  # [P], -1 none

    def votes():
        for view in scene.views:
            image = view.color()
            yield resized(one_hot(network.answer(image), len(names)), image.shape[:2])

    answers, count = (np.asarray(part) for part in fuse(scene.points, scene.views, votes(), **RULE))  # [P, 19], [P]
    encoder = MiniLMTextEncoder()
    teacher = ImageTeacher(ClosedSetModel(network))
    lifted = np.asarray(fuse(scene.points, scene.views, teacher.features(scene), **RULE).mean)  # [P, D]
    by_text = (lifted @ encoder.encode(CLASSES).T).argmax(axis=1)  # [P]
    own, seen = answers.argmax(axis=1), count > 0
    rows = [row(name, labels == i, seen, own, by_text == i, names) for i, name in enumerate(CLASSES)]
    record = {
        "kind": "recall on a key frame", "source": "real", "data": "nuScenes, one key frame (nuscenes_sample)",
        "command": "python benchmarks/key_frame.py", "network": NETWORK, "knows": "Cityscapes' 19 classes, labels only",
        "lifting": {key: str(value) for key, value in RULE.items()}, "text": "MiniLM",
        "points": len(scene), "labelled": int((labels >= 0).sum()), "rows": rows,
    }  # fmt: skip
    write_text(results_root() / "key_frame.json", json.dumps(record, indent=1) + "\n")
    print("\n".join(json.dumps(line) for line in rows))


def row(name, chosen, seen, own, by_text, names):
    """Points of one class, and the shares of those seen that are found."""
    here = chosen & seen
    known = [names.index(each) for each in CITYSCAPES.get(name, ())]
    found = float(np.isin(own[here], known).mean()) if known and here.any() else None
    answer, times = np.unique(own[here], return_counts=True)
    return {
        "class": name, "points": int(chosen.sum()), "seen": int(here.sum()), "recall_own_names": found,
        "recall_text": float(by_text[here].mean()) if here.any() else None,
        "most_frequent_answer": names[answer[times.argmax()]] if len(times) else None,
    }  # fmt: skip


if __name__ == "__main__":
    main()
