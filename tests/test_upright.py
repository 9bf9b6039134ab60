"""Which way a cloud is up: turned exactly as the user says, and guessed only where a place is closed at another end."""

from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.points import Cloud, cloud_scene, load_points
from geoguide.datasets.rgbd import rotation_to_z
from geoguide.datasets.units import unit_as_read
from geoguide.datasets.upright import AXES, looks_up, turned, up_as_read
from geoguide.errors import DataError, InputError


def room(length: float, width: float, height: float, walls: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] and normals of a floor and walls, the first along y at x = 0, without a ceiling."""
    along, up = np.random.default_rng(0).uniform(size=(2, 3000))
    zero = np.zeros(3000)
    sides = [
        (np.stack([along * length, up * width, zero], 1), (0, 0, 1)),
        (np.stack([along * length, zero, up * height], 1), (0, 1, 0)),
        (np.stack([along * length, zero + width, up * height], 1), (0, -1, 0)),
        (np.stack([zero, along * width, up * height], 1), (1, 0, 0)),
        (np.stack([zero + length, along * width, up * height], 1), (-1, 0, 0)),
    ][: 1 + walls]
    points, normals = zip(*((side, np.tile(normal, (3000, 1))) for side, normal in sides), strict=True)
    return np.concatenate(points).astype(np.float32), np.concatenate(normals).astype(np.float32)


def laid(rows: np.ndarray, up: str) -> np.ndarray:
    """Rows of a cloud with z up, as a program has them for which `up` is up."""
    turn = turned(np.eye(3), up)  # what becomes of x, y and z
    return rows @ turn.T


@pytest.mark.parametrize("up", AXES)
def test_turned_brings_a_direction_to_z_and_changes_no_number(up: str) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    found = turned(rows, up)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(turned(AXES[up][None], up), [[0, 0, 1]])
    np.testing.assert_array_equal(np.sort(np.abs(found)), np.sort(np.abs(rows)))
    np.testing.assert_allclose(turned(np.eye(3), up).T, rotation_to_z(AXES[up]), atol=1e-12)  # no mirror
    np.testing.assert_array_equal(turned(laid(rows, up), up), rows)
    assert turned(np.array([[1, 2, 3]], np.uint8), up).min() >= -3  # unsigned ones have no other sign


@pytest.mark.parametrize("up", AXES)
def test_a_room_that_lies_on_its_side_is_told_of(up: str) -> None:
    """With the right direction it is the room itself, and nothing is said."""
    upright_points, upright_normals = room(3.5, 3.9, 2.4)
    points, normals = laid(upright_points, up), laid(upright_normals, up)
    colors = np.full(points.shape, 0.5)
    doubts = [said for said in cloud_scene("room", Cloud(points, colors, normals)).as_read if "as up" in said]
    assert doubts == ([] if up == "z" else [f"z is taken as up, but the cloud looks as if {up} pointed up: labels mean "
                                            "little then; see --up"])  # fmt: skip
    right = cloud_scene("room", Cloud(points, colors, normals), up=up)
    upright = cloud_scene("room", Cloud(upright_points, colors, upright_normals))
    np.testing.assert_allclose(right.points, upright.points, atol=1e-6)
    np.testing.assert_allclose(right.normals, upright.normals, atol=1e-6)
    assert not any("as up" in said for said in right.as_read)
    if up != "z":
        np.testing.assert_array_equal(right.file_points, points)  # what is written is what was read
        assert f"{up} is up: turned so that it is z" in right.as_read


@pytest.mark.parametrize("given", AXES)
@pytest.mark.parametrize("up", AXES)
def test_a_direction_that_was_given_is_doubted_as_the_default_is(up: str, given: str) -> None:
    """Named as the file has it. Where z is given for a room that stands, or any right direction, nothing is said."""
    points = laid(room(3.5, 3.9, 2.4)[0], up)
    said = cloud_scene("room", Cloud(points, np.full(points.shape, 0.5)), up=given).as_read
    doubts = [sentence for sentence in said if "as up" in sentence]
    doubt = f"{given} is taken as up, but the cloud looks as if {up} pointed up: labels mean little then; see --up"
    assert doubts == ([] if up == given else [doubt])


def test_what_has_no_open_end_says_nothing() -> None:
    generator = np.random.default_rng(0)
    cube = generator.uniform(0, 4, (5000, 3))
    closed = cube.copy()
    closed[np.arange(5000), generator.integers(0, 3, 5000)] = generator.choice(
        [0.0, 4.0], 5000
    )  # a room with a ceiling
    for points in (cube, closed, cube[:400], cube / 4, np.repeat(cube[:1], 600, axis=0), cube * (1, 1, 0)):
        assert up_as_read(points) == ()


def test_a_high_place_on_its_side_is_not_taken_for_an_object(tmp_path: Path) -> None:
    """Half a hall: it was refused with the advice to take it for inches."""
    high = laid(room(6.0, 6.5, 3.0, walls=3)[0], "x")
    np.savez(tmp_path / "a.npz", points=high, colors=np.full(high.shape, 0.5))
    with pytest.raises(DataError, match=r"a\.npz: .* looks as if x pointed up, and not z: give --up x"):
        load_points(tmp_path / "a.npz")
    standing = room(6.0, 6.5, 3.0, walls=3)[0]
    with pytest.raises(InputError, match="looks as if z pointed up, and not -x: give --up z"):  # as the file has it
        unit_as_read(turned(standing, "-x"), up="-x")
    assert looks_up(load_points(tmp_path / "a.npz", up="x").points) is None
    with pytest.raises(InputError, match="up must be one of x, y, z, -x, -y, -z, found 'up'"):
        load_points(tmp_path / "a.npz", up="up")
