"""What `make fuzz` found once: inputs so far from any scan that sums of theirs leave the range of numbers."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets import matterport3d, scannet
from geoguide.datasets.formats.cameras import checked_pose
from geoguide.datasets.orientation import seen_side
from geoguide.datasets.points import load_points
from geoguide.errors import DataError
from geoguide.scene import VOID


@pytest.fixture(autouse=True)
def strict():
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def test_a_label_beyond_all_integers_is_void(tmp_path: Path, rng: np.random.Generator) -> None:
    points, labels = rng.random((40, 3)) * 3, np.zeros(40)
    labels[:2] = 1e30, -1e30
    np.savez(tmp_path / "scan.npz", points=points, colors=rng.random((40, 3)), labels=labels)
    assert load_points(tmp_path / "scan.npz").labels[:3].tolist() == [VOID, VOID, 0]


def test_a_pose_beyond_squares_is_no_rotation() -> None:
    pose = np.eye(4)
    pose[0, 1] = 1e300
    with pytest.raises(DataError, match="must be a rotation, found 1e"):
        checked_pose(pose, "pose.npy")


@pytest.mark.parametrize("wide", [(1e30, 1, 1), (1e30, 1e30, 1)])
def test_lines_of_sight_of_a_cloud_as_wide_as_numbers_go(wide: tuple, rng: np.random.Generator) -> None:
    points = rng.random((300, 3)) * wide
    normals = np.tile([0.0, 0.0, 1.0], (300, 1))
    told = seen_side(points, normals, points[:4] + np.array([0, 0, 2]))
    assert told.shape == (300,) and np.isfinite(told).all()


@pytest.mark.parametrize(("dataset", "listed"), [(matterport3d.list_houses, "scenes_val"), (scannet.list_scenes, "")])
def test_a_listed_name_that_no_system_takes_is_missing(dataset, listed: str, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    name = f"{listed}.txt" if listed else "scannetv2_val.txt"
    (tmp_path / name).write_text("9" * 400 + "\n")
    with pytest.raises(DataError, match="missing"):
        dataset(tmp_path, "val")
