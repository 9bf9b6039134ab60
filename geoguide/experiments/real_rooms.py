"""The rows of the chapter on real scenes: distilled in some rooms without labels, scored in each of some others.

The defaults are the three scans that the committed records are of: one room, its rescan, and a second room. The scored
scenes may be those that are learned from, since nothing is learned from labels.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from geoguide.backbones.config import BackboneConfig, identity
from geoguide.datasets.config import DataConfig, Splits
from geoguide.errors import require
from geoguide.experiments.placing import on, with_image_model
from geoguide.experiments.presets import SEEDS, adapter_only, fusion, in_whole_rooms, preset
from geoguide.lifting import LiftingConfig
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import EvaluationConfig, ExperimentConfig
from geoguide.pipeline.protocols import STRICT

ROOM, RESCAN, OTHER_ROOM = "scene0000_00", "scene0000_01", "scene0113_00"
IMAGE_SIZE = (240, 320)  # (H, W), at which OpenScene lifts ScanNet
BACKBONES = ("descriptors", "sonata-mini")
PAPERS_BACKBONE = "sonata"  # whose weights are no part of the package
LONG = 2  # times the steps: does a longer training score otherwise?
AUGMENTED_SEEDS = 3  # of the rows for which the network reads the room in every step: a quarter of an hour each
STEPS = 1000  # of one room; `LONG` asks whether it was enough
_TRUE = {"masks__source": "annotation"}
# The best masks that a user can have without Mask3D, by the validation rooms (results/masks.json).
LEARNED = {"learned masks and geometry's": {"masks__source": "learned+geometry"}}
ORACLES = {"true masks": _TRUE, "true masks and superpoints": _TRUE | {"superpoints__cut": "annotation"}}


def several(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names as a command line gives them: one, several in a list, or none.

    Args:
        names: A name, a sequence of names, or nothing ("" or None).

    Returns:
        The names.

    Example:
        >>> several("scene0113_00"), several(["A", "B"]), several("")
        (('scene0113_00',), ('A', 'B'), ())
    """
    if not names:
        return ()
    return (names,) if isinstance(names, str) else tuple(names)


def present(root: str | Path, scenes: str | Sequence[str] | None) -> tuple[str, ...]:
    """Those of some scenes that lie in a folder of ScanNet.

    Args:
        root: The folder that holds `scans`.
        scenes: See `several`.

    Returns:
        Their names.
    """
    return tuple(scene for scene in several(scenes) if (Path(root) / "scans" / scene).is_dir())


def room(
    config: ExperimentConfig,
    root: str | Path,
    features: str,
    scored: str = RESCAN,
    *,
    train: Sequence[str] = (ROOM,),
    backbone: BackboneConfig | None = None,
) -> ExperimentConfig:
    """An experiment on real rooms in ScanNet's official layout.

    Args:
        config: An experiment on generated rooms.
        root: The folder that holds `scans`.
        features: A 2D model, as `teachers.registry` names them; it is opened now.
        scored: The scene that is scored; it needs labels, and no images but in mode fusion.
        train: The scenes that are learned from; they need images, and no labels.
        backbone: The frozen features; None for descriptors.

    Returns:
        The experiment there, its classes without ground truth left out of the means.

    Raises:
        ConfigError: As `with_image_model`.
        DataError: As `with_image_model`.
    """
    data = DataConfig("scannet", image_size=IMAGE_SIZE, root=str(root), splits=Splits(train=tuple(train)))
    there = replace(data, splits=Splits(test=(scored,)))
    config = config.replace(
        data=data,
        evaluation=EvaluationConfig(data=there),
        lifting=LiftingConfig(0.25, 10),  # as OpenScene
        backbone=backbone or BackboneConfig(BACKBONES[0]),
        train__steps=config.train.steps * STEPS // ExperimentConfig().train.steps,
        protocol=replace(STRICT, mode=config.protocol.mode, pooled=config.protocol.pooled),
    )
    return with_image_model(config, features)


def without_training(root: str | Path, features: str, scene: str = ROOM) -> list[ExperimentConfig]:
    """The lifted 2D features themselves, their means over superpoints, and over annotated instances (an oracle).

    Args:
        root: As in `room`.
        features: As in `room`.
        scene: A scene with images, labels and instances.

    Returns:
        The three experiments.
    """
    rows = [fusion().replace(protocol__pooled=pooled) for pooled in ("none", "superpoints", "instances")]
    return [room(row, root, features, scene, train=(scene,)) for row in rows]


def trained(seed: int, *, everything: bool = True) -> list[ExperimentConfig]:
    """The trained rows of one 2D model and one backbone.

    Args:
        seed: Of the trainings.
        everything: Whether also each module is dropped, learned masks, or true masks and superpoints are given, and the
            losses have the weights that the large edition's validation rooms asked for.

    Returns:
        The adapter, both presets, and these, on generated rooms.
    """
    full = preset(seed=seed)
    rows = [adapter_only(seed), full]
    if everything:
        rows += [full.replace(name=f"works-best, {name}", **changes) for name, changes in (LEARNED | ORACLES).items()]
        rows += [preset(drop=module, seed=seed) for module in MODULES]
        rows += [preset("as-written", seed=seed)]
        rows += [by_gradient(seed, drop) for drop in ("none", "iirc", "imr")]
    return rows


def by_gradient(seed: int, drop: str = "none") -> ExperimentConfig:
    """The better preset with the weights of the large edition, which hold by gradient on whatever features.

    Args:
        seed: Of the training.
        drop: As in `preset`.

    Returns:
        The experiment on generated rooms.
    """
    config = preset(drop=drop, seed=seed, edition="large")
    return config.replace(name=config.name.replace("/", " by gradient/"))


def unchanged(seed: int) -> list[ExperimentConfig]:
    """The adapter and the better preset with all that the large edition's validation rooms chose.

    Schedule, rate and exact means of regions are theirs too; `by_gradient` has the weights of the losses alone.

    Args:
        seed: Of the trainings.

    Returns:
        The experiments on generated rooms.
    """
    rows = [on(row, "scannet", "large") for row in (adapter_only(seed), by_gradient(seed))]
    return [row.replace(name=f"{row.name}, as in large rooms") for row in rows]


def augmented(config: ExperimentConfig) -> ExperimentConfig:
    """A row whose network reads the rooms augmented, and anew in each of as many steps.

    Args:
        config: A trained row; its backbone must be one network.

    Returns:
        The experiment on generated rooms.
    """
    return in_whole_rooms(config).replace(train__steps=config.train.steps)


def real_rooms(
    root: str | Path,
    features: str | Sequence[str],
    *,
    train: str | Sequence[str] = ROOM,
    more: str | Sequence[str] | None = OTHER_ROOM,
    scored: str | Sequence[str] = (ROOM, RESCAN),
    seeds: Sequence[int] = SEEDS,
    weights: str | Path | None = None,
) -> list[ExperimentConfig]:
    """All rows of the chapter on real scenes, the most decisive first.

    Args:
        root: As in `room`.
        features: A 2D model as in `room`, or several; the first has every row, the others the adapter and the better
            preset.
        train: As in `room`, one or several.
        more: Scenes that some rows learn from as well; none: there are no such rows.
        scored: Scenes that are scored, one by one; the first also without training, so it needs images.
        seeds: Of the trained rows.
        weights: Of the paper's frozen features, Sonata's: the adapter and the better preset then learn on them as well.

    Returns:
        The experiments; those that are scored on several scenes are trained once.

    Raises:
        InputError: No 2D model, no scene to learn from, or nothing to score.
        ConfigError: As `room`.
        DataError: As `room`; or the weights are not there.
    """
    features, train, more, scored = (several(names) for names in (features, train, more, scored))
    require(len(features) > 0, "features (`models` of the notebook) must name at least one 2D model, found none")
    for name, scenes in (("train", train), ("scored", scored)):
        require(len(scenes) > 0, f"{name} must name at least one scene, found none")
    backbones = [BackboneConfig(name) for name in BACKBONES[1:]]
    if weights:
        backbones.append(BackboneConfig(PAPERS_BACKBONE, weights=str(weights)))
        identity(backbones[-1])  # a missing file is named now, not after hours of other rows
    first, others = features[0], features[1:]
    groups = [Group([*trained(seed), *unchanged(seed)], first, train) for seed in seeds]
    for number, seed in enumerate(seeds):
        both = trained(seed, everything=False)
        groups += [Group(both, model, train) for model in others]
        anew = [augmented(config) for config in both] if number < AUGMENTED_SEEDS else []
        groups += [Group([*both, *anew], first, train, backbone) for backbone in backbones]
        groups += [Group(both, first, (*train, *more))] if more else []
    groups += [Group([_longer(config) for config in trained(0, everything=False)], first, train)]
    rows = [row for model in features for row in without_training(root, model, scored[0])]
    return rows + [row for group in groups for row in group.rows(root, scored)]


def _longer(config: ExperimentConfig) -> ExperimentConfig:
    return config.replace(name=f"{config.name}, {LONG} x steps", train__steps=LONG * config.train.steps)


class Group(NamedTuple):
    """Trained rows that share a 2D model, training scenes and frozen features.

    Attributes:
        configs: The experiments, on generated rooms.
        features: As in `room`.
        train: As in `room`.
        backbone: As in `room`.
    """

    configs: Sequence[ExperimentConfig]
    features: str
    train: Sequence[str]
    backbone: BackboneConfig | None = None

    def rows(self, root: str | Path, scored: Sequence[str]) -> list[ExperimentConfig]:
        """The experiments in real rooms.

        Args:
            root: As in `room`.
            scored: Scenes that are scored, one by one.

        Returns:
            A row for each scene and config.
        """
        where: dict[str, Any] = {"train": self.train, "backbone": self.backbone}
        return [room(row, root, self.features, scene, **where) for scene in scored for row in self.configs]
