"""Rooms to pretrain on: the meshes of generated rooms alone, no label, no frame; never a room that is evaluated on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.datasets import scannet
from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.formats.ply import checked_points, read_ply, vertex_columns, vertex_normals
from geoguide.errors import DataError
from geoguide.paths import data_root
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.views import Cloud
from geoguide.scene import Scene, unit_colors
from geoguide.worlds.jobs import MANIFEST
from geoguide.worlds.rooms.make import make_mini_scannet

FOLDER = "mini-scannet-pretrain"
Identity = tuple[int, str, int]  # seed, split, number


def make_rooms(config: PretrainConfig, extra: Path | None = None, *, workers: int | None = None) -> list[Path]:
    """Folders of the pretraining rooms: training rooms of mini-ScanNet, then others; generated where missing.

    extra: where the others lie, by default data root / mini-scannet-pretrain. Raises DataError where one of them is a
    validation or test room of mini-ScanNet (see `check_disjoint`).
    """
    benchmark = data_root() / "mini-scannet"
    if not (benchmark / MANIFEST).is_file():  # any complete set will do, whatever its size
        make_mini_scannet(benchmark, workers=workers)
    folders = list(scannet.list_scenes(benchmark, "train")[: config.benchmark_rooms])
    if len(folders) < config.benchmark_rooms:
        raise DataError(f"{benchmark}: benchmark_rooms={config.benchmark_rooms} training rooms, found {len(folders)}")
    if config.rooms:
        root = make_mini_scannet(
            extra or data_root() / FOLDER, rooms=(config.rooms, 0, 0), seed=config.room_seed, workers=workers
        )
        folders += scannet.list_scenes(root, "train")[: config.rooms]
    made = [benchmark / "scans" / name for name in read_json(benchmark / MANIFEST, ("scenes",))["scenes"]]
    check_disjoint(map(identity, folders), [folder for folder in made if identity(folder)[1] != "train"])
    return folders


def identity(folder: Path) -> Identity:
    """(seed, split, number) of a generated room, of which it is a function. Raises DataError where it is none."""
    made = read_json(folder / MINI_STAMP, ("recipe",))["recipe"]
    return made["seed"], made["split"], made["number"]


def check_disjoint(pretraining: Iterable[Identity], evaluation: Iterable[Path]) -> None:
    """Raise DataError naming the first room of `evaluation` that is one of `pretraining`, wherever it lies."""
    seen = set(pretraining)
    for folder in evaluation:
        if identity(folder) in seen:
            raise DataError(f"{folder}: evaluated on, but pretrained on as seed, split, number {identity(folder)}")


def read_cloud(folder: Path, *, described: bool = False) -> Cloud:
    """The mesh's vertices with colours and normals; labels, annotation and frames are not opened. Raises DataError.

    described: with hand-made descriptors too, which takes one to two seconds a room.
    """
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if faces is None or rgb is None:
        raise DataError(f"{path}: {'faces' if faces is None else 'vertex colours'} are missing")
    normals = vertex_normals(points, faces)
    colors = np.ascontiguousarray(unit_colors(rgb))
    if not described:
        return Cloud(points, colors, normals)
    descriptors = DescriptorBackbone().encode(Scene(folder.name, points, colors, normals, faces=faces))
    return Cloud(points, colors, normals, descriptors.astype(np.float16))
