"""Frames per second of the 2D models: network, features of a frame, and features of a frame that was kept, in one run.

    python benchmarks/image_models.py

Frames of 320 x 240 pixels: those of the real kitchen where it lies beside the project, else random ones. LiteRT files
(extra `litert`) where they lie beside the project. For transformers a SegFormer-b0 with random weights and 150 classes,
whose time does not depend on what its weights are. Kept features must equal fresh ones before anything is timed.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from _measure import GOLDEN, compare, report

from geoguide.scene import Scene, View, read_color
from geoguide.teachers.closed_set import ClosedSetModel, read_names
from geoguide.teachers.huggingface import HuggingFaceSegmenter
from geoguide.teachers.image_model import ImageTeacher

SIZE = (240, 320)
DATA = GOLDEN.parent / "data"
NETWORKS = {  # file, names, as in the folder of real small networks
    "mobile_segmenter_r4_quant_argmax_uint8.tflite": "ade31.txt",
    "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite": "ade150_labels.txt",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite": "cityscapes19.txt",
}


def frames(folder: Path, count: int) -> tuple[Scene, str]:
    """A scene of `count` frames of `SIZE`, and where they are from."""
    real = sorted((DATA / "rgbd_kitchen").glob("*.color.jpg"))[:count]
    if not real:
        from PIL import Image

        rng = np.random.default_rng(0)
        real = [folder / f"{number}.png" for number in range(count)]
        for path in real:
            Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    views = tuple(View(path.name, np.eye(3), np.eye(4), SIZE, color_path=path) for path in real)
    point = np.zeros((1, 3), np.float32)
    return Scene("frames", point, point, views=views), "random frames" if real[0].parent == folder else "real frames"


def segformer(folder: Path) -> HuggingFaceSegmenter:
    """SegFormer-b0 as released for ADE20K, but for its weights."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    labels = {number: f"class {number}" for number in range(150)}
    config = SegformerConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 512, "width": 512}}))
    return HuggingFaceSegmenter(folder)


def models(folder: Path, threads: int) -> Iterator[tuple[str, ClosedSetModel]]:
    yield "transformers", ClosedSetModel(segformer(folder / "segformer-b0"))
    if not (DATA / "networks_2d").is_dir():
        return
    try:
        import ai_edge_litert  # noqa: F401  (an extra)
    except ImportError:
        return
    from geoguide.teachers.litert import LiteRTSegmenter

    for file, names in NETWORKS.items():
        given = read_names(DATA / "networks_2d" / names)
        yield "litert", ClosedSetModel(LiteRTSegmenter(DATA / "networks_2d" / file, given, threads=threads))


def measured(model: ClosedSetModel, scene: Scene, cache: Path, repeats: int) -> dict[str, float]:
    """Frames per second: the network alone, features from images, and features from kept frames (images read too)."""
    fresh, kept = ImageTeacher(model), ImageTeacher(model, cache=cache)
    for one, other in zip(kept.features(scene), fresh.features(scene), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    images = [read_color(view.color_path) for view in scene.views]
    seconds = compare(
        {
            "network": lambda: [model.segmenter.answer(image) for image in images],
            "features": lambda: sum(1 for _ in fresh.features(scene)),
            "kept": lambda: sum(1 for _ in kept.features(scene)),
        },
        repeats,
    )
    return {name: round(len(images) / value, 2) for name, value in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of LiteRT; torch's: OMP_NUM_THREADS")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scene, source = frames(Path(folder), arguments.frames)
        for runner, model in models(Path(folder), arguments.threads):
            cache = Path(folder) / "kept" / runner / model.segmenter.name
            rates = measured(model, scene, cache, arguments.repeats)
            size = sum(path.stat().st_size for path in cache.glob("*/*.npy")) / len(scene.views)
            row = {"runner": runner, "model": model.name, "source": source, "image": list(SIZE), "width": model.width}
            rows.append(row | {"frames_per_second": rates, "kept_mb_a_frame": round(size / 1e6, 2)})
    report("image_models", rows)


if __name__ == "__main__":
    main()
