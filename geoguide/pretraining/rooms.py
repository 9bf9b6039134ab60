"""Rooms to pretrain on: the meshes of generated rooms alone, no label, no frame; never a room that is evaluated on."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets import scannet
from geoguide.datasets.mini.write import make_mini_scannet
from geoguide.datasets.reading import checked_points, read_json, read_ply, vertex_columns, vertex_normals
from geoguide.errors import DataError
from geoguide.prepare import data_root
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.views import Cloud
from geoguide.scene import unit_colors

FOLDER = "mini-scannet-pretrain"


def make_rooms(config: PretrainConfig, root: Path | None = None, *, workers: int | None = None) -> tuple[Path, ...]:
    """Folders of the pretraining rooms, generated first where they are missing (data root / mini-scannet-pretrain).

    Raises DataError where one is a room of mini-ScanNet, whatever its split (see `check_disjoint`).
    """
    root = make_mini_scannet(
        root or data_root() / FOLDER, rooms=(config.rooms, 0, 0), seed=config.room_seed, workers=workers
    )
    return scannet.list_scenes(root, "train")[: config.rooms]


def recipe(folder: Path) -> dict[str, Any]:
    """What a generated room was made from (its stamp). Raises DataError where it is none."""
    return read_json(folder / scannet.MINI_STAMP, ("recipe",))["recipe"]


def check_disjoint(pretraining: Iterable[Path], evaluation: Iterable[Path]) -> None:
    """Raise DataError naming the first room of `evaluation` that is also in `pretraining`.

    Rooms are the same where their recipes are (a room is a function of seed, split and number), wherever they lie, and
    where their contents are (the stamps' fingerprints).
    """
    seen = {key: folder for folder in pretraining for key in _identities(folder)}
    for folder in evaluation:
        for key in _identities(folder):
            if key in seen:
                raise DataError(f"{folder}: evaluated on, but pretrained on as {seen[key]}")


def _identities(folder: Path) -> list[tuple[Any, ...]]:
    stamp = read_json(folder / scannet.MINI_STAMP, ("recipe", "fingerprint"))
    made = stamp["recipe"]
    return [("recipe", made["seed"], made["split"], made["number"]), ("content", stamp["fingerprint"])]


def read_cloud(folder: Path) -> Cloud:
    """The mesh's vertices with colours and normals; labels, annotation and frames are not opened. Raises DataError."""
    path = folder / f"{folder.name}_vh_clean_2.ply"
    records, faces = read_ply(path)
    points = checked_points(records, path)
    rgb = vertex_columns(records, ("red", "green", "blue"), path)
    if faces is None or rgb is None:
        raise DataError(f"{path}: {'faces' if faces is None else 'vertex colours'} are missing")
    normals = vertex_normals(points, faces)
    return Cloud(points, np.ascontiguousarray(unit_colors(rgb)), normals)
