"""Frames per second of every kind of 2D model: the network, features of a frame, and features of a frame that was kept.

    python benchmarks/image_models.py        # the extras where they are not installed: PYTHONPATH=FOLDER

Frames of 320 x 240 pixels: those of the real kitchen where it lies beside the project, else random ones. Time does not
depend on what weights are, so SegFormer-b0 (transformers, 150 classes) and CLIP's ViT-B/16 (open_clip) have random ones
of released size. LiteRT files and the packaged networks are themselves. What cannot be opened is left out, and its row
says why. `own` takes what its owner's code takes. Kept features must equal fresh ones before anything is timed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _measure import GOLDEN, compare, report
from safetensors.torch import save_file

from geoguide.errors import DataError
from geoguide.scene import Scene, View
from geoguide.teachers.image_model import ImageModel, ImageTeacher
from geoguide.teachers.registry import open_image_model, parse_spec

SIZE = (240, 320)
DATA = GOLDEN.parent / "data"
NETWORKS = {  # file, names, as in the folder of real small networks
    "mobile_segmenter_r4_quant_argmax_uint8.tflite": "ade31.txt",
    "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite": "ade150_labels.txt",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite": "cityscapes19.txt",
}
CLIP = "ViT-B-16"
CLIPS = {  # what is done to its last block, and how much of the image it looks at together
    "variant=clip": "CLIP unchanged, in windows",
    "variant=maskclip": "MaskCLIP's values, in windows",
    "variant=sclip": "SCLIP's self-self attention, in windows",
    "variant=clearclip": "ClearCLIP's self-self attention, in windows",
    "variant=clearclip,window=0": "ClearCLIP's self-self attention, the whole image at once",
}
PACKAGED = ("mini:lseg-mini", "mini:openseg-mini", "mini:sas-mini", "mini:lseg-streets-mini")
MEAN = "mean:mini:lseg-mini+mini:openseg-mini"


@dataclass(frozen=True)
class Asked:
    """A 2D model to measure: its spec (see `teachers.registry`), what it is in words, and whose its weights are."""

    spec: str
    words: str
    weights: str

    @property
    def runner(self) -> str:
        return self.spec.partition(":")[0]


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


def segformer(folder: Path) -> Path:
    """SegFormer-b0 as released for ADE20K, but for its weights."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    labels = {number: f"class {number}" for number in range(150)}
    config = SegformerConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
    SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 512, "width": 512}}))
    return folder


def has_open_clip() -> bool:
    """Whether the extra can be imported; of a torchvision that does not fit this torch the operators' names suffice."""
    try:
        import open_clip
    except ImportError:
        return False
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import open_clip  # noqa: F401
    return True


def clip(path: Path) -> None:
    """Write the image tower of a CLIP as released, but for its weights."""
    import open_clip

    tower = open_clip.create_model(CLIP).visual
    save_file({f"visual.{name}": value.contiguous() for name, value in tower.state_dict().items()}, path)


def asked(folder: Path, threads: int) -> Iterator[Asked]:
    """One model after the other, of every kind."""
    weights = folder / "clip.safetensors"
    if has_open_clip():  # before transformers, which imports its torchvision
        clip(weights)
    yield Asked(f"transformers:{segformer(folder / 'segformer-b0')}", "SegFormer-b0, 150 classes", "random")
    for file, names in NETWORKS.items():
        spec = f"litert:{DATA / 'networks_2d' / file},names={DATA / 'networks_2d' / names},threads={threads}"
        yield Asked(spec, Path(file).stem, "released")
    for options, words in CLIPS.items():
        yield Asked(f"open_clip:{CLIP},weights={weights},{options}", f"{CLIP}: {words}", "random")
    for spec in PACKAGED:
        yield Asked(spec, spec.partition(":")[2], "packaged")
    yield Asked(MEAN, "mean of lseg-mini and openseg-mini", "packaged")


def row(wanted: Asked, scene: Scene, folder: Path, seconds: float, repeats: int) -> dict[str, Any]:
    """The rates of a model; why there are none where it cannot be opened."""
    about = {"runner": wanted.runner, "model": wanted.words, "weights": wanted.weights}
    try:
        model = open_image_model(parse_spec(wanted.spec))
    except DataError as error:
        return about | {"left_out": str(error).replace(f"{DATA}/", "")}  # no place on this machine
    fresh, kept = ImageTeacher(model), ImageTeacher(model, cache=folder)
    few = some(fresh, kept, scene, seconds / (2 * repeats))
    rates = measured(model, fresh, kept, few, repeats)
    size = sum(path.stat().st_size for path in folder.glob("**/*.npy")) / len(few.views)
    about |= {"width": model.width, "frames": len(few.views), "frames_per_second": rates}
    return about | {"kept_mb_a_frame": round(size / 1e6, 2)}


def some(fresh: ImageTeacher, kept: ImageTeacher, scene: Scene, seconds: float) -> Scene:
    """As many of the frames as have features in so many seconds, one at least; all of them are kept then."""
    one = replace(scene, views=scene.views[:1])
    list(kept.features(one))  # loads what is loaded once
    begin = time.perf_counter()
    expected = list(fresh.features(one))
    count = max(1, int(seconds / (time.perf_counter() - begin)))
    for read, made in zip(kept.features(one), expected, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(read, made, strict=True))
    few = replace(scene, views=scene.views[:count])
    assert sum(1 for _ in kept.features(few)) == len(few.views)
    return few


def measured(
    model: ImageModel, fresh: ImageTeacher, kept: ImageTeacher, scene: Scene, repeats: int
) -> dict[str, float]:
    """Frames per second: the network alone, features from images, and features from kept frames (images read too)."""
    images = [view.color() for view in scene.views]
    members = model.members or (model,)
    found = compare(
        {
            "network": lambda: [member.compact([image]) for member in members for image in images],
            "features": lambda: sum(1 for _ in fresh.features(scene)),
            "kept": lambda: sum(1 for _ in kept.features(scene)),
        },
        repeats,
        warm_up=False,  # `some` was one
    )
    return {name: round(len(images) / value, 2) for name, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=6, help="of slow models fewer are taken")
    parser.add_argument("--seconds", type=float, default=5, help="for each model, but one frame is always taken")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of LiteRT; torch's: OMP_NUM_THREADS")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        scene, source = frames(Path(folder), arguments.frames)
        for wanted in asked(Path(folder), arguments.threads):
            own = Path(folder) / str(len(rows))
            found = row(wanted, scene, own, arguments.seconds, arguments.repeats)
            rows.append(found | {"source": source, "image": list(SIZE)})
            print(json.dumps(rows[-1]), flush=True)
    report("image_models", rows)


if __name__ == "__main__":
    main()
