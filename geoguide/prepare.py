"""From a `Scene` to what training and evaluation read: frozen features, lifted features, superpoints, masks; cached.

The same function prepares scenes for both. Each stage is a few memory-mapped .npy files named by scene content and
stage config, so changing the teacher does not recompute the backbone, and a killed run leaves no half-written file
behind. A scene whose files on disk have not changed is not even read again, and none is ever held in memory.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from geoguide import backbones
from geoguide.config import ExperimentConfig, LiftingConfig, SuperpointConfig, to_dict
from geoguide.datasets.fused_features import StreamedFeatures
from geoguide.datasets.mini.write import default_mini_root
from geoguide.datasets.sources import SceneSource, fused_files, list_sources, teacher_label_set
from geoguide.errors import ConfigError, DataError
from geoguide.files import replacing
from geoguide.instances import InstanceMasks, segment_instances
from geoguide.labels import load_label_set
from geoguide.lifting import fuse
from geoguide.objective import Batch
from geoguide.ops.indexed import IndexedRows
from geoguide.scene import Scene
from geoguide.superpoints import estimate_normals, segment_mesh, segment_points
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text import TextEncoder

# Raise a stage's number when its code changes what it computes: cached files of the old number are then not used.
_VERSIONS = {"scene": 1, "geometry": 3, "lifted": 1, "superpoints": 1, "masks": 1}
KEPT = 64  # open scenes of a split: what was read of their maps counts as this process's memory


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """One scene's inputs, memory-mapped.

    points, colors float32 [P, 3]; labels, instances int64 [P] or None; geometry float16 [P, C1]; lifted float16 [P, C]
    (zero where unseen) and views int32 [P], frames that see each point, or, of fused features that stay on disk,
    `StreamedFeatures` and None; superpoints int64 [P]; masks: class-agnostic instances. frames: how many the scene has,
    and how many of them are skipped because their pose is lost. origin: where it was read from.
    """

    name: str
    source: str
    fingerprint: str
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray | None
    instances: np.ndarray | None
    geometry: np.ndarray | IndexedRows
    lifted: np.ndarray | StreamedFeatures
    views: np.ndarray | None
    superpoints: np.ndarray
    masks: InstanceMasks
    frames: tuple[int, int] = (0, 0)
    origin: SceneSource | None = None

    def __len__(self) -> int:
        return len(self.points)

    @property
    def feature_width(self) -> int:
        """C."""
        return self.lifted.width if isinstance(self.lifted, StreamedFeatures) else self.lifted.shape[1]

    @property
    def seen(self) -> np.ndarray:
        """bool [P]: has a 2D feature."""
        return self.lifted.seen() if isinstance(self.lifted, StreamedFeatures) else np.asarray(self.views > 0)

    def features(self, chosen: np.ndarray, draw: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """2D features of points `chosen` int64 [p]: (float16 [p, C], seen bool [p]); draw: see `StreamedFeatures`."""
        if isinstance(self.lifted, StreamedFeatures):
            return self.lifted.rows(chosen, draw)
        return self.lifted[chosen], self.views[chosen] > 0

    def batch(self, chosen: np.ndarray, device: torch.device, draw: int = 0) -> Batch:
        """The points `chosen` (sorted int64 [p]) as a training batch; superpoints and masks are renumbered.

        Cost O(P + mask entries) integers and O(p (C + C1)) floats, whatever the scene's size. draw: see `features`.
        """
        position = np.full(len(self.points), -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        names, superpoints = np.unique(self.superpoints[chosen], return_inverse=True)
        mask_of = np.repeat(np.arange(len(self.masks)), np.diff(self.masks.offsets))
        point_of = position[self.masks.index]
        kept, mask_of = np.unique(mask_of[point_of >= 0], return_inverse=True)
        lifted, seen = self.features(chosen, draw)
        return Batch(
            geometry=_float(self.geometry[chosen], device),
            lifted=_float(lifted, device),
            seen=torch.from_numpy(seen).to(device),
            points=_float(self.points[chosen], device),
            superpoints=torch.from_numpy(superpoints).to(device),
            superpoint_count=len(names),
            mask_of=torch.from_numpy(mask_of).to(device),
            point_of=torch.from_numpy(point_of[point_of >= 0]).to(device),
            mask_count=len(kept),
        )


def _float(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).float()


def data_root() -> Path:
    """Where generated data and caches live: $GEOGUIDE_DATA, else `data/` of the project (or working) folder."""
    return default_mini_root().parent


def fingerprint(scene: Scene) -> str:
    """Twelve hex digits of a scene's content: geometry, colours, labels, frames' poses and pixels on disk."""
    digest = hashlib.sha256()
    for array in (scene.points, scene.colors, scene.labels, scene.instances):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    for view in scene.views:
        digest.update(np.ascontiguousarray(view.cam_to_world, np.float64).tobytes())
        for path in view.pixel_files:
            digest.update(b"-" if path is None else f"{path.name} {path.stat().st_size}".encode())
    return digest.hexdigest()[:12]


def prepare(scene: Scene, config: ExperimentConfig, cache: Path | None = None) -> PreparedScene:
    """Run every frozen stage on a scene, or read it from `cache` (default: data root / cache)."""
    return _prepared(_about(scene), lambda: scene, None, config, cache or data_root() / "cache")


def prepare_source(source: SceneSource, config: ExperimentConfig, cache: Path | None = None) -> PreparedScene:
    """As `prepare`; the scene is read only where its files have changed or a stage is missing."""
    cache = cache or data_root() / "cache"
    index = cache / "sources" / f"{source.stamp()}.json"
    load = functools.cache(source.load)
    about = _read_about(index)
    if about is None:
        about = _about(load())
        with replacing(index) as temporary:
            temporary.write_text(json.dumps(about))
    return _prepared(about, load, source, config, cache)


def _about(scene: Scene) -> dict[str, str]:
    return {"name": scene.name, "source": scene.source, "fingerprint": fingerprint(scene)}


def _read_about(path: Path) -> dict[str, str] | None:
    """None where the file is missing or damaged: the scene is then read."""
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) and about.keys() == {"name", "source", "fingerprint"} else None


def _prepared(
    about: dict[str, str],
    load: Callable[[], Scene],
    source: SceneSource | None,
    config: ExperimentConfig,
    cache: Path,
) -> PreparedScene:
    folder = cache / f"{about['name']}-{about['fingerprint']}"

    def stage(kind: str, settings: object, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        text = json.dumps([_VERSIONS[kind], settings], sort_keys=True)
        return _cached(folder, f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}", compute)

    plain = stage("scene", None, lambda: _arrays(load()))
    superpoints = stage("superpoints", to_dict(config.superpoints), lambda: _superpoints(load(), config))["superpoints"]
    count = len(plain["points"])
    lifted: dict[str, Any]
    if config.data.features is None:
        lifted = stage("lifted", _lifting_settings(config), lambda: _lifted(load(), config, source))
    elif source is None:
        raise ConfigError("data.features: fused features belong to a scene of a dataset; use prepare_source")
    else:
        lifted = {"lifted": StreamedFeatures(fused_files(source), count), "views": None}
    geometry = stage("geometry", backbones.identity(config.backbone), lambda: _geometry(load(), config))
    masks = stage(
        "masks", [to_dict(config.masks), to_dict(config.superpoints)], lambda: _masks(load(), config, superpoints)
    )
    return PreparedScene(
        **about,
        points=plain["points"],
        colors=plain["colors"],
        labels=plain.get("labels"),
        instances=plain.get("instances"),
        geometry=IndexedRows(**geometry) if "index" in geometry else geometry["rows"],
        lifted=lifted["lifted"],
        views=lifted["views"],
        superpoints=superpoints,
        masks=InstanceMasks(masks["index"], masks["offsets"], count, masks.get("scores")),
        frames=(int(plain["frames"][0]), int(plain["frames"][1])),
        origin=source,
    )


def _lifting_settings(config: ExperimentConfig) -> list[object]:
    data, lifting = config.data, to_dict(config.lifting, hashed_only=True)
    settings = [to_dict(config.teacher), lifting, data.frame_skip, teacher_label_set(data)]
    return settings if data.image_size is None else [*settings, data.image_size]


class PreparedScenes(Sequence[PreparedScene]):
    """The prepared scenes of a split, opened when asked for; at most `KEPT` stay open.

    Positions only, no slices. Opening one that is all in the cache takes a few milliseconds.
    """

    def __init__(self, sources: Sequence[SceneSource], config: ExperimentConfig) -> None:
        self.sources = tuple(sources)
        self._open = functools.lru_cache(KEPT)(lambda number: prepare_source(self.sources[number], config))

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> PreparedScene:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self._open(number)


def prepare_split(config: ExperimentConfig, split: str, *, workers: int = 1, progress: bool = True) -> PreparedScenes:
    """Every scene of a split; stages that are missing are computed now, by `workers` processes."""
    sources = list_sources(config.data, split)
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


def _cached(folder: Path, stem: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of one stage, one .npy each, and their list written last; anything missing or unreadable is rebuilt."""
    index = folder / f"{stem}.json"
    if index.is_file():
        try:
            names = json.loads(index.read_text())
            return {name: _map(folder / f"{stem}.{name}.npy") for name in names}
        except (OSError, ValueError) as error:
            tqdm.write(f"{index}: cache entry unreadable ({error}), computing it again")
    arrays = compute()
    for name, array in arrays.items():
        with replacing(folder / f"{stem}.{name}.npy") as temporary:
            np.save(temporary, array)
    with replacing(index) as temporary:
        temporary.write_text(json.dumps(sorted(arrays)))
    return {name: _map(folder / f"{stem}.{name}.npy") for name in arrays}


def _arrays(scene: Scene) -> dict[str, np.ndarray]:
    lost = sum(not view.has_pose for view in scene.views)
    found = {"points": scene.points, "colors": scene.colors, "labels": scene.labels, "instances": scene.instances}
    found["frames"] = np.array([len(scene.views), lost])
    return {name: array for name, array in found.items() if array is not None}


def _map(path: Path) -> np.ndarray:
    """A plain array over the mapped file: nothing is read until it is used."""
    return np.asarray(np.load(path, mmap_mode="r"))


def _normals(scene: Scene) -> np.ndarray:
    return scene.normals if scene.normals is not None else estimate_normals(scene.points)


def scene_superpoints(scene: Scene, config: SuperpointConfig) -> np.ndarray:
    """int64 [P]: on the mesh where the scene has faces, otherwise on a kNN graph."""
    if scene.faces is not None and len(scene.faces):
        return segment_mesh(scene.points, scene.faces, k=config.k, min_size=config.min_size)
    return segment_points(scene.points, scene.normals, k=config.k, min_size=config.min_size)


def _superpoints(scene: Scene, config: ExperimentConfig) -> dict[str, np.ndarray]:
    return {"superpoints": scene_superpoints(scene, config.superpoints)}


def make_teacher(config: ExperimentConfig, source: SceneSource | None = None) -> SimulatedTeacher:
    """The 2D model of a config; source: one of its scenes, whose dataset may say what its label images mean."""
    labels = load_label_set(teacher_label_set(config.data))
    to_class = None if source is None else source.label_image_classes(labels.name)
    return SimulatedTeacher(config.teacher, TextEncoder().encode(labels.names), labels, to_class=to_class)


def lift(scene: Scene, features: Iterable[np.ndarray], config: LiftingConfig) -> tuple[np.ndarray, np.ndarray]:
    """Mean feature float32 [P, C] and number of frames int64 [P] of every point, by the config's rule."""
    occlusion = {"depth": True, "splat": "splat", "none": False}[config.occlusion]
    return fuse(
        scene.points,
        scene.views,
        features,
        depth_tolerance=config.depth_tolerance,
        border=config.border,
        use_depth=occlusion,
    )


def _lifted(scene: Scene, config: ExperimentConfig, source: SceneSource | None) -> dict[str, np.ndarray]:
    if scene.source != "mini":
        raise ConfigError(
            f"data.features: real data ({scene.name}) needs a folder of fused 2D features below data.root; the "
            "simulated teacher knows generated scenes only"
        )
    mean, count = lift(scene, make_teacher(config, source).features(scene), config.lifting)
    return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}


def _geometry(scene: Scene, config: ExperimentConfig) -> dict[str, np.ndarray]:
    """The frozen features float16, each different row once where points share them (voxels of a coarse level)."""
    rows = backbones.open_backbone(config.backbone).encode(scene).astype(np.float16)
    return IndexedRows.compress(rows)


def _masks(scene: Scene, config: ExperimentConfig, superpoints: np.ndarray) -> dict[str, np.ndarray]:
    if config.masks.source == "annotation":
        if scene.instances is None:
            raise DataError(f"scene {scene.name}: masks.source 'annotation' needs instance annotations, found none")
        masks = InstanceMasks.from_labels(scene.instances)
    else:
        masks = segment_instances(scene.points, _normals(scene), np.asarray(superpoints), config.masks.geometry)
    found = {"index": masks.index, "offsets": masks.offsets, "scores": masks.scores}
    return {name: array for name, array in found.items() if array is not None}
