"""The capability of 2D models, class by class, on images of single things (SAS's measure, without anybody's labels)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import to_dict
from geoguide.labels import load_category_table, load_label_set
from geoguide.paths import write_text
from geoguide.pretraining.images.config import WorldsConfig
from geoguide.pretraining.images.score import score_held_out
from geoguide.pretraining.images.worlds import identities, render_thing, things
from geoguide.scene import VOID
from geoguide.teachers.image_model import ImageModel
from geoguide.teachers.mini_dense import MiniDenseModel
from geoguide.teachers.mini_fused import Capability, FusedMiniModel

LABELS, OTHER = "scannet20", "otherfurniture"
THINGS = 6  # things of each class that are photographed (SAS: 50 images a class)
SMALLEST = 0.02  # share of an image that the thing must fill


def measure_and_save(
    members: tuple[str, str], out: Path, scored: WorldsConfig, config: WorldsConfig | None = None
) -> Capability:
    """Measure the capability of two packaged models, and write it with the 2D scores of the two as one.

    Args:
        members: Names of the packaged models.
        out: The .json file.
        scored: The worlds on whose held-out ones the fused model is scored.
        config: The worlds whose held-out ones lend their things.

    Returns:
        The capability.
    """
    config = config or WorldsConfig(views=6)
    models = [MiniDenseModel(name) for name in members]
    names = load_label_set(LABELS).names
    overlap = np.zeros((2, 2, len(names)))  # [model, intersection and union, class]
    text = models[0].text(names)
    for target, images, truth in single_things(config):
        for row, model in zip(overlap, models, strict=True):
            row[:, target] += overlaps(model, images, truth, text, target)
    iou = np.where(overlap[:, 1] > 0, overlap[:, 0] / np.maximum(overlap[:, 1], 1), 0).round(4)  # [2, K]
    iou[:, names.index(OTHER)] = 0
    first, second = (tuple(row) for row in iou.tolist())
    found = Capability(tuple(names), members, (models[0].identity, models[1].identity), first, second, OTHER)
    record = {"name": out.stem, "source": "mini", "worlds": to_dict(config), "things": THINGS}
    record |= {"capability": to_dict(found), "environment": environment()}
    scores = score_held_out(FusedMiniModel(out.stem, found), scored)
    write_text(out, dumps(record | {"scores": scores}))
    return found


def single_things(config: WorldsConfig) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Photograph the first few things of each class, each alone in its room.

    Args:
        config: The worlds.

    Yields:
        The class, the images of the room uint8 [N, H, W, 3], and where the class is, bool [N, H, W].
    """
    labels, table = load_label_set(LABELS), load_category_table()
    taken = np.zeros(len(labels), np.int64)
    for world in identities(config, "val"):
        categories = [thing.category for thing in things(world, config.kind)]
        classes = labels.from_raw(table.nyu40(np.array([table.ids[name] for name in categories])))
        for number in np.flatnonzero(classes != VOID).tolist():
            if taken[classes[number]] < THINGS:
                taken[classes[number]] += 1
                images = render_thing(world, config, number)
                own = np.append(classes == classes[number], False)  # of walls all: a room has several
                yield int(classes[number]), images.color, own[images.object]


def overlaps(model: ImageModel, images: np.ndarray, truth: np.ndarray, text: np.ndarray, target: int) -> np.ndarray:
    """Compare where a model says a class with where the thing of that class is.

    Args:
        model: The 2D model.
        images: uint8 [N, H, W, 3].
        truth: Where the class is, bool [N, H, W].
        text: float32 [K, C], the classes.
        target: The class.

    Returns:
        Pixels in both and pixels in either, int64 [2], over the images that the thing fills enough of.
    """
    shown = truth.mean(axis=(1, 2)) >= SMALLEST
    total = np.zeros(2, np.int64)
    for image, mask in zip(images[shown], truth[shown], strict=True):
        answer = (np.asarray(model.encode([image])[0]) @ text.T).argmax(axis=-1) == target
        total += [(answer & mask).sum(), (answer | mask).sum()]
    return total
