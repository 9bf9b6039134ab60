"""Generated drives, harmed so that every file is whole and every field is of its kind: what cannot be so is told."""

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.formats.nuscenes_lidar import read_lidar
from geoguide.datasets.formats.nuscenes_tables import read_tables
from geoguide.datasets.nuscenes import list_samples, load_sample
from geoguide.errors import DataError
from geoguide.worlds.streets.make import StreetConfig, make_mini_nuscenes
from geoguide.worlds.streets.official import STREETS_VERSION
from geoguide.worlds.streets.scan import DriveConfig

CONFIG = StreetConfig(seed=3, drive=DriveConfig(key_frames=4, turns=120, render_size=(9, 16)))
Harm = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drives of four key frames."""
    root = tmp_path_factory.mktemp("mini") / "data"
    return make_mini_nuscenes(root, scenes=(1, 1, 0), config=CONFIG, workers=1, progress=False)


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    """A copy to harm."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


# ---------------------------------------------------------------- the LiDAR


def in_order(*columns: int) -> Harm:
    return lambda rows: rows[:, [*columns, 3, 4]]


def moved(*offset: float) -> Harm:
    return lambda rows: np.column_stack([rows[:, :3] + np.float32(offset), rows[:, 3:]])


def signed(*signs: int) -> Harm:
    return lambda rows: np.column_stack([rows[:, :3] * np.float32(signs), rows[:, 3:]])


def shuffled(rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(rows)


COLUMNS_HARMED: list[tuple[Harm, str]] = [
    *((in_order(*order), "another order of columns") for order in itertools.permutations(range(3)) if order[2] != 2),
    (in_order(1, 0, 2), "turns counter-clockwise .* x and y exchanged"),
    (signed(1, 1, -1), "correlate by -1.00 .*: upside down"),
    (signed(1, -1, 1), "turns counter-clockwise .* mirrored"),
    (signed(-1, 1, 1), "turns counter-clockwise .* mirrored"),
    (moved(0, 0.944, 1.84), "coordinates of the car"),
    (lambda rows: np.column_stack([rows[:, :4], 31 - rows[:, 4]]), "correlate by -1.00"),
    (lambda rows: np.column_stack([shuffled(rows[:, :3]), rows[:, 3:]]), "ring and elevation correlate by"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "message"), COLUMNS_HARMED)
def test_points_that_no_laser_can_have_met_are_told(root: Path, harm: Harm, message: str):
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = np.fromfile(path, "<f4").reshape(-1, 5)
    harm(rows).astype("<f4").tofile(path)
    with pytest.raises(DataError, match=rf"{path.name}: columns 0..2 \(x, y, z\): expected x right.*{message}"):
        read_lidar(path)


@pytest.mark.parametrize("change", [shuffled, lambda rows: rows[::5], signed(-1, -1, 1)])
def test_what_lasers_can_have_met_is_read(root: Path, change: Harm):
    """Rows in another order, fewer of them, and a LiDAR mounted the other way round."""
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = change(np.fromfile(path, "<f4").reshape(-1, 5)).astype("<f4")
    rows.tofile(path)
    np.testing.assert_array_equal(read_lidar(path)[0], rows[:, :3])


def test_four_columns_whose_size_divides_by_five(root: Path):
    path = sorted(root.glob("samples/LIDAR_TOP/*"))[0]
    rows = np.fromfile(path, "<f4").reshape(-1, 5)
    np.ascontiguousarray(rows[: len(rows) // 5 * 5, :4]).tofile(path)
    with pytest.raises(DataError, match=r"column 4 \(ring\): expected whole numbers 0..31.*number of columns"):
        read_lidar(path)
