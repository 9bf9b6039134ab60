"""The frozen stages that come before training: frozen features, lifted features, superpoints, masks; cached on disk.

Training and test scenes go through the same stages (`Stages`), as can a scene in memory. On disk each stage is named by
the scene's content and the stage's settings, so that a change of the 2D model does not compute the backbone's features
again. A scene whose files have not changed is not even read, and none is ever held in memory.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from geoguide import backbones
from geoguide.benchmarks import benchmark_of
from geoguide.benchmarks.scenes import generate, list_sources
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.datasets.sources import SceneSource, fused_files
from geoguide.errors import ConfigError
from geoguide.frozen import to_dict
from geoguide.instances.masks import InstanceMasks
from geoguide.instances.scene_masks import scene_masks
from geoguide.labels import load_label_set
from geoguide.lifting import lift
from geoguide.ops.indexed import IndexedRows
from geoguide.paths import cache_root, replacing
from geoguide.pipeline.cache import Arrays, StageCache
from geoguide.pipeline.config import ExperimentConfig
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.superpoints import scene_superpoints
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text.minilm import MiniLMTextEncoder

# Raise a stage's number when its code changes what it computes: cached files of the old number are then not used.
VERSIONS = {"scene": 1, "geometry": 3, "lifted": 1, "superpoints": 1, "masks": 1}
OPEN_SCENES = 64  # of a split, at once: the parts of their mapped files that were read count as this process's memory


def fingerprint(scene: Scene) -> str:
    """Name a scene's content: its points, colours, labels and instances, its frames' poses, and their image files.

    Args:
        scene: Any scene. Images are not decoded: their file names and sizes count.

    Returns:
        The first twelve hex digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in (scene.points, scene.colors, scene.labels, scene.instances):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    for view in scene.views:
        digest.update(np.ascontiguousarray(view.cam_to_world, np.float64).tobytes())
        for path in view.pixel_files:
            digest.update(b"-" if path is None else f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Identity:
    """What a scene is known by in the cache and in records.

    Attributes:
        name: Name of the scene.
        source: "mini" (generated) or "real".
        fingerprint: `fingerprint` of the scene.
    """

    name: str
    source: str
    fingerprint: str

    @classmethod
    def of(cls, scene: Scene) -> "Identity":
        """Identify a scene in memory.

        Args:
            scene: Any scene.

        Returns:
            Its identity.
        """
        return cls(scene.name, scene.source, fingerprint(scene))

    @classmethod
    def noted(cls, note: Path, load: Callable[[], Scene]) -> "Identity":
        """Identify a scene without reading it, where that was noted before.

        Args:
            note: The file of the note; written where it is missing or damaged.
            load: Reads the scene; called in that case alone.

        Returns:
            The scene's identity.
        """
        try:
            return cls(**json.loads(note.read_text()))
        except (OSError, ValueError, TypeError):  # no note, or a damaged one
            found = cls.of(load())
        with replacing(note) as temporary:
            temporary.write_text(json.dumps(asdict(found)))
        return found


class Stages:
    """The frozen stages of one scene under one config; each is computed when it is first asked for.

    Args:
        scene: The scene, or the source from which it is read when a stage needs it.
        config: Its parts decide the stages, as each stage's docstring says.
        cache: Folder of the disk cache; None computes every stage in memory and writes nothing.

    Attributes:
        origin: The source; None for a scene in memory.
        config: As above.
    """

    def __init__(self, scene: Scene | SceneSource, config: ExperimentConfig, cache: Path | None = None) -> None:
        self.origin = None if isinstance(scene, Scene) else scene
        self.config, self._given, self._cache = config, scene, cache

    @functools.cached_property
    def scene(self) -> Scene:
        """The scene itself, read from its files where only a source was given."""
        return self._given if isinstance(self._given, Scene) else self._given.load()

    @functools.cached_property
    def identity(self) -> Identity:
        """Name, source and fingerprint; taken from a note in the cache where the scene's files have not changed."""
        if self.origin is None or self._cache is None:
            return Identity.of(self.scene)
        return Identity.noted(self._cache / "sources" / f"{self.origin.stamp()}.json", lambda: self.scene)

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
        settings = self.config.superpoints
        return self._stage("superpoints", to_dict(settings), self._superpoints)["superpoints"]

    @functools.cached_property
    def masks(self) -> InstanceMasks:
        """Class-agnostic instance masks; decided by `masks` and `superpoints` of the config."""
        settings = [to_dict(self.config.masks), to_dict(self.config.superpoints)]
        found = self._stage("masks", settings, self._masks)
        return InstanceMasks(found["index"], found["offsets"], len(self.superpoints), found["scores"])

    @functools.cached_property
    def geometry(self) -> np.ndarray | IndexedRows:
        """F_3d^G, float16 [P, C1]; decided by `backbone` of the config, weights included."""
        found = self._stage("geometry", backbones.identity(self.config.backbone), self._geometry)
        return IndexedRows(**found) if "index" in found else found["rows"]

    @functools.cached_property
    def lifted(self) -> tuple[np.ndarray, np.ndarray] | StreamedFeatures:
        """F_2d: features float16 [P, C] and the number of frames that see each point, int32 [P].

        Where `data.features` of the config names fused features, they stay on disk. Otherwise decided by `teacher`,
        `lifting` and, of `data`, `frame_skip`, `image_size` and the teacher's label set.
        """
        data = self.config.data
        if data.features is not None:
            if self.origin is None:
                raise ConfigError("data.features: fused features belong to a scene of a dataset; use prepare_source")
            return StreamedFeatures(fused_files(self.origin), len(self.arrays["points"]))
        settings = [
            to_dict(self.config.teacher),
            to_dict(self.config.lifting, hashed_only=True),
            data.frame_skip,
            known_label_set(data),
            *([] if data.image_size is None else [data.image_size]),
        ]
        found = self._stage("lifted", settings, self._lifted)
        return found["lifted"], found["views"]

    def prepared(self) -> PreparedScene:
        """Compute or read all stages.

        Returns:
            The prepared scene; its arrays are memory-mapped where there is a cache.

        Raises:
            ConfigError: Fused features for a scene in memory, or none for a real scene.
            DataError: The scene or a file of features cannot be read, or `masks` asks for annotation that it lacks.
        """
        arrays, lifted = self.arrays, self.lifted
        features, views = (lifted, None) if isinstance(lifted, StreamedFeatures) else lifted
        return PreparedScene(
            **asdict(self.identity),
            points=arrays["points"],
            colors=arrays["colors"],
            labels=arrays.get("labels"),
            instances=arrays.get("instances"),
            geometry=self.geometry,
            lifted=features,
            seen_by=views,
            superpoints=self.superpoints,
            masks=self.masks,
            frames=(int(arrays["frames"][0]), int(arrays["frames"][1])),
            origin=self.origin,
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
        return IndexedRows.compress(frozen_features(self.scene, self.config.backbone).astype(np.float16))

    def _lifted(self) -> Arrays:
        if self.scene.source != "mini":
            raise ConfigError(
                f"data.features: real data ({self.scene.name}) needs a folder of fused 2D features below data.root; "
                "the simulated teacher knows generated scenes only"
            )
        features = make_teacher(self.config, self.origin).features(self.scene)
        mean, count = lift(self.scene, features, self.config.lifting)
        return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}


def frozen_features(scene: Scene, backbone: backbones.BackboneConfig) -> np.ndarray:
    """Compute F_3d^G of every point, in the same way for training scenes and for a user's own scan.

    Args:
        scene: Any scene.
        backbone: The frozen backbone.

    Returns:
        float32 [P, C1].

    Raises:
        DataError: The backbone's weights are missing or are not those that it must have.
    """
    return backbones.open_backbone(backbone).encode(scene)


def prepare(scene: Scene, config: ExperimentConfig, cache: Path | None = None) -> PreparedScene:
    """Run every frozen stage on a scene in memory, or read the stages from the cache.

    Args:
        scene: The scene.
        config: Its parts decide the stages (see `Stages`).
        cache: Folder of the disk cache; None for `paths.cache_root()`.

    Returns:
        The prepared scene; its files cannot be read again (`PreparedScene.load`).

    Raises:
        ConfigError: As `Stages.prepared`.
        DataError: As `Stages.prepared`.
    """
    return Stages(scene, config, cache or cache_root()).prepared()


def prepare_source(source: SceneSource, config: ExperimentConfig, cache: Path | None = None) -> PreparedScene:
    """Run every frozen stage on a scene of a dataset, or read the stages from the cache.

    Args:
        source: The scene; its files are read only where they have changed or a stage is missing.
        config: Its parts decide the stages (see `Stages`).
        cache: Folder of the disk cache; None for `paths.cache_root()`.

    Returns:
        The prepared scene.

    Raises:
        ConfigError: As `Stages.prepared`.
        DataError: As `Stages.prepared`.
    """
    return Stages(source, config, cache or cache_root()).prepared()


class PreparedScenes(Sequence[PreparedScene]):
    """The prepared scenes of a split, opened when asked for; at most `OPEN_SCENES` stay open.

    Indexed by positions 0..len-1, without slices and negative numbers. Opening a scene whose stages are all in the
    cache takes a few milliseconds.

    Args:
        sources: The scenes.
        config: Its parts decide the stages.
    """

    def __init__(self, sources: Sequence[SceneSource], config: ExperimentConfig) -> None:
        self.sources = tuple(sources)
        self._open = functools.lru_cache(OPEN_SCENES)(lambda number: prepare_source(self.sources[number], config))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> PreparedScene:  # ty: ignore[incompatible-method-override]  # no slices
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._open(number)


def scene_sources(data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    """The scenes of a split, not yet read; generated data is made first where it is missing.

    Args:
        data: Which dataset.
        split: "train", "val" or "test".

    Returns:
        The scenes, as `benchmarks.scenes.list_sources` lists them; it also says what is raised.
    """
    if data.generated:
        generate(data)
    return list_sources(data, split)


def known_label_set(data: DataConfig) -> str:
    """The label set whose names a simulated 2D model tells apart (on Matterport3D all 160, whatever is scored)."""
    return benchmark_of(data).known_names or data.label_set


def prepare_split(config: ExperimentConfig, split: str, *, workers: int = 1, progress: bool = True) -> PreparedScenes:
    """Prepare every scene of a split; stages that are missing are computed now.

    Args:
        config: The experiment; `data` says which scenes.
        split: train, val or test.
        workers: Number of processes that compute missing stages; with 1, this process does.
        progress: Whether to show a progress bar.

    Returns:
        The prepared scenes, opened when asked for.

    Raises:
        ConfigError: As `Stages.prepared`.
        DataError: As `Stages.prepared`, or the split has no scene.
    """
    sources = scene_sources(config.data, split)
    if workers > 1:
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            jobs = pool.map(_warm, sources, [config] * len(sources))
            _drain(tqdm(jobs, f"prepare {split}", len(sources), disable=not progress))
    scenes = PreparedScenes(sources, config)
    _drain(tqdm(scenes, f"prepare {split}", disable=not progress or workers > 1))
    return scenes


def _warm(source: SceneSource, config: ExperimentConfig) -> None:
    prepare_source(source, config)


def _drain(items: Iterable[object]) -> None:
    for _ in items:
        pass


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
