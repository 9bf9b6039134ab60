"""Streets to pretrain on: the LiDAR sweeps of generated streets alone, without labels or images."""

from pathlib import Path

import numpy as np

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.datasets import nuscenes
from geoguide.datasets.formats.nuscenes_tables import MINI_HOME, Tables, read_tables
from geoguide.datasets.points import grey_colors
from geoguide.paths import data_root
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.views import Cloud
from geoguide.scene import Scene
from geoguide.superpoints import scene_normals
from geoguide.worlds.streets.make import make_mini_nuscenes
from geoguide.worlds.streets.official import STREETS_VERSION

FOLDER = "mini-nuscenes-pretrain"


def make_streets(config: PretrainConfig, folder: Path | None = None, *, workers: int | None = None) -> list[Path]:
    """Make the pretraining streets where they are missing, with a seed that is no benchmark's.

    Args:
        config: How many, and their seed.
        folder: Where, by default `mini-nuscenes-pretrain` in the data folder (see `geoguide.paths`).
        workers: Number of processes; None for as many as cores and memory allow.

    Returns:
        The folder of each street's stamp (`rooms.identity` reads it), in order.
    """
    root = folder or data_root() / FOLDER
    make_mini_nuscenes(root, scenes=(config.rooms, 0, 0), seed=config.room_seed, workers=workers)
    return [root / MINI_HOME / name for name in nuscenes.list_scenes(read_tables(root, STREETS_VERSION))]


def read_sweeps(folder: Path, *, described: bool = False) -> list[Cloud]:
    """Read the key frames of a street; labels, annotation and images are not opened.

    Args:
        folder: One that `make_streets` returns.
        described: Whether hand-made descriptors are computed too.

    Returns:
        A cloud for each key frame: constant grey, with estimated normals, as the mini benchmark's
        scenes come to a backbone.

    Raises:
        DataError: A file is missing or broken.
    """
    tables = read_tables(folder.parent.parent, STREETS_VERSION)
    return [_cloud(tables, sample, described) for sample in nuscenes.list_samples(tables, folder.name)]


def _cloud(tables: Tables, sample: str, described: bool) -> Cloud:
    points = nuscenes.load_sweep(tables, sample)
    colors = grey_colors(len(points))
    scene = Scene(sample, points, colors, provenance=tables.provenance)
    descriptors = DescriptorBackbone().encode(scene).astype(np.float16) if described else None
    return Cloud(points, colors, scene_normals(scene), descriptors)
