"""Matterport3D and its generated twin, houses."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.benchmarks.definition import Benchmark, FileKind, OpenSceneRecipe, World
from geoguide.datasets import matterport3d
from geoguide.datasets.check.folder import Kind
from geoguide.datasets.check.matterport3d import check_matterport3d, is_matterport3d
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import listed, need_file
from geoguide.datasets.sources import SceneSource
from geoguide.lifting import LiftingConfig
from geoguide.scene import Scene
from geoguide.worlds.houses.make import COUNTS, make_mini_matterport3d

LABEL_SETS = ("matterport21", "matterport40", "matterport80", "matterport160")


@dataclass(frozen=True)
class MatterportRegion(SceneSource):
    """A region of the house `path`.

    Attributes:
        region: Its number.
        mapping: The official category_mapping.tsv.
    """

    region: int
    mapping: Path

    @property
    def name(self) -> str:
        """House and region."""
        return f"{self.path.name}_region{self.region}"

    @property
    def listed_as(self) -> str:
        """The house."""
        return self.path.name

    def _read(self, labels: str) -> Scene:
        size = self.data.image_size
        return matterport3d.load_region(
            self.path, self.region, mapping=self.mapping, labels=labels, split=self.split, image_size=size
        )

    def files(self) -> Iterable[Path]:
        """List what a change of which makes the scene another.

        Returns:
            The mapping, the region's segmentation and all images of the house.
        """
        yield self.mapping
        yield from (self.path / matterport3d.REGIONS).glob(f"region{self.region}.*")
        yield from listed(self.path, "undistorted_*/*")

    def label_image_classes(self, label_set: str) -> Callable[[np.ndarray], np.ndarray]:
        """How raw ids of label images, which are rows of the category mapping, become classes.

        Args:
            label_set: The classes' label set.

        Returns:
            Raw ids to 0..C-1 and 255, of arrays of any shape.
        """
        return matterport3d.label_image_classes(self.mapping, label_set)


def _list_official(root: Path, data: DataConfig, split: str) -> tuple[SceneSource, ...]:
    return _regions(root, data, dict.fromkeys(matterport3d.list_houses(root, split), split))


def _list_all(root: Path, data: DataConfig) -> tuple[SceneSource, ...]:
    return _regions(root, data, matterport3d.all_houses(root))


def _regions(root: Path, data: DataConfig, houses: dict[Path, str]) -> tuple[SceneSource, ...]:
    """The regions of houses, each with its split."""
    if not houses:  # the folder is a wrong one, which is to be said before what else it lacks
        return ()
    mapping = matterport3d.find_mapping(root) or need_file(root / matterport3d.MAPPING, "category mapping")
    return tuple(
        MatterportRegion(house, split, data, region, mapping)
        for house, split in houses.items()
        for region in matterport3d.list_regions(house)
    )


ABOUT = (
    "Furnished houses of several rooms, seen in panoramas from a simulated tripod with three tilted RGB-D cameras, "
    "fused to a mesh for each region and annotated with the long tail of category names. In the layout of Matterport3D."
)
LIMITS = "Where things of rare names stand, and how many, follows a table made by hand, not a survey of real houses."
_HOUSE = "v1/scans/*/"
FILES = (
    FileKind("split-lists", "Names of the houses of a split, one a line", "text/plain", "scenes_*.txt"),
    FileKind(
        "categories", "Matterport3D's table of category names", "text/tab-separated-values", "category_mapping.tsv"
    ),
    FileKind(
        "meshes", "Mesh of a region with colours, metres, z up", "model/ply", f"{_HOUSE}region_segmentations/*.ply"
    ),
    FileKind("segments", "Segment of each face", "application/json", f"{_HOUSE}region_segmentations/*.fsegs.json"),
    FileKind("objects", "Groups of segments", "application/json", f"{_HOUSE}region_segmentations/*.semseg.json"),
    FileKind("cameras", "Intrinsics and poses", "text/plain", f"{_HOUSE}undistorted_camera_parameters/*.conf"),
    FileKind("images", "Colour image of a frame", "image/jpeg", f"{_HOUSE}undistorted_color_images/*.jpg"),
    FileKind("depth", "Depth, uint16 quarters of a millimetre", "image/png", f"{_HOUSE}undistorted_depth_images/*.png"),
    FileKind("label-images", "Category of each pixel", "image/png", f"{_HOUSE}label_images/*.png"),
    FileKind("instance-images", "Object of each pixel", "image/png", f"{_HOUSE}instance_images/*.png"),
    FileKind("stamps", "Recipe and fingerprint of a house", "application/json", f"{_HOUSE}mini.json"),
)

BENCHMARK = Benchmark(
    name="matterport3d",
    title="Matterport3D",
    label_set=LABEL_SETS[0],
    more_label_sets=LABEL_SETS[1:],
    known_names=LABEL_SETS[-1],
    kind=Kind("Matterport3D, official layout", is_matterport3d, check_matterport3d),
    has_official_layout=lambda root: matterport3d.scans_folder(root) != root,
    list_official=_list_official,
    list_all=_list_all,
    withholds_test=False,
    room=lambda region: region.name,
    drawn_with=lambda name: name.partition("_region")[0],
    openscene=OpenSceneRecipe(LiftingConfig(0.02, 10), voxel=0.02, scenes_per_step=8, folder="matterport_3d"),
    citation="Chang et al., Matterport3D: Learning from RGB-D Data in Indoor Environments, 3DV 2017",
    world=World(
        title="mini-Matterport3D",
        place="houses",
        unit="houses",
        editions=COUNTS,
        make=lambda root, counts, seed, workers, edition: make_mini_matterport3d(
            root, houses=counts, seed=seed, edition=edition, workers=workers
        ),
        lifting=LiftingConfig(),  # OpenScene's 0.02 of the depth asks more of the mini camera's poses than they hold
        about=ABOUT,
        limits=LIMITS,
        files=FILES,
        severity=0.7,
    ),
)
