"""ScanNet v2 and its generated twin, rooms."""

from collections.abc import Iterable
from pathlib import Path

from geoguide.benchmarks.definition import Benchmark, FileKind, OpenSceneRecipe, World
from geoguide.datasets import pointcept, scannet
from geoguide.datasets.check.folder import Kind
from geoguide.datasets.check.scannet import check_scannet, is_scannet
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import listed
from geoguide.datasets.sources import SceneSource
from geoguide.datasets.splits import USUAL
from geoguide.errors import DataError
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


class PointceptScene(SceneSource):
    """`{train, val, test}/sceneXXXX_XX` as Pointcept preprocesses it, without frames."""

    def _read(self, labels: str) -> Scene:
        return pointcept.load_scene(self.path, labels=labels)

    def files(self) -> Iterable[Path]:
        """List what a change of which makes the scene another.

        Returns:
            Its arrays.
        """
        return listed(self.path, "*.npy")


def _has_scans(root: Path) -> bool:
    return any((root / name).is_dir() for name in ("scans", "scans_test"))


def _list_official(root: Path, data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    if _of_pointcept(root):
        return tuple(PointceptScene(folder, split, data) for folder in pointcept.list_scenes(root, split))
    return tuple(ScanNetScene(folder, split, data) for folder in scannet.list_scenes(root, split))


def _list_all(root: Path, data: DataConfig) -> tuple[SceneSource, ...]:
    if _of_pointcept(root):
        there = [split for split in USUAL if (root / split).is_dir()]
        found = {folder: split for split in there for folder in pointcept.list_scenes(root, split)}
        return tuple(PointceptScene(folder, split, data) for folder, split in found.items())
    return tuple(ScanNetScene(folder, split, data) for folder, split in scannet.all_scenes(root).items())


def _of_pointcept(root: Path) -> bool:
    """Whether the scenes are Pointcept's; `DataError` where the official ones are there too."""
    if pointcept.is_layout(root) and _has_scans(root):
        raise DataError(f"{root}: mixed layouts, holds ScanNet v2 as published and as Pointcept has it: split them")
    return pointcept.is_layout(root)


ABOUT = (
    "Furnished single rooms, scanned along a walk with a simulated hand-held RGB-D camera (sensor noise, holes, errors "
    "of the poses), fused to a mesh, and annotated from the true surfaces. In the layout of ScanNet v2."
)
LIMITS = (
    "Rooms are drawn by recipes of a few types, from furniture of shape programs; there are no people and no outdoors. "
    "In the small edition annotated objects are whole superpoints of ScanNet's rule, which are therefore pure."
)
_SCENE = "scans/scene*_*/"
FILES = (
    FileKind("split-lists", "Names of the scenes of a split, one a line", "text/plain", "scannetv2_*.txt"),
    FileKind(
        "categories", "ScanNet's table of label names", "text/tab-separated-values", "scannetv2-labels.combined.tsv"
    ),
    FileKind("meshes", "Scanned mesh with colours, metres, z up", "model/ply", f"{_SCENE}*_vh_clean_2.ply"),
    FileKind("labels", "The mesh with a NYU40 label for each vertex", "model/ply", f"{_SCENE}*_vh_clean_2.labels.ply"),
    FileKind("segments", "Segment of each vertex", "application/json", f"{_SCENE}*.segs.json"),
    FileKind("objects", "Annotated objects as groups of segments", "application/json", f"{_SCENE}*.aggregation.json"),
    FileKind("scan-facts", "Size of the images, axis alignment", "text/plain", f"{_SCENE}scene*.txt"),
    FileKind("images", "Colour image of a frame", "image/jpeg", f"{_SCENE}color/*.jpg"),
    FileKind("depth", "Depth image of a frame, uint16 millimetres", "image/png", f"{_SCENE}depth/*.png"),
    FileKind("poses", "Camera to world, 4 x 4, metres", "text/plain", f"{_SCENE}pose/*.txt"),
    FileKind("intrinsics", "Matrices of the cameras, 4 x 4, pixels", "text/plain", f"{_SCENE}intrinsic/*.txt"),
    FileKind("label-images", "Label of each pixel, ids of the table", "image/png", f"{_SCENE}label-filt/*.png"),
    FileKind("instance-images", "Object of each pixel", "image/png", f"{_SCENE}instance-filt/*.png"),
    FileKind(
        "recordings", "The frames once more as ScanNet's recording", "application/octet-stream", f"{_SCENE}*.sens"
    ),
    FileKind("stamps", "Recipe and fingerprint of a scene", "application/json", f"{_SCENE}mini.json"),
)

BENCHMARK = Benchmark(
    name="scannet",
    title="ScanNet v2",
    label_set="scannet20",
    kind=Kind("ScanNet v2, official layout", is_scannet, check_scannet),
    has_official_layout=_has_scans,
    other_layout=pointcept.is_layout,
    list_official=_list_official,
    list_all=_list_all,
    withholds_test=True,
    room=lambda scan: scan.name.split("_")[0],  # scene0000 of scene0000_01
    drawn_with=lambda name: name.partition("_")[0],
    openscene=OpenSceneRecipe(LiftingConfig(0.25, 10), voxel=0.02, scenes_per_step=8, folder="scannet_3d"),
    citation="Dai et al., ScanNet: Richly-annotated 3D Reconstructions of Indoor Scenes, CVPR 2017",
    world=World(
        title="mini-ScanNet",
        place="rooms",
        unit="rooms",
        editions=COUNTS,
        lifting=LiftingConfig(),
        about=ABOUT,
        limits=LIMITS,
        files=FILES,
        make=lambda root, counts, seed, workers, edition: make_mini_scannet(
            root, rooms=counts, seed=seed, edition=edition, workers=workers
        ),
        recordings=write_recordings,
    ),
)
