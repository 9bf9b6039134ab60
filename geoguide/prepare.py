"""From a `Scene` to what training and evaluation read: frozen features, lifted features, superpoints, masks; cached.

The same function prepares scenes for both. Each stage is one memory-mapped .npy file named by scene content and stage
config, so changing the teacher does not recompute the backbone, and a killed run leaves no half-written file behind.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from geoguide import backbones
from geoguide.config import ExperimentConfig, SuperpointConfig, to_dict
from geoguide.datasets import scannet
from geoguide.datasets.mini.write import default_mini_root, make_mini_scannet
from geoguide.errors import ConfigError, DataError
from geoguide.files import replacing
from geoguide.instances import InstanceMasks, segment_instances
from geoguide.labels import load_label_set
from geoguide.lifting import fuse
from geoguide.objective import Batch
from geoguide.scene import Scene
from geoguide.superpoints import estimate_normals, segment_mesh, segment_points
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text import TextEncoder

# Raise a stage's number when its code changes what it computes: cached files of the old number are then not used.
_VERSIONS = {"geometry": 2, "lifted": 1, "superpoints": 1, "masks": 1}


@dataclass(frozen=True, eq=False)
class PreparedScene:
    """One scene's inputs, memory-mapped.

    points, colors float32 [P, 3]; labels, instances int64 [P] or None; geometry float16 [P, C1]; lifted float16 [P, C]
    (zero where unseen); views int32 [P], frames that see each point; superpoints int64 [P]; masks: class-agnostic
    instances.
    """

    name: str
    source: str
    fingerprint: str
    points: np.ndarray
    colors: np.ndarray
    labels: np.ndarray | None
    instances: np.ndarray | None
    geometry: np.ndarray
    lifted: np.ndarray
    views: np.ndarray
    superpoints: np.ndarray
    masks: InstanceMasks

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, chosen: np.ndarray, device: torch.device) -> Batch:
        """The points `chosen` (sorted int64 [p]) as a training batch; superpoints and masks are renumbered.

        Cost O(P + mask entries) integers and O(p (C + C1)) floats, whatever the scene's size.
        """
        position = np.full(len(self.points), -1, np.int64)
        position[chosen] = np.arange(len(chosen))
        names, superpoints = np.unique(self.superpoints[chosen], return_inverse=True)
        mask_of = np.repeat(np.arange(len(self.masks)), np.diff(self.masks.offsets))
        point_of = position[self.masks.index]
        kept, mask_of = np.unique(mask_of[point_of >= 0], return_inverse=True)
        return Batch(
            geometry=_float(self.geometry[chosen], device),
            lifted=_float(self.lifted[chosen], device),
            seen=torch.from_numpy(self.views[chosen] > 0).to(device),
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


def scene_folders(config: ExperimentConfig, split: str) -> tuple[Path, ...]:
    """Scene folders of a split; mini data is generated first where it is missing."""
    data = config.data
    if data.dataset == "mini-scannet":
        root = make_mini_scannet(data.root, rooms=data.rooms, seed=data.room_seed)
    elif data.root is None:
        raise ConfigError(f"data.root must name the folder of {data.dataset}")
    else:
        root = Path(data.root)
    return scannet.list_scenes(root, split)


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
    name = fingerprint(scene)
    folder = (cache or data_root() / "cache") / f"{scene.name}-{name}"

    def stage(kind: str, settings: object, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        text = json.dumps([_VERSIONS[kind], settings], sort_keys=True)
        return _cached(folder, f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:10]}", compute)

    superpoints = stage("superpoints", to_dict(config.superpoints), lambda: _superpoints(scene, config))["superpoints"]
    lifted = stage(
        "lifted",
        [to_dict(config.teacher), to_dict(config.lifting), config.data.frame_skip, config.data.label_set],
        lambda: _lifted(scene, config),
    )
    geometry = stage("geometry", backbones.identity(config.backbone), lambda: _geometry(scene, config))["geometry"]
    masks = stage(
        "masks", [to_dict(config.masks), to_dict(config.superpoints)], lambda: _masks(scene, config, superpoints)
    )
    return PreparedScene(
        name=scene.name,
        source=scene.source,
        fingerprint=name,
        points=scene.points,
        colors=scene.colors,
        labels=scene.labels,
        instances=scene.instances,
        geometry=geometry,
        lifted=lifted["lifted"],
        views=lifted["views"],
        superpoints=np.asarray(superpoints),
        masks=InstanceMasks(np.asarray(masks["index"]), np.asarray(masks["offsets"]), len(scene), masks.get("scores")),
    )


def prepare_split(
    config: ExperimentConfig, split: str, *, workers: int = 1, progress: bool = True
) -> list[PreparedScene]:
    """Every scene of a split. Missing stages are computed by `workers` processes first, then all are mapped here."""
    folders = scene_folders(config, split)
    if not folders:
        raise DataError(f"split {split!r} of {config.data.dataset} holds no scene")
    if workers > 1:
        with ProcessPoolExecutor(
            workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            jobs = pool.map(_prepare_folder, folders, [config] * len(folders))
            _drain(tqdm(jobs, f"prepare {split}", len(folders), disable=not progress))
    return [_prepare_folder(f, config) for f in tqdm(folders, f"prepare {split}", disable=not progress or workers > 1)]


def _drain(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _prepare_folder(folder: Path, config: ExperimentConfig) -> PreparedScene:
    scene = scannet.load_scene(folder, labels=config.data.label_set, frame_skip=config.data.frame_skip)
    return prepare(scene, config)


def _cached(folder: Path, stem: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of one stage, one .npy each, and their list written last; anything missing or unreadable is rebuilt."""
    index = folder / f"{stem}.json"
    if index.is_file():
        try:
            names = json.loads(index.read_text())
            return {name: np.load(folder / f"{stem}.{name}.npy", mmap_mode="r") for name in names}
        except (OSError, ValueError) as error:
            tqdm.write(f"{index}: cache entry unreadable ({error}), computing it again")
    arrays = compute()
    for name, array in arrays.items():
        with replacing(folder / f"{stem}.{name}.npy") as temporary:
            np.save(temporary, array)
    with replacing(index) as temporary:
        temporary.write_text(json.dumps(sorted(arrays)))
    return {name: np.load(folder / f"{stem}.{name}.npy", mmap_mode="r") for name in arrays}


def _normals(scene: Scene) -> np.ndarray:
    return scene.normals if scene.normals is not None else estimate_normals(scene.points)


def scene_superpoints(scene: Scene, config: SuperpointConfig) -> np.ndarray:
    """int64 [P]: on the mesh where the scene has faces, otherwise on a kNN graph."""
    if scene.faces is not None and len(scene.faces):
        return segment_mesh(scene.points, scene.faces, k=config.k, min_size=config.min_size)
    return segment_points(scene.points, scene.normals, k=config.k, min_size=config.min_size)


def _superpoints(scene: Scene, config: ExperimentConfig) -> dict[str, np.ndarray]:
    return {"superpoints": scene_superpoints(scene, config.superpoints)}


def make_teacher(config: ExperimentConfig) -> SimulatedTeacher:
    labels = load_label_set(config.data.label_set)
    return SimulatedTeacher(config.teacher, TextEncoder().encode(labels.names), labels)


def _lifted(scene: Scene, config: ExperimentConfig) -> dict[str, np.ndarray]:
    mean, count = fuse(
        scene.points,
        scene.views,
        make_teacher(config).features(scene),
        depth_tolerance=config.lifting.depth_tolerance,
        border=config.lifting.border,
    )
    return {"lifted": np.asarray(mean, np.float16), "views": np.asarray(count, np.int32)}


def _geometry(scene: Scene, config: ExperimentConfig) -> dict[str, np.ndarray]:
    return {"geometry": backbones.open_backbone(config.backbone).encode(scene).astype(np.float16)}


def _masks(scene: Scene, config: ExperimentConfig, superpoints: np.ndarray) -> dict[str, np.ndarray]:
    if config.masks.source == "annotation":
        if scene.instances is None:
            raise DataError(f"scene {scene.name}: masks.source 'annotation' needs instance annotations, found none")
        masks = InstanceMasks.from_labels(scene.instances)
    else:
        masks = segment_instances(scene.points, _normals(scene), np.asarray(superpoints), config.masks.geometry)
    found = {"index": masks.index, "offsets": masks.offsets, "scores": masks.scores}
    return {name: array for name, array in found.items() if array is not None}
