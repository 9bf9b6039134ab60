"""`geoguide segment` on the same room, written in another way: the labels must stay.

Each relation changes the file and nothing of the room. Its share is how many points must keep their label: 1 where the
change is exact in floating point and the program does not see it; elsewhere a bound just below what was measured, with
the reason beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from geoguide.cli import main
from geoguide.datasets.points import load_points
from geoguide.worlds.rooms.make import make_mini_scannet

LABELS = "wall, floor, table, chair, cabinet, bookshelf, bed, sofa"
UTM = (448_262.0, 5_411_932.0, 312.0)
CORNER = 2.3  # metres
STEP = 2.0**-16  # metres, the grid of the room's coordinates: a shift of 100 m is exact in float32


@dataclass(frozen=True)
class Scan:
    """A file to be written: of each point also which point of the room it is."""

    points: np.ndarray
    colors: np.ndarray
    room: np.ndarray
    faces: np.ndarray | None = None
    format: dict[str, Any] = field(default_factory=dict)

    def of(self, index: np.ndarray) -> "Scan":
        """Some of the points, or all in another order; a mesh keeps its faces where its points are permuted."""
        faces = None if self.faces is None else np.argsort(index)[self.faces]
        return replace(self, points=self.points[index], colors=self.colors[index], room=self.room[index], faces=faces)

    def soup(self) -> "Scan":
        """Each triangle with three vertices of its own."""
        corners = self.faces.reshape(-1)
        apart = replace(self, faces=None).of(corners)
        return replace(apart, faces=np.arange(len(corners)).reshape(-1, 3))

    def twice(self) -> "Scan":
        """The same mesh two times in one file, as after a merge."""
        both = replace(self, faces=None).of(np.tile(np.arange(len(self.points)), 2))
        return replace(both, faces=np.concatenate([self.faces, self.faces + len(self.points)]))

    def moved(self, points: np.ndarray) -> "Scan":
        return replace(self, points=points)

    def write(self, path: Path) -> Path:
        columns = {axis: self.points[:, i] for i, axis in enumerate("xyz")}
        columns |= {name: self.colors[:, i] for i, name in enumerate(("red", "green", "blue"))}
        vertex = np.rec.fromarrays(list(columns.values()), [(name, a.dtype) for name, a in columns.items()])
        elements = [PlyElement.describe(vertex, "vertex")]
        if self.faces is not None:
            faces = np.empty(len(self.faces), [("vertex_indices", "i4", (3,))])
            faces["vertex_indices"] = self.faces
            elements.append(PlyElement.describe(faces, "face"))
        PlyData(elements, **self.format).write(str(path))
        return path


def labels_of(scan: Scan, folder: Path) -> np.ndarray:
    """The label of each point, int [P], through files and the command."""
    source, out = scan.write(folder / "scan.ply"), folder / "out.ply"
    with pytest.raises(SystemExit) as stop:
        main(["segment", str(source), "--labels", LABELS, "--out", str(out)])
    assert not stop.value.code
    return np.asarray(PlyData.read(str(out))["vertex"]["label"])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Scan:
    """A corner of a generated room as a mesh, its vertices in the order in which the faces name them."""
    root = make_mini_scannet(tmp_path_factory.mktemp("room"), rooms=(0, 0, 1), workers=1, progress=False)
    scene = load_points(next(root.glob("scans/*/*_vh_clean_2.ply")))
    inside = (scene.points[:, :2] - scene.points[:, :2].min(axis=0) < CORNER).all(axis=1)
    corners = scene.faces[inside[scene.faces].all(axis=1)].reshape(-1)
    first = np.sort(np.unique(corners, return_index=True)[1])
    number = np.empty(len(scene), np.int64)
    number[corners[first]] = np.arange(len(first))
    used = corners[first]
    points = (np.round(scene.points[used] / STEP) * STEP).astype(np.float32)
    colors = np.round(scene.colors[used] * 255).astype(np.uint8)
    return Scan(points, colors, np.arange(len(used)), number[corners].reshape(-1, 3))


@pytest.fixture(scope="module")
def cloud(mesh: Scan) -> Scan:
    return replace(mesh, faces=None)


@pytest.fixture(scope="module")
def known(mesh: Scan, cloud: Scan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """The labels of the room as it is."""
    folder = tmp_path_factory.mktemp("known")
    return {"mesh": labels_of(mesh, folder), "cloud": labels_of(cloud, folder)}


def shifted(by: tuple[float, ...], dtype: type) -> Callable[[Scan], Scan]:
    return lambda scan: scan.moved((scan.points.astype(np.float64) + by).astype(dtype))


def turned(degrees: float) -> Callable[[Scan], Scan]:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    if degrees == 90:
        cosine, sine = 0.0, 1.0
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return lambda scan: scan.moved((scan.points.astype(np.float64) @ turn.T).astype(np.float32))


def permuted(scan: Scan) -> Scan:
    return scan.of(np.random.default_rng(0).permutation(len(scan.points)))


def partly_repeated(scan: Scan) -> Scan:
    count = len(scan.points)
    return scan.of(np.r_[np.arange(count), np.random.default_rng(0).choice(count, count // 3)])


def trembling(metres: float) -> Callable[[Scan], Scan]:
    """Coordinates that were rounded, or registered, once more."""

    def change(scan: Scan) -> Scan:
        noise = np.random.default_rng(0).uniform(-metres, metres, scan.points.shape)
        return scan.moved((scan.points + noise).astype(np.float32))

    return change


def thrice(scan: Scan) -> Scan:
    return scan.of(np.repeat(np.arange(len(scan.points)), 3))


Relations = dict[str, tuple[Callable[[Scan], Scan], float]]
# Bounds below 1 have these reasons (measured on corners of 2.3 and 2.5 m, and on the whole room):
# - off the grid: a shift rounds each coordinate, so that a point may fall into another voxel (1.0 here);
# - UTM: so may the offset that the reader takes off, which need not lie on the grid;
# - a turn: the backbone's voxels keep to the axes, and x and y are among its inputs (0.89 to 0.95);
# - another order: of the points in a voxel of the backbone the first stands for it (0.96 to 0.98). Superpoints, masks
#   and descriptors do not depend on the order: see their tests;
# - copies that are moved: the mean of three lies up to 0.03 mm from the point itself (0.994 to 0.997).
CLOUD: Relations = {
    "shift by 1 m": (shifted((1, 1, 1), np.float32), 1.0),
    "shift by 100 m": (shifted((100, -100, 100), np.float32), 1.0),
    "shift by 10 m off the grid": (shifted((10.1234567, -10.7654321, 0.3), np.float32), 0.99),
    "shift to UTM": (shifted(UTM, np.float64), 0.99),
    "turn by 90 degrees": (turned(90), 0.85),
    "turn by 37 degrees": (turned(37), 0.85),
    "permute": (permuted, 0.95),
    "each point three times": (thrice, 1.0),
    "the cloud twenty times": (lambda scan: scan.of(np.tile(np.arange(len(scan.points)), 20)), 1.0),
    "a third of the points twice": (partly_repeated, 1.0),
    "three times within 0.1 mm": (lambda scan: trembling(3e-5)(thrice(scan)), 0.98),
    "ascii": (lambda scan: replace(scan, format={"text": True}), 1.0),
    "big-endian": (lambda scan: replace(scan, format={"byte_order": ">"}), 1.0),
    "double": (lambda scan: scan.moved(scan.points.astype(np.float64)), 1.0),
    "colours of 16 bits": (lambda scan: replace(scan, colors=scan.colors.astype(np.uint16) * np.uint16(257)), 1.0),
    "colours as float": (lambda scan: replace(scan, colors=scan.colors / np.float32(255)), 1.0),
}
MESH: Relations = {
    "shift by 100 m": (shifted((100, -100, 100), np.float32), 1.0),
    "permute": (permuted, 0.95),
    "triangle soup": (Scan.soup, 1.0),
    "triangle soup, rounded again": (lambda scan: trembling(1e-6)(scan.soup()), 0.99),
    "triangle soup of another order": (lambda scan: permuted(scan).soup(), 1.0),
    "the mesh twice": (Scan.twice, 1.0),
    "ascii": (lambda scan: replace(scan, format={"text": True}), 1.0),
    "big-endian": (lambda scan: replace(scan, format={"byte_order": ">"}), 1.0),
}


@pytest.mark.parametrize("relation", CLOUD)
def test_a_cloud_keeps_its_labels(relation: str, cloud: Scan, known: dict[str, np.ndarray], tmp_path: Path) -> None:
    change, share = CLOUD[relation]
    check(change(cloud), known["cloud"], share, tmp_path)


@pytest.mark.parametrize("relation", MESH)
def test_a_mesh_keeps_its_labels(relation: str, mesh: Scan, known: dict[str, np.ndarray], tmp_path: Path) -> None:
    change, share = MESH[relation]
    check(change(mesh), known["mesh"], share, tmp_path)


def check(scan: Scan, known: np.ndarray, share: float, folder: Path) -> None:
    found = (labels_of(scan, folder) == known[scan.room]).mean()
    print(f"SHARE {found:.4f}")
    assert found >= share, f"{found:.4f} of the points keep their label"
