"""What other programs call columns, fields and faces, and rows that a header does not count."""

# ruff: noqa: F811 (fixtures of another file)

import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from decisions import decided
from plyfile import PlyData, PlyElement
from test_harmed_points import Sampled, room, same, save_ply, unharmed  # noqa: F401

from geoguide.datasets.formats.ply import write_ply
from geoguide.datasets.points import load_points
from geoguide.errors import DataError
from geoguide.scene import Scene

SPELLINGS = [
    (("x", "y", "z"), ("X", "Y", "Z")),
    (("red", "green", "blue"), ("r", "g", "b")),
    (("red", "green", "blue"), ("Red", "Green", "Blue")),
    (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue")),
    (("red", "green", "blue"), ("scalar_R", "scalar_G", "scalar_B")),
    (("red", "green", "blue"), ("vertex_red", "vertex_green", "vertex_blue")),
]


def renamed(path: Path, names: tuple[str, ...], others: tuple[str, ...], target: Path) -> Path:
    header, end, body = path.read_bytes().partition(b"end_header\n")
    for name, other in zip(names, others, strict=True):
        header = header.replace(f" {name}\n".encode(), f" {other}\n".encode())
    target.write_bytes(header + end + body)
    return target


@pytest.mark.parametrize(("names", "others"), SPELLINGS)
@pytest.mark.parametrize("text", [True, False])
def test_columns_of_other_names(
    room: Sampled,
    unharmed: Scene,
    tmp_path: Path,
    names: tuple[str, ...],
    others: tuple[str, ...],
    text: bool,
) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, text=text)
    scene = load_points(renamed(path, names, others, tmp_path / "b.ply"))
    np.testing.assert_allclose(scene.points, unharmed.points, rtol=1e-6)
    assert np.array_equal(scene.colors, unharmed.colors)
    assert decided(scene) == (f"{', '.join(names)} are taken from {', '.join(others)}",)


def test_a_single_letter_is_no_colour(room: Sampled, tmp_path: Path) -> None:
    """Such as a radius r: without g and b it stays what it is."""
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors)
    path = renamed(path, ("red", "green", "blue"), ("r", "area", "id"), tmp_path / "b.ply")
    with pytest.warns(UserWarning, match="no colours"):
        assert decided(load_points(path)) == ("no colours: all points are grey",)


@pytest.mark.parametrize("kind", ["<u4", "<f4", ">u4", ">f4"])
@pytest.mark.parametrize("name", ["rgb", "rgba"])
def test_colours_in_one_number(room: Sampled, unharmed: Scene, tmp_path: Path, name: str, kind: str) -> None:
    """As PCL packs them; with an alpha of 255 a float is nan."""
    packed = room.colors.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    packed = (packed | np.uint32(255 << 24 if name == "rgba" else 0)).view("=u4").view("=" + kind[1:])
    vertex = np.rec.fromarrays([*room.points.T, packed], names=f"x,y,z,{name}")
    PlyData([PlyElement.describe(vertex, "vertex")], byte_order=kind[0]).write(str(tmp_path / "a.ply"))
    scene = load_points(tmp_path / "a.ply")
    assert same(scene, unharmed) and f"taken from {name}" in decided(scene)[0]


def test_colours_of_splats_and_intensity(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    light = (room.colors / 255 - 0.5) / 0.28209479177387814
    echo = np.linspace(0, 9, len(room.points))
    for names, columns in (("f_dc_0,f_dc_1,f_dc_2", light.T.astype(np.float32)), ("scalar_Intensity", echo[None])):
        vertex = np.rec.fromarrays([*room.points.T, *columns], names=f"x,y,z,{names}")
        PlyData([PlyElement.describe(vertex, "vertex")]).write(str(tmp_path / "a.ply"))
        scene = load_points(tmp_path / "a.ply")
        if names[0] == "f":
            np.testing.assert_allclose(scene.colors, unharmed.colors, atol=1e-6)
        else:
            assert (np.diff(scene.colors[:, 0]) >= 0).all() and "intensity is shown as grey" in decided(scene)[0]


def test_colours_that_lie_elsewhere_are_said(room: Sampled, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, faces=room.faces)
    head, end, body = path.read_bytes().partition(b"end_header\n")
    textured = head.replace(b"element vertex", b"comment TextureFile a b.png\nelement vertex")
    path.write_bytes(textured + end + body)
    with pytest.warns(UserWarning, match="no colours"):
        assert "in the image a b.png, which is not read" in decided(load_points(path))[0]
    named = save_ply(path, points=room.points, colors=room.colors)
    with pytest.warns(UserWarning, match="no colours"):
        scene = load_points(renamed(named, ("red", "green", "blue"), ("col0", "col1", "col2"), tmp_path / "b.ply"))
    assert "and col0, col1, col2 not read" in decided(scene)[0]


def test_an_element_in_upper_case(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"element vertex", b"element Vertex"))
    assert same(load_points(path), unharmed)
    path.write_bytes(content.replace(b"element vertex", b"element points"))
    with pytest.raises(DataError, match="element 'vertex' is missing, found points"):
        load_points(path)


def strips(faces: np.ndarray) -> list[np.ndarray]:
    """One list of all triangles, each a strip."""
    return [np.concatenate([np.append(face, -1) for face in faces])]


def save_faces(path: Path, lists: list[np.ndarray], element: str, room: Sampled) -> Path:
    save_ply(path, points=room.points, colors=room.colors)
    records = np.empty(len(lists), [("vertex_indices", object)])
    records["vertex_indices"] = [np.asarray(one, np.int32) for one in lists]
    described = PlyElement.describe(records, element, len_types={"vertex_indices": "i4"})
    PlyData([PlyData.read(str(path), mmap=False)["vertex"], described]).write(str(path))
    return path


def test_triangle_strips_and_faces_of_another_name(room: Sampled, tmp_path: Path) -> None:
    mesh = load_points(save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=room.faces))
    for element, lists in (("tristrips", strips(room.faces)), ("Face", list(room.faces))):
        scene = load_points(save_faces(tmp_path / f"{element}.ply", lists, element, room))
        for field in ("points", "colors", "normals", "faces"):
            assert np.array_equal(getattr(scene, field), getattr(mesh, field))


def test_a_strip_turns_every_second_triangle(room: Sampled, tmp_path: Path) -> None:
    long = np.arange(len(room.points))
    lists = [np.array([0, 1, 2, 3, -1, 7, 8, 9, 9]), long]
    faces = load_points(save_faces(tmp_path / "a.ply", lists, "tristrips", room)).faces
    assert faces[:3].tolist() == [[0, 1, 2], [1, 3, 2], [7, 8, 9]]
    assert len(faces) == 3 + len(long) - 2 and faces[3:6].tolist() == [[0, 1, 2], [1, 3, 2], [2, 3, 4]]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("mesh", [True, False])
def test_rows_that_the_header_does_not_count(
    room: Sampled,
    tmp_path: Path,
    text: bool,
    mesh: bool,
) -> None:
    faces = room.faces if mesh else None
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, text=text, faces=faces)
    content = path.read_bytes()
    for tail in (b"\n\n", b"\r\n", b"\x00\x00"):
        if not (text and b"\x00" in tail):
            path.write_bytes(content + tail)
            assert len(load_points(path)) == len(room.points)
    last, count = (b"face", len(room.faces)) if mesh else (b"vertex", len(room.points))
    path.write_bytes(content.replace(b"element %s %d" % (last, count), b"element %s %d" % (last, count - 9)))
    with pytest.raises(DataError, match=rf"a.ply: data follow the {count - 9} rows of the last element"):
        load_points(path)


def test_a_labelled_scan_as_input_is_said(room: Sampled, tmp_path: Path) -> None:
    labels, scores = np.zeros(len(room.points), np.int32), np.zeros(len(room.points), np.float32)
    write_ply(tmp_path / "a.ply", room.points, room.colors, label=labels, score=scores)
    assert decided(load_points(tmp_path / "a.ply"))[0].startswith(
        "a labelled scan: its colours are those of its labels"
    )


def test_faces_that_count_from_one(room: Sampled, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points, colors=room.colors, faces=room.faces + 1)
    with pytest.raises(DataError, match=r"names vertices outside .*: does it count them from 1\?"):
        load_points(path)


def test_a_header_without_elements(tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(b"ply\nformat ascii 1.0\nend_header\n1 2 3\n")
    with pytest.raises(DataError, match=r"a.ply: element 'vertex' is missing"):
        load_points(tmp_path / "a.ply")


def test_a_number_beyond_its_column(room: Sampled, tmp_path: Path) -> None:
    path = save_ply(tmp_path / "a.ply", points=room.points[:9], colors=np.full((9, 3), 77, np.uint8), text=True)
    path.write_bytes(path.read_bytes().replace(b" 77 77 77\n", b" 77 300 77\n", 1))
    with pytest.raises(DataError, match=r"a.ply: not a readable ply file"):
        load_points(path)


def test_fields_of_other_names(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    for points, colors in (("Points", "Colors"), ("pos", "colours"), ("XYZ", "RGB")):
        np.savez(path, **{points: room.points, colors: room.colors})
        assert same(load_points(path), unharmed) and decided(load_points(path)) == ()
    np.savez(path, points=room.points, coords=room.points * 9, colors=room.colors)
    assert same(load_points(path), unharmed) and decided(load_points(path)) == ("points is read, coords is not",)
    np.savez(path, places=room.points)
    with pytest.raises(DataError, match=r"field 'points' is missing .*, found places"):
        load_points(path)


def test_a_dictionary_in_a_torch_file(room: Sampled, unharmed: Scene, tmp_path: Path) -> None:
    arrays = {"coord": room.points, "color": room.colors, "segment": np.arange(len(room.points)) % 20 - 1}
    others = {"normal": None}, {"instance": np.zeros((0, 3), np.float32)}  # without values numpy writes another pickle
    tensors = {key: torch.tensor(array) for key, array in arrays.items()}
    for value in (arrays, tensors, *(arrays | other for other in others)):
        torch.save(value, tmp_path / "a.pth")
        scene = load_points(tmp_path / "a.pth")
        assert same(scene, unharmed) and decided(scene) == ()
        assert scene.labels[:3].tolist() == [255, 0, 1]
    torch.save({"coord": [[0.0, 1.0], [2.0]]}, tmp_path / "a.pth")
    with pytest.raises(DataError, match=r"a.pth: coord must be an array of numbers"):
        load_points(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(pickle.dumps(arrays))
    with pytest.raises(DataError, match=r"a.pth: .*pickled in another way .*: save it once more"):
        load_points(tmp_path / "a.pth")


def test_archives_that_are_none(room: Sampled, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", room.points)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"a.npz: not a readable npz file.*one array, saved with np.save"):
        load_points(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("points.npy", b"no array")
    np.savez(tmp_path / "c.npz", points=room.points.astype(object))
    with pytest.raises(DataError, match=r"c.npz: field 'points' is no plain array of numbers"):
        load_points(tmp_path / "c.npz")
    with pytest.raises(DataError, match=r"b.npz: field points is no array"):
        load_points(tmp_path / "b.npz")


def test_half_precision_is_said_or_refused(room: Sampled, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=room.points.astype(np.float16), colors=room.colors)
    said = decided(load_points(tmp_path / "a.npz"))
    assert len(said) == 1 and said[0].endswith("in steps of 0.0039 m there")
    np.savez(tmp_path / "a.npz", points=(room.points + np.float32(60)).astype(np.float16), colors=room.colors)
    with pytest.raises(DataError, match=r"a.npz: coordinates are float16 around 6.*the scan's shape is lost"):
        load_points(tmp_path / "a.npz")


def test_points_at_one_place(room: Sampled, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=np.repeat(room.points[:1], 500, axis=0), colors=room.colors[:500])
    with pytest.raises(DataError, match=r"a.npz: all 500 points lie at one place"):
        load_points(tmp_path / "a.npz")


def test_rows_of_other_columns_name_the_option(room: Sampled, tmp_path: Path) -> None:
    np.hstack([room.points, room.colors]).astype(np.float32).tofile(tmp_path / "a.bin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"a.bin: coordinates do not look like metres.*--columns"):
            load_points(tmp_path / "a.bin", columns=3)


def hdr(most: float) -> np.ndarray:
    colors = np.random.default_rng(0).uniform(0, 1, (3000, 3))
    colors[::100] *= most
    return colors


@pytest.mark.parametrize(
    ("colors", "black_white", "said"),
    [
        (hdr(4.0), (0, 1), "most of them up to 1: read as 0..1"),
        (hdr(200.0), (0, 1), "most of them up to 1: read as 0..1"),
        (np.random.default_rng(0).uniform(0, 3, (3000, 3)), (0, 255), "read as 0..255"),
        (np.random.default_rng(0).integers(0, 260, (3000, 3)), (0, 255), "beyond it and are cut"),
    ],
)
def test_light_beyond_white(
    room: Sampled,
    tmp_path: Path,
    colors: np.ndarray,
    black_white: tuple[int, int],
    said: str,
) -> None:
    np.savez(tmp_path / "a.npz", points=room.points[:3000], colors=colors)
    scene = load_points(tmp_path / "a.npz")
    np.testing.assert_allclose(scene.colors, np.clip(colors / black_white[1], 0, 1), atol=1e-6)
    assert len(decided(scene)) == 1 and said in decided(scene)[0]
