"""Rooms to pretrain on: the meshes of generated rooms alone, without labels or frames, and never one evaluated on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.datasets import scannet
from geoguide.datasets.formats.files import MINI_STAMP, provenance_of, read_json
from geoguide.datasets.formats.ply import checked_points, read_ply, vertex_columns, vertex_normals
from geoguide.errors import DataError
from geoguide.ops.colors import unit_colors
from geoguide.paths import generated_folder
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.views import Cloud
from geoguide.scene import Scene
from geoguide.welding import finder
from geoguide.worlds.jobs import MANIFEST
from geoguide.worlds.rooms.make import make_mini_scannet

FOLDER = "mini-scannet-pretrain"
Identity = tuple[int, str, int]  # seed, split, number


def make_rooms(config: PretrainConfig, extra: Path | None = None, *, workers: int | None = None) -> list[Path]:
    """Make the pretraining rooms where they are missing: training rooms of mini-ScanNet, and more of their kind.

    Args:
        config: How many of each, of which edition, and the seed of the others.
        extra: Folder of the others, by default the edition's of `mini-scannet-pretrain` (see `geoguide.paths`).
        workers: Number of processes; None for as many as cores and memory allow.

    Returns:
        The rooms' folders, those of mini-ScanNet first.

    Raises:
        DataError: mini-ScanNet has too few training rooms, or a room is one of its validation or test rooms.
    """
    benchmark, folders = generated_folder("mini-scannet", config.edition), []
    if config.benchmark_rooms and not (benchmark / MANIFEST).is_file():  # any complete set will do, whatever its size
        make_mini_scannet(benchmark, edition=config.edition, workers=workers)
    if config.benchmark_rooms:
        folders = list(scannet.list_scenes(benchmark, "train")[: config.benchmark_rooms])
    if len(folders) < config.benchmark_rooms:
        raise DataError(f"{benchmark}: benchmark_rooms={config.benchmark_rooms} training rooms, found {len(folders)}")
    if config.rooms:
        folder, seed = extra or generated_folder(FOLDER, config.edition), config.room_seed
        root = make_mini_scannet(folder, rooms=(config.rooms, 0, 0), seed=seed, edition=config.edition, workers=workers)
        folders += scannet.list_scenes(root, "train")[: config.rooms]
    if not (benchmark / MANIFEST).is_file():
        return folders
    made = [benchmark / "scans" / name for name in read_json(benchmark / MANIFEST, {"scenes": dict})["scenes"]]
    check_disjoint(map(identity, folders), [folder for folder in made if identity(folder)[1] != "train"])
    return folders


def identity(folder: Path) -> Identity:
    """What a generated room is a function of.

    Args:
        folder: The room's folder.

    Returns:
        (seed, split, number).

    Raises:
        DataError: It is no generated room.
    """
    made = read_json(folder / MINI_STAMP, {"recipe": dict})["recipe"]
    lacking = next((name for name in ("seed", "split", "number") if name not in made), None)
    if lacking is not None:
        raise DataError(f"{folder / MINI_STAMP}: field 'recipe' has no {lacking}")
    return made["seed"], made["split"], made["number"]


def check_disjoint(pretraining: Iterable[Identity], evaluation: Iterable[Path]) -> None:
    """Make sure that no room is evaluated on that was pretrained on, wherever it lies.

    Args:
        pretraining: (seed, split, number) of the rooms pretrained on.
        evaluation: Folders of the rooms to evaluate on.

    Raises:
        DataError: One of these was pretrained on; the message names the first.
    """
    seen = set(pretraining)
    for folder in evaluation:
        if identity(folder) in seen:
            raise DataError(f"{folder}: evaluated on, but pretrained on as seed, split, number {identity(folder)}")


def read_cloud(folder: Path, *, described: bool = False) -> Cloud:
    """Read a room's mesh; its labels, annotation and frames are not opened.

    Args:
        folder: The room's folder.
        described: Whether hand-made descriptors are computed too, which takes one to two seconds a room.

    Returns:
        The mesh's vertices with colours and normals.

    Raises:
        DataError: The mesh is not readable, or without faces or colours.
    """
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if faces is None or rgb is None:
        raise DataError(f"{path}: {'faces' if faces is None else 'vertex colours'} are missing")
    provenance = provenance_of(folder)
    normals = vertex_normals(points, faces, finder(provenance))
    colors = np.ascontiguousarray(unit_colors(rgb)[0])
    if not described:
        return Cloud(points, colors, normals)
    room = Scene(folder.name, points, colors, normals, faces, provenance=provenance)
    descriptors = DescriptorBackbone().encode(room)
    return Cloud(points, colors, normals, descriptors.astype(np.float16))
