"""LAS, LAZ and E57: files that laspy and pye57 wrote themselves, whole and harmed."""

import contextlib
import io
import itertools
import json
import resource
import signal
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from geoguide import own_scan
from geoguide.cli import main
from geoguide.datasets.formats import las_writer, surveys
from geoguide.datasets.formats.las_writer import write_las, write_las_like
from geoguide.datasets.formats.surveys import read_las
from geoguide.datasets.points import load_points
from geoguide.datasets.units import METRES
from geoguide.errors import DataError, ReadAs, WriteError
from geoguide.paths import replacing

UTM = np.array([448_123.0, 5_411_377.0, 312.0])


@pytest.fixture
def laspy() -> ModuleType:
    pytest.importorskip("lazrs")
    return pytest.importorskip("laspy")


@pytest.fixture
def pye57() -> ModuleType:
    return pytest.importorskip("pye57")


@pytest.fixture
def cloud(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A corner of a room in whole millimetres, and colours of 8 bits."""
    flat = rng.integers(0, 4000, (3000, 3))
    flat[:1000, 2], flat[1000:2000, 0], flat[2000:, 1] = 0, 0, 0
    return flat / 1000, rng.integers(0, 256, (3000, 3))


def write(laspy: ModuleType, path: Path, points: np.ndarray, colors: np.ndarray | None, kind: int = 3) -> Path:
    header = laspy.LasHeader(point_format=kind, version="1.4")
    header.scales, header.offsets = [0.001] * 3, np.floor(points.min(axis=0)) if len(points) else np.zeros(3)
    data = laspy.LasData(header)
    data.x, data.y, data.z = points.T
    data.classification = np.arange(len(points)) % 7
    if colors is not None:
        data.red, data.green, data.blue = colors.T
    data.write(path)
    return path


def write_e57(pye57: ModuleType, path: Path, scans: list[dict], **pose: np.ndarray) -> Path:
    file = pye57.E57(str(path), mode="w")
    for scan in scans:
        file.write_scan_raw(scan, **pose)
    file.close()
    return path


def e57_scan(points: np.ndarray, colors: np.ndarray | None) -> dict[str, np.ndarray]:
    scan = {f"cartesian{axis}": points[:, number] for number, axis in enumerate("XYZ")}
    if colors is not None:
        scan |= {name: colors[:, number].astype(np.uint8) for number, name in enumerate(surveys.COLORS)}
    return scan


@pytest.mark.parametrize("suffix", surveys.LAS)
@pytest.mark.parametrize("deep", [1, 257])
def test_survey_coordinates_keep_their_millimetres(laspy, cloud, tmp_path: Path, suffix: str, deep: int) -> None:
    """Map coordinates of seven digits, which float32 cannot hold, and colours of 8 bits or 16."""
    points, colors = cloud
    scene = load_points(write(laspy, tmp_path / f"a{suffix}", points + UTM, colors * deep))
    moved = np.ptp(scene.points.astype(np.float64) - points, axis=0)  # one shift for all
    assert moved.max() < 1e-4 and np.abs(scene.points).max() < 1000
    np.testing.assert_allclose(scene.file_points, points + UTM, atol=1e-6)
    np.testing.assert_allclose(scene.colors, colors / 255, atol=1e-3)
    assert scene.labels is None and any("moved by" in said for said in scene.as_read)


def test_las_without_colours_is_grey_or_shows_its_intensity(laspy, cloud, tmp_path: Path) -> None:
    points, colors = cloud
    for kind, given in ((0, None), (3, np.zeros((len(points), 3), int))):
        with pytest.warns(UserWarning, match="has no colours"):
            scene = load_points(write(laspy, tmp_path / "a.las", points, given, kind))
        assert (scene.colors == 0.5).all()
    data = laspy.read(write(laspy, tmp_path / "a.las", points, None, 0))
    data.intensity = colors[:, 0] * 200
    data.write(tmp_path / "a.las")
    scene = load_points(tmp_path / "a.las")
    assert np.ptp(scene.colors, axis=1).max() == 0 and np.ptp(scene.colors) > 0.5
    assert any("intensity" in said for said in scene.as_read)


@pytest.mark.parametrize("suffix", surveys.LAS)
def test_intensity_is_shown_where_the_fields_of_colours_are_empty(laspy, cloud, tmp_path: Path, suffix: str) -> None:
    """As programs write it that know one point format: black, and what the laser saw beside it."""
    points, _ = cloud
    path = write(laspy, tmp_path / f"black{suffix}", points, np.zeros((3000, 3)))
    data = laspy.read(path)
    data.intensity = np.arange(3000) * 20
    data.write(path)
    found = read_las(path)
    np.testing.assert_allclose(found.colors, np.minimum(np.c_[[np.arange(3000) / 2969.01] * 3].T, 1) * 65535, atol=1)
    assert found.said == ("no colours: intensity is shown as grey",)
    np.testing.assert_allclose(found.points, points, atol=1e-9)


@pytest.mark.parametrize(
    "strength", [np.arange(3000) % 256, np.arange(3000) % 4096, np.linspace(0, 1, 3000), np.linspace(-30, 0, 3000)]
)
def test_e57_without_colours_shows_its_intensity(pye57, cloud, tmp_path: Path, strength: np.ndarray) -> None:
    """In any unit: 8 or 12 bits, a share, decibels; also beside colours that nobody filled."""
    points, colors = cloud
    scan = e57_scan(points, None) | {"intensity": strength.astype(np.float32)}
    for given in (scan, scan | e57_scan(points, 0 * colors)):
        found = surveys.read_e57(write_e57(pye57, tmp_path / "a.e57", [given]))
        assert found.said == (surveys.SHOWN_AS_GREY,)
        assert (np.diff(found.colors[np.argsort(strength), 0].astype(int)) >= 0).all()
        assert 25000 < np.median(found.colors) < 40000 and (found.colors == found.colors[:, :1]).all()
    colored = surveys.read_e57(write_e57(pye57, tmp_path / "b.e57", [scan | e57_scan(points, colors)]))
    assert np.array_equal(colored.colors, colors) and colored.said == ()


def test_intensity_without_a_number_or_of_one_value() -> None:
    """As grey: nothing is invented where there is nothing to see."""
    assert not surveys.grey_of(np.zeros(5)).any() and not surveys.grey_of(np.full(3, np.nan)).any()
    assert surveys.grey_of(np.array([np.nan, -np.inf, 0, 2.0]))[:, 0].tolist() == [0, 0, 0, 65535]
    assert surveys.grey_of(np.r_[np.zeros(500), 7])[:, 2].tolist() == [0] * 500 + [65535]


@pytest.mark.parametrize(
    ("place", "value", "found"), [(25, 9, "version must be 1.0 to 1.4, found 1.9"), (24, 2, "found 2.4"),
                                  (104, 35, "point format must be 0 to 10, found 35")]
)  # fmt: skip
def test_kinds_of_las_that_there_are_not_are_named(laspy, cloud, tmp_path: Path, place, value, found) -> None:
    path = write(laspy, tmp_path / "a.las", *cloud)
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"a.las: .*{found}"):
        load_points(path)


def test_labels_go_back_into_the_kind_of_file_they_came_from(
    laspy, cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    points, colors = cloud
    write(laspy, tmp_path / "a.laz", points + UTM, colors)
    monkeypatch.chdir(tmp_path)
    for command in (["a.laz"], ["a.laz"], ["a.laz", "--out", "b.las"], ["a.laz", "--out", "c.ply"]):  # again is allowed
        with pytest.raises(SystemExit) as stop:
            main(["segment", *command, "--labels", "wall, Tür"])
        assert stop.value.code == 0, capsys.readouterr().err
    first, second = laspy.read("a_labelled.laz"), laspy.read("b.las")
    for data in (first, second):
        np.testing.assert_array_equal(data.xyz, laspy.read("a.laz").xyz)
        np.testing.assert_array_equal(data.classification, np.arange(len(points)) % 7)
        np.testing.assert_array_equal(data["input_red"], colors[:, 0])
        assert set(np.unique(data["label"])) <= {0, 1} and np.abs(data["score"]).max() <= 1
        assert json.loads(data.header.vlrs.get_by_id("geoguide")[0].record_data) == ["wall", "Tür"]
    np.testing.assert_array_equal(first["label"], second["label"])
    np.testing.assert_array_equal(own_scan.open_scan(tmp_path / "c.ply").scene.points.shape, points.shape)
    with pytest.raises(SystemExit):
        main(["segment", "a.laz", "--out", "d.e57", "--labels", "wall"])
    assert "--out must name a file that ends in .ply or .las or .laz, found 'd.e57'" in capsys.readouterr().err
    assert own_scan.is_labelled(tmp_path / "a_labelled.laz") and not own_scan.is_labelled(tmp_path / "a.laz")
    assert json.loads((tmp_path / "a_labelled.json").read_text("utf-8"))["points"] == len(points)
    with pytest.raises(SystemExit) as stop:  # somebody else's file of the default's name
        (tmp_path / "a_labelled.laz").write_bytes(b"mine")
        main(["segment", "a.laz", "--labels", "wall"])
    assert stop.value.code == 2 and (tmp_path / "a_labelled.laz").read_bytes() == b"mine"


@pytest.mark.parametrize("unit", ["m", "km", "mm"])
def test_written_coordinates_are_as_fine_as_the_scan_in_any_unit(laspy, cloud, tmp_path: Path, unit: str) -> None:
    """With one step for all units, a room in kilometres came back with its points on a grid of 10 cm."""
    points = cloud[0].astype(np.float64) / METRES[unit]
    colors = np.zeros(points.shape, np.uint8)
    write_las(tmp_path / "a.las", points, colors, {}, b"")
    error = np.abs(laspy.read(tmp_path / "a.las").xyz - points).max() * METRES[unit]
    assert error <= 1e-6 * np.ptp(cloud[0], axis=0).max()


@pytest.mark.parametrize("suffix", [*surveys.LAS, ".e57"])
def test_a_file_read_in_parts_is_the_file(
    laspy, pye57, cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Parts of 700 of 3,000 points: the last is shorter, and a scan of E57 ends within the arrays of all."""
    points, colors = cloud
    if suffix == ".e57":
        scan = e57_scan(points, colors) | {"cartesianInvalidState": (np.arange(len(points)) % 3 == 0).astype(np.int8)}
        turn = {"rotation": np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]), "translation": UTM}
        path, read = write_e57(pye57, tmp_path / "a.e57", [scan, scan], **turn), surveys.read_e57
    else:
        path, read = write(laspy, tmp_path / f"a{suffix}", points + UTM, colors * las_writer.DEEP), read_las
    whole = read(path)
    monkeypatch.setattr(surveys, "ROWS", 700)
    parts = read(path)
    np.testing.assert_array_equal(parts.points, whole.points)
    np.testing.assert_array_equal(parts.colors, whole.colors)
    assert parts.said == whole.said and len(parts.points) == (4000 if suffix == ".e57" else 3000)


@pytest.mark.parametrize("suffix", surveys.LAS)
def test_a_file_written_in_parts_holds_the_same_points(
    laspy, cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    points, colors = cloud
    given = (points + UTM, colors.astype(np.uint8), {"label": np.arange(3000, dtype=np.int32)}, b"[]")
    write_las(tmp_path / f"whole{suffix}", *given)
    monkeypatch.setattr(las_writer, "ROWS", 700)
    write_las(tmp_path / f"parts{suffix}", *given)
    whole, parts = (laspy.read(tmp_path / f"{name}{suffix}") for name in ("whole", "parts"))
    np.testing.assert_array_equal(parts.points.array, whole.points.array)
    np.testing.assert_array_equal(parts.header.mins, whole.header.mins)
    assert parts.header.point_count == 3000


def test_wide_clouds_are_written_in_the_steps_that_las_has(laspy, rng: np.random.Generator, tmp_path: Path) -> None:
    points = rng.uniform(-1, 1, (50, 3)) * [1e6, 1e3, 0]
    write_las(tmp_path / "a.las", points, np.zeros((50, 3), np.uint8), {"label": np.arange(50, dtype=np.int32)}, b"")
    np.testing.assert_allclose(read_las(tmp_path / "a.las").points, points, atol=0.6e-3)


def test_e57_scans_stand_where_their_poses_say(pye57, cloud, tmp_path: Path) -> None:
    """A quarter turn about z and a shift to map coordinates, by hand; the cloud itself in single precision."""
    points, colors = cloud
    scan = e57_scan(points, colors)
    pose = {"rotation": np.array([np.sqrt(0.5), 0, 0, np.sqrt(0.5)]), "translation": UTM}
    scene = load_points(write_e57(pye57, tmp_path / "a.e57", [scan], **pose))
    np.testing.assert_allclose(scene.file_points, points @ [[0, 1, 0], [-1, 0, 0], [0, 0, 1]] + UTM, atol=1e-3)
    np.testing.assert_allclose(scene.colors, colors / 255, atol=1e-3)
    both = load_points(write_e57(pye57, tmp_path / "b.e57", [scan, e57_scan(points + np.array([5, 0, 0]), colors)]))
    assert len(both) == 2 * len(points) and "2 scans" in both.as_read[0]
    with pytest.warns(UserWarning, match="no colours"):  # one of two has none: no half-coloured cloud
        mixed = load_points(write_e57(pye57, tmp_path / "c.e57", [scan, e57_scan(points, None)]))
    assert (mixed.colors == 0.5).all()


def write_e57_fields(
    pye57, path: Path, scans: list[tuple[np.ndarray, np.ndarray, str, float | None]], **further: np.ndarray
) -> Path:
    """Scans (points, colours in 0..1, kind of field, white of colorLimits or None), as other programs write them.

    Further fields are of float32, or int8 for what is marked by 0 or 1.
    """
    lib = pye57.libe57
    file = lib.ImageFile(str(path), "w")
    root, every = file.root(), lib.VectorNode(file, True)
    root.set("formatName", lib.StringNode(file, "ASTM E57 3D Imaging Data File"))
    root.set("guid", lib.StringNode(file, "{a}"))
    root.set("versionMajor", lib.IntegerNode(file, 1))
    root.set("versionMinor", lib.IntegerNode(file, 0))
    root.set("data3D", every)
    for points, colors, kind, white in scans:
        field = {
            "float": lambda: lib.FloatNode(file, 0.0, lib.E57_SINGLE, 0.0, 1.0),
            "bright": lambda: lib.FloatNode(file, 0.0, lib.E57_SINGLE, 0.0, 4096.0),
            "scaled": lambda: lib.ScaledIntegerNode(file, 0, 0, 255, 1 / 255, 0.0),
            "whole": lambda: lib.IntegerNode(file, 0, 0, 255),
            "deep": lambda: lib.IntegerNode(file, 0, 0, 65535),
        }[kind]
        scan, fields, limits = (lib.StructureNode(file) for _ in range(3))
        scan.set("guid", lib.StringNode(file, "{b}"))
        for axis in "XYZ":
            fields.set(f"cartesian{axis}", lib.FloatNode(file, 0.0, lib.E57_DOUBLE, -1e6, 1e6))
        for name in surveys.COLORS:
            fields.set(name, field())
            for end, value in (("Minimum", 0.0), ("Maximum", white or 0.0)):
                limits.set(name + end, lib.FloatNode(file, value))
        for name, values in further.items():
            fields.set(name, lib.IntegerNode(file, 0, 0, 1) if values.dtype == np.int8 else lib.FloatNode(file, 0.0))
        if white is not None:
            scan.set("colorLimits", limits)
        held = lib.CompressedVectorNode(file, fields, lib.VectorNode(file, True))
        scan.set("points", held)
        every.append(scan)
        scale, dtype = {"float": (1, "f4"), "bright": (4096, "f4"), "scaled": (1, "f4"), "whole": (255, "u2"),
                        "deep": (65535, "u2")}[kind]  # fmt: skip
        columns = e57_scan(points, None)
        columns |= {name: (colors[:, number] * scale).astype(dtype) for number, name in enumerate(surveys.COLORS)}
        columns = {name: np.ascontiguousarray(values) for name, values in (columns | further).items()}
        buffers = lib.VectorSourceDestBuffer()
        for name, values in columns.items():
            buffers.append(lib.SourceDestBuffer(file, name, values, len(points), True, True))
        writer = held.writer(buffers)
        writer.write(len(points))
        writer.close()
    file.close()
    return path


@pytest.mark.parametrize(("kind", "white"), [("whole", None), ("float", 1.0), ("float", None), ("scaled", None)])
def test_e57_points_whose_colour_is_marked_as_invalid_are_grey(pye57, cloud, tmp_path: Path, kind: str, white) -> None:
    """What the fields hold there is no colour: here white, which would be the only bright one."""
    points, colors = cloud
    lost = np.arange(len(points)) % 4 == 0
    given = np.where(lost[:, None], 1, colors / 255 if kind == "whole" else colors / 510)
    marks = {"isColorInvalid": lost.astype(np.int8)}
    scene = load_points(write_e57_fields(pye57, tmp_path / "a.e57", [(points, given, kind, white)], **marks))
    assert (scene.colors[lost] == 0.5).all()
    np.testing.assert_allclose(scene.colors[~lost], given[~lost], atol=0.01)
    assert "750 points whose colour the scanner marks as invalid are mid grey" in scene.as_read


def test_e57_points_whose_intensity_is_marked_as_invalid_are_black(pye57, cloud, tmp_path: Path) -> None:
    """In decibels, where 0 is the strongest; shown as no point has a colour."""
    points, colors = cloud
    lost = np.arange(len(points)) % 4 == 0
    fields = {"intensity": np.where(lost, 9, -np.arange(3000) / 100).astype(np.float32)}
    fields |= {"isColorInvalid": np.ones(3000, np.int8), "isIntensityInvalid": lost.astype(np.int8)}
    path = write_e57_fields(pye57, tmp_path / "a.e57", [(points, colors / 255, "whole", None)], **fields)
    found = surveys.read_e57(path)
    assert found.said == (surveys.SHOWN_AS_GREY,) and not found.colors[lost].any()
    assert (np.diff(found.colors[~lost, 0].astype(int)) <= 0).all() and found.colors[~lost].max() > 65000


@pytest.mark.parametrize(
    ("kind", "white", "said"),
    [
        ("float", 1.0, None),
        ("float", None, None),
        ("scaled", 1.0, None),
        ("scaled", None, None),
        ("bright", 4096.0, None),  # without its limits it would be read as 16 bits
        ("float", 255.0, "do not fit its colorLimits"),  # not black
        ("float", 0.0, None),  # limits that nobody filled
        ("whole", 255.0, "read as 0..255"),
        ("whole", 1.0, "read as 0..255"),  # of whole numbers, limits are not looked at
        ("deep", 65535.0, "read as 16 bits"),
    ],
)
def test_e57_colours_of_every_kind_of_field(pye57, cloud, rng, tmp_path: Path, kind: str, white, said) -> None:
    """Floats and scaled whole numbers hold fractions, which a reading as whole numbers would turn to black."""
    points, _ = cloud
    colors = rng.random(points.shape)
    scene = load_points(write_e57_fields(pye57, tmp_path / "a.e57", [(points, colors, kind, white)]))
    np.testing.assert_allclose(scene.colors, colors, atol=1 / 255)
    told = [each for each in scene.as_read if "colo" in each]
    assert len(told) == (said is not None) and all(said in each for each in told)


def test_e57_colours_that_some_scans_lack_are_spoken_of(pye57, cloud, tmp_path: Path) -> None:
    points, colors = cloud
    scans = [e57_scan(points, colors), e57_scan(points + 5, colors), e57_scan(points - 5, None)]
    found = surveys.read_e57(write_e57(pye57, tmp_path / "a.e57", scans))
    assert found.colors is None and "2 of 3 scans have colours: they are not used" in found.said[-1]
    for alike in (scans[:2], scans[2:] * 2):
        assert not any("colours" in said for said in surveys.read_e57(write_e57(pye57, tmp_path / "b.e57", alike)).said)


def test_e57_scans_of_different_fields_have_one_scale(pye57, cloud, rng, tmp_path: Path) -> None:
    points, _ = cloud
    colors = rng.random((5, *points.shape))
    kinds = (("float", 1.0), ("whole", 255.0), ("deep", None), ("bright", 4096.0), ("whole", None))
    scans = [(points, each, *kind) for each, kind in zip(colors, kinds, strict=True)]
    scene = load_points(write_e57_fields(pye57, tmp_path / "a.e57", scans))
    np.testing.assert_allclose(scene.colors, colors.reshape(-1, 3), atol=1 / 255)


@pytest.mark.parametrize(
    ("scans", "white"),
    [
        ([("bright", None, 1 / 5000), ("bright", None, 1.0)], 65535 / 4096),  # alone, the first is read as 0..1
        ([("deep", None, 1 / 300), ("deep", None, 1.0), ("float", 1.0, 1.0)], 1.0),  # alone, as 8 bits
        ([("whole", None, 1.0), ("deep", None, 1.0)], 1.0),  # its bounds say which one has 8
        ([("bright", 255.0, 1 / 17), ("bright", 255.0, 1.0)], 65535 / 4096),  # the limits of one cannot be right
    ],
)
def test_a_dark_scan_beside_a_bright_one_stays_dark(pye57, cloud, rng, tmp_path: Path, scans, white: float) -> None:
    """Scans that say the same of their colours are on one scale: that of all their colours together."""
    points, _ = cloud
    colors = [rng.random(points.shape) * share for *_, share in scans]
    given = [(points, each, kind, limit) for each, (kind, limit, _) in zip(colors, scans, strict=True)]
    found = load_points(write_e57_fields(pye57, tmp_path / "a.e57", given)).colors
    np.testing.assert_allclose(found, np.concatenate(colors) / white, atol=1 / 255)


@pytest.mark.parametrize("suffix", [*surveys.LAS, ".e57"])
def test_parts_of_a_file_that_disagree_are_on_one_scale(
    laspy, pye57, cloud, rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """Of four parts the first is black and the second dark: each alone would be of 8 bits."""
    monkeypatch.setattr(surveys, "ROWS", 750)
    points, _ = cloud
    shares = rng.random(points.shape) * np.repeat([0, 0.003, 1, 1], 750)[:, None]
    path = tmp_path / f"a{suffix}"
    if suffix == ".e57":
        write_e57_fields(pye57, path, [(points, shares, "deep", None)])
    else:
        write(laspy, path, points, shares * 65535)
    np.testing.assert_allclose(load_points(path).colors, shares, atol=1 / 65000)


def test_e57_colours_on_no_scale_and_not_finite_are_one_line(pye57, cloud, tmp_path: Path) -> None:
    points, _ = cloud
    for value, message in ((np.nan, "colors holds NaN"), (-20.0, "scan 0: colours are floats .* on no known scale")):
        given = np.full(points.shape, value)
        path = write_e57_fields(pye57, tmp_path / "a.e57", [(points, given, "bright", None)])
        with pytest.raises(DataError, match=f"a.e57: .*{message}"):
            load_points(path)
        path.unlink()


def test_e57_pose_without_a_rotation(pye57, cloud, tmp_path: Path) -> None:
    pose = {"rotation": np.zeros(4), "translation": np.zeros(3)}
    path = write_e57(pye57, tmp_path / "a.e57", [e57_scan(*cloud)], **pose)
    with pytest.raises(DataError, match="scan 0: the rotation of its pose must be a quaternion, found only zeros"):
        load_points(path)


def test_e57_of_ranges_and_angles_and_of_invalid_points(pye57, cloud, tmp_path: Path) -> None:
    points, colors = cloud
    points = points + 0.5
    reach = np.linalg.norm(points, axis=1)
    places = {
        "sphericalRange": reach,
        "sphericalAzimuth": np.arctan2(points[:, 1], points[:, 0]),
        "sphericalElevation": np.arcsin(points[:, 2] / reach),
    }
    np.testing.assert_allclose(surveys._cartesian(np.stack(list(places.values()), axis=1)), points, atol=1e-9)
    scan = e57_scan(points, colors) | {"cartesianInvalidState": (np.arange(len(points)) % 3 == 0).astype(np.int8)}
    scene = load_points(write_e57(pye57, tmp_path / "a.e57", [scan]))
    np.testing.assert_allclose(scene.points, points[np.arange(len(points)) % 3 > 0], atol=1e-3)
    assert any("invalid" in said for said in scene.as_read)


@pytest.mark.parametrize("suffix", [*surveys.LAS, ".e57"])
def test_harmed_files_are_one_line(laspy, pye57, cloud, tmp_path: Path, suffix: str) -> None:
    points, colors = cloud
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".e57":
        write_e57(pye57, whole, [e57_scan(points, colors)])
    else:
        write(laspy, whole, points, colors)
    data = whole.read_bytes()
    cuts = {len(data) - 1, len(data) - 340, len(data) // 2, 300, 100, 3, 0}
    harmed = [data[:cut] for cut in cuts] + [b"XXXX" + data[4:], b"hello\n" * 100]
    for number, content in enumerate(harmed):
        path = tmp_path / f"harmed{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(DataError) as error:
            load_points(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("version", ["1.2", "1.4"])
@pytest.mark.parametrize("suffix", surveys.LAS)
def test_counts_that_a_file_cannot_hold_are_named(laspy, cloud, tmp_path: Path, suffix: str, version: str) -> None:
    """laspy goes round two thousand million times for some, and the reader of LAZ ends the process for others."""
    header = laspy.LasHeader(point_format=3, version=version)
    data = laspy.LasData(header)
    data.x, data.y, data.z = cloud[0].T
    path = tmp_path / f"a{suffix}"
    data.write(path)
    whole, kept = path.read_bytes(), len(read_las(path).points)
    begin = struct.unpack_from("<I", whole, 96)[0]
    changes = {"number of variable length records": (100, "<I", 0x7F000000), "start of the points": (96, "<I", 2**31)}
    if version == "1.4":
        changes |= {"number of extended records": (243, "<I", 0x7F000000)}
    if suffix == ".laz":
        table = struct.unpack_from("<q", whole, begin)[0]
        changes |= {"number of compressed chunks": (table + 4, "<I", 0xFFFFFFFF)}
    else:
        where = (247, "<Q", kept + 1) if version == "1.4" else (107, "<I", kept + 1)
        changes |= {"number of points (truncated?)": where}
    for field, (place, kind, value) in changes.items():
        harmed = bytearray(whole)
        struct.pack_into(kind, harmed, place, value)
        path.write_bytes(harmed)
        with pytest.raises(DataError) as error:
            read_las(path)
        assert str(error.value).startswith(f"{path}: {field} must be at most ") and f"found {value}" in str(error.value)
        assert surveys.las_columns(path) == set()


def test_files_without_points_are_one_line(laspy, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty"):
        load_points(write(laspy, tmp_path / "a.las", np.zeros((0, 3)), None))
    with pytest.raises(DataError, match="not found|no such"):
        load_points(tmp_path / "gone.laz")


@pytest.mark.parametrize("suffix", [*surveys.LAS, ".e57"])
def test_without_the_extra_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(b"LASF")
    for name in ("laspy", "pye57"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(DataError, match=r"need the extra `scans`: pip install 'geoguide\[scans\]'"):
        load_points(tmp_path / f"a{suffix}")
    if suffix in surveys.LAS:  # before the work
        with pytest.raises(DataError, match="need the extra `scans`"):
            own_scan.need_writer(tmp_path / f"b{suffix}")
    own_scan.need_writer(tmp_path / "b.ply")


def write_full(laspy: ModuleType, path: Path, cloud: tuple, kind: int, rng: np.random.Generator) -> Path:
    """A survey of 3,000 points with all that its point format has, columns of its own, and records."""
    points, _ = cloud
    header = laspy.LasHeader(point_format=kind, version="1.2" if kind < 4 else "1.4")
    header.scales, header.offsets = [0.001, 0.001, 0.01], np.floor(UTM)
    header.global_encoding.wkt, header.system_identifier, header.file_source_id = kind > 5, "Rig 7", 42
    header.generating_software = "Surveyor"
    header.add_extra_dim(laspy.ExtraBytesParams("Amplitude", np.uint16, "in dB", scales=[0.01], offsets=[0.0]))
    header.add_extra_dim(laspy.ExtraBytesParams("direction", "3f4"))
    header.add_extra_dim(laspy.ExtraBytesParams("label", np.uint8, "of the surveyor", no_data=[255]))
    header.add_extra_dim(laspy.ExtraBytesParams("score", np.float64))
    header.vlrs.append(
        laspy.VLR("LASF_Projection", 34735, "keys", struct.pack("<9H", 1, 1, 0, 1, 3072, 0, 1, 25832, 7))
    )
    header.vlrs.append(laspy.VLR("company", 7, "in short", b"\x00\xff" * 20))
    header.vlrs.append(laspy.VLR("copc", 1, "", bytes(160)))
    data = laspy.LasData(header)
    for field in data.points.array.dtype.names:
        whole = data.points.array[field]
        bits = rng.integers(0, 256, whole.nbytes, dtype=np.uint8).view(whole.dtype).reshape(whole.shape)
        data.points.array[field] = bits if whole.dtype.kind in "iu" else rng.normal(size=whole.shape)
    data.x, data.y, data.z = (points + UTM).T
    if kind > 5:
        data.evlrs = laspy.vlrs.vlrlist.VLRList([laspy.VLR("company", 8, "in length", bytes(range(256)) * 300)])
    data.write(path)
    content = path.read_bytes()  # texts in Latin 1 are no rarity, and laspy reads but does not write them
    for text, latin in ((b"Surveyor", "Büro Ost"), (b"in short\0", "zu kürz\0\0"), (b"in length\0", "in Länge\0\0")):
        content = content.replace(text, latin.encode("latin1"))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", surveys.LAS)
@pytest.mark.parametrize("kind", range(11))
def test_a_labelled_survey_keeps_all_that_the_survey_holds(
    laspy, cloud, rng, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int, suffix: str
) -> None:
    """Coordinates to the bit, each column, scales, header fields and records; written in parts of 700 points."""
    monkeypatch.setattr(las_writer, "ROWS", 700)
    source = write_full(laspy, tmp_path / f"a{suffix}", cloud, kind, rng)
    out, colors = tmp_path / "b.laz", rng.integers(0, 256, (3000, 3), dtype=np.uint8)
    columns = {"label": rng.integers(0, 9, 3000, dtype=np.int32), "score": rng.random(3000, dtype=np.float32)}
    waves = pytest.warns(ReadAs, match=f"a{suffix}: wave forms of its pulses are not in the labelled file")
    with waves if kind in (4, 5, 9, 10) else contextlib.nullcontext():
        write_las_like(out, source, read_las(source).points, colors, columns, b'["a"]')
    old, new = laspy.read(source), laspy.read(out)
    written = ("red", "green", "blue", "label", "score")
    kept = [name for name in old.point_format.dimension_names if name not in written]
    for name in kept:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    assert new.point_format.id == las_writer.COLORED.get(kind, kind) and new.header.version == old.header.version
    for name in ("scales", "offsets", "mins", "maxs", "number_of_points_by_return"):
        np.testing.assert_array_equal(getattr(new.header, name), getattr(old.header, name), err_msg=name)
    for name in ("system_identifier", "generating_software", "file_source_id", "creation_date", "uuid"):
        assert getattr(new.header, name) == getattr(old.header, name)
    assert new.header.global_encoding.value == old.header.global_encoding.value
    for name in ("Amplitude", "direction"):
        assert new.point_format.dimension_by_name(name) == old.point_format.dimension_by_name(name)
    assert new["Amplitude"].max() < 656  # scaled
    for name in ("label", "score"):
        np.testing.assert_array_equal(new[f"input_{name}"], old[name])
    assert new.point_format.dimension_by_name("input_label").description == "of the surveyor"
    for number, name in enumerate(("red", "green", "blue")):
        np.testing.assert_array_equal(new[name], colors[:, number].astype(int) * 257)
        assert (f"input_{name}" in new.point_format.dimension_names) == (name in old.point_format.dimension_names)
        if name in old.point_format.dimension_names:
            np.testing.assert_array_equal(new[f"input_{name}"], old[name])
    for name, values in columns.items():
        np.testing.assert_array_equal(new[name], values)
    records, found = (
        [
            (one.user_id, one.record_id, one.description, one.record_data_bytes())
            for one in data.vlrs
            if one.user_id != "copc"
        ]
        for data in (old, new)
    )
    assert [one for one in records if one[0] in ("LASF_Projection", "company")] == found[:2]
    assert b"\xe8d\x07\x00" in out.read_bytes()[:2000], "what laspy does not know of a record is lost"
    assert not any(one.user_id == "copc" for one in new.vlrs) and ("geoguide", 1, "labels", b'["a"]') in found
    if kind > 5:
        assert [(one.description, one.record_data_bytes()) for one in new.evlrs] == [
            ("in Länge".encode("latin1"), bytes(range(256)) * 300)
        ]


@pytest.mark.parametrize("kind", [3, 6])
def test_labels_that_were_written_before_are_replaced(laspy, cloud, rng, tmp_path: Path, kind: int) -> None:
    """And what was kept stays: the surveyor's own labels and colours are not lost in the second round."""
    files = [write_full(laspy, tmp_path / "a.las", cloud, kind, rng), tmp_path / "b.laz", tmp_path / "c.las"]
    colors = rng.integers(0, 256, (3000, 3), dtype=np.uint8)
    for number, (source, out) in enumerate(itertools.pairwise(files)):
        columns = {"label": np.full(3000, number, np.int32), "score": np.full(3000, number, np.float32)}
        write_las_like(out, source, read_las(source).points, colors, columns, b"[%d]" % number)
    first, second = laspy.read(files[1]), laspy.read(files[2])
    names = list(first.point_format.dimension_names)
    assert sorted(second.point_format.dimension_names) == sorted(names)
    for name in names:
        np.testing.assert_array_equal(second[name], first[name] + (name in ("label", "score")), err_msg=name)
    assert [one.record_data_bytes() for one in second.vlrs if one.user_id == "geoguide"] == [b"[1]"]


def test_a_survey_that_changes_while_it_is_labelled_is_one_line(laspy, cloud, tmp_path: Path) -> None:
    points, colors = cloud
    source = write(laspy, tmp_path / "a.las", points, colors)
    read = read_las(source).points
    given = (colors.astype(np.uint8), {"label": np.arange(3000, dtype=np.int32)}, b"[]")
    for other in (points[::-1], points[:2000], np.concatenate([points, points])):
        write(laspy, source, other, None)
        with pytest.raises(DataError, match=r"a.las: was changed while it was labelled"):
            write_las_like(tmp_path / "b.las", source, read, *given)
    source.write_bytes(source.read_bytes()[:500])
    with pytest.raises(DataError, match=r"a.las: .*truncated\?"):
        write_las_like(tmp_path / "b.las", source, read, *given)


@pytest.mark.parametrize("suffix", surveys.LAS)
@pytest.mark.parametrize("like", [False, True])
def test_a_file_that_the_system_does_not_let_be_written_is_one_line(
    laspy, cloud, rng, tmp_path: Path, suffix: str, like: bool
) -> None:
    """As of a full disk: what packs LAZ only says that a write failed."""
    points, _ = cloud
    source, out = write(laspy, tmp_path / "a.las", points, None), tmp_path / f"b{suffix}"
    out.write_bytes(b"old")
    given = (rng.integers(0, 256, (3000, 3), dtype=np.uint8), {"score": rng.random(3000)}, b"[]")
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        refused = pytest.raises(WriteError, match=rf"b{suffix}: cannot be written \(File too large\)$")
        with refused, replacing(out) as temporary:
            if like:
                write_las_like(temporary, source, read_las(source).points, *given)
            else:
                write_las(temporary, points, *given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", surveys.LAS)
def test_an_interrupt_while_a_file_is_written_stays_one(laspy, rng, tmp_path: Path, monkeypatch, suffix: str) -> None:
    class Interrupted(io.FileIO):
        def write(self, data: object) -> int:
            if self.tell():  # the header is there
                raise KeyboardInterrupt
            return super().write(data)

    monkeypatch.setattr(las_writer.io, "FileIO", Interrupted)
    colors = rng.integers(0, 256, (9000, 3), dtype=np.uint8)
    with pytest.raises(KeyboardInterrupt):
        write_las(tmp_path / f"a{suffix}", rng.random((9000, 3)), colors, {"score": rng.random(9000)}, b"[]")
