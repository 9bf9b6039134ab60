"""C4 by mechanism, not only by score: does each module lessen the errors that the paper says it answers?

USD answers errors within superpoints, IMR errors within an instance, IIRC errors between instances. So three symptoms
are counted in what a network predicts: superpoints whose points are told different classes, instances that fall apart,
and how far apart the instances of one class lie. They need the truth (instances, and of the last also classes).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from geoguide.errors import InputError
from geoguide.pipeline.class_text import ClassText
from geoguide.pipeline.evaluate import student_output
from geoguide.prepared import PreparedScene
from geoguide.report.evidence import interval
from geoguide.report.measured import Measured
from geoguide.scene import NO_INSTANCE, VOID
from geoguide.students.student import Student

WHOLE = 0.8  # share of an instance's points that its largest predicted class covers, below which it is fragmented
INSTANCE_POINTS = 30  # the fewest points of an instance that counts, as `anatomy.Rules.object_points`
FEWEST = 3  # instances of a class, for a drift between them
BEFORE = "adapter only"

_Predicted = Iterable[tuple[PreparedScene, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Symptoms:
    """What is wrong with the predictions of one network on labelled scenes.

    Attributes:
        seed: Of the training.
        miou: Its score on these scenes, %.
        drift: See `drift_between`, over all scenes; None where no class has `FEWEST` instances.
        mixed: By scene, see `share_mixed`.
        fragmented: By scene, see `share_fragmented`; a scene without instances is left out.
    """

    seed: int
    miou: float
    drift: float | None
    mixed: dict[str, float] = field(default_factory=dict)
    fragmented: dict[str, float] = field(default_factory=dict)


def largest_share(groups: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How much of each group its most frequent answer covers.

    Args:
        groups: integer [N], at least 0.
        answers: integer [N], at least 0.

    Returns:
        The groups' ids int64 [G], ascending; the number of each one's rows int64 [G]; the share in (0, 1], float64 [G].

    Raises:
        InputError: The two are not of one length.

    Example:
        >>> [part.tolist() for part in largest_share(np.array([4, 4, 4, 7]), np.array([0, 0, 1, 1]))]
        [[4, 7], [3, 1], [0.6666666666666666, 1.0]]
    """
    if groups.shape != answers.shape or groups.ndim != 1:
        raise InputError(f"answers must be {list(groups.shape)} as groups are, found {list(answers.shape)}")
    if not len(groups):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    pair, votes = np.unique(np.stack([groups, answers]).astype(np.int64), axis=1, return_counts=True)
    starts = np.flatnonzero(np.diff(pair[0], prepend=-1))
    sizes = np.add.reduceat(votes, starts)
    return pair[0, starts], sizes, np.maximum.reduceat(votes, starts) / sizes


def share_mixed(predicted: np.ndarray, superpoints: np.ndarray) -> float:
    """Share of the superpoints whose points are told more than one class (local errors, USD).

    Args:
        predicted: Class ids, integer [P]; points with 255, which have no prediction, are left out.
        superpoints: integer [P].

    Returns:
        The share, of superpoints with two predicted points or more; nan where there is none.
    """
    told = predicted != VOID
    _, sizes, share = largest_share(superpoints[told], predicted[told])
    return float((share[sizes > 1] < 1).mean()) if (sizes > 1).any() else float("nan")


def share_fragmented(predicted: np.ndarray, instances: np.ndarray) -> float:
    """Share of the instances that fall apart: no predicted class covers `WHOLE` of their points (regional errors, IMR).

    Args:
        predicted: As in `share_mixed`.
        instances: integer [P], -1 where there is none.

    Returns:
        The share, of instances with `INSTANCE_POINTS` predicted points or more; nan where there is none.
    """
    told = (predicted != VOID) & (instances != NO_INSTANCE)
    _, sizes, share = largest_share(instances[told], predicted[told])
    large = sizes >= INSTANCE_POINTS
    return float((share[large] < WHOLE).mean()) if large.any() else float("nan")


def instance_means(features: np.ndarray, labels: np.ndarray, instances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class and the mean feature of each instance of a scene.

    Args:
        features: float [P, C], unit length; rows of zeros, of points without a feature, are left out.
        labels: integer [P], 255 void.
        instances: integer [P], -1 where there is none.

    Returns:
        The most frequent labels int64 [n], and the means float64 [n, C], of unit length; of instances with
        `INSTANCE_POINTS` points that have a class and a feature.
    """
    kept = np.flatnonzero((labels != VOID) & (instances != NO_INSTANCE) & features.any(axis=1))
    ids, group, sizes = np.unique(instances[kept], return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    if not len(ids):
        return np.zeros(0, np.int64), np.zeros((0, features.shape[1]))
    sums = np.add.reduceat(features[kept[order]].astype(np.float64), np.r_[0, sizes.cumsum()[:-1]], axis=0)
    votes = np.zeros((len(ids), int(labels[kept].max()) + 1), np.int64)
    np.add.at(votes, (group, labels[kept]), 1)
    large = sizes >= INSTANCE_POINTS
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return votes.argmax(axis=1)[large], means[large]


def drift_between(classes: np.ndarray, means: np.ndarray, text: np.ndarray) -> float | None:
    """How far apart the instances of a class lie (global errors, IIRC).

    Args:
        classes: int64 [n], of each instance.
        means: [n, C], their mean features, unit length.
        text: [classes, C], of the class names.

    Returns:
        Root mean square distance of instances from the mean of their class, over classes with `FEWEST` or more, in
        units of the texts' distance from their own mean (as `drift` in `anatomy.of_objects`); None without such a
        class.
    """
    count = np.bincount(classes, minlength=1)
    if not (count >= FEWEST).any():
        return None
    sums = np.zeros((len(count), means.shape[1]))
    np.add.at(sums, classes, means)
    away = ((means - (sums / np.maximum(count, 1)[:, None])[classes]) ** 2).sum(axis=1)
    contrast = np.sqrt(((text - text.mean(axis=0)) ** 2).sum(axis=1).mean())
    return float(np.sqrt(away[count[classes] >= FEWEST].mean()) / contrast)


def symptoms(predicted: _Predicted, text: np.ndarray, *, seed: int, miou: float) -> Symptoms:
    """Count the symptoms of a network on scenes.

    Args:
        predicted: Scenes with labels, and of each the classes [P] (255: none) and features [P, C] (see
            `of_student`, `of_lifted`).
        text: [classes, C].
        seed: Of the training.
        miou: Its score on these scenes.

    Returns:
        The symptoms; scenes are read one after the other.

    Raises:
        InputError: A scene has no labels or no instances.
    """
    mixed, fragmented, classes, means = {}, {}, [], []
    for scene, ids, features in predicted:
        if scene.labels is None or scene.instances is None:
            raise InputError(f"scene {scene.name}: labels and instances are needed")
        mixed[scene.name] = share_mixed(ids, np.asarray(scene.superpoints))
        fragmented[scene.name] = share_fragmented(ids, np.asarray(scene.instances))
        own = instance_means(features, np.asarray(scene.labels), np.asarray(scene.instances))
        classes.append(own[0])
        means.append(own[1])
    drift = drift_between(np.concatenate(classes), np.concatenate(means), text)
    known = [{name: round(v, 4) for name, v in part.items() if np.isfinite(v)} for part in (mixed, fragmented)]
    return Symptoms(seed, miou, None if drift is None else round(drift, 4), *known)


@torch.inference_mode()
def of_student(student: Student, scenes: Sequence[PreparedScene], text: ClassText) -> Iterator[tuple]:
    """What a trained network predicts.

    Args:
        student: The network.
        scenes: Prepared scenes.
        text: The classes.

    Yields:
        What `symptoms` takes.
    """
    for scene in scenes:
        output = student_output(student, scene)
        yield scene, text.classify(output)[0], output.cpu().numpy()


def of_lifted(scenes: Sequence[PreparedScene], text: ClassText) -> Iterator[tuple]:
    """What the lifted 2D features say, before any training.

    Args:
        scenes: Prepared scenes with 2D features.
        text: The classes.

    Yields:
        What `symptoms` takes.
    """
    for scene in scenes:
        lifted, seen = scene.features(np.arange(len(scene)))
        unit = F.normalize(torch.from_numpy(np.array(lifted)).float(), dim=-1)
        yield scene, np.where(seen, text.classify(unit)[0], VOID), np.where(seen[:, None], unit.numpy(), 0)


# By name of the row; benchmarks/mechanisms.py measures them.
_FILE = Measured("mechanisms.json", "rows", Symptoms, "symptoms by row")
read_symptoms, write_symptoms = _FILE.read, _FILE.write

SHOWN = {"mixed": "mixed superpoints (%)", "fragmented": "fragmented instances (%)"}
CHANGE = "change to the adapter"


def symptom_table(found: Mapping[str, Symptoms]) -> pd.DataFrame:
    """The symptoms as shown.

    Args:
        found: See `read_symptoms`; the row `BEFORE` among them.

    Returns:
        A line for each row: both shares as means over scenes, each with its change to the adapter paired by scene
        ("-2.1 ± 0.8", the interval over scenes), the drift, and mIoU.
    """
    table = []
    for name, one in found.items():
        line: dict[str, object] = {"row": name}
        for kind, title in SHOWN.items():
            line[title] = f"{100 * np.mean(list(getattr(one, kind).values())):.1f}"
            gap = changes(found, name, kind)
            line[f"{title.split(' (')[0]}, {CHANGE}"] = "" if name == BEFORE else _signed(gap)
        line["drift between instances of a class"] = "" if one.drift is None else f"{one.drift:.3f}"
        line["mIoU"] = f"{one.miou:.1f}"
        table.append(line)
    return pd.DataFrame(table)


def changes(found: Mapping[str, Symptoms], name: str, kind: str, before: str = BEFORE) -> np.ndarray:
    """What differs from the adapter, or from another row, scene by scene.

    Args:
        found: See `read_symptoms`.
        name: Of a row.
        kind: mixed or fragmented.
        before: The other row.

    Returns:
        Percentage points, row minus adapter, float [scenes that both have]; below zero, the row has less of it.
    """
    mine, other = (getattr(found[row], kind) for row in (name, before))
    return np.array([100 * (mine[scene] - other[scene]) for scene in other if scene in mine])


def _signed(gap: np.ndarray) -> str:
    half = interval(gap)
    return f"{gap.mean():+.1f}" + ("" if np.isnan(half) else f" ± {half:.1f}")


FULL, WITHOUT = "works-best/full", "works-best/without {}"  # rows, named as by `presets.row_name`
OWN_SYMPTOM = {"usd": "mixed", "imr": "fragmented", "iirc": "drift"}  # as the paper gives errors to modules


def mechanism_sentence(found: Mapping[str, Symptoms]) -> str:
    """How much of its own symptom the method has, with each module and without it, as sentences.

    Args:
        found: See `read_symptoms`.

    Returns:
        Markdown, a line for each module. One training each: none of them says which is less.
    """
    said = []
    for module, kind in OWN_SYMPTOM.items():
        without = WITHOUT.format(module)
        if not {FULL, without, BEFORE} <= found.keys():
            said.append(f"- **{module.upper()}**: not measured.")
            continue
        values = {row: _mean(found[row], kind) for row in (BEFORE, without, FULL)}
        unit, digits = ("", 3) if kind == "drift" else (" %", 1)
        told = SHOWN.get(kind, "drift between instances of a class").split(" (")[0]
        numbers = [f"{values[row]:.{digits}f}{unit}" for row in (BEFORE, without, FULL)]
        gap = "" if kind == "drift" else f" ({_signed(changes(found, FULL, kind, before=without))} points, over scenes)"
        of_rows = f"adapter {numbers[0]}, all modules but this {numbers[1]}, all {numbers[2]}"
        said.append(f"- **{module.upper()}** ({told}): {of_rows}{gap}.")
    return "\n".join([*said, "", "One training each: how much of a difference is the seed's is not known."])


def _mean(one: Symptoms, kind: str) -> float:
    if kind == "drift":
        return float("nan") if one.drift is None else one.drift
    return 100 * float(np.mean(list(getattr(one, kind).values())))
