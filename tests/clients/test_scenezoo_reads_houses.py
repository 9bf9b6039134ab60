"""SceneZoo, a reader of Matterport3D by others, on generated houses: what it reads as ours does, what it refuses."""

from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.formats.matterport_cameras import read_cameras
from geoguide.datasets.matterport3d import REGIONS, load_region
from geoguide.labels import load_label_set
from geoguide.scene import Scene
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses import make_mini_matterport3d
from geoguide.worlds.houses.make import HouseConfig

scenezoo = pytest.importorskip("scenezoo", reason="scenezoo is not installed (make test-clients)")

SENSOR = SensorConfig(frames=9, image_size=(48, 64), focal=36.0, height_range=(1.4, 1.6), rotation_error=0.15)
TINY = HouseConfig(seed=1, regions=2, voxel=0.08, panoramas=1, sensor=SENSOR)
HOUSE = "house0000"
# Columns of the official table that ours leaves out, and no class is scored by: filled so that the client takes it.
MORE_COLUMNS = {"mpcat40index": "0", "mpcat40": "void", "nyu40class": "", "eigen13id": "", "eigen13class": ""}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("houses") / "data"
    return make_mini_matterport3d(root, houses=(1, 0, 0), config=TINY, workers=1, progress=False)


def client_of(root: Path, mapping: Path) -> "scenezoo.Dataset":
    splits = {f"{split}_split_file": root / f"scenes_{split}.txt" for split in ("train", "val", "test")}
    return scenezoo.get_dataset("matterport3d", root, offline=True, label_mapping_file=mapping, **splits)


@pytest.fixture(scope="module")
def client(data: Path, tmp_path_factory: pytest.TempPathFactory) -> "scenezoo.Dataset":
    """The client, given our table of categories with the columns that it asks for."""
    head, *rows = (data / "category_mapping.tsv").read_text().splitlines()
    lines = ["\t".join([head, *MORE_COLUMNS]), *("\t".join([row, *MORE_COLUMNS.values()]) for row in rows)]
    mapping = tmp_path_factory.mktemp("mapping") / "category_mapping.tsv"
    mapping.write_text("\n".join(lines) + "\n")
    return client_of(data, mapping)


@pytest.fixture(scope="module")
def scene(data: Path) -> Scene:
    folder = data / "v1" / "scans" / HOUSE
    return load_region(folder, 0, mapping=data / "category_mapping.tsv", labels="matterport160")


def test_it_finds_the_houses_and_their_regions(client: "scenezoo.Dataset"):
    assert client.splits == {"train": [HOUSE], "val": [], "test": []}
    assert client.get_region_ids(HOUSE) == ["0", "1"] and client.get_frame_sources(HOUSE) == ("undistorted",)


def test_region_meshes(client: "scenezoo.Dataset", scene: Scene):
    mesh = client.get_mesh(HOUSE, mesh_type="region", region_id=0)
    assert np.array_equal(np.asarray(mesh.vertices, np.float32), scene.points)
    assert np.array_equal(np.asarray(mesh.triangles), scene.faces)
    np.testing.assert_allclose(np.asarray(mesh.vertex_colors), scene.colors, atol=1e-6)


def test_face_labels(client: "scenezoo.Dataset", scene: Scene):
    """Theirs are of faces by raw name, ours of vertices by class: each vertex has a label of one of its faces."""
    found = client.get_segmentation(HOUSE, region_id=0, segmentation_type="semantic")
    assert found.domain == "face" and len(found.labels) == len(scene.faces)
    names = load_label_set("matterport160").raw_names
    labelled = np.flatnonzero(found.labels != found.invalid_id)
    classes = np.array([names.index(found.id_to_name[number]) for number in found.labels[labelled]])
    pairs = set(zip(scene.faces[labelled].ravel().tolist(), np.repeat(classes, 3).tolist(), strict=True))
    vertices = np.flatnonzero(scene.labels < len(names))
    assert len(vertices) > 1000
    assert all((vertex, label) in pairs for vertex, label in zip(vertices, scene.labels[vertices], strict=True))


def test_frames(client: "scenezoo.Dataset", data: Path, scene: Scene):
    """Images and poses are equal; of the camera the client takes cx and cy as the file counts them, from the corner of
    a pixel and from below, ours from the centre of the top left pixel (half a pixel apart where cy is in the middle).
    """
    items = ("rgb", "depth", "rgb_intrinsics", "depth_intrinsics", "world_to_camera")
    frames = client.get_frames(HOUSE, items=items)
    folder = data / "v1" / "scans" / HOUSE
    cameras = {Path(c.color).stem: c for c in read_cameras(folder / "undistorted_camera_parameters" / f"{HOUSE}.conf")}
    assert [Path(key).stem for key in frames.frame_keys] == list(cameras)
    views = {view.name: view for view in scene.views}
    assert len(views) > 5
    for number, key in enumerate(frames.frame_keys):
        camera, view = cameras[Path(key).stem], views.get(Path(key).stem)
        np.testing.assert_allclose(frames.rgb_intrinsics[number], camera.intrinsics, rtol=1e-6)
        np.testing.assert_allclose(np.linalg.inv(frames.world_to_camera[number]), camera.cam_to_world, atol=1e-5)
        if view is not None:
            assert np.array_equal(frames.rgb[number], view.color())
            np.testing.assert_allclose(frames.depth[number], view.depth(), atol=1e-6)
            half = frames.depth_intrinsics[number][:2, 2] - view.intrinsics[:2, 2]
            np.testing.assert_allclose(half, 0.5, atol=1e-5)


# ---------------------------------------------------------------- what it refuses, and why


def test_the_reduced_table_of_categories_is_refused(data: Path):
    """Ours has the columns that the readers of the paper's label sets need; the official one has these and more."""
    client = client_of(data, data / "category_mapping.tsv")
    with pytest.raises(scenezoo.DataFormatError, match=r"Invalid Matterport3D category_mapping\.tsv header"):
        client.get_segmentation(HOUSE, region_id=0, segmentation_type="semantic")


@pytest.mark.xfail(strict=True, reason="a generated region's segment_id is a face's segment, officially its object")
def test_instances(client: "scenezoo.Dataset", data: Path):
    """The official text says of a region's ply: face_segment = unique id of the object instance of this face.

    Ours holds the segment there, and the object in semseg.json alone, which is where our reader looks.
    """
    found = client.get_segmentation(HOUSE, region_id=0)
    folder = data / "v1" / "scans" / HOUSE / REGIONS
    assert len(found.id_to_name) == (folder / "region0.semseg.json").read_text().count('"objectId"')


def test_what_it_asks_for_and_generated_houses_lack(client: "scenezoo.Dataset"):
    """Bundles that were never made: a house as one mesh, its .house file, panoramas, normals and raw images."""
    for kind, bundle in (("house", "house_segmentations"), ("raw", "matterport_mesh"), ("poisson", "poisson_meshes")):
        with pytest.raises(FileNotFoundError, match=bundle):
            client.get_mesh(HOUSE, mesh_type=kind)
    with pytest.raises(FileNotFoundError, match="house_segmentations"):
        client.get_boxes(HOUSE)
    with pytest.raises(FileNotFoundError, match="No raw Matterport3D frames"):
        client.get_frames(HOUSE, source="raw")
    with pytest.raises(FileNotFoundError, match="normal_maps frames were not downloaded"):
        client.get_frames(HOUSE, items=("normal_maps",), indices=[0])
    with pytest.raises(FileNotFoundError, match="matterport_skybox_images"):
        client.get_panorama_ids(HOUSE)
    lacking = {"missing-annotation-bundle": "house segmentation", "incomplete-frame-bundle-group": ": normal"}
    errors = client.check(sample_ids=[HOUSE]).errors
    assert [error.code for error in errors] == list(lacking)
    assert all(lacking[error.code] in error.message for error in errors)
