"""What the errors of a 2D model look like on labelled scenes: whether they repeat, how large they are, where they fall.

An observation is one point in one view. A model's answer there is the class whose text embedding has the largest inner
product with the pixel's feature. Only points with one of the label set's classes are scored, pixels without an answer
(weight 0) are no observation, and views with fewer than `Rules.points` observations are left out.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pykdtree.kdtree import KDTree

from geoguide.errors import InputError
from geoguide.instances.masks import annotated_regions
from geoguide.lifting import Fusion, PixelFeatures, fuse, project
from geoguide.metrics import ConfusionMatrix
from geoguide.ops.neighbors import nearest_points
from geoguide.ops.segment import segment_mean
from geoguide.scene import NO_INSTANCE, VOID, Scene
from geoguide.teachers import Teacher


@dataclass(frozen=True)
class Rules:
    """Sizes and distances by which errors are told apart.

    Attributes:
        points: The fewest observations of a view that counts.
        object_points: The fewest points of an object, in a view or in the scene.
        tolerance: Of depth, for observations: visible within this share of the depth.
        boundary: Metres; an error nearer than this to another label lies at a boundary.
        inside: Metres; farther than this from another label a pixel lies inside its object.
        neighbors: Of a wrong point, that decide whether it stands alone.
        large: Square metres of a large object, in cells of `cell`.
        cell: Metres.
        seen: The share of a large object that must be seen to count as seen.
        planes: Classes that are no objects of a size: walls and floors.
    """

    points: int = 200
    object_points: int = 30
    tolerance: float = 0.05
    boundary: float = 0.05
    inside: float = 0.1
    neighbors: int = 16
    large: float = 1.5
    cell: float = 0.1
    seen: float = 0.25
    planes: tuple[str, ...] = ("wall", "floor")


@dataclass(frozen=True, eq=False)
class Observations:
    """What a 2D model says of the points of a scene, view by view: N observations of P points.

    Attributes:
        point: int64 [N].
        view: int64 [N].
        answer: int64 [N], the class.
        object_view: int64 [T, 2], object and view of each object that is seen by `Rules.object_points` points.
        feature: float32 [T, C], the object's mean feature in that view, unit length.
    """

    point: np.ndarray
    view: np.ndarray
    answer: np.ndarray
    object_view: np.ndarray
    feature: np.ndarray


def observe(
    scene: Scene, maps: Iterable[np.ndarray | PixelFeatures], text: np.ndarray, rules: Rules | None = None
) -> Observations:
    """Ask a 2D model about every point that a view sees.

    Args:
        scene: P points with labels and instances, and K views with depth.
        maps: The model's features of each view, [H, W, C], in order.
        text: float32 [classes, C].
        rules: Sizes and distances.

    Returns:
        The observations.

    Raises:
        InputError: The scene has no labels or instances.
    """
    rules, (labels, instances) = rules or Rules(), _annotation(scene)
    parts, pairs, means = [], [], []
    for number, (view, given) in enumerate(zip(scene.views, maps, strict=True)):
        feature, weight = given if isinstance(given, PixelFeatures) else (given, None)
        seen = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, depth=view.depth(),
                       depth_tolerance=rules.tolerance) if view.has_pose else None  # fmt: skip
        if seen is None:
            continue
        counts = seen.visible & (labels != VOID)
        counts &= True if weight is None else weight[seen.row, seen.col] > 0
        point = np.flatnonzero(counts)
        if len(point) < rules.points:
            continue
        rows = np.asarray(feature)[seen.row[point], seen.col[point]]  # [n, C]
        parts.append((point, np.full(len(point), number), (rows @ text.T).argmax(axis=1)))
        objects, mean = _object_means(instances[point], rows, rules.object_points)
        pairs.append(np.stack([objects, np.full(len(objects), number)], axis=1))
        means.append(mean)
    if not parts:
        raise InputError(f"scene {scene.name}: no view sees {rules.points} labelled points")
    point, view, answer = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Observations(point, view, answer, np.concatenate(pairs), np.concatenate(means))


def _annotation(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Labels and instances, int64 [P] each."""
    if scene.labels is None or scene.instances is None:
        raise InputError(f"scene {scene.name}: labels and instances are needed")
    return scene.labels, scene.instances


def _object_means(instances: np.ndarray, rows: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Objects with `least` points or more among rows [n, C], and their mean feature, unit length."""
    ids, group, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    sums = np.add.reduceat(rows[order], np.concatenate([[0], sizes.cumsum()[:-1]]), axis=0)
    kept = (sizes >= least) & (ids != NO_INSTANCE)
    length = np.linalg.norm(sums[kept], axis=1, keepdims=True)
    return ids[kept], (sums[kept] / np.where(length > 0, length, 1)).astype(np.float32)


def of_views(scene: Scene, seen: Observations) -> dict[str, float]:
    """How right the views are, and how much they repeat each other.

    Args:
        scene: The scene, with labels.
        seen: Its observations.

    Returns:
        `accuracy` (%): of observations. `agree`: of two views of a point, mean over points with two or more. `wrong`,
        and `wrong_again`: given that another view of the point is wrong. `same_wrong`: of two wrong views of a point,
        the same class; the last two weight every wrong observation once.
    """
    labels, _ = _annotation(scene)
    classes = int(max(seen.answer.max(), labels[labels != VOID].max())) + 1
    wrong = seen.answer != labels[seen.point]
    views = np.bincount(seen.point, minlength=len(scene))
    told = seen.point * classes + seen.answer
    _, which, same = np.unique(told, return_inverse=True, return_counts=True)
    pairs = np.bincount(seen.point, (same[which] - 1), minlength=len(scene))  # ordered pairs of equal answers
    more = views > 1
    agree = pairs[more] / (views[more] * (views[more] - 1))
    wrongs = np.bincount(seen.point, wrong, minlength=len(scene))
    again = wrong & (views[seen.point] > 1)
    repeated = (wrongs[seen.point[again]] - 1) / (views[seen.point[again]] - 1)
    both = wrong & (wrongs[seen.point] > 1)
    alike = (same[which[both]] - 1) / (wrongs[seen.point[both]] - 1)
    return {
        "accuracy": 100 * float(1 - wrong.mean()),
        "agree": float(agree.mean()),
        "wrong": float(wrong.mean()),
        "wrong_again": float(repeated.mean()),
        "same_wrong": float(alike.mean()),
    }


def of_objects(
    scene: Scene, seen: Observations, text: np.ndarray, names: Sequence[str], rules: Rules | None = None
) -> dict[str, float]:
    """Whether whole objects are wrong, which, and how their feature moves between views.

    Args:
        scene: The scene, with labels and instances.
        seen: Its observations.
        text: float32 [classes, C].
        names: The classes.
        rules: Sizes and distances.

    Returns:
        An object in a view is wrong where its most frequent answer is not its class. `never_wrong`, `always_wrong`:
        shares of objects with two or more views. `wall_wrong` and so on for each of `Rules.planes`: shares of their
        views. `large_hidden`, `large_seen`: shares of wrong views of large objects of which less than `Rules.seen`, or
        more, is seen. `inside_wrong`: share of wrong pixels inside rightly seen objects. `drift`, `drift_right`: of an
        object's feature between three or more views (all, or those that see it rightly), root mean square, in units of
        the texts' distance from their mean.
    """
    rules = rules or Rules()
    table = _object_views(scene, seen, rules)
    wrong = table["answer"] != table["class"]
    objects, group = np.unique(table["object"], return_inverse=True)
    views, bad = np.bincount(group), np.bincount(group, wrong)
    often = views > 1
    plane = np.array([names[number] in rules.planes for number in table["class"]])
    large = (table["area"] >= rules.large) & ~plane
    hidden = table["share"] < rules.seen
    found = {
        "never_wrong": _mean(bad[often] == 0),
        "always_wrong": _mean(bad[often] == views[often]),
        **{f"{name}_wrong": _mean(wrong[table["class"] == list(names).index(name)]) for name in rules.planes},
        "large_hidden": _mean(wrong[large & hidden]),
        "large_seen": _mean(wrong[large & ~hidden]),
        "inside_wrong": _inside_wrong(scene, seen, table, ~wrong, rules),
    }
    contrast = float(np.sqrt(((text - text.mean(axis=0)) ** 2).sum(axis=1).mean()))
    for key, chosen in (("drift", np.ones(len(wrong), bool)), ("drift_right", ~wrong)):
        found[key] = _drift(seen.feature[chosen], group[chosen], len(objects)) / contrast
    return found


def _object_views(scene: Scene, seen: Observations, rules: Rules) -> dict[str, np.ndarray]:
    """For each row of `seen.object_view`: object, view, class, answer, share of its points seen, area in m2."""
    labels, instances = _annotation(scene)
    scored = (labels != VOID) & (instances != NO_INSTANCE)
    count, classes = int(instances.max()) + 1, int(max(seen.answer.max(), labels[scored].max())) + 1
    size = np.bincount(instances[scored], minlength=count)
    votes = np.bincount(instances[scored] * classes + labels[scored], minlength=count * classes)
    cells = np.unique(np.column_stack([instances[scored], np.floor(scene.points[scored] / rules.cell)]), axis=0)
    area = np.bincount(cells[:, 0].astype(np.int64), minlength=count) * rules.cell**2
    chosen, view = seen.object_view.T
    owner = instances[seen.point]
    key = (seen.view * count + np.maximum(owner, 0)) * classes + seen.answer
    key = key[owner != NO_INSTANCE]
    told = np.bincount(key, minlength=(int(seen.view.max()) + 1) * count * classes).reshape(-1, classes)
    answers = told[view * count + chosen]  # [T, classes]
    return {
        "object": chosen,
        "view": view,
        "class": votes.reshape(count, classes).argmax(axis=1)[chosen],
        "answer": answers.argmax(axis=1),
        "share": answers.sum(axis=1) / size[chosen],
        "area": area[chosen],
    }


def _inside_wrong(
    scene: Scene, seen: Observations, table: dict[str, np.ndarray], right: np.ndarray, rules: Rules
) -> float:
    """Share of wrong answers among the pixels well inside objects that are seen rightly."""
    labels, instances = _annotation(scene)
    count = int(instances.max()) + 1
    good = np.zeros((int(seen.view.max()) + 1, count), bool)
    good[table["view"][right], table["object"][right]] = True
    owner = instances[seen.point]
    inside = (owner != NO_INSTANCE) & (boundary_distance(scene)[seen.point] > rules.inside)
    inside &= good[seen.view, np.maximum(owner, 0)]
    return _mean(seen.answer[inside] != labels[seen.point[inside]])


def _drift(features: np.ndarray, group: np.ndarray, count: int) -> float:
    """Root mean square distance of unit features [T, C] from their group's mean, over groups of three or more."""
    sizes = np.bincount(group, minlength=count)
    means = np.zeros((count, features.shape[1]))
    np.add.at(means, group, features)
    away = ((features - (means / np.maximum(sizes, 1)[:, None])[group]) ** 2).sum(axis=1)
    return float(np.sqrt(away[sizes[group] > 2].mean())) if (sizes > 2).any() else float("nan")


def boundary_distance(scene: Scene) -> np.ndarray:
    """Distance of every scored point to the nearest point of another label, class by class: O(classes P log P).

    Args:
        scene: P points, with labels.

    Returns:
        float64 [P] metres; inf where there is no other label.
    """
    labels, _ = _annotation(scene)
    distance = np.full(len(scene), np.inf)
    for label in np.unique(labels[labels != VOID]):
        own = labels == label
        if not own.all():
            distance[own] = nearest_points(KDTree(scene.points[~own]), scene.points[own], 1)[0][:, 0]
    return distance


def of_fusion(
    scene: Scene, fused: Fusion[np.ndarray], text: np.ndarray, rules: Rules | None = None
) -> dict[str, float]:
    """How the lifted features err: which part of an object, and after how many views.

    Args:
        scene: The scene, with labels and instances.
        fused: Its lifted features.
        text: float32 [classes, C].
        rules: Sizes and distances.

    Returns:
        Shares of errors that sum to 1: `share_instance` (in an object more than half wrong), then `share_boundary`,
        then `share_isolated` (fewer than half of the neighbours wrong), and `share_patch`. `error_1`, `error_2`,
        `error_3_4`, `error_5_8`: per cent of points wrong, by number of views.
    """
    rules, (labels, instances) = rules or Rules(), _annotation(scene)
    scored = (labels != VOID) & (fused.count > 0)
    answer = (fused.mean @ text.T).argmax(axis=1)
    wrong = scored & (answer != labels)
    owner = np.where(instances == NO_INSTANCE, instances.max() + 1, instances)
    sizes, bad = (
        np.bincount(owner[scored], minlength=owner.max() + 1),
        np.bincount(owner[wrong], minlength=owner.max() + 1),
    )
    spoilt = (sizes >= rules.object_points) & (2 * bad > sizes)
    spoilt[instances.max() + 1 :] = False
    whole = wrong & spoilt[owner]
    edge = wrong & ~whole & (boundary_distance(scene) < rules.boundary)
    rest = np.flatnonzero(wrong & ~whole & ~edge)
    points = np.flatnonzero(scored)
    _, around = nearest_points(
        KDTree(scene.points[points]), scene.points[rest], rules.neighbors + 1
    )  # the point itself is among them
    alone = 2 * (wrong[points][around].sum(axis=1) - 1) < rules.neighbors
    total = max(int(wrong.sum()), 1)
    found = {
        "share_instance": whole.sum() / total,
        "share_boundary": edge.sum() / total,
        "share_patch": (~alone).sum() / total,
        "share_isolated": alone.sum() / total,
    }
    for key, low, high in (("error_1", 1, 1), ("error_2", 2, 2), ("error_3_4", 3, 4), ("error_5_8", 5, 8)):
        found[key] = 100 * _mean(wrong[scored & (fused.count >= low) & (fused.count <= high)])
    return {key: float(value) for key, value in found.items()}


def of_means(scene: Scene, fused: Fusion[np.ndarray], text: np.ndarray, superpoints: np.ndarray) -> dict[str, float]:
    """What averaging repairs: mIoU (%) of the lifted features, and the points that means over regions add.

    Args:
        scene: The scene, with labels and instances.
        fused: Its lifted features.
        text: float32 [classes, C].
        superpoints: int64 [P].

    Returns:
        `fusion`, the mIoU over points that are seen, absent classes skipped; `superpoint_gain` and `instance_gain`.
    """
    seen, (labels, instances) = fused.count > 0, _annotation(scene)

    def score(regions: np.ndarray | None) -> float:
        features = fused.mean if regions is None else _region_means(fused, regions)
        confusion = ConfusionMatrix(len(text))
        confusion.update(labels[seen], (features @ text.T).argmax(axis=1)[seen])
        return 100 * float(confusion.miou(absent="skip"))

    own = annotated_regions(instances, superpoints)
    plain = score(None)
    return {"fusion": plain, "superpoint_gain": score(superpoints) - plain, "instance_gain": score(own) - plain}


def _region_means(fused: Fusion[np.ndarray], regions: np.ndarray) -> np.ndarray:
    """The mean over the seen points of each region, given to all of them."""
    names, group = np.unique(regions, return_inverse=True)
    seen, group = fused.count > 0, group.reshape(-1)
    means = segment_mean(torch.from_numpy(fused.mean[seen]), torch.from_numpy(group[seen]), len(names))
    return means.numpy()[group]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def anatomy(
    scene: Scene, teacher: Teacher, text: np.ndarray, names: Sequence[str], superpoints: np.ndarray
) -> dict[str, float]:
    """All of a 2D model's figures on a scene; its features are computed twice, so that no more than one map is held.

    Args:
        scene: P points with labels and instances, and views with depth and colour.
        teacher: A 2D model (`geoguide.teachers.Teacher`), such as an `ImageTeacher`, whose cache answers the second
            time.
        text: float32 [classes, C], the names in its text space.
        names: The classes.
        superpoints: int64 [P].

    Returns:
        The figures of `of_views`, `of_objects`, `of_fusion` and `of_means`.
    """
    scene = scene.with_poses()
    seen = observe(scene, teacher.features(scene), text)
    fused = fuse(scene.points, scene.views, teacher.features(scene))
    return {
        **of_views(scene, seen),
        **of_objects(scene, seen, text, names),
        **of_fusion(scene, fused, text),
        **of_means(scene, fused, text, superpoints),
    }
