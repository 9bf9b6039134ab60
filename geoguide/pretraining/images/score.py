"""How well a 2D model names the pixels of held-out worlds: seen names, unseen names, synonyms (2D mIoU)."""

from collections.abc import Sequence

import numpy as np

from geoguide.metrics import ConfusionMatrix
from geoguide.pretraining.images.config import WorldsConfig
from geoguide.pretraining.images.names import names_of
from geoguide.pretraining.images.worlds import Images, load_images
from geoguide.scene import VOID
from geoguide.teachers.image_model import ImageModel

EVERY = 3  # of the images of a held-out world one in so many is scored
KINDS = ("seen", "seen_by_synonyms", "unseen_among_unseen", "seen_among_all", "unseen_among_all")


def score_images(model: ImageModel, worlds: Sequence[Images], kind: str) -> dict[str, float]:
    """Score a model on images of known names; means run over the names that the images show.

    Args:
        model: The 2D model.
        worlds: Images.
        kind: What worlds they are, see `names_of`.

    Returns:
        `accuracy` (%): share of pixels of seen names that are named rightly among seen names. mIoU (%): `seen`, pixels
        of seen names among these; `seen_by_synonyms`, the same with every name replaced by its synonym;
        `unseen_among_unseen`; and `seen_among_all` and `unseen_among_all`, of all pixels among all names (generalised
        zero-shot). nan where no image shows such a name.
    """
    names = names_of(kind)
    seen = np.array([name.seen for name in names])
    words = [name.name for name in names]
    synonyms = [name.synonym or name.name for name in names]
    text = model.text([*words, *synonyms])  # [2 K, C]
    counts = {case: ConfusionMatrix(len(names)) for case in ("seen", "synonyms", "unseen", "all")}
    for world in worlds:
        for image, label in zip(world.color, world.name, strict=True):
            features = np.asarray(model.encode([image])[0])
            scores = features.reshape(-1, features.shape[-1]) @ text.T  # [H W, 2 K]
            plain, other, flat = scores[:, : len(names)], scores[:, len(names) :], label.reshape(-1).astype(np.int64)
            known = seen[np.minimum(flat, len(names) - 1)] & (flat != VOID)
            counts["seen"].update(np.where(known, flat, VOID), _best(plain, seen))
            counts["synonyms"].update(np.where(known, flat, VOID), _best(other, seen))
            counts["unseen"].update(np.where(known, VOID, flat), _best(plain, ~seen))
            counts["all"].update(flat, plain.argmax(axis=1))
    every = counts["all"].iou()
    means = (
        counts["seen"].miou("skip"), counts["synonyms"].miou("skip"), counts["unseen"].miou("skip"),
        _mean(every[seen]), _mean(every[~seen]),
    )  # fmt: skip
    accuracy = 100 * float(counts["seen"].accuracy())
    return {"accuracy": accuracy} | {case: 100 * value for case, value in zip(KINDS, means, strict=True)}


def score_held_out(model: ImageModel, config: WorldsConfig, *, progress: bool = True) -> dict[str, dict]:
    """Score a model on the held-out worlds of a training, with the gap and as the benchmark draws them.

    Args:
        model: The 2D model.
        config: The worlds of its training.
        progress: Whether progress bars are shown.

    Returns:
        Scores of `score_images` by place, two digits and None for nan, as a record keeps them: `training_look`,
        `benchmark_look`, and each with `_first_world`, of the first world alone.
    """
    scores = {}
    for gap, place in ((True, "training_look"), (False, "benchmark_look")):
        worlds = [world.every(EVERY) for world in load_images(config, "val", gap=gap, progress=progress)]
        scores[place] = _rounded(score_images(model, worlds, config.kind))
        scores[f"{place}_first_world"] = _rounded(score_images(model, worlds[:1], config.kind))
    return scores


def _rounded(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else round(value, 2) for name, value in scores.items()}


def _best(scores: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The allowed name with the largest score, int64 [N]."""
    return np.flatnonzero(allowed)[scores[:, allowed].argmax(axis=1)]


def _mean(values: np.ndarray) -> float:
    present = values[~np.isnan(values)]
    return float(present.mean()) if len(present) else float("nan")
