"""One cloud, written in ways that were once read wrongly: the labels of the unharmed file, or one line."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from decisions import decided
from plyfile import PlyData, PlyElement
from simple_room import simple_room

import geoguide
from geoguide import own_scan
from geoguide.backbones.sonata import encoder_input
from geoguide.datasets.formats.ply import read_ply_records, vertex_columns
from geoguide.datasets.points import Cloud, cloud_scene, load_points
from geoguide.datasets.units import unit_as_read
from geoguide.errors import DataError, InputError
from geoguide.model import GeoGuideModel
from geoguide.scene import Scene

LABELS = ("wall", "floor", "table")
UTM = (448_262.37, 5_411_923.81, 312.4)


@dataclass(frozen=True, eq=False)
class Sampled:
    """A room: P vertices of a mesh, not on any grid."""

    points: np.ndarray
    colors: np.ndarray
    faces: np.ndarray
    normals: np.ndarray


@pytest.fixture(scope="module")
def room() -> Sampled:
    shape = simple_room()
    inward = np.where(shape.face_object[:, None] < 3, shape.faces[:, ::-1], shape.faces)  # the shell, as it is seen
    vertices, faces = trimesh.remesh.subdivide_to_size(shape.vertices, inward, 0.2)
    mesh = trimesh.Trimesh(vertices, faces)  # merges the vertices that triangles share
    rng = np.random.default_rng(1)
    points = np.array(mesh.vertices + rng.normal(0, 0.002, mesh.vertices.shape), np.float32)
    colors = rng.integers(20, 236, points.shape).astype(np.uint8)
    colors[:, 0] = np.clip(80 * points[:, 2], 0, 255)
    return Sampled(points, colors, np.asarray(mesh.faces), np.asarray(mesh.vertex_normals, np.float32))


@pytest.fixture(scope="module")
def model() -> GeoGuideModel:
    return geoguide.load("mini")


def save_ply(path: Path, *, text: bool = False, order: str = "<", faces: list | None = None, **columns: object) -> Path:
    """Write columns [P] or [P, 3] (points, colors, normals) with the dtypes that they have."""
    names = {"points": ("x", "y", "z"), "colors": ("red", "green", "blue"), "normals": ("nx", "ny", "nz")}
    parts = {name: np.asarray(columns[key])[:, i] for key in columns for i, name in enumerate(names[key])}
    vertex = np.rec.fromarrays(list(parts.values()), [(name, values.dtype) for name, values in parts.items()])
    elements = [PlyElement.describe(vertex, "vertex")]
    if faces is not None:
        records = np.empty(len(faces), [("vertex_indices", object)])
        records["vertex_indices"] = [np.asarray(face, np.int32) for face in faces]
        elements.append(PlyElement.describe(records, "face", len_types={"vertex_indices": "u1"}))
    PlyData(elements, text=text, byte_order=order).write(str(path))
    return path


def labels_of(scene: Scene, model: GeoGuideModel) -> np.ndarray:
    return model.segment_scene(scene, labels=list(LABELS))[0]


@pytest.fixture(scope="module")
def unharmed(room: Sampled, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    path = tmp_path_factory.mktemp("unharmed") / "scan.ply"
    return load_points(save_ply(path, points=room.points, colors=room.colors))


@pytest.fixture(scope="module")
def right(unharmed: Scene, model: GeoGuideModel) -> np.ndarray:
    """The labels of the unharmed file; each word is found somewhere."""
    labels = labels_of(unharmed, model)
    assert len(np.unique(labels)) > 1
    return labels


def same(scene: Scene, unharmed: Scene) -> bool:
    """Whether a scene is the unharmed one bit for bit, which makes its labels the same."""
    equal = np.array_equal(scene.points, unharmed.points) and np.array_equal(scene.colors, unharmed.colors)
    return equal and np.array_equal(scene.normals, unharmed.normals) and scene.faces is None


def test_the_unharmed_file_needs_no_word(unharmed: Scene, room: Sampled) -> None:
    assert decided(unharmed) == () and unharmed.file_points is None
    assert np.array_equal(unharmed.points, room.points)
    assert np.array_equal(unharmed.colors, room.colors.astype(np.float32) / np.float32(255))


# ---- coordinates far from the origin


@pytest.mark.parametrize("offset", [UTM, (-7_000_000.0, 0.0, 0.0), (500_000.0, 5_400_000.0, 1_000.0)])
def test_far_coordinates(
    room: Sampled, unharmed: Scene, right: np.ndarray, model: GeoGuideModel, tmp_path: Path, offset: tuple
) -> None:
    points = room.points.astype(np.float64) + offset
    scene = load_points(save_ply(tmp_path / "utm.ply", points=points, colors=room.colors))
    assert np.array_equal(labels_of(scene, model), right)
    assert np.array_equal(scene.file_points, points) and scene.file_points.dtype == np.float64
    assert np.abs(scene.points).max() < 30
    assert len(decided(scene)) == 1 and "far from the origin: moved by" in decided(scene)[0]
    if all(value % 1000 == 0 for value in offset):  # a round offset is found: the very same numbers again, but near 0
        np.testing.assert_allclose(scene.points, unharmed.points, rtol=0, atol=1e-7)


def test_far_coordinates_through_the_api(room: Sampled, right: np.ndarray, model: GeoGuideModel) -> None:
    points = room.points.astype(np.float64) + UTM
    with pytest.warns(UserWarning, match="far from the origin"):
        assert np.array_equal(model.segment(points, room.colors, labels=list(LABELS))[0], right)
    with pytest.warns(UserWarning, match="far from the origin"):
        heat = model.similarity(points, room.colors, text="wall")
    np.testing.assert_allclose(heat, model.similarity(room.points, room.colors, text="wall"), atol=1e-4)


def test_the_written_ply_has_the_files_own_coordinates(room: Sampled, model: GeoGuideModel, tmp_path: Path) -> None:
    for name, points, unit in (
        ("utm", room.points.astype(np.float64) + UTM, None),
        ("mm", np.rint(1000 * room.points).astype(np.int32), "mm"),
        ("big", (1000 * room.points).astype(">f4"), "mm"),
        ("doubles", room.points.astype(np.float64) + 1e-9, None),
    ):
        path = save_ply(
            tmp_path / f"{name}.ply", order=">" if name == "big" else "<", points=points, colors=room.colors
        )
        result = own_scan.segment_scan(own_scan.open_scan(path, unit=unit), model, LABELS)
        own_scan.write_labelled(tmp_path / "out.ply", result)
        vertex = PlyData.read(str(tmp_path / "out.ply"))["vertex"]
        for i, axis in enumerate("xyz"):
            assert vertex[axis].dtype == points.dtype.newbyteorder("<")
            assert np.array_equal(vertex[axis], points[:, i])


def test_a_wide_scan_around_the_origin_is_not_moved(room: Sampled, tmp_path: Path) -> None:
    points = room.points * 40 - np.float32(70)
    scene = load_points(save_ply(tmp_path / "wide.ply", points=points, colors=room.colors), unit="m")
    assert np.array_equal(scene.points, points) and decided(scene) == ()


# ---- units


@pytest.mark.parametrize(("unit", "per_metre"), [("mm", 1000.0), ("cm", 100.0), ("km", 0.001), ("in", 1 / 0.0254)])
def test_other_units_are_refused_and_can_be_named(
    room: Sampled, unharmed: Scene, right: np.ndarray, model: GeoGuideModel, tmp_path: Path, unit: str, per_metre: float
) -> None:
    path = save_ply(tmp_path / "scan.ply", points=(room.points * per_metre).astype(np.float32), colors=room.colors)
    likely = "(cm|in)" if unit in ("cm", "in") else unit  # a factor of 2.5 lies within what rooms differ by
    message = rf"scan.ply: coordinates do not look like metres: .* m apart; in {likely}, .*--unit {likely} .*--unit m"
    with pytest.raises(DataError, match=message):
        load_points(path)
    scene = load_points(path, unit=unit)
    np.testing.assert_allclose(scene.points, unharmed.points, rtol=3e-7)
    assert np.array_equal(labels_of(scene, model), right)
    assert f"coordinates are in {unit}" in decided(scene)[0]
    assert scene.file_points is not None and scene.file_points.dtype == np.float32
    with pytest.raises(InputError, match="do not look like metres"):
        model.segment(room.points * per_metre, room.colors, labels=list(LABELS))
    points = (room.points * per_metre).astype(np.float32)
    with pytest.warns(UserWarning, match=f"coordinates are in {unit}"):
        ids, _ = model.segment(points, room.colors, labels=list(LABELS), unit=unit)
    assert np.array_equal(ids, right)


def test_metres_that_are_said_are_not_doubted(room: Sampled, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "scan.ply", points=room.points * 1000, colors=room.colors)
    assert np.array_equal(load_points(path, unit="m").points, room.points * 1000)
    with pytest.raises(InputError, match=r"unit must be one of m, cm, mm, km, ft, in, found 'yard'"):
        load_points(path, unit="yard")
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(InputError, match=r"--unit is for a file of points"):
        own_scan.open_scan(tmp_path, unit="mm")


def test_feet_beyond_the_origin(room: Sampled, tmp_path: Path) -> None:
    """Unit and origin together: the offset is decided in metres."""
    points = room.points / 0.3048 + np.array([1_200_000.0, 0, 0])
    scene = load_points(save_ply(tmp_path / "ft.ply", points=points, colors=room.colors), unit="ft")
    np.testing.assert_allclose(np.ptp(scene.points, axis=0), np.ptp(room.points, axis=0), rtol=1e-5)
    assert len(decided(scene)) == 2


@pytest.mark.parametrize("size", [0.3, 1.0, 12.0, 40.0])
def test_plausible_sizes_pass(room: Sampled, model: GeoGuideModel, tmp_path: Path, size: float) -> None:
    points = room.points / 4 * size
    path = save_ply(tmp_path / "scan.ply", points=points, colors=room.colors)
    assert np.array_equal(load_points(path).points, points.astype(np.float32))


def test_a_few_points_pass_at_any_size(tmp_path: Path) -> None:
    points = np.array([[0, 0, 0], [90, 0, 0], [0, 80, 0], [0, 0, 70]], np.float32)
    assert len(load_points(save_ply(tmp_path / "few.ply", points=points, colors=np.full((4, 3), 9, np.uint8)))) == 4


def test_numbers_beyond_float32_are_one_line(room: Sampled, model: GeoGuideModel, tmp_path: Path) -> None:
    for points in (np.full((4, 3), 1e300), np.array([[0, 0, 0], [1e308, -1e308, 0]])):
        np.savez(tmp_path / "a.npz", points=points, colors=np.zeros((len(points), 3)))
        with pytest.raises(DataError, match=r"a.npz: points exceed float32, found 1e\+30"):
            load_points(tmp_path / "a.npz")
    with pytest.raises(InputError, match="exceed float32"):
        model.segment(np.full((4, 3), 1e300), np.zeros((4, 3)), labels=["chair"])


def test_doubled_points_do_not_hide_the_spacing(room: Sampled, tmp_path: Path) -> None:
    points = np.repeat(room.points[:, [0, 2, 1]] * [100, 0.01, 100], 3, axis=0)  # flat: only the spacing tells
    with pytest.raises(DataError, match="do not look like metres"):
        load_points(save_ply(tmp_path / "a.ply", points=points, colors=np.repeat(room.colors, 3, axis=0)))


def thing(points: np.ndarray, length: float) -> np.ndarray:
    """A bowl on a stem, dense: nothing stands below most of it."""
    rng = np.random.default_rng(0)
    at = rng.normal(size=(20_000, 3))
    at /= np.linalg.norm(at, axis=1, keepdims=True)
    at[:, 2] = -np.abs(at[:, 2])
    stem = np.stack([0.1 * np.cos(at[:2000, 0] * 9), 0.1 * np.sin(at[:2000, 0] * 9), -1 - rng.random(2000)], axis=1)
    return (np.concatenate([at, stem]) * length / 2).astype(points.dtype)


@pytest.mark.parametrize("length", [12.0, 30.0, 50.0])
def test_an_object_in_centimetres_is_no_hall(room: Sampled, tmp_path: Path, length: float) -> None:
    points = thing(room.points, length)
    path = save_ply(tmp_path / "a.ply", points=points, colors=np.full(points.shape, 99, np.uint8))
    with pytest.raises(DataError, match=r"a.ply: coordinates look like those of one object, .* --unit (cm|mm|in) "):
        load_points(path)
    assert np.allclose(load_points(path, unit="cm").points, points / 100)
    assert len(load_points(path, unit="m")) == len(points)


def test_a_hall_is_no_object(room: Sampled, tmp_path: Path) -> None:
    for factor in (2, 3):  # floors tell, also of rooms on their side
        for axes in ([0, 1, 2], [0, 2, 1]):
            points = (room.points * factor)[:, axes]
            assert len(load_points(save_ply(tmp_path / "a.ply", points=points, colors=room.colors))) == len(points)


def test_a_garden_on_a_slope_is_no_object() -> None:
    rng = np.random.default_rng(0)
    ground, tree = rng.random((40_000, 3)) * (25, 15, 0.1), rng.normal((8, 8, 5), 0.8, (5_000, 3))
    points = np.concatenate([ground, tree])
    points[:, 2] += 0.4 * points[:, 0]
    assert unit_as_read(points) == ()


def test_a_survey_from_the_air_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ground = rng.random((30_000, 2)) * 150
    ground[:, 0] *= 3  # 450 x 150 m at 0.4 points a square metre
    points = np.column_stack([ground, 60 + 55 * np.sin(ground[:, 0] / 60)]).astype(np.float32)
    path = save_ply(tmp_path / "a.ply", points=points, colors=np.full(points.shape, 99, np.uint8))
    with pytest.raises(DataError, match=r"in metres this is a survey from the air, of 4.* --unit m takes it as it is"):
        load_points(path)
    assert np.array_equal(load_points(path, unit="m").points, points)


def test_points_far_apart_in_a_hall_are_spoken_of(room: Sampled, tmp_path: Path) -> None:
    points = room.points * 6 * np.float32([1, 1, 0.2])
    scene = load_points(save_ply(tmp_path / "a.ply", points=points, colors=room.colors))
    assert any("too far for the objects of a room" in said for said in scene.as_read)


def test_the_extent_is_said(room: Sampled, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors)
    box = " x ".join(f"{side:.1f}".rstrip("0").rstrip(".") for side in np.ptp(room.points.astype(float), axis=0))
    assert own_scan.open_scan(path).scene.as_read[-1] == f"the scan measures {box} m, taken as metres"
    assert "its unit given as ft" in own_scan.open_scan(path, unit="ft").scene.as_read[-1]


@pytest.mark.parametrize("count", [1, 5])
def test_strays_are_named(room: Sampled, unharmed: Scene, tmp_path: Path, count: int) -> None:
    for far in (300.0, 1e6):
        points = room.points.copy()
        points[100 : 100 + count, 1] += far
        path = save_ply(tmp_path / "a.ply", points=points, colors=room.colors)
        message = rf"{count} of {len(points)} points lie far from all others, .* point 10\d at \("
        if far > 1000:
            with pytest.raises(DataError, match=message):
                load_points(path)
        else:
            said, _ = load_points(path).as_read  # the other: its normals are estimated
            assert re.search(message, said)


@pytest.mark.parametrize("place", [(2, 2, -4), (20, 2, 1), (-6, 2, -3), (300, 2, 1)])
@pytest.mark.parametrize("mesh", [True, False])
def test_one_point_apart_moves_nothing_else(
    room: Sampled, right: np.ndarray, model: GeoGuideModel, tmp_path: Path, place: tuple, mesh: bool
) -> None:
    """Such as an echo from beneath the floor: where a scan stands is told by its lowest and outermost points."""
    points, faces = room.points.copy(), room.faces if mesh else None
    if mesh:
        path = save_ply(tmp_path / "whole.ply", points=points, colors=room.colors, faces=faces)
        right = labels_of(load_points(path), model)
    points[100] = place
    scene = load_points(save_ply(tmp_path / "a.ply", points=points, colors=room.colors, faces=faces))
    assert f"1 of {len(points)} points lie far from all others" in " ".join(scene.as_read)
    assert np.array_equal(scene.file_points, points) and (labels_of(scene, model) != right).mean() < 0.02
    assert (scene.points >= np.delete(points, 100, 0).min(axis=0)).all()


def test_points_on_a_line_are_refused(room: Sampled, tmp_path: Path) -> None:
    degrees = room.points.astype(np.float64) * (1e-5, 1e-5, 1) + (8.4, 49.0, 0)
    path = save_ply(tmp_path / "a.ply", points=degrees, colors=room.colors)
    with pytest.raises(DataError, match=r"a.ply: points lie on one line, .* are two coordinates degrees"):
        load_points(path)
    assert len(load_points(path, unit="m")) == len(degrees)


def test_where_numbers_are_missing_is_named(room: Sampled, tmp_path: Path) -> None:
    points = room.points.copy()
    points[[41, 77], 2] = np.nan
    with pytest.raises(DataError, match=r"NaN or inf in 2 of \d+ rows, first row 41"):
        load_points(save_ply(tmp_path / "a.ply", points=points, colors=room.colors))


@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_half_precision_through_the_api(room: Sampled, model: GeoGuideModel, kind: str) -> None:
    half = room.points.astype(np.float16)
    with pytest.warns(UserWarning, match=r"coordinates are float16 around .*, in steps of 0.00\d+ m there"):
        model.segment(half if kind == "numpy" else torch.tensor(half), room.colors, labels=list(LABELS))
    far = half + np.float16(100)
    with pytest.raises(InputError, match=r"float16 around 10\d.* steps of 0.06\d+ m there: the scan's shape is lost"):
        model.segment(far if kind == "numpy" else torch.tensor(far), room.colors, labels=list(LABELS))


def test_digits_that_were_lost_before_are_said(room: Sampled, tmp_path: Path) -> None:
    for points, name in ((torch.tensor(room.points).bfloat16().float().numpy(), "bfloat16"),
                         (room.points.astype(np.float16).astype(np.float64), "float16")):  # fmt: skip
        scene = load_points(save_ply(tmp_path / "a.ply", points=points, colors=room.colors))
        assert f"no more digits than {name}: steps of 0.0" in scene.as_read[0]


# ---- colours


def one_bright(colors: np.ndarray) -> np.ndarray:
    values = colors / 255
    values[7, 1] = 1.02
    return values


ENCODINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "uint8": lambda c: c,
    "ushort 0..65535": lambda c: c.astype(np.uint16) * 257,
    "ushort 0..255": lambda c: c.astype(np.uint16),
    "int32 0..65535": lambda c: c.astype(np.int32) * 257,
    "int32 0..255": lambda c: c.astype(np.int32),
    "float 0..1": lambda c: (c / 255).astype(np.float32),
    "double 0..1": lambda c: c / 255,
    "float 0..255": lambda c: c.astype(np.float32),
    "double 0..255": lambda c: c.astype(np.float64),
    "float 0..65535": lambda c: c.astype(np.float32) * 257,
    "float -1..1": lambda c: c / 127.5 - 1,
    "one value above 1": one_bright,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["ply", "npz", "pth", "arrays"])
def test_every_encoding_of_colours(room: Sampled, unharmed: Scene, tmp_path: Path, encoding: str, kind: str) -> None:
    colors, path = ENCODINGS[encoding](room.colors), tmp_path / f"scan.{kind}"
    if kind == "arrays":  # as the model's `segment` takes them
        scene = cloud_scene("input", Cloud(room.points, colors))
    else:
        if kind == "ply":
            save_ply(path, points=room.points, colors=colors)
        elif kind == "npz":
            np.savez(path, points=room.points, colors=colors)
        else:
            torch.save((room.points, torch.tensor(colors), np.zeros(len(colors))), path)
        scene = load_points(path)
    expected = unharmed.colors.copy()
    if encoding == "one value above 1":
        expected[7, 1] = 1
        assert any("1 of" in said and "are cut" in said for said in decided(scene))
    np.testing.assert_allclose(scene.colors, expected, atol=1e-6)
    plain = encoding.split()[0] in ("uint8", "float", "double") and encoding.split()[-1] in ("uint8", "0..1", "0..255")
    if kind != "pth" and (plain or encoding == "int32 0..255"):
        assert decided(scene) == ()
    elif kind != "pth" or encoding != "float -1..1":
        assert len(decided(scene)) == 1 and "colours" in decided(scene)[0]


@pytest.mark.parametrize(
    ("colors", "expected"),
    [
        (np.zeros((30, 3), np.uint8), 0.0),
        (np.ones((30, 3), np.uint8), 1 / 255),
        (np.full((30, 3), 3, np.uint16), 3 / 255),
        (np.full((30, 3), 2.0), 2 / 255),
        (np.full((30, 3), 1.5), 1.0),
        (np.ones((30, 3), bool), 1.0),
        (np.ones((30, 3)), 1.0),
        (np.zeros((30, 3)), 0.0),
    ],
)
def test_colours_without_light(room: Sampled, colors: np.ndarray, expected: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=room.points[:30], colors=colors)
    scene = load_points(tmp_path / "a.npz")
    np.testing.assert_allclose(scene.colors, expected, atol=1e-7)
    assert bool(decided(scene)) == (colors.dtype != np.float64 or colors.max() > 0)


@pytest.mark.parametrize("stray", [255.0, -4.0, 70_000.0])
def test_a_single_extreme_decides_nothing(room: Sampled, unharmed: Scene, stray: float, tmp_path: Path) -> None:
    colors = room.colors / 255
    colors[11, 0] = stray
    np.savez(tmp_path / "a.npz", points=room.points, colors=colors)
    scene = load_points(tmp_path / "a.npz")
    np.testing.assert_allclose(np.delete(scene.colors, 11, 0), np.delete(unharmed.colors, 11, 0), atol=1e-6)
    assert "1 of" in decided(scene)[0]


@pytest.mark.parametrize("colors", [np.int16([-9]), np.int64([1 << 24]), np.float32([-2.1, 2.6]), np.float64([1e9])])
def test_colours_on_no_scale_are_refused(room: Sampled, colors: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=room.points, colors=np.resize(colors, room.points.shape))
    with pytest.raises(DataError, match=r"a.npz: colours are .* on no known scale|a.npz: .*negative integers"):
        load_points(tmp_path / "a.npz")


# ---- normals


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_normals_that_are_none(room: Sampled, unharmed: Scene, value: float, tmp_path: Path) -> None:
    normals = np.full(room.points.shape, value, np.float32)
    scene = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, normals=normals))
    assert same(scene, unharmed)
    assert decided(scene) == (f"all {len(scene)} normals are zero or not finite: estimated from the points",)


def test_normals_that_are_a_placeholder(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    normals = np.tile(np.float32([0, 0, 1]), (len(room.points), 1))
    scene = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, normals=normals))
    assert same(scene, unharmed) and "no plane: estimated from the points" in decided(scene)[0]
    flat = room.points * np.float32([1, 1, 1e-4])
    scene = load_points(save_ply(tmp_path / "b.ply", points=flat, colors=room.colors, normals=normals))
    assert np.array_equal(scene.normals, normals) and decided(scene) == ()


def test_normals_of_any_length(room: Sampled, model: GeoGuideModel, tmp_path: Path) -> None:
    unit = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, normals=room.normals))
    assert decided(unit) == ()
    long = room.normals * np.linspace(0.1, 90, len(room.points))[:, None]
    scene = load_points(save_ply(tmp_path / "b.ply", points=room.points, colors=room.colors, normals=long))
    np.testing.assert_allclose(scene.normals, unit.normals, atol=1e-6)
    assert "are not of unit length: normalised" in decided(scene)[0]
    expected = labels_of(unit, model)
    assert np.array_equal(labels_of(scene, model), expected)
    with pytest.warns(UserWarning, match="not of unit length"):
        assert np.array_equal(model.segment(room.points, room.colors, long, labels=list(LABELS))[0], expected)


def test_some_normals_missing(room: Sampled, tmp_path: Path) -> None:
    """The missing are estimated and look to the side to which their neighbours look.

    Not where two sheets that look at each other are nearer than their points: the floor and the table's underside, the
    cabinet's back and the wall.
    """
    normals, bad = room.normals.copy(), np.arange(len(room.points)) % 10 == 3
    normals[bad] = np.nan
    normals[::30] = 0
    bad[::30] = True
    scene = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, normals=normals))
    assert decided(scene) == (f"{bad.sum()} of {len(bad)} normals are zero or not finite: estimated from the points",)
    np.testing.assert_allclose(scene.normals[~bad], room.normals[~bad], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(scene.normals, axis=1), 1, atol=1e-5)
    bad &= (room.points[:, 2] > 0.1) & (room.points[:, 0] < 3.3)
    cosine = np.einsum("pd,pd->p", scene.normals[bad], room.normals[bad])
    assert np.median(cosine) > 0.99 and (cosine < -0.5).mean() < 0.02


# ---- faces


@pytest.mark.parametrize("faces", [[], [[0, 1, 2]], [[5, 5, 5]], [[0, 1], [2]], [[0, 0, 1]] * 40])
def test_a_mesh_that_is_none_is_a_cloud(room: Sampled, unharmed: Scene, faces: list, tmp_path: Path) -> None:
    scene = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=faces))
    assert same(scene, unharmed)
    assert any("read as a cloud" in said for said in decided(scene))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("text", [True, False])
def test_faces_of_one_or_two_vertices_are_left_out(room: Sampled, tmp_path: Path, text: bool, order: str) -> None:
    mesh = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=room.faces)
    faces = [*room.faces, [0, 1], [2]]
    odd = save_ply(tmp_path / "b.ply", points=room.points, colors=room.colors, faces=faces, text=text, order=order)
    expected, scene = load_points(mesh), load_points(odd)
    assert decided(expected) == () and np.array_equal(expected.faces, room.faces)
    for field in ("points", "colors", "normals", "faces"):
        assert np.array_equal(getattr(scene, field), getattr(expected, field))
    assert decided(scene) == (f"2 of {len(faces)} faces have fewer than three vertices: left out",)


def test_faces_that_wind_at_random_keep_their_normals(room: Sampled, tmp_path: Path) -> None:
    mesh = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=room.faces))
    turned = np.random.default_rng(0).random((len(room.faces), 1)) < 0.5
    faces = np.where(turned, room.faces[:, ::-1], room.faces)
    scene = load_points(save_ply(tmp_path / "b.ply", points=room.points, colors=room.colors, faces=faces))
    assert "wind against each other" in decided(scene)[0]
    assert (np.einsum("pd,pd->p", scene.normals, mesh.normals) > 0.999).mean() > 0.9


def test_vertices_of_no_face(room: Sampled, tmp_path: Path) -> None:
    kept = room.faces[(room.faces % 9 != 0).all(axis=1)]
    lone = ~np.isin(np.arange(len(room.points)), kept)
    scene = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=kept))
    assert np.array_equal(scene.faces, kept)
    assert f"{lone.sum()} of {len(lone)} vertices belong to no face with an area" in decided(scene)[0]
    cosine = np.abs(np.einsum("pd,pd->p", scene.normals[lone], room.normals[lone]))
    assert np.median(cosine) > 0.99  # straight up it would be 0 on the walls


def test_bad_normals_of_a_mesh_are_its_faces(room: Sampled, tmp_path: Path) -> None:
    mesh = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=room.faces))
    zero = np.zeros_like(room.points)
    path = save_ply(tmp_path / "b.ply", points=room.points, colors=room.colors, faces=room.faces, normals=zero)
    scene = load_points(path)
    assert np.array_equal(scene.normals, mesh.normals)
    assert decided(scene) == (f"all {len(zero)} normals are zero or not finite: taken from the faces",)


# ---- ply and pth


@pytest.mark.parametrize("text", [True, False])
def test_header_beyond_ascii(room: Sampled, unharmed: Scene, tmp_path: Path, text: bool) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, text=text)
    for words in ("café".encode(), "Tür".encode("cp1252"), "椅子".encode("utf-16")):
        content = path.read_bytes()
        at = content.index(b"element vertex")
        lines = b"comment " + words.replace(b"\n", b"") + b"\nobj_info " + words.replace(b"\n", b"") + b"\n"
        path.write_bytes(content[:at] + lines + content[at:])
        scene = load_points(path)
        np.testing.assert_allclose(scene.points, unharmed.points, rtol=1e-6)
        assert np.array_equal(scene.colors, unharmed.colors) and decided(scene) == ()


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("comment", ["Tuer", "Tür"])
def test_a_header_beyond_ascii_leaves_the_rest_mapped(room: Sampled, tmp_path: Path, ends: bytes, comment: str) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors)
    expected = np.array(read_ply_records(path)[0])
    head, _, body = path.read_bytes().partition(b"end_header\n")
    head = head.replace(b"element vertex", f"comment {comment}\nelement vertex".encode()) + b"end_header\n"
    path.write_bytes(head.replace(b"\n", ends) + body)
    records, _ = read_ply_records(path)
    assert isinstance(records, np.memmap) and Path(str(records.filename)) == path
    assert np.array_equal(records, expected)
    points = vertex_columns(records, ("x", "y", "z"), path)  # read from the file once more, where the table begins
    assert np.array_equal(points, np.stack([expected[axis] for axis in "xyz"], axis=1))


def test_elements_of_users(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors)
    vertex = PlyData.read(str(tmp_path / "a.ply"))["vertex"]
    lists = np.empty(2, [("values", object), ("id", "i4")])
    lists["values"], lists["id"] = [np.arange(2.0), np.arange(5.0)], [7, 8]
    first = PlyElement.describe(lists, "camera", val_types={"values": "f8"})
    last = PlyElement.describe(np.zeros(3, [("a", "u1")]), "vertex_extra")
    PlyData([first, vertex, last]).write(str(tmp_path / "b.ply"))
    assert same(load_points(tmp_path / "b.ply"), unharmed)


@pytest.mark.parametrize("form", ["int16", "bfloat16", "requires_grad", "numpy int16", "lists", "float16"])
def test_pth_of_any_numbers(room: Sampled, unharmed: Scene, tmp_path: Path, form: str) -> None:
    count = len(room.points)
    coords, colors, labels = torch.tensor(room.points), torch.tensor(room.colors / 127.5 - 1), torch.arange(count) % 20
    if form == "int16":
        labels = labels.short()
    elif form == "bfloat16":
        colors = colors.bfloat16()
    elif form == "float16":
        colors = colors.half()
    elif form == "requires_grad":
        coords.requires_grad_(True)
    elif form == "numpy int16":
        coords, colors, labels = coords.numpy(), colors.numpy(), labels.numpy().astype(np.int16)
    else:
        coords, colors, labels = coords.double().tolist(), colors.tolist(), labels.tolist()
    torch.save((coords, colors, labels), tmp_path / "a.pth")
    scene = load_points(tmp_path / "a.pth")
    assert np.array_equal(scene.points, unharmed.points)
    np.testing.assert_allclose(scene.colors, unharmed.colors, atol=4e-3 if form == "bfloat16" else 3e-4)
    assert scene.labels.tolist() == (np.arange(count) % 20).tolist()


def test_pth_of_ragged_lists_is_one_line(tmp_path: Path) -> None:
    torch.save(([[0.0, 1.0], [2.0]], 0, 0), tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a.pth: coords must be an array of numbers, found rows of different lengths"):
        load_points(tmp_path / "a.pth")


def test_grey_is_said(room: Sampled, tmp_path: Path) -> None:
    with warnings.catch_warnings(), pytest.warns(UserWarning, match="no colours"):
        scene = load_points(save_ply(tmp_path / "a.ply", points=room.points))
    assert decided(scene) == ("no colours: all points are grey",)


def test_far_coordinates_that_were_rounded_before(room: Sampled, tmp_path: Path) -> None:
    """float32 at 5,400 km has steps of half a metre: nothing brings the scan back."""
    far = (room.points.astype(np.float64) + UTM).astype(np.float32)
    path = save_ply(tmp_path / "a.ply", points=far, colors=room.colors)
    with pytest.raises(
        DataError, match=r"coordinates are float32 around 5411925.*steps of 0.5 m there: the scan's shape"
    ):
        load_points(path)
    near = (room.points.astype(np.float64) + np.array([30_000, 0, 0])).astype(np.float32)
    scene = load_points(save_ply(tmp_path / "b.ply", points=near, colors=room.colors))
    assert "in steps of 0.002 m there" in decided(scene)[0] and "moved by -30000" in decided(scene)[1]


def test_far_arrays_given_to_the_encoder(room: Sampled) -> None:
    colors = room.colors / 255
    near, far = (encoder_input(p, colors) for p in (room.points, room.points.astype(np.float64) + UTM))
    assert np.array_equal(near.inverse, far.inverse)
    np.testing.assert_allclose(near.coord, far.coord, atol=2e-6)
    np.testing.assert_allclose(near.feat, far.feat, atol=1e-2)  # planes fitted to points that differ by a rounding
