"""Houses and rooms whose files were exchanged, shuffled or lost: one line names them; nothing is said of right ones."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from geoguide.cli import main
from geoguide.datasets.formats.matterport_house import exchanged_with, read_boxes
from geoguide.datasets.formats.mesh_order import check_coherent_objects, check_small_faces
from geoguide.datasets.matterport3d import list_houses, load_region
from geoguide.datasets.scannet import list_scenes, load_scene
from geoguide.errors import DataError
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses import make_mini_matterport3d
from geoguide.worlds.houses.make import HouseConfig
from geoguide.worlds.rooms.make import MiniConfig, make_mini_scannet

SENSOR = SensorConfig(frames=18, image_size=(48, 64), focal=36.0, height_range=(1.4, 1.6), rotation_error=0.15)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One house of three rooms, of two panoramas each."""
    config = HouseConfig(seed=1, regions=3, voxel=0.06, panoramas=2, sensor=SENSOR)
    root = tmp_path_factory.mktemp("houses") / "data"
    return make_mini_matterport3d(root, houses=(1, 0, 0), config=config, workers=1, progress=False)


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def house(data: Path) -> Path:
    return list_houses(data, "train")[0]


def mesh(house: Path, region: int) -> Path:
    return house / "region_segmentations" / f"region{region}.ply"


def points_of(path: Path) -> np.ndarray:
    vertex = PlyData.read(path)["vertex"].data
    return np.stack([vertex[axis] for axis in "xyz"], axis=1)


def rewrite(path: Path, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    """Write a mesh again with changed records of its vertices and faces."""
    ply = PlyData.read(path, mmap=False)
    vertex, face = change(ply["vertex"].data, ply["face"].data)
    parts = [PlyElement.describe(vertex, "vertex"), PlyElement.describe(face, "face")]
    PlyData(parts, byte_order=ply.byte_order, comments=ply.comments, obj_info=ply.obj_info).write(path)


def write_house(house: Path, order: list[int]) -> None:
    """A .house file whose regions have the boxes of meshes in this order; `order` may name more than are there."""
    lines = ["ASCII 1.1", f"H  {house.name}  -  0 0 0 0 0 0 0 3 0  1  0 0 0 0 0  0 0 0  9 9 9  0 0 0 0 0"]
    for number, region in enumerate(order):
        points = points_of(mesh(house, region))
        box = " ".join(f"{value:g}" for value in (*points.min(axis=0), *points.max(axis=0)))
        lines.append(f"R  {number} 0  0 0  b  0 0 0  {box}  2.5  0 0 0 0")
    path = house / "house_segmentations" / f"{house.name}.house"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def checked(data: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(data)])
    out = "".join(capsys.readouterr())
    assert ended.value.code == (0 if " 0 problems" in out else 1), out
    return out


def test_vertices_in_another_order_than_the_faces_name_them(house: Path, rng: np.random.Generator):
    load_region(house, 0, mapping=None)
    rewrite(mesh(house, 0), lambda vertex, face: (rng.permutation(vertex), face))
    with pytest.raises(DataError, match=r"region0\.ply: half of the faces have an edge longer than \d+% of the whole"):
        load_region(house, 0, mapping=None)


def test_faces_in_another_order_than_their_segments(data: Path, house: Path, rng: np.random.Generator):
    path = mesh(house, 0).with_suffix(".fsegs.json")
    segments = json.loads(path.read_text())
    path.write_text(json.dumps(segments | {"segIndices": rng.permutation(segments["segIndices"]).tolist()}))
    with pytest.raises(DataError, match=r"region0\.semseg\.json: only \d+% of neighbours .*is region0\.fsegs\.json in"):
        load_region(house, 0, mapping=data / "category_mapping.tsv")


@pytest.mark.parametrize("base", [13, 16, 20, 40])
def test_categories_whose_ids_are_modulo_some_number(data: Path, house: Path, base: int):
    """Walls and floors keep theirs; modulo 40 takes "other things" alone, which are no class."""
    path = data / "category_mapping.tsv"
    labels = load_region(house, 0, mapping=path).labels
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    column = head.index("nyu40id")
    rows = [[*row[:column], str(int(row[column] or 0) % base), *row[column + 1 :]] for row in rows]
    path.unlink()  # it may be a link
    path.write_text("\n".join("\t".join(row) for row in [head, *rows]))
    if base == 40:
        assert np.array_equal(load_region(house, 0, mapping=path).labels, labels)
        return
    with pytest.raises(DataError, match=r"mapping.tsv: column nyu40id: \d+ of \d+ categories called as a class have"):
        load_region(house, 0, mapping=path)


def test_indices_modulo_some_number(data: Path, house: Path):
    """Most faces are walls and floors, whose indices are small."""
    rewrite(mesh(house, 0), lambda vertices, faces: (vertices, _modulo(faces, 20)))
    with pytest.raises(DataError, match=r"region0.ply: faces of \d kinds of objects, .* indices modulo"):
        load_region(house, 0, mapping=data / "category_mapping.tsv")


def _modulo(faces: np.ndarray, base: int) -> np.ndarray:
    """Faces whose categories are counted modulo a number."""
    faces = faces.copy()
    faces["category_id"] %= base
    return faces


def test_vertices_of_a_room_in_another_order_than_their_segments(tmp_path: Path, rng: np.random.Generator):
    make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=MiniConfig(1, 0.06, SENSOR), workers=1, progress=False)
    (folder,) = list_scenes(tmp_path, "train")
    load_scene(folder)
    (folder / f"{folder.name}_vh_clean_2.labels.ply").unlink()  # else the labels tell it too
    path = folder / f"{folder.name}_vh_clean_2.0.010000.segs.json"
    segments = json.loads(path.read_text())
    path.write_text(json.dumps(segments | {"segIndices": rng.permutation(segments["segIndices"]).tolist()}))
    with pytest.raises(DataError, match=r"aggregation\.json: only \d+% of neighbours in the mesh belong to one object"):
        load_scene(folder)
    path.write_text(json.dumps(segments))
    mesh = folder / f"{folder.name}_vh_clean_2.ply"
    rewrite(mesh, lambda vertex, face: (rng.permutation(vertex), face))
    with pytest.raises(DataError, match=r"_vh_clean_2\.ply: half of the faces"):
        load_scene(folder)


def test_shares_of_neighbours_by_hand(rng: np.random.Generator):
    """Two strips of faces, one object each; the loop counts what the functions do."""
    faces = np.stack([np.arange(2000), np.arange(2000) + 1, np.arange(2000) + 2], axis=1)
    owner = np.repeat([0, 1], 1000)
    check_coherent_objects(owner, faces, "faces", Path("a"), Path("b"))
    check_coherent_objects(np.repeat([0, 1], 1001), faces, "vertices", Path("a"), Path("b"))
    for unit, count in (("faces", 2000), ("vertices", 2002)):
        with pytest.raises(DataError, match="a: only"):
            check_coherent_objects(rng.integers(0, 2, count), faces, unit, Path("a"), Path("b"))
        check_coherent_objects(rng.integers(0, 2, count), faces[:900], unit, Path("a"), Path("b"))  # too few
        check_coherent_objects((rng.random(count) < 0.02).astype(int), faces, unit, Path("a"), Path("b"))  # one object
    line = np.stack([np.arange(2002.0), np.zeros(2002), np.zeros(2002)], axis=1)
    check_small_faces(line, faces, Path("mesh.ply"))
    with pytest.raises(DataError, match=r"mesh.ply: half of the faces have an edge longer than \d+%"):
        check_small_faces(rng.permutation(line), faces, Path("mesh.ply"))


def test_a_right_house_has_no_problem(data: Path, house: Path, capsys: pytest.CaptureFixture[str]):
    write_house(house, [0, 1, 2])
    assert "0 problems" in checked(data, capsys)


def test_exchanged_regions_are_named_by_the_house_file(data: Path, house: Path, capsys: pytest.CaptureFixture[str]):
    write_house(house, [0, 2, 1])
    out = checked(data, capsys)
    assert "2 problems" in out
    for region, other in ((1, 2), (2, 1)):
        assert f"region{region}.ply: by {house.name}.house " in out and f"100% in that of region {other}" in out


def test_regions_that_are_not_there_are_noted(data: Path, house: Path, capsys: pytest.CaptureFixture[str]):
    write_house(house, [0, 1, 2, 2])
    assert "holds no mesh of 1 regions of the house: 3" in checked(data, capsys)
    shutil.rmtree(house / "house_segmentations")
    for path in house.glob("region_segmentations/region1.*"):
        path.unlink()
    assert "holds no mesh of 1 regions of the house: 1" in checked(data, capsys)


def test_a_broken_house_file_is_a_problem(house: Path, data: Path, capsys: pytest.CaptureFixture[str]):
    write_house(house, [0, 1, 2])
    path = house / "house_segmentations" / f"{house.name}.house"
    path.write_text(path.read_text() + "R 3 0 0 0 b 1 2 3\n")
    with pytest.raises(DataError, match=r"\.house: line 6: expected a region with a box of 6 numbers"):
        read_boxes(path)
    assert "line 6: expected a region" in checked(data, capsys)


def test_boxes_that_do_not_fit_at_all_say_nothing(rng: np.random.Generator):
    points, box = rng.random((500, 3)), np.array([[0, 0, 0], [1.0, 1, 1]])
    assert exchanged_with(points, 0, {0: box + 5, 1: box + 9}) is None
    assert exchanged_with(points, 7, {0: box}) is None and exchanged_with(points, 0, {0: box + 5}) is None
    assert "100% in that of region 1" in str(exchanged_with(points, 0, {0: box + 5, 1: box}))


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        (("region0pano0_i1_0", "region0pano0_i1_3"), "fit the points in another order: are they exchanged?"),
        (("region0pano0", "region0pano1"), ""),
        (("region0pano0", "region1pano0"), "fit the points no better than those of other frames do"),
    ],
)
def test_exchanged_images_of_a_tripod_or_of_two(
    data: Path, house: Path, capsys: pytest.CaptureFixture[str], pair: tuple[str, str], said: str
):
    assert "colour images" not in checked(data, capsys)
    folder = house / "undistorted_color_images"
    for path in folder.glob(f"{pair[0]}*.jpg"):
        other = folder / path.name.replace(*pair)
        kept = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(kept)
    out = checked(data, capsys)
    assert "region0.ply: colour images" in out and said in out, out
