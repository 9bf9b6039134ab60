"""The frozen stages of a scene that come before training: frozen and lifted features, superpoints, masks.

Training scenes, test scenes and a user's own scan go through the same stages. On disk each is named by the scene's
content and the stage's settings, so that a change of the 2D model does not compute the backbone's features again.
"""

import functools
import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoguide import backbones
from geoguide.backbones.parts import VoxelBackbone
from geoguide.benchmarks import benchmark_of
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.fused_features import FusedFeatures, StreamedFeatures
from geoguide.datasets.label_agreement import feature_doubts
from geoguide.datasets.sources import SceneSource, fused_files
from geoguide.errors import ConfigError, DataError
from geoguide.frozen import to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.scene_masks import masks_identity, scene_masks
from geoguide.labels import load_label_set
from geoguide.lifting import lift
from geoguide.ops.block_digest import block_digest
from geoguide.ops.indexed import IndexedRows
from geoguide.pipeline.cache import Arrays, StageCache, settings_digest
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import Identity
from geoguide.pipeline.own_features import own_features, without_zeros
from geoguide.pipeline.pooling import kept_points, region_means, rows
from geoguide.prepared import PreparedScene, SceneMeans, WholeCloud
from geoguide.scene import Scene
from geoguide.superpoints import scene_superpoints
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import GIVEN, digest, open_image_model
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text.minilm import MiniLMTextEncoder

# Raise a stage's number when its code changes what it computes: cached files of the old number are then not used.
VERSIONS = {"scene": 1, "geometry": 5, "lifted": 1, "superpoints": 3, "masks": 3, "means": 1}
VERSIONS |= {"kept": 2, "kept_geometry": 1}
MADE = ("geometry", "lifted", "superpoints", "masks")  # what others are made of
_ASKED: set[tuple[Path, int, str]] = set()  # fused features, and the scene whose points they were compared with


class Stages:
    """The frozen stages of one scene under one config; each is computed when it is first asked for.

    Args:
        scene: The scene, or the source from which it is read when a stage needs it.
        config: Its parts decide the stages, as each stage's docstring says.
        cache: Folder of the disk cache; None computes every stage in memory and writes nothing.
        lifted: Your own 2D features of the points, in place of a 2D model's: numbers [P, C] in the space of the
            config's `text`, and which points have one, truth values or numbers of frames [P]; `lifting.lift` makes both
            of your own feature maps. `image_model` of the config says whose they are,
            `ImageModelConfig("given", NAME)`: another name for other features.
        device: Where the backbone's network runs (see `ops.devices.resolve_device`).
        training: Whether the scene is learned from, so that `pooling` of the config holds for it.

    Attributes:
        source: The source; None for a scene in memory.
        config: As above.

    Raises:
        ConfigError: Features are given and the config does not say so, or the other way round.
    """

    def __init__(
        self,
        scene: Scene | SceneSource,
        config: ExperimentConfig,
        cache: Path | None = None,
        lifted: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        device: str | torch.device = "auto",
        training: bool = False,
    ) -> None:
        self.source = None if isinstance(scene, Scene) else scene
        self.config, self._given, self._cache, self._own = config, scene, cache, lifted
        self._device, self._training = device, training
        self._reduced = training and config.pooling.kept_points is not None
        given = config.image_model is not None and config.image_model.kind == GIVEN
        if given != (lifted is not None):
            expected = "features as `lifted`" if given else 'ImageModelConfig("given", NAME) beside `lifted`'
            raise ConfigError(f"image_model: expected {expected}, so that records say whose features these are")

    @functools.cached_property
    def scene(self) -> Scene:
        """The scene itself, read from its files where only a source was given."""
        return self._given if isinstance(self._given, Scene) else self._given.load()

    @functools.cached_property
    def identity(self) -> Identity:
        """Name, provenance and fingerprint; taken from a note in the cache where the scene's files have not changed."""
        if self.source is None or self._cache is None:
            return Identity.of(self.scene)
        return Identity.of_source(self.source, self._cache, lambda: self.scene)

    @functools.cached_property
    def arrays(self) -> Arrays:
        """The arrays of the scene itself.

        By name: points and colors float32 [P, 3]; labels and instances int64 [P], where there are any; and frames
        int64 [2], the number of frames and of those without a pose.
        """
        return self._stage("scene", None, self._arrays)

    @functools.cached_property
    def superpoints(self) -> np.ndarray:
        """Superpoint of each point, int64 [P], from 0; decided by `superpoints` of the config."""
        return self._stage("superpoints", self._settings("superpoints"), self._superpoints)["superpoints"]

    @functools.cached_property
    def masks(self) -> InstanceMasks:
        """Class-agnostic instance masks; decided by `masks` (with its files) and `superpoints` of the config."""
        found = self._stage("masks", self._settings("masks"), self._masks)
        return InstanceMasks(found["index"], found["offsets"], len(self.superpoints), found["scores"])

    @functools.cached_property
    def geometry(self) -> np.ndarray | IndexedRows:
        """F_3d^G, float16 [P, C1]; decided by `backbone` of the config, weights included."""
        found = self._stage("geometry", self._settings("geometry"), self._geometry, write=not self._reduced)
        return IndexedRows(**found) if "index" in found else found["rows"]

    @functools.cached_property
    def lifted(self) -> tuple[np.ndarray, np.ndarray] | StreamedFeatures | None:
        """F_2d: features float16 [P, C] and the number of frames that see each point, int32 [P].

        None where nothing gives the scene 2D features: no file of fused ones, or no image, or no 2D model that knows it
        (the simulated one knows generated scenes only). Where `data.features` of the config names fused features, they
        stay on disk. Otherwise decided by `teacher`, `lifting` and, of `data`, `frame_skip`, `image_size` and the
        teacher's label set; where `image_model` names a 2D model, by its identity in place of teacher and label set.
        """
        self.config.check_space()
        if self._own is not None:
            return own_features(self.identity.name, *self._own, len(self.arrays["points"]), self.config)
        if self._fused is not None:
            return self._streamed(self._fused) if self._fused else None
        settings = self._lifted_settings
        if settings is None:
            return None
        compute = self._lifted if self.config.image_model is None else self._of_images
        found = self._stage("lifted", settings, compute, write=not self._reduced)
        return found["lifted"], found["views"]

    def _streamed(self, files: tuple[Path, ...]) -> StreamedFeatures:
        """The scene's fused features; one warning where they are not of its points, as `data check` says it."""
        points = self.arrays["points"]
        streamed = StreamedFeatures(files, len(points))
        asked = files[0], files[0].stat().st_mtime_ns, self.identity.fingerprint
        if asked not in _ASKED:  # once in a process: a training opens its scenes again and again
            _ASKED.add(asked)
            for doubt in feature_doubts(points, FusedFeatures(files[0], len(points))):
                warnings.warn(f"{files[0]}: {doubt}", stacklevel=3)
        return streamed

    @functools.cached_property
    def means(self) -> SceneMeans | None:
        """Means of the frozen features over all points of each region, decided by all that decides these.

        None where nothing gives the scene 2D features.
        """
        if self._lifted_settings is None:
            return None
        parts = ("geometry", "superpoints", "masks", "lifted")
        settings = [[VERSIONS[part], self._settings(part)] for part in parts]

        def compute() -> Arrays:
            assert self.lifted is not None
            return region_means(self.geometry, self.lifted, self.superpoints, self.masks)

        return SceneMeans(**self._derived("means", settings, compute), masks=len(self.masks))

    @functools.cached_property
    def _kept(self) -> Arrays:
        """Some of the points, and their frozen features; decided by `kept_points` and what decides the features.

        Two files of arrays on disk, so that further 2D models share the 3D features.
        """
        settings = {part: [VERSIONS[part], self._settings(part)] for part in ("geometry", "lifted")}
        kept, whole = self.config.pooling.kept_points, len(self.arrays["points"])
        assert kept is not None
        chosen = kept_points(whole, kept, self.identity.fingerprint)

        def of_points() -> Arrays:
            return {"chosen": chosen} | IndexedRows.compress(self.geometry[chosen])

        def of_images() -> Arrays:
            assert self.lifted is not None
            features, seen = rows(self.lifted, chosen)
            return {
                "lifted": features,
                "views": self.lifted[1][chosen] if isinstance(self.lifted, tuple) else seen.astype(np.int32),
            }

        points = self._stage("kept_geometry", [kept, settings["geometry"]], of_points)
        return points | self._derived("kept", [kept, settings["lifted"]], of_images)

    @functools.cached_property
    def _fused(self) -> tuple[Path, ...] | None:
        """The scene's files of fused features, if any; None where other features are asked for."""
        if self._own is not None or self.config.image_model is not None or self.config.data.features is None:
            return None
        if self.source is None:
            raise ConfigError("data.features: fused features belong to a scene of a dataset; use prepare")
        return fused_files(self.source)

    @functools.cached_property
    def _lifted_settings(self) -> list[object] | None:
        """What decides F_2d; None where nothing gives the scene 2D features."""
        data, model = self.config.data, self.config.image_model
        if self._own is not None:  # nothing is kept on disk of them, but checkpoints of trainings that learn from them
            assert isinstance(self.lifted, tuple)
            parts = (np.ascontiguousarray(part).data for part in self.lifted)
            return ["own", *(hashlib.sha256(part).hexdigest()[:16] for part in parts)]
        if self._fused is not None:
            if not isinstance(self.lifted, StreamedFeatures):
                return None
            rule = ["zeros are not seen"] if self.lifted.empty else []  # older versions took them for features
            return ["fused", *(block_digest(file, file.name).hex() for file in self.lifted.files), *rule]
        if self.arrays["frames"][0] == 0:
            return None
        lifting = to_dict(self.config.lifting, hashed_only=True)
        if model is not None:
            identity = model.identity or digest(open_image_model(model))
            return ["image model", identity, lifting, data.frame_skip, data.image_size]
        if self.identity.provenance != "mini":
            return None
        teacher = to_dict(self.config.teacher, hashed_only=True)
        settings: list[object] = [teacher, lifting, data.frame_skip, known_label_set(data)]
        return settings if data.image_size is None else [*settings, data.image_size]

    def _settings(self, kind: str) -> object:
        """What decides a stage, beside the scene, as JSON types."""
        superpoints = to_dict(self.config.superpoints, hashed_only=True)
        match kind:
            case "superpoints":
                return superpoints
            case "masks":
                masks = self.config.masks
                return [to_dict(masks, hashed_only=True), superpoints, *masks_identity(self.identity.name, masks)]
            case "geometry":
                return backbones.identity(self.config.backbone)
        return self._lifted_settings

    def prepared(self) -> PreparedScene:
        """Compute or read all stages.

        Returns:
            The prepared scene; its arrays are memory-mapped where there is a cache.

        Raises:
            ConfigError: Fused features for a scene in memory.
            DataError: The scene or a file of features cannot be read, or `masks` asks for annotation that it lacks.
        """
        self.config.check_space()
        if self._reduced and self._lifted_settings is not None:
            return self._of_kept_points()
        lifted = self.lifted
        features, views = lifted if isinstance(lifted, tuple) else (lifted, None)
        return PreparedScene(
            **self._annotated(),
            geometry=self.geometry,
            lifted=features,
            seen_by=views,
            superpoints=self.superpoints,
            masks=self.masks,
            means=self.means if self._training and self.config.pooling.means == "exact" else None,
        )

    def _of_kept_points(self) -> PreparedScene:
        """The prepared scene of the points that were kept, with exact means while all features are there."""
        kept, means = self._kept, self.means
        chosen = kept["chosen"]
        return PreparedScene(
            **self._annotated(chosen),
            geometry=IndexedRows(kept["rows"], kept["index"]) if "index" in kept else kept["rows"],
            lifted=kept["lifted"],
            seen_by=kept["views"],
            superpoints=IndexedRows(self.superpoints, chosen),
            masks=self.masks.restricted(chosen),
            means=means if self.config.pooling.means == "exact" else None,
            whole=WholeCloud(self.arrays["points"], self.arrays["colors"], chosen),
        )

    def _annotated(self, chosen: np.ndarray | None = None) -> dict[str, Any]:
        """What a prepared scene has of the scene itself, of all points or some; nothing is copied into memory."""
        found = {name: self.arrays.get(name) for name in ("points", "colors", "labels", "instances")}
        if chosen is not None:
            found = {name: None if values is None else IndexedRows(values, chosen) for name, values in found.items()}
        frames, lost = self.arrays["frames"].tolist()
        made_by = settings_digest({kind: [VERSIONS[kind], self._settings(kind)] for kind in MADE})
        return asdict(self.identity) | found | {"frames": (frames, lost), "source": self.source, "made_by": made_by}

    def _stage(self, kind: str, settings: object, compute: Callable[[], Arrays], *, write: bool = True) -> Arrays:
        if self._cache is None:
            return compute()
        name = re.sub(r"[/\\]", "-", self.identity.name)  # "building/room", and nothing lies above the cache
        folder = self._cache / f"{name}-{self.identity.fingerprint}"
        return StageCache(folder).get(kind, [VERSIONS[kind], settings], compute, write=write)

    def _derived(self, kind: str, settings: object, compute: Callable[[], Arrays]) -> Arrays:
        """A stage made from features; of your own ones, of which only the name is known, nothing is kept on disk."""
        return compute() if self._own is not None else self._stage(kind, settings, compute)

    def _arrays(self) -> Arrays:
        scene = self.scene
        lost = sum(not view.has_pose for view in scene.views)
        found = {"points": scene.points, "colors": scene.colors, "labels": scene.labels, "instances": scene.instances}
        found["frames"] = np.array([len(scene.views), lost])
        return {name: array for name, array in found.items() if array is not None}

    def _superpoints(self) -> Arrays:
        return {"superpoints": scene_superpoints(self.scene, self.config.superpoints)}

    def _masks(self) -> Arrays:
        masks = scene_masks(self.scene, self.superpoints, self.config.masks, self._described)
        return {"index": masks.index, "offsets": masks.offsets, "scores": np.asarray(masks.scores)}

    def _described(self, scene: Scene, backbone: str) -> np.ndarray:
        """Frozen features of whatever the config's backbone is, as the packaged maker of masks takes them."""
        return frozen_features(scene, backbones.BackboneConfig(backbone), self._device)

    def _geometry(self) -> Arrays:
        """Different rows are stored once where many points share them (all points of a voxel of a coarse level)."""
        backbone = backbones.open_backbone(self.config.backbone, self._device)
        if not isinstance(backbone, VoxelBackbone):
            return IndexedRows.compress(self._half(backbone.encode(self.scene), backbone.name))
        found = backbone.encode_voxels(self.scene)
        return IndexedRows(self._half(found.rows, backbone.name), found.index).compressed()

    def _half(self, rows: np.ndarray, backbone: str) -> np.ndarray:
        """Frozen features [R, C1] as they are stored; a loss of nan, far from here, would not say where it began."""
        with np.errstate(over="ignore"):
            half = rows.astype(np.float16)
        if not np.isfinite(half).all():
            bad = int((~np.isfinite(half)).any(axis=1).sum())
            expected = f"frozen features of {backbone} must be finite and within float16"
            raise DataError(f"scene {self.identity.name}: {expected}, {bad} of {len(rows)} rows are not")
        return half

    def _of_images(self) -> Arrays:
        """F_2d by the 2D model of the config, whose frames are kept in `frames` of the cache."""
        chosen = self.config.image_model
        assert chosen is not None
        frames = self._cache / "frames" if self._cache is not None and chosen.keep_frames else None
        teacher = ImageTeacher(open_image_model(chosen), cache=frames, batch=chosen.batch)
        said = teacher.pixel_rows(self.scene.with_poses())
        mean, count = lift(self.scene, lambda _: next(said), self.config.lifting)  # of lost poses it is not asked
        half = np.asarray(mean, np.float16)
        return {"lifted": half, "views": without_zeros(self.identity.name, half, np.asarray(count, np.int32))}

    def _lifted(self) -> Arrays:
        scene = self.scene.holding_images()
        features = make_teacher(self.config, self.source).pixel_rows(scene)
        mean, count = lift(scene, features, self.config.lifting)
        return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}


def frozen_features(
    scene: Scene, backbone: backbones.BackboneConfig, device: str | torch.device = "auto"
) -> np.ndarray:
    """Compute F_3d^G of every point, in the same way for training scenes and for a user's own scan.

    Args:
        scene: Any scene.
        backbone: The frozen backbone.
        device: Where its network runs (see `ops.devices.resolve_device`).

    Returns:
        float32 [P, C1].

    Raises:
        DataError: The backbone's weights are missing or are not those that it must have.
    """
    return backbones.open_backbone(backbone, device).encode(scene)


def known_label_set(data: DataConfig) -> str:
    """The label set whose names a simulated 2D model tells apart, and a training with words is told.

    On Matterport3D all 160, whatever is scored.

    Args:
        data: The config of its scenes.

    Returns:
        Name of the label set.
    """
    return benchmark_of(data).known_names or data.label_set


def make_teacher(config: ExperimentConfig, source: SceneSource | None = None) -> SimulatedTeacher:
    """Make the simulated 2D model of a config.

    Args:
        config: Its `teacher`, and its `data` for the classes that the teacher knows.
        source: A scene of the dataset, which may say how its label images turn into classes; None where the label set
            says that itself.

    Returns:
        The teacher.
    """
    labels = load_label_set(known_label_set(config.data))
    to_class = None if source is None else source.label_image_classes(labels.name)
    return SimulatedTeacher(config.teacher, MiniLMTextEncoder().encode(labels.names), labels, to_class=to_class)
