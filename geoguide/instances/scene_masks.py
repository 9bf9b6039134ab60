"""The instance masks of a scene, made as a config says."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.frozen import check_fields, unless
from geoguide.instances.geometry import InstanceConfig, segment_instances, suppress
from geoguide.instances.learned import open_proposer, propose_masks
from geoguide.instances.mask_files import index_digest, read_mask_index, scene_index
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.spoiling import spoil_masks
from geoguide.ops.neighbors import nearest_kappa
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_normals, scene_superpoints
from geoguide.welding import finder_of

Describe = Callable[[Scene, str], np.ndarray]  # gives float [P, C1], the frozen features of a backbone by name


LEARNED = ("learned", "learned+geometry")
# Of nearest points in one mask or none, by `nearest_kappa`: the objects of 2 real scans and 4 generated rooms have 0.92
# to 0.95, without 20 % of their points at random 0.58 and more, without 40 % 0.37 and more; in reverse order 0.42 to
# 0.66, in any other order 0.01 at most.
STREWN, UNUSUAL = 0.3, 0.6


@dataclass(frozen=True)
class MaskConfig:
    """Where class-agnostic instance masks come from."""

    source: Literal["geometry", "annotation", "files", "learned", "learned+geometry"] = "geometry"
    """`geometry` merges superpoints; `learned` proposes masks with a small packaged network; `learned+geometry` has
    both, less those that overlap a better one; `files` are your own, as Mask3D or a benchmark's submission has them;
    `annotation` is the ground truth, an oracle variant and named so."""
    geometry: InstanceConfig = field(default_factory=InstanceConfig)
    spoil: float = field(default=0.0, metadata=unless("spoil", 0.0))
    """Share of the masks, whatever their source, that are merged with one they touch or cut in two: with `annotation`
    any quality between the oracle's and that of real masks (`spoil_masks`)."""
    superpoints: SuperpointConfig | None = field(default=None, metadata=unless("superpoints", None))
    """Which superpoints `geometry` merges; None: those of the experiment. So that one can change and the other not."""
    folder: str | None = field(default=None, metadata={"hash": False})
    """Of `files`: the folder that holds an index `<scene>.txt` for each scene (`mask_files`)."""
    made_by: str = field(default="", metadata=unless("made_by", ""))
    """Of `files`: who made them, such as "Mask3D": another name for other files, since records are named by it."""
    min_score: float | None = field(default=None, metadata=unless("min_score", None))
    """Of `files`: masks of a lower score are left out; None for none."""
    weights: str | None = field(default=None, metadata={"hash": False})
    """Of learned masks: the file of the network; None for the packaged one."""
    sha256: str | None = field(default=None, metadata=unless("sha256", None))
    """Of learned masks: what the file must have; None for any."""

    def __post_init__(self) -> None:
        check_fields(self, "masks")
        if not 0 <= self.spoil <= 1:
            raise ConfigError(f"masks.spoil must be in 0..1, found {self.spoil}")
        files = self.source == "files"
        if files and (self.folder is None or not self.made_by):
            missing = "folder" if self.folder is None else "made_by"
            raise ConfigError(f"masks.{missing} must be given where masks.source is files, found none")
        if not files and self.min_score == 0:
            object.__setattr__(self, "min_score", None)  # so records of older versions have it, where nothing reads it
        read = {"folder": files, "made_by": files, "min_score": files}
        read |= dict.fromkeys(("weights", "sha256"), self.source in LEARNED)
        defaults = {"made_by": ""}
        for name, is_read in read.items():
            if not is_read and getattr(self, name) != defaults.get(name):
                raise ConfigError(f"masks.{name} is not read where masks.source is {self.source}, leave it out")


def parse_masks(said: str) -> MaskConfig:
    """Read where masks come from, as a command names it.

    Args:
        said: A source that needs no files, or a folder of masks, whose name then says who made them.

    Returns:
        The config.

    Raises:
        ConfigError: Neither.
    """
    known = ("geometry", *LEARNED, "annotation")
    if said in known:
        return replace(MaskConfig(), source=said)
    if not Path(said).is_dir():
        raise ConfigError(f"masks must be one of {', '.join(known)}, or a folder, found {said!r}")
    return MaskConfig("files", folder=said, made_by=Path(said).resolve().name)


def masks_identity(scene: str, config: MaskConfig) -> list[str]:
    """What decides the masks beside the scene, its superpoints and the config: as part of the name of cached masks.

    Args:
        scene: The scene's name.
        config: Where the masks come from.

    Returns:
        Of `files` a digest of the scene's files, of learned masks that of the weights; nothing of other sources.

    Raises:
        DataError: A file is missing or not as it must be.
    """
    if config.source == "files":
        return [index_digest(scene_index(str(config.folder), scene), min_score=_least_score(config))]
    return [open_proposer(config.weights, config.sha256).sha256] if config.source in LEARNED else []


def scene_masks(
    scene: Scene, superpoints: np.ndarray, config: MaskConfig, describe: Describe | None = None
) -> InstanceMasks:
    """The class-agnostic instance masks M_i of a scene (paper, IMR).

    Args:
        scene: Points, normals (estimated where it has none), and for `annotation` its instances.
        superpoints: int64 [P], ids from 0: what geometry and the network merge, unless the config names others.
        config: Where the masks come from.
        describe: Gives the frozen features of a backbone, float [P, C1], by the scene and its name; for learned
            masks, whose weights say of which ones.

    Returns:
        M masks over the scene's P points; they may overlap.

    Raises:
        DataError: `annotation` is asked for, and the scene has no annotated instances; a file of masks or weights is
            missing, or not as it must be.
        InputError: Learned masks without `describe`.
    """
    masks = _masks(scene, superpoints, config, describe)
    return spoil_masks(masks, scene.points, config.spoil, scene.name) if config.spoil else masks


def _masks(scene: Scene, superpoints: np.ndarray, config: MaskConfig, describe: Describe | None) -> InstanceMasks:
    """The masks as their source has them."""
    if config.source == "annotation":
        if scene.instances is None:
            raise DataError(f"scene {scene.name}: masks.source 'annotation' needs instance annotations, found none")
        return InstanceMasks.from_labels(scene.instances)
    if config.source == "files":
        index = scene_index(str(config.folder), scene.name)
        masks = read_mask_index(index, len(scene), min_score=_least_score(config))
        _check_order(masks, scene, index)
        return masks
    superpoints = np.asarray(superpoints)
    if config.superpoints is not None:
        superpoints = scene_superpoints(scene, config.superpoints)
    if config.source == "learned":
        return _proposed(scene, superpoints, config, describe)
    normals, find = scene_normals(scene), finder_of(scene)
    found = segment_instances(scene.points, normals, superpoints, config.geometry, find=find)
    if config.source == "geometry":
        return found
    proposed = _proposed(scene, superpoints, config, describe)
    both = sparse.vstack([proposed.sparse(), found.sparse()]).tocsr()
    return suppress(InstanceMasks.from_sparse(both, np.concatenate([proposed.scores, found.scores])))


def _check_order(masks: InstanceMasks, scene: Scene, index: Path) -> None:
    """Refuse masks that are strewn over the scene: of another scene, or of points in another order."""
    kappa = nearest_kappa(scene.points, masks.best_of_points() + 1)
    if kappa is None or kappa >= UNUSUAL:
        return
    found = f"its masks hardly hold neighbouring points together (kappa {kappa:.2f}; 0 as by chance, usual: 0.9)"
    told = f"{index}: {found}: are they of another scene, or of its points in another order?"
    if kappa < STREWN:
        raise DataError(told)
    warnings.warn(told, stacklevel=4)


def _least_score(config: MaskConfig) -> float:
    return -np.inf if config.min_score is None else config.min_score


def _proposed(scene: Scene, superpoints: np.ndarray, config: MaskConfig, describe: Describe | None) -> InstanceMasks:
    """The masks of the packaged network."""
    if describe is None:
        raise InputError("describe must give frozen features where masks.source is learned, found none")
    proposer = open_proposer(config.weights, config.sha256)
    features = np.concatenate([describe(scene, name) for name in proposer.backbones], axis=1)
    return propose_masks(scene, superpoints, features, proposer)
