"""The frozen stages of a scene that come before training: frozen and lifted features, superpoints, masks.

Training scenes, test scenes and a user's own scan go through the same stages. On disk each is named by the scene's
content and the stage's settings, so that a change of the 2D model does not compute the backbone's features again.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from geoguide import backbones
from geoguide.benchmarks import benchmark_of
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.datasets.sources import SceneSource, fused_files
from geoguide.errors import ConfigError, InputError
from geoguide.frozen import to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.scene_masks import scene_masks
from geoguide.labels import load_label_set
from geoguide.lifting import lift
from geoguide.ops.arrays import host
from geoguide.ops.indexed import IndexedRows
from geoguide.pipeline.cache import Arrays, StageCache
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import Identity
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.superpoints import scene_superpoints
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import GIVEN, digest, open_image_model
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text.encoders import text_encoder
from geoguide.text.minilm import MiniLMTextEncoder

# Raise a stage's number when its code changes what it computes: cached files of the old number are then not used.
VERSIONS = {"scene": 1, "geometry": 5, "lifted": 1, "superpoints": 3, "masks": 3}


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
    ) -> None:
        self.source = None if isinstance(scene, Scene) else scene
        self.config, self._given, self._cache, self._own = config, scene, cache, lifted
        self._device = device
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
        return Identity.noted(self._cache / "sources" / f"{self.source.stamp()}.json", lambda: self.scene)

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
        settings = to_dict(self.config.superpoints, hashed_only=True)
        return self._stage("superpoints", settings, self._superpoints)["superpoints"]

    @functools.cached_property
    def masks(self) -> InstanceMasks:
        """Class-agnostic instance masks; decided by `masks` and `superpoints` of the config."""
        settings = [to_dict(self.config.masks, hashed_only=True), to_dict(self.config.superpoints, hashed_only=True)]
        found = self._stage("masks", settings, self._masks)
        return InstanceMasks(found["index"], found["offsets"], len(self.superpoints), found["scores"])

    @functools.cached_property
    def geometry(self) -> np.ndarray | IndexedRows:
        """F_3d^G, float16 [P, C1]; decided by `backbone` of the config, weights included."""
        found = self._stage("geometry", backbones.identity(self.config.backbone), self._geometry)
        return IndexedRows(**found) if "index" in found else found["rows"]

    @functools.cached_property
    def lifted(self) -> tuple[np.ndarray, np.ndarray] | StreamedFeatures | None:
        """F_2d: features float16 [P, C] and the number of frames that see each point, int32 [P].

        None where nothing gives the scene 2D features: no file of fused ones, or no image, or no 2D model that knows it
        (the simulated one knows generated scenes only). Where `data.features` of the config names fused features, they
        stay on disk. Otherwise decided by `teacher`, `lifting` and, of `data`, `frame_skip`, `image_size` and the
        teacher's label set; where `image_model` names a 2D model, by its identity in place of teacher and label set.
        """
        data = self.config.data
        self.config.check_space()
        if self._own is not None:
            return own_features(self.identity.name, *self._own, len(self.arrays["points"]), self.config)
        if self.config.image_model is not None:
            return None if self.arrays["frames"][0] == 0 else self._of_images()
        if data.features is not None:
            if self.source is None:
                raise ConfigError("data.features: fused features belong to a scene of a dataset; use prepare")
            files = fused_files(self.source)
            return StreamedFeatures(files, len(self.arrays["points"])) if files else None
        if self.arrays["frames"][0] == 0 or self.identity.provenance != "mini":
            return None
        parts = (self.config.teacher, self.config.lifting)
        settings: list[object] = [to_dict(part, hashed_only=True) for part in parts]
        settings += [data.frame_skip, known_label_set(data)]
        if data.image_size is not None:
            settings.append(data.image_size)
        found = self._stage("lifted", settings, self._lifted)
        return found["lifted"], found["views"]

    def _of_images(self) -> tuple[np.ndarray, np.ndarray]:
        """F_2d by the 2D model of the config, whose frames are kept in `frames` of the cache."""
        chosen, data = self.config.image_model, self.config.data
        assert chosen is not None
        identity = chosen.identity or digest(open_image_model(chosen))

        def compute() -> Arrays:
            frames = self._cache / "frames" if self._cache is not None and chosen.keep_frames else None
            teacher = ImageTeacher(open_image_model(chosen), cache=frames, batch=chosen.batch)
            mean, count = lift(self.scene, teacher.features(self.scene), self.config.lifting)
            return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}

        lifting = to_dict(self.config.lifting, hashed_only=True)
        found = self._stage("lifted", ["image model", identity, lifting, data.frame_skip, data.image_size], compute)
        return found["lifted"], found["views"]

    def prepared(self) -> PreparedScene:
        """Compute or read all stages.

        Returns:
            The prepared scene; its arrays are memory-mapped where there is a cache.

        Raises:
            ConfigError: Fused features for a scene in memory.
            DataError: The scene or a file of features cannot be read, or `masks` asks for annotation that it lacks.
        """
        arrays, lifted = self.arrays, self.lifted
        annotated = {name: arrays.get(name) for name in ("points", "colors", "labels", "instances")}
        features, views = lifted if isinstance(lifted, tuple) else (lifted, None)
        return PreparedScene(
            **asdict(self.identity),
            **annotated,
            geometry=self.geometry,
            lifted=features,
            seen_by=views,
            superpoints=self.superpoints,
            masks=self.masks,
            frames=(int(arrays["frames"][0]), int(arrays["frames"][1])),
            source=self.source,
        )

    def _stage(self, kind: str, settings: object, compute: Callable[[], Arrays]) -> Arrays:
        if self._cache is None:
            return compute()
        folder = self._cache / f"{self.identity.name}-{self.identity.fingerprint}"
        return StageCache(folder).get(kind, [VERSIONS[kind], settings], compute)

    def _arrays(self) -> Arrays:
        scene = self.scene
        lost = sum(not view.has_pose for view in scene.views)
        found = {"points": scene.points, "colors": scene.colors, "labels": scene.labels, "instances": scene.instances}
        found["frames"] = np.array([len(scene.views), lost])
        return {name: array for name, array in found.items() if array is not None}

    def _superpoints(self) -> Arrays:
        return {"superpoints": scene_superpoints(self.scene, self.config.superpoints)}

    def _masks(self) -> Arrays:
        masks = scene_masks(self.scene, self.superpoints, self.config.masks)
        return {"index": masks.index, "offsets": masks.offsets, "scores": np.asarray(masks.scores)}

    def _geometry(self) -> Arrays:
        """Different rows are stored once where many points share them (all points of a voxel of a coarse level)."""
        features = frozen_features(self.scene, self.config.backbone, self._device)
        return IndexedRows.compress(features.astype(np.float16))

    def _lifted(self) -> Arrays:
        features = make_teacher(self.config, self.source).features(self.scene)
        mean, count = lift(self.scene, features, self.config.lifting)
        return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}


def own_features(
    name: str, features: np.ndarray, seen: np.ndarray, count: int, config: ExperimentConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Check 2D features that somebody brings along.

    Args:
        name: Of the scene, for messages.
        features: Numbers [P, C], in the space of the config's text; what stands where nothing is seen is not read.
        seen: Which points have one: truth values, or the number of frames that see each point, [P].
        count: P.
        config: Whose `text` they are compared with.

    Returns:
        Features float16 [P, C], 0 where unseen, and int32 [P], above 0 where seen.

    Raises:
        InputError: A wrong shape, features of another width than the text, not finite or beyond float16, or no point
            that is seen; the message names scene and field.
    """
    values, frames = host("features", features), host("seen", seen, "fiub")
    encoder = text_encoder(config.text.encoder, config.text.weights)
    if values.ndim != 2 or values.shape != (count, encoder.width):
        expected = f"[{count}, {encoder.width}], the width of {encoder.name}"
        raise InputError(f"scene {name}: features must be {expected}, found {list(values.shape)}")
    if frames.shape != (count,) or not (frames >= 0).all():
        raise InputError(f"scene {name}: seen must be [{count}], each at least 0, found {list(frames.shape)}")
    if not (frames > 0).any():
        raise InputError(f"scene {name}: seen holds no point: nothing can be learned from it")
    with np.errstate(over="ignore"):
        half = np.where((frames > 0)[:, None], values, 0).astype(np.float16)
    if not np.isfinite(half).all():
        bad = int((~np.isfinite(half)).any(axis=1).sum())
        raise InputError(f"scene {name}: features must be finite and within float16, {bad} of {count} rows are not")
    return half, np.ceil(frames).astype(np.int32)


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
    """The label set whose names a simulated 2D model tells apart (on Matterport3D all 160, whatever is scored).

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
