"""nuScenes with lidarseg labels and its generated twin, streets."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geoguide.benchmarks.definition import Benchmark, FileKind, OpenSceneRecipe, World
from geoguide.datasets import nuscenes
from geoguide.datasets.check.folder import Kind
from geoguide.datasets.check.nuscenes import check_nuscenes, is_nuscenes
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import listed
from geoguide.datasets.formats.nuscenes_tables import LIDAR, Tables
from geoguide.datasets.sources import SceneSource
from geoguide.datasets.splits import USUAL, load_split
from geoguide.errors import ConfigError, DataError
from geoguide.lifting import LiftingConfig
from geoguide.scene import Scene
from geoguide.worlds.streets.make import COUNTS, make_mini_nuscenes

LABEL_SET = "nuscenes16"


@dataclass(frozen=True)
class NuScenesSample(SceneSource):
    """A key frame of the tables in `path`.

    Attributes:
        scene: The drive's name.
        sample: The key frame's token.
    """

    scene: str
    sample: str

    @property
    def name(self) -> str:
        """Drive and token."""
        return f"{self.scene}_{self.sample}"

    @property
    def listed_as(self) -> str:
        """The drive."""
        return self.scene

    def _read(self, labels: str) -> Scene:
        if labels != LABEL_SET:
            raise ConfigError(f"nuScenes' label set is {LABEL_SET!r}, found {labels!r}")
        return nuscenes.load_sample(_tables(self.path), self.sample, image_size=self.data.image_size)

    def files(self) -> Iterable[Path]:
        """List what a change of which makes the scene another.

        Returns:
            LiDAR, images, labels, and the tables of poses.
        """
        tables = _tables(self.path)
        frames = tables.frames.get(self.sample, {})
        yield from (tables.root / frame["filename"] for frame in frames.values())
        if tables.label_files is not None and LIDAR in frames:
            yield tables.root / tables.label_files[frames[LIDAR]["token"]]
        yield from (tables.path(name) for name in ("calibrated_sensor", "ego_pose"))


def _list_official(root: Path, data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    version = _version(root)
    tables = _tables(version)
    stored = f"mini_{split}" if version.name == "v1.0-mini" else split
    return tuple(
        NuScenesSample(version, stored, data, scene, sample)
        for scene in nuscenes.list_scenes(tables, stored)
        for sample in nuscenes.list_samples(tables, scene)
    )


def _list_all(root: Path, data: DataConfig) -> tuple[SceneSource, ...]:
    version = _version(root)
    tables = _tables(version)
    splits = ("mini_train", "mini_val") if version.name == "v1.0-mini" else USUAL
    split_of = {scene: split for split in splits for scene in load_split("nuscenes", split)}
    return tuple(
        NuScenesSample(version, split_of.get(scene, splits[0]), data, scene, sample)
        for scene in nuscenes.list_scenes(tables)
        for sample in nuscenes.list_samples(tables, scene)
    )


def _version(root: Path) -> Path:
    """The folder of the tables: v1.0-trainval where there are several."""
    found = sorted(path for path in root.glob("v1.0-*") if path.is_dir())
    if not found:
        raise DataError(f"{root}: holds no tables of nuScenes (v1.0-trainval, v1.0-mini)")
    found = [path for path in found if (path / "sample.json").is_file()] or found  # archives have such names too
    return next((path for path in found if path.name == "v1.0-trainval"), found[0])


def _tables(folder: Path) -> Tables:
    """The tables in a folder, kept until one of its files is another."""
    stats = ((path.name, path.stat()) for path in listed(folder, "*.json"))
    return _read(folder, tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats))


@functools.lru_cache(maxsize=2)
def _read(folder: Path, _written: tuple[tuple[str, int, int, int], ...]) -> Tables:
    return nuscenes.read_tables(folder.parent, folder.name)


ABOUT = (
    "Drives along streets with moving traffic, recorded by a simulated spinning LiDAR and six cameras, every ray cast "
    "at its own time; key frames with a label for each LiDAR point. In the layout of nuScenes with nuScenes-lidarseg."
)
LIMITS = "There are no sweeps between key frames and no radar. Nothing about safety in traffic can be learned from it."
FILES = (
    FileKind("tables", "nuScenes' tables, and the splits", "application/json", "v1.0-streets/*.json"),
    FileKind(
        "sweeps", "LiDAR sweep, float32 x y z intensity ring", "application/octet-stream", "samples/LIDAR_TOP/*.bin"
    ),
    FileKind(
        "labels", "Category of each LiDAR point, uint8", "application/octet-stream", "lidarseg/v1.0-streets/*.bin"
    ),
    FileKind("images", "Colour image of a camera", "image/jpeg", "samples/CAM_*/*.jpg"),
    FileKind("depth", "True depth of each pixel, uint16, 256 a metre", "image/png", "mini/*/depth/*.png"),
    FileKind("label-images", "Challenge id of each pixel, 0 none", "image/png", "mini/*/label/*.png"),
    FileKind("instance-images", "Object of each pixel", "image/png", "mini/*/instance/*.png"),
    FileKind("maps", "The image that the table of maps names", "image/png", "maps/*.png"),
    FileKind("scene-tables", "The rows of a drive", "application/json", "mini/*/tables.json"),
    FileKind("stamps", "Recipe and fingerprint of a drive", "application/json", "mini/*/mini.json"),
    FileKind("mark", "Says that the set is generated", "application/json", "mini.json"),
)

BENCHMARK = Benchmark(
    name="nuscenes",
    title="nuScenes",
    label_set=LABEL_SET,
    kind=Kind("nuScenes, official layout", is_nuscenes, check_nuscenes),
    has_official_layout=lambda root: any(root.glob("v1.0-*")),
    list_official=_list_official,
    list_all=_list_all,
    withholds_test=True,
    room=lambda frame: frame.scene if isinstance(frame, NuScenesSample) else frame.name,
    drawn_with=lambda name: name.partition("_")[0],  # scene-0103 of scene-0103_<token>
    openscene=OpenSceneRecipe(
        LiftingConfig(border=5, occlusion="none"), voxel=0.05, scenes_per_step=16, folder="nuscenes_3d", fused=".pt"
    ),
    citation="Caesar et al., nuScenes: A multimodal dataset for autonomous driving, CVPR 2020",
    world=World(
        title="mini-nuScenes",
        place="streets",
        unit="scenes",
        editions=COUNTS,
        make=lambda root, counts, seed, workers, edition: make_mini_nuscenes(
            root, scenes=counts, seed=seed, edition=edition, workers=workers
        ),
        lifting=LiftingConfig(occlusion="none"),  # as OpenScene on nuScenes
        about=ABOUT,
        limits=LIMITS,
        files=FILES,
        severity=0.9,
        image_size=(180, 320),
    ),
    entire_network_seeds=2,
)
