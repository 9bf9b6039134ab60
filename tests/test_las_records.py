"""The unit that the coordinate system of a LAS or LAZ file says: by hand-written GeoTIFF keys and well-known text."""

import struct
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from geoguide.datasets.formats.las_records import _metres_by_epsg
from geoguide.datasets.points import load_points, stated_unit
from geoguide.errors import DataError
from geoguide.own_scan import open_scan

FOOT = 0.3048006096012192
MAP = (
    'PROJCS["NAD83 [north]",GEOGCS["NAD83",DATUM["N",SPHEROID["GRS 1980",6378137,298.25]],PRIMEM["G",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Lambert"],PARAMETER["false_easting",1640416.667],'
    'UNIT["unit",{}],AXIS["X",EAST],AUTHORITY["EPSG","2926"]]'
)
HEIGHT = 'VERT_CS["NAVD88",VERT_DATUM["N",2005],UNIT["unit",{}],AXIS["Up",UP]]'
SECOND = (
    'PROJCRS["NAD83",BASEGEOGCRS["NAD83",DATUM["N",ELLIPSOID["GRS 1980",6378137,298.2,LENGTHUNIT["metre",1]]]],'
    'CONVERSION["S",METHOD["L"],PARAMETER["Easting",500000,LENGTHUNIT["metre",1]]],CS[Cartesian,2],'
    'AXIS["x",east,{0}],AXIS["y",north,{0}]]'
)


def text(wkt: str) -> tuple[int, bytes]:
    return 2112, wkt.encode() + b"\0"


def keys(**units: int) -> tuple[int, bytes]:
    rows = [(number, 0, 1, units[name]) for name, number in (("across", 3076), ("up", 4099)) if name in units]
    return 34735, struct.pack(f"<{4 + 4 * len(rows)}H", 1, 1, 0, len(rows), *(value for row in rows for value in row))


@pytest.fixture(scope="module")
def laspy() -> ModuleType:
    pytest.importorskip("lazrs")
    return pytest.importorskip("laspy")


def number(system: int, name: str = "", heights: int = 0) -> list[tuple[int, bytes]]:
    """A coordinate system by its number, as laspy's `add_crs` writes it; its name is in a record of its own."""
    rows = [(1024, 0, 1, 1), (3072, 0, 1, system), (3073, 34737, len(name), 0), (4096, 0, 1, heights)]
    values = [value for row in rows for value in row]
    return [(34735, struct.pack("<20H", 1, 1, 0, len(rows), *values)), (34737, name.encode("ascii") + b"\0")]


def write(laspy: ModuleType, path: Path, points: np.ndarray, *records: tuple[int, bytes]) -> Path:
    header = laspy.LasHeader(point_format=3, version="1.4")
    header.scales, header.offsets = [1e-4] * 3, points.min(axis=0)
    data = laspy.LasData(header)
    data.x, data.y, data.z = points.T
    data.red = data.green = data.blue = np.arange(len(points)) % 60_000 + 300
    for kind, content in records:
        data.header.vlrs.append(laspy.VLR("LASF_Projection", kind, "", content))
    data.write(path)
    return path


@pytest.fixture
def room(rng: np.random.Generator) -> np.ndarray:
    """Points on the floor and two walls of a room, in metres."""
    points = rng.uniform(0, (4, 5, 2.5), (3000, 3))
    points[:1000, 2], points[1000:2000, 0], points[2000:, 1] = 0, 0, 0
    return points


FEET = {
    "keys": keys(across=9003),
    "keys of a foot": keys(across=9002, up=9002),
    "text": text(MAP.format(FOOT)),
    "text with heights": text(f'COMPD_CS["c",{MAP.format(FOOT)},{HEIGHT.format(FOOT)}]'),
    "second version": text(SECOND.format(f'LENGTHUNIT["US survey foot",{FOOT}]')),
    "unit behind the axes": text(SECOND.format("ORDER[1]")[:-1] + f',LENGTHUNIT["US survey foot",{FOOT}]]'),
    "other brackets": text(MAP.format(FOOT).replace("[", " (").replace("]", ")").lower()),
    "of a site": text('LOCAL_CS["site",UNIT["foot",0.3048]]'),
}


@pytest.mark.parametrize("name", FEET)
@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_feet_that_a_file_says_are_feet(laspy, room: np.ndarray, tmp_path: Path, name: str, suffix: str) -> None:
    path = write(laspy, tmp_path / f"a{suffix}", room / 0.3048 + [1_200_000, 500_000, 100], FEET[name])
    scene = open_scan(path).scene
    np.testing.assert_allclose(np.ptp(scene.points, axis=0), np.ptp(room, axis=0), atol=1e-3)
    said = " ".join(scene.as_read)
    assert "its coordinate system is in ft: multiplied by 0.3048" in said and "its unit given as ft" in said
    asked = load_points(path, unit="m")  # whoever says the unit is believed
    np.testing.assert_allclose(np.ptp(asked.points, axis=0), np.ptp(room, axis=0) / 0.3048, atol=1e-2)


@pytest.mark.parametrize(
    "record",
    [
        keys(across=9001),
        keys(across=9001, up=9001),
        keys(),
        keys(up=9003),
        (34735, b"\1\0\1"),
        text(MAP.format(1)),
        text(MAP.format("1.0").replace("NAD83", 'a ""foot""')),
        text(SECOND.format('LENGTHUNIT["metre",1]')),
        text('GEOGCS["WGS 84",UNIT["degree",0.0174532925199433]]'),
        text(MAP.format(FOOT)[:150]),
        text(MAP.replace(",{}", "")),
        text("]][["),
        text(""),
    ],
)
def test_metres_stay_as_they_are(laspy, room: np.ndarray, tmp_path: Path, record: tuple[int, bytes]) -> None:
    path = write(laspy, tmp_path / "a.las", room, record)
    assert stated_unit(path) is None
    scene = load_points(path)
    np.testing.assert_allclose(scene.points, room, atol=1e-4)
    assert not any("coordinate" in said for said in scene.as_read)


@pytest.mark.parametrize(
    ("record", "metres", "message"),
    [
        (keys(across=9003, up=9001), 1, "x and y are in ft, z in m: bring them to one unit, or say with --unit"),
        (text(f'COMPD_CS["c",{MAP.format(1)},{HEIGHT.format(FOOT)}]'), 1, "x and y are in m, z in ft"),
        (keys(across=9003), 0.001, r"its coordinate system is in ft, but coordinates do not look like metres: \d"),
        (keys(across=9036), 1, r"its coordinate system is in km, but .* m apart; --unit says another"),
    ],
)
def test_units_that_cannot_be(laspy, room: np.ndarray, tmp_path: Path, record, metres: float, message: str) -> None:
    path = write(laspy, tmp_path / "a.las", room / metres, record)
    with pytest.raises(DataError, match=message):
        load_points(path)
    assert len(load_points(path, unit="m")) == len(room)


@pytest.fixture
def pyproj(monkeypatch: pytest.MonkeyPatch) -> None:
    """What pyproj says of a few systems: a stand-in with its names, by EPSG's own tables."""
    axes = {2263: [FOOT, FOOT], 6360: [FOOT], 32618: [1.0, 1.0], 5703: [1.0], 8700: [FOOT] * 3, 4087: []}
    error = type("CRSError", (RuntimeError,), {})

    def from_epsg(code: int) -> SimpleNamespace:
        if code not in axes:
            raise error("crs not found")
        return SimpleNamespace(axis_info=[SimpleNamespace(unit_conversion_factor=metres) for metres in axes[code]])

    found = SimpleNamespace(CRS=SimpleNamespace(from_epsg=from_epsg), exceptions=SimpleNamespace(CRSError=error))
    monkeypatch.setitem(sys.modules, "pyproj", found)


@pytest.mark.parametrize(
    ("system", "unit", "message"),
    [
        (number(2263), "ft", None),
        (number(2263, heights=6360), "ft", None),
        (number(2263, heights=1), "ft", None),
        (number(32618, "WGS 84 / UTM zone 18N", 5703), None, None),
        (number(2263, heights=5703), None, "x and y are in ft, z in m"),
        (number(8700), "ft", None),
        (number(4087), None, None),
        (number(1025), None, None),
    ],
)
def test_pyproj_knows_the_unit_of_a_number(laspy, pyproj, room, tmp_path: Path, system, unit, message) -> None:
    path = write(laspy, tmp_path / "a.las", room / (FOOT if unit else 1), *system)
    if message:
        with pytest.raises(DataError, match=message):
            load_points(path)
        return
    assert stated_unit(path) == unit
    scene = load_points(path)
    np.testing.assert_allclose(np.ptp(scene.points, axis=0), np.ptp(room, axis=0), atol=1e-3)
    assert sum("EPSG" in said for said in scene.as_read) == (system in (number(4087), number(1025)))


def test_the_numbers_are_those_of_pyproj_itself() -> None:
    pytest.importorskip("pyproj")
    assert [_metres_by_epsg(code) for code in (32618, 1025, 0)] == [(1.0, None), (None, None), (None, None)]
    assert _metres_by_epsg(6539)[0] == pytest.approx(FOOT) and _metres_by_epsg(8700)[1] == pytest.approx(FOOT, abs=1e-5)


@pytest.mark.parametrize(
    ("system", "unit", "named"),
    [
        (number(2263, "NAD83 / New York Long Island (ftUS)|"), "ft", False),
        (number(2994, "NAD_1983_HARN_StatePlane_Oregon_Feet_Intl|"), "ft", False),
        (number(26918, "NAD83 / UTM zone 18N + NAVD88 height (ftUS)|"), None, True),
        (number(2263), None, True),
        (number(32767), None, False),  # "user-defined": no number
        ([keys(across=9001)], None, False),
    ],
)
def test_without_pyproj_a_number_is_said(laspy, room, tmp_path: Path, monkeypatch, system, unit, named) -> None:
    """Its name may tell feet; else nobody is left to guess that metres were taken."""
    monkeypatch.setitem(sys.modules, "pyproj", None)
    path = write(laspy, tmp_path / "a.las", room / (FOOT if unit else 1), *system)
    assert stated_unit(path) == unit
    scene = load_points(path)
    np.testing.assert_allclose(np.ptp(scene.points, axis=0), np.ptp(room, axis=0), atol=1e-3)
    said = [each for each in scene.as_read if "EPSG" in each]
    assert len(said) == named and all("the unit of which is not in the file: taken as metres" in each for each in said)
    assert not any("EPSG" in each for each in load_points(path, unit="m").as_read)
