"""The unit that the coordinate system of a LAS or LAZ file says: by hand-written GeoTIFF keys and well-known text."""

import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

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


def write(laspy: ModuleType, path: Path, points: np.ndarray, record: tuple[int, bytes]) -> Path:
    header = laspy.LasHeader(point_format=3, version="1.4")
    header.scales, header.offsets = [1e-4] * 3, points.min(axis=0)
    data = laspy.LasData(header)
    data.x, data.y, data.z = points.T
    data.red = data.green = data.blue = np.arange(len(points)) % 60_000 + 300
    data.header.vlrs.append(laspy.VLR("LASF_Projection", record[0], "", record[1]))
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
