"""ScanNet v2 and its generated twin, rooms."""

from collections.abc import Iterable
from pathlib import Path

from geoguide.benchmarks.definition import Benchmark, OpenSceneRecipe, World
from geoguide.datasets import scannet
from geoguide.datasets.check.folder import Kind
from geoguide.datasets.check.scannet import check_scannet, is_scannet
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import listed
from geoguide.datasets.sources import SceneSource
from geoguide.lifting import LiftingConfig
from geoguide.scene import Scene
from geoguide.worlds.rooms.make import COUNTS, make_mini_scannet
from geoguide.worlds.rooms.recordings import write_recordings


class ScanNetScene(SceneSource):
    """`scans/sceneXXXX_XX`."""

    def _read(self, labels: str) -> Scene:
        data = self.data
        return scannet.load_scene(self.path, labels=labels, frame_skip=data.frame_skip, image_size=data.image_size)

    def files(self) -> Iterable[Path]:
        """List what a change of which makes the scene another.

        Returns:
            Everything in the folder.
        """
        return listed(self.path, "**/*")


def _list_official(root: Path, data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    return tuple(ScanNetScene(folder, split, data) for folder in scannet.list_scenes(root, split))


def _list_all(root: Path, data: DataConfig) -> tuple[SceneSource, ...]:
    return tuple(ScanNetScene(folder, split, data) for folder, split in scannet.all_scenes(root).items())


BENCHMARK = Benchmark(
    name="scannet",
    title="ScanNet v2",
    label_set="scannet20",
    kind=Kind("ScanNet v2, official layout", is_scannet, check_scannet),
    has_official_layout=lambda root: (root / "scans").is_dir(),
    list_official=_list_official,
    list_all=_list_all,
    withholds_test=True,
    room=lambda scan: scan.name.split("_")[0],  # scene0000 of scene0000_01
    openscene=OpenSceneRecipe(LiftingConfig(0.25, 10), voxel=0.02, scenes_per_step=8, folder="scannet_3d"),
    world=World(
        title="mini-ScanNet",
        place="rooms",
        unit="rooms",
        editions=COUNTS,
        lifting=LiftingConfig(),
        make=lambda root, counts, seed, workers, edition: make_mini_scannet(
            root, rooms=counts, seed=seed, edition=edition, workers=workers
        ),
        recordings=write_recordings,
    ),
)
