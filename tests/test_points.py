"""Plain point files: every format against the arrays it was written from, and every way a file can be broken."""

import pickle
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from decisions import decided

from geoguide.datasets.formats.ply import write_ply
from geoguide.datasets.points import load_points
from geoguide.errors import DataError, InputError
from geoguide.ops.tensor_files import read_checkpoint


@pytest.fixture
def cloud(rng: np.random.Generator) -> dict[str, np.ndarray]:
    normals = rng.standard_normal((50, 3)).astype(np.float32)
    return {
        "points": rng.uniform(-3, 3, (50, 3)).astype(np.float32),
        "colors": rng.integers(0, 256, (50, 3)).astype(np.uint8),
        "normals": normals / np.linalg.norm(normals, axis=1, keepdims=True),
        "faces": np.array([[0, 1, 2], [1, 2, 3]]),
    }


def ascii_ply(path: Path, rows: list[str], properties: str = "x y z", tail: str = "", faces: list[str] = ()) -> Path:
    header = ["ply", "format ascii 1.0", f"element vertex {len(rows)}"]
    header += [f"property float {name}" for name in properties.split()]
    if faces:
        header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    path.write_text("\n".join([*header, "end_header", *rows, *faces, tail]) + "\n")
    return path


def test_ply_with_faces(tmp_path: Path, cloud: dict):
    path = tmp_path / "a.scan.ply"
    faces = np.concatenate([cloud["faces"], np.arange(4, 49).reshape(-1, 3)])
    write_ply(path, cloud["points"], cloud["colors"], faces)
    scene = load_points(path)
    assert scene.name == "a.scan"
    assert scene.provenance == "real"
    assert scene.views == ()
    assert np.array_equal(scene.points, cloud["points"])
    np.testing.assert_allclose(scene.colors, cloud["colors"] / 255, atol=1e-6)
    assert np.array_equal(scene.faces, faces)
    edge = cloud["points"].astype(np.float64)
    normal = np.cross(edge[1] - edge[0], edge[2] - edge[0])
    np.testing.assert_allclose(scene.normals[0], normal / np.linalg.norm(normal), atol=1e-5)
    assert decided(scene) == ("1 of 50 vertices belong to no face with an area: normals estimated from the points",)
    assert abs(np.linalg.norm(scene.normals[49]) - 1) < 1e-6


def test_ply_without_faces_keeps_its_normals(tmp_path: Path):
    rows = ["0 0 0 0 0 2", "1 0 0 0 -3 0"]
    with pytest.warns(UserWarning, match=r"no colours"):
        scene = load_points(ascii_ply(tmp_path / "a.ply", rows, "x y z nx ny nz"))
    assert scene.faces is None
    assert scene.normals.tolist() == [[0, 0, 1], [0, -1, 0]]
    assert scene.colors.tolist() == [[0.5] * 3] * 2


def test_ply_polygons_become_triangles(tmp_path: Path):
    rows = ["0 0 0 255 0 0", "1 0 0 0 255 0", "1 1 0 0 0 255", "0 1 0 0 0 0"]
    path = ascii_ply(tmp_path / "a.ply", rows, "x y z red green blue", faces=["4 0 1 2 3", "3 0 2 3", "2 0 1"])
    scene = load_points(path)
    assert sorted(map(tuple, scene.faces.tolist())) == [(0, 1, 2), (0, 2, 3), (0, 2, 3)]
    assert scene.colors[0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("names", [("points", "colors", "normals", "labels"), ("coord", "color", "normal", "segment")])
def test_npz(tmp_path: Path, cloud: dict, names: tuple[str, ...]):
    labels = np.arange(50) - 20
    values = (cloud["points"].astype(np.float64), cloud["colors"], 2 * cloud["normals"], labels)
    np.savez(tmp_path / "a.npz", **dict(zip(names, values, strict=True)))
    scene = load_points(tmp_path / "a.npz")
    assert np.array_equal(scene.points, cloud["points"])
    np.testing.assert_allclose(scene.normals, cloud["normals"], atol=1e-6)
    assert scene.labels.tolist() == [255] * 20 + list(range(30))


def test_bin_of_six_columns_is_inferred(tmp_path: Path, cloud: dict):
    np.concatenate([cloud["points"], cloud["colors"]], axis=1).astype("<f4").tofile(tmp_path / "a.bin")
    scene = load_points(tmp_path / "a.bin")
    assert np.array_equal(scene.points, cloud["points"])
    np.testing.assert_allclose(scene.colors, cloud["colors"] / 255, atol=1e-6)


def test_bin_of_five_columns_is_inferred(tmp_path: Path, cloud: dict, rng: np.random.Generator):
    columns = [cloud["points"][:48], rng.uniform(0, 255, (48, 1)), rng.integers(0, 32, (48, 1))]
    np.concatenate(columns, axis=1).astype("<f4").tofile(tmp_path / "a.pcd.bin")
    scene = load_points(tmp_path / "a.pcd.bin")
    assert np.array_equal(scene.points, cloud["points"][:48])
    assert np.array_equal(scene.colors[:, 0], scene.colors[:, 2])


def test_an_echo_is_shown_in_any_unit(tmp_path: Path, rng: np.random.Generator):
    for echo in (rng.uniform(-40, -3, (60, 1)), rng.uniform(0, 1e6, (60, 1)), rng.integers(0, 65_535, (60, 1))):
        np.concatenate([rng.uniform(0, 3, (60, 3)), echo], axis=1).astype("<f4").tofile(tmp_path / "a.bin")
        assert len(load_points(tmp_path / "a.bin", columns=4)) == 60


@pytest.mark.parametrize("count", [3, 4])
def test_bin_of_other_columns_must_be_named(tmp_path: Path, rng: np.random.Generator, count: int):
    rows = rng.uniform(0, 1, (60, count)).astype("<f4")
    rows.tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a.bin: cannot tell how many columns.*columns="):
        load_points(tmp_path / "a.bin")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scene = load_points(tmp_path / "a.bin", columns=count)
    assert np.array_equal(scene.points, rows[:, :3])


def test_bin_that_fits_twice_must_be_named(tmp_path: Path):
    np.ones((30, 5), "<f4").tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"cannot tell"):
        load_points(tmp_path / "a.bin")


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_openscene_pth(tmp_path: Path, cloud: dict, kind: str):
    labels = np.array([0.0, -100, 255, 19] + [1.0] * 46)
    colors = cloud["colors"] / 127.5 - 1
    parts = (cloud["points"].astype(np.float64), colors, labels)
    torch.save(tuple(torch.from_numpy(part) for part in parts) if kind == "tensor" else parts, tmp_path / "a.pth")
    scene = load_points(tmp_path / "a.pth")
    assert np.array_equal(scene.points, cloud["points"])
    np.testing.assert_allclose(scene.colors, cloud["colors"] / 255, atol=1e-6)
    assert scene.labels[:5].tolist() == [0, 255, 255, 19, 1]


def test_openscene_pth_written_the_old_way(tmp_path: Path, cloud: dict):
    parts = (cloud["points"].astype(np.float64), 0, np.full(50, 3, np.int64))
    torch.save(parts, tmp_path / "a.pth", _use_new_zipfile_serialization=False, pickle_protocol=2)
    with pytest.warns(UserWarning, match=r"no colours"):
        scene = load_points(tmp_path / "a.pth")
    assert np.array_equal(scene.points, cloud["points"])
    assert set(scene.labels.tolist()) == {3}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_pth_never_runs_pickled_code(tmp_path: Path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "pwned",))

    for name, save in (("zip.pth", torch.save), ("raw.pth", lambda value, path: path.write_bytes(pickle.dumps(value)))):
        save((Evil(), 0, 0), tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: not a readable file of plain arrays"):
            load_points(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "content", [b'{"a": 1}', b"\x89PNG\r\n\x1a\n" + bytes(40), b"\x93NUMPY\x01\x00v", bytes(99), b""]
)
def test_a_file_of_another_kind_is_told_from_one_that_runs_code(tmp_path: Path, content: bytes):
    (tmp_path / "a.pth").write_bytes(content)
    for read in (load_points, read_checkpoint):
        with pytest.raises(DataError) as refused:
            read(tmp_path / "a.pth")
        told = f"expected a zip archive or a pickle, found {content[:8]!r} at its start"
        assert f"{tmp_path / 'a.pth'}: not a " in str(refused.value) and told in str(refused.value)


def test_real_scan_and_lidar(recordings: Path):
    scan = load_points(recordings / "scannet_scan" / "scene0000_00.bin")
    assert len(scan) == 40_684
    assert 5 < np.ptp(scan.points[:, 0]) < 12
    with pytest.raises(InputError, match=r"columns must be 3, 4, 5 or 6, found 7"):
        load_points(recordings / "scannet_scan" / "scene0000_00.bin", columns=7)
    lidar = load_points(next((recordings / "nuscenes_sample").glob("*.bin")))
    assert np.abs(lidar.points).max() > 50


def test_missing_and_unknown_files(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.ply: point file not found"):
        load_points(tmp_path / "none.ply")
    (tmp_path / "a.xyz").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a.xyz: unknown point format '.xyz'.* save others as ply"):
        load_points(tmp_path / "a.xyz")
    ascii_ply(tmp_path / "a.ply", ["0 0 0"])
    with pytest.raises(InputError, match=r"columns is only for .bin"):
        load_points(tmp_path / "a.ply", columns=6)


@pytest.mark.parametrize("suffix", ["ply", "npz", "bin", "pth"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_truncated_files(tmp_path: Path, cloud: dict, suffix: str, keep: float):
    path = tmp_path / f"a.{suffix}"
    if suffix == "ply":
        write_ply(path, cloud["points"], cloud["colors"], cloud["faces"])
    elif suffix == "npz":
        np.savez(path, points=cloud["points"])
    elif suffix == "bin":
        np.concatenate([cloud["points"], cloud["colors"]], axis=1).astype("<f4").tofile(path)
    else:
        torch.save((torch.from_numpy(cloud["points"]), 0, 0), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) // 2 * 2 + (suffix == "bin")])
    with pytest.raises(DataError, match=rf"a\.{suffix}"):
        load_points(path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("points", np.full((50, 3), np.nan), "points holds NaN or inf in 50 of 50 rows"),
        ("points", np.zeros((0, 3)), "the cloud is empty"),
        ("points", np.zeros((50, 2)), r"points must be numbers \[P, 3\]"),
        ("points", np.array([["a", "b", "c"]]), "points must be numbers"),
        ("colors", np.zeros((49, 3)), r"colors must be numbers \[50, 3\]"),
        ("colors", np.full((50, 3), np.inf), "colors holds NaN or inf in 50 of 50 rows, first row 0"),
        ("normals", np.zeros((50, 4)), r"normals must be numbers \[50, 3\]"),
        ("labels", np.zeros(51), r"labels must be class ids \[50\]"),
    ],
)
def test_wrong_fields_of_npz(tmp_path: Path, cloud: dict, field: str, value: np.ndarray, message: str):
    np.savez(tmp_path / "a.npz", **({"points": cloud["points"], "colors": cloud["colors"]} | {field: value}))
    with pytest.raises(DataError, match=f"a.npz: .*{message}"):
        load_points(tmp_path / "a.npz")


def test_wrong_fields_of_the_other_formats(tmp_path: Path):
    with pytest.raises(DataError, match=r"x, y, z holds NaN or inf in 1 of 2"):
        load_points(ascii_ply(tmp_path / "nan.ply", ["0 0 0", "nan 0 0"]))
    with pytest.raises(DataError, match=r"vertex property z is missing"):
        load_points(ascii_ply(tmp_path / "flat.ply", ["0 0"], "x y"))
    with pytest.raises(DataError, match=r"empty.ply.*empty"):
        load_points(ascii_ply(tmp_path / "empty.ply", []))
    with pytest.raises(DataError, match=r"outside 0..1"):
        load_points(ascii_ply(tmp_path / "far.ply", ["0 0 0", "1 0 0"], faces=["3 0 1 2"]))
    with pytest.raises(DataError, match=r"b.npz: field 'points' is missing"):
        np.savez(tmp_path / "b.npz", colors=np.zeros((2, 3)))
        load_points(tmp_path / "b.npz")
    with pytest.raises(DataError, match=r"dict.pth: field 'points' is missing"):
        torch.save({"color": torch.zeros(3, 3)}, tmp_path / "dict.pth")
        load_points(tmp_path / "dict.pth")
    with pytest.raises(DataError, match=r"rows of 6 columns"):
        np.zeros(31, "<f4").tofile(tmp_path / "odd.bin")
        load_points(tmp_path / "odd.bin", columns=6)


def test_write_ply_is_checked_and_atomic(tmp_path: Path, cloud: dict):
    with pytest.raises(InputError, match=r"uint8 colors"):
        write_ply(tmp_path / "a.ply", cloud["points"], cloud["colors"].astype(float))
    with pytest.raises(InputError, match=r"label must be"):
        write_ply(tmp_path / "a.ply", cloud["points"], cloud["colors"], label=np.zeros(3, np.int32))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ("1,5 2,0 0,1", "property 'x': malformed input, found '1,5 2,0 0,1'"),
        ("1 2", "'z': early end-of-line, found '1 2'"),
    ],
)
def test_a_row_of_text_that_is_none_is_shown(tmp_path: Path, row: str, found: str) -> None:
    for end in ("\n", "\r\n"):
        path = ascii_ply(tmp_path / "a.ply", ["0 0 0", row, "1 1 1"])
        path.write_bytes(path.read_text().replace("\n", end).encode())
        with pytest.raises(DataError, match=f"row 1: .*{found}"):
            load_points(path)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbfply\n", b"PLY\n", "ply\n".encode("utf-16"), b"PK\x03\x04"])
def test_what_does_not_begin_as_a_ply_file_is_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"expected 'ply' at its start, found {content!r}")):
        load_points(tmp_path / "a.ply")


def test_objects_among_arrays_are_named(tmp_path: Path, cloud: dict) -> None:
    np.savez(tmp_path / "a.npz", points=cloud["points"], colors=np.array(None))
    with pytest.raises(DataError, match="field 'colors' is no plain array of numbers"):
        load_points(tmp_path / "a.npz")


def test_a_tuple_with_nothing_in_it(tmp_path: Path, cloud: dict) -> None:
    torch.save((cloud["points"], None, None), tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="no colours"):
        assert load_points(tmp_path / "a.pth").labels is None
    torch.save((cloud["points"],), tmp_path / "a.pth")
    with pytest.raises(DataError, match="found tuple of 1"):
        load_points(tmp_path / "a.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_refused_pickle_is_one_line(tmp_path: Path, cloud: dict) -> None:
    (tmp_path / "a.pth").write_bytes(pickle.dumps((cloud["points"].tolist(), 0)))
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 4)), tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        with warnings.catch_warnings(), pytest.raises(DataError, match="not a readable file of plain arrays"):
            warnings.simplefilter("error", UserWarning)
            load_points(tmp_path / name)
