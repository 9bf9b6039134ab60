"""What do frozen features know? Linear probe, nearest neighbours, and whether instances of a category look alike.

Labels of training rooms fit the probes, validation rooms choose the regularisation, test rooms are only reported. In
this file D is the width of the probed features, N counts points or instances.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression

from geoguide.errors import InputError
from geoguide.metrics import ConfusionMatrix
from geoguide.scene import NO_INSTANCE, VOID

_CHUNK = 4096  # rows of the query whose similarities are held at a time


@dataclass(frozen=True)
class ProbeConfig:
    """Sizes are those that a core handles in a minute; none is tuned."""

    train_points: int = 800  # random labelled points of each training room
    strengths: tuple[float, ...] = (0.01, 0.1)  # inverse regularisation of the linear probe; validation chooses
    iterations: int = 150
    neighbors: int = 20
    knn_train_points: int = 400  # per room, of the points above
    knn_points: int = 1000  # per scored room
    min_instance: int = 30  # points of an instance that counts
    shell: tuple[int, ...] = (0, 1)  # classes that every room has and that are no objects: wall, floor
    seed: int = 0


@dataclass(frozen=True, eq=False)
class ProbeRoom:
    """One room to probe. Raises `InputError` where shapes differ or features are not finite.

    Attributes:
        name: Its name.
        features: Float [P, D].
        labels: int64 [P], 255 void.
        instances: int64 [P], -1 none.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    instances: np.ndarray

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or not np.isfinite(self.features).all():
            raise InputError(f"room {self.name}: features must be finite [P, D], found {list(self.features.shape)}")
        points = len(self.features)
        for field, shape in (("labels", self.labels.shape), ("instances", self.instances.shape)):
            if shape != (points,):
                raise InputError(f"room {self.name}: {field} must be [{points}] as features are, found {list(shape)}")


def probe(
    train: list[ProbeRoom], val: list[ProbeRoom], test: list[ProbeRoom], classes: int, config: ProbeConfig
) -> dict[str, Any]:
    """Take all measures of one backbone (an absent class counts 0, as in OpenScene).

    Features are standardised by the training sample.

    Args:
        train: Rooms that fit the probes.
        val: Rooms that choose the regularisation.
        test: Rooms that are only reported.
        classes: Number C of classes.
        config: Settings of the probes.

    Returns:
        width, linear, knn and instance_auc, as plain numbers; mIoU and mAcc in %.

    Raises:
        InputError: There are no rooms or no labelled points.
    """
    if not train or not val or not test:
        raise InputError(f"probe needs rooms to train, choose and test on, found {len(train)}, {len(val)}, {len(test)}")
    features, labels, room = sample(train, config.train_points, config.seed)
    mean, scale = features.mean(0), np.maximum(features.std(0), 1e-6)  # [D]
    features = (features - mean) / scale
    linear = linear_probe(features, labels, [(val, "val"), (test, "test")], (mean, scale), classes, config)
    few = np.concatenate([np.flatnonzero(room == r)[: config.knn_train_points] for r in range(len(train))])
    knn = {}
    for split, rooms in (("val", val), ("test", test)):
        query, truth, _ = sample(rooms, config.knn_points, config.seed + 1)
        guess = nearest(features[few], labels[few], (query - mean) / scale, config.neighbors, classes)
        knn |= score(truth, guess, classes, split)
    similarity = {split: instance_auc(rooms, mean, scale, config) for split, rooms in (("val", val), ("test", test))}
    return {"width": features.shape[1], "linear": linear, "knn": knn, "instance_auc": similarity}


def sample(rooms: list[ProbeRoom], count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw random labelled points of each room.

    Args:
        rooms: The rooms.
        count: How many points of each at most.
        seed: Source of the choice.

    Returns:
        Features float32 [N, D], labels int64 [N] and number of the room int64 [N].

    Raises:
        InputError: No point has a label.
    """
    parts = []
    for number, room in enumerate(rooms):
        chosen = np.random.default_rng([seed, number]).permutation(np.flatnonzero(room.labels != VOID))[:count]
        features = np.asarray(room.features[chosen], np.float32)
        parts.append((features, room.labels[chosen], np.full(len(chosen), number)))
    features, labels, number = (np.concatenate(column) for column in zip(*parts, strict=True))
    if len(labels) == 0:
        raise InputError(f"rooms {rooms[0].name}, ...: no point has a label")
    return features, labels, number


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    splits: list[tuple[list[ProbeRoom], str]],
    standard: tuple[np.ndarray, np.ndarray],
    classes: int,
    config: ProbeConfig,
) -> dict[str, Any]:
    """Fit multinomial logistic regressions of each strength and keep the one of the best mIoU on the first split.

    Args:
        features: Of the training sample, standardised, float [N, D].
        labels: Of the training sample, int64 [N].
        splits: Rooms to score, of which every point counts, and the split's name; the first split chooses.
        standard: Mean and scale of the features before they were standardised, float [D] each.
        classes: Number C of classes.
        config: Settings of the probes.

    Returns:
        strength, iterations, and the scores of every split (see `score`).
    """
    best: dict[str, Any] = {}
    for strength in config.strengths:
        model = LogisticRegression(C=strength, max_iter=config.iterations, tol=1e-3).fit(features, labels)
        weight, bias = model.coef_ / standard[1], model.intercept_  # the standardisation, folded in
        bias = bias - weight @ standard[0]
        if len(model.classes_) == 2:
            weight, bias = np.concatenate([-weight, weight]), np.concatenate([-bias, bias])

        rooms, first = splits[0]
        row = _scored(rooms, weight, bias, model.classes_, classes, first)
        if not best or row[f"{first}_miou"] > best[f"{first}_miou"]:
            best = {"strength": strength, "iterations": int(model.n_iter_.max())} | row
            chosen = weight, bias, model.classes_
    for rooms, split in splits[1:]:
        best |= _scored(rooms, *chosen, classes, split)
    return best


def _scored(
    rooms: list[ProbeRoom], weight: np.ndarray, bias: np.ndarray, known: np.ndarray, classes: int, split: str
) -> dict[str, Any]:
    """Scores of a linear map (weight [C, D], bias [C]) to the classes `known` [C], over all points of some rooms."""
    scores = (np.asarray(r.features, np.float32) @ weight.T.astype(np.float32) + bias for r in rooms)  # each [P, C]
    predicted = np.concatenate([known[s.argmax(1)] for s in scores])
    return score(np.concatenate([r.labels for r in rooms]), predicted, classes, split)


def score(truth: np.ndarray, predicted: np.ndarray, classes: int, split: str) -> dict[str, Any]:
    """Score predictions.

    Args:
        truth: Labels, int64 [N], 255 void.
        predicted: Classes, int64 [N].
        classes: Number C of classes.
        split: Name that the keys start with.

    Returns:
        SPLIT_miou and SPLIT_macc in %, SPLIT_iou in % for each class (None where absent).
    """
    matrix = ConfusionMatrix(classes)
    matrix.update(truth, predicted)
    iou = [None if np.isnan(v) else round(100 * float(v), 2) for v in matrix.iou()]
    return {f"{split}_miou": 100 * matrix.miou(), f"{split}_macc": 100 * matrix.macc(), f"{split}_iou": iou}


def nearest(key: np.ndarray, labels: np.ndarray, query: np.ndarray, neighbors: int, classes: int) -> np.ndarray:
    """Classify by the majority among the keys of highest cosine; on a tie the lower class wins.

    Args:
        key: Features whose class is known, float [N, D].
        labels: Their classes, int64 [N].
        query: Features to classify, float [Q, D].
        neighbors: How many keys vote.
        classes: Number C of classes.

    Returns:
        Classes, int64 [Q].
    """
    keys = torch.nn.functional.normalize(torch.from_numpy(key).float(), dim=1)
    label = torch.from_numpy(labels)
    found = []
    for part in torch.from_numpy(query).float().split(_CHUNK):
        rows = (torch.nn.functional.normalize(part, dim=1) @ keys.T).topk(min(neighbors, len(keys)), dim=1).indices
        votes = torch.zeros(len(part), classes).scatter_add_(1, label[rows], torch.ones(rows.shape))  # [q, C]
        found.append(votes.argmax(1))
    return torch.cat(found).numpy()


def instance_auc(rooms: list[ProbeRoom], mean: np.ndarray, scale: np.ndarray, config: ProbeConfig) -> dict[str, Any]:
    """How often a pair of instances of one category is more alike than a pair of two (ROC AUC of cosine similarity).

    Features are standardised and mean-pooled per annotated instance, whose category is its most frequent label.

    Args:
        rooms: The rooms.
        mean: Subtracted from the features, float [D].
        scale: What they are divided by then, float [D].
        config: `min_instance`, and the `shell` that is no object.

    Returns:
        all_within, all_across, objects_within, objects_across: pairs within a room and across rooms, of all classes and
        of objects only (see `auc`); and the numbers of instances and objects.
    """
    pooled, category, owner = pool_instances(rooms, config.min_instance)
    pooled = (pooled - mean) / scale
    objects = ~np.isin(category, config.shell)
    rows = {}
    for name, keep in (("all", np.ones(len(category), np.bool_)), ("objects", objects)):
        rows |= {f"{name}_{k}": v for k, v in pair_auc(pooled[keep], category[keep], owner[keep]).items()}
    return rows | {"instances": len(category), "objects": int(objects.sum())}


def pool_instances(rooms: Iterable[ProbeRoom], smallest: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool features over annotated instances.

    Args:
        rooms: The rooms.
        smallest: Labelled points that an instance must have.

    Returns:
        Mean feature float64 [N, D], category (most frequent label) int64 [N] and number of the room int64 [N] of every
        such instance.
    """
    features, categories, owners = [], [], []
    for number, room in enumerate(rooms):
        known = np.flatnonzero((room.instances != NO_INSTANCE) & (room.labels != VOID))
        _, index = np.unique(room.instances[known], return_inverse=True)
        size = np.bincount(index)  # [n] points of each instance
        total = np.zeros((len(size), room.features.shape[1]))  # [n, D]
        np.add.at(total, index, np.asarray(room.features[known], np.float32))
        votes = np.zeros((len(size), VOID), np.int64)  # [n, classes]
        np.add.at(votes, (index, room.labels[known]), 1)
        large = size >= smallest
        features.append((total / np.maximum(size, 1)[:, None])[large])
        categories.append(votes.argmax(1)[large])
        owners.append(np.full(large.sum(), number))
    return np.concatenate(features), np.concatenate(categories), np.concatenate(owners)


def pair_auc(features: np.ndarray, category: np.ndarray, room: np.ndarray) -> dict[str, float | None]:
    """AUC over pairs of instances: is a pair of one category more alike than a pair of two?

    Args:
        features: Float [N, D].
        category: int64 [N].
        room: Number of the room, int64 [N].

    Returns:
        `within` a room and `across` rooms, see `auc`.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    a, b = np.triu_indices(len(unit), 1)  # [N (N - 1) / 2] each, the pairs
    alike, same = (unit @ unit.T)[a, b], category[a] == category[b]
    inside = room[a] == room[b]
    return {name: auc(alike[part], same[part]) for name, part in (("within", inside), ("across", ~inside))}


def auc(value: np.ndarray, positive: np.ndarray) -> float | None:
    """Chance that a positive's value exceeds a negative's, ties counting half (Mann-Whitney).

    Args:
        value: Float [N].
        positive: bool [N].

    Returns:
        0 to 1; None where all or none are positive.
    """
    count = int(positive.sum())
    if count == 0 or count == len(positive):
        return None
    rank = rankdata(value)[positive].sum()
    return float((rank - count * (count + 1) / 2) / (count * (len(positive) - count)))


def pca_colors(features: np.ndarray) -> np.ndarray:
    """Three principal components as colours (2nd to 98th percentile), for looking.

    Args:
        features: Float [P, D] with P >= 2, D >= 3.

    Returns:
        float32 [P, 3] in [0, 1].

    Raises:
        InputError: `features` are of another shape.
    """
    if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 3:
        raise InputError(f"features must be [P >= 2, D >= 3], found {list(features.shape)}")
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    top = vectors[:, :-4:-1]  # [D, 3], largest first
    top = top * np.sign(top[np.abs(top).argmax(0), range(3)])
    projected = centred @ top
    low, high = np.percentile(projected, [2, 98], axis=0)
    return np.clip((projected - low) / np.maximum(high - low, 1e-12), 0, 1).astype(np.float32)
