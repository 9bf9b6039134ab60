"""ScanNet's .sens recordings: packed by hand, read and written frame by frame, and every way they can be broken."""

import dataclasses
import io
import pickle
import struct
import tempfile
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.ply import write_ply
from geoguide.datasets.formats.sens import SensFile, SensView
from geoguide.datasets.formats.sens_writer import SensCamera, SensFrame, write_sens
from geoguide.datasets.scannet import load_scene
from geoguide.errors import DataError, InputError
from geoguide.lifting import fuse
from geoguide.pipeline.identity import fingerprint

COLOR_SIZE, DEPTH_SIZE = (12, 16), (6, 8)  # (H, W)
NAME = "scene0011_01"


def camera(fx: float, cx: float, cy: float) -> np.ndarray:
    matrix = np.eye(4, dtype="<f4")
    matrix[0, 0] = matrix[1, 1] = fx
    matrix[:2, 2] = cx, cy
    return matrix


def jpeg(image: np.ndarray, kind: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


@dataclasses.dataclass
class Frame:
    pose: np.ndarray
    color: bytes
    depth: bytes


def pack(frames: list[Frame], **header) -> bytes:
    """The file as ScanNet's own writer lays it out, field by field."""
    fields = {"version": 4, "name": b"StructureSensor", "color": 2, "depth": 1, "scale": 1000.0, "count": len(frames)}
    fields |= {"camera": camera(7.5, 3.5, 2.5), "color_size": COLOR_SIZE, "depth_size": DEPTH_SIZE} | header
    data = struct.pack("<IQ", fields["version"], len(fields["name"])) + fields["name"]
    for matrix in (camera(15, 7.5, 5.5), np.eye(4), fields["camera"], np.eye(4)):
        data += struct.pack("<16f", *matrix.ravel())
    data += struct.pack("<ii", fields["color"], fields["depth"])
    data += struct.pack("<IIII", *fields["color_size"][::-1], *fields["depth_size"][::-1])
    data += struct.pack("<fQ", fields["scale"], fields["count"])
    for number, frame in enumerate(frames):
        data += struct.pack("<16f", *frame.pose.ravel())
        data += struct.pack("<QQQQ", 100 * number, 100 * number + 1, len(frame.color), len(frame.depth))
        data += frame.color + frame.depth
    return data + struct.pack("<Q", 0)  # no IMU records


def depth_image(number: int) -> np.ndarray:
    depth = np.full(DEPTH_SIZE, 1000 * (number + 1), "<u2")
    depth[0, 0], depth[0, 1] = 0, 65535
    return depth


@pytest.fixture
def frames() -> list[Frame]:
    result = []
    for number in range(4):
        pose = np.eye(4)
        pose[2, 3] = -number
        color = np.full((*COLOR_SIZE, 3), 40 * (number + 1), np.uint8)
        result.append(Frame(pose, jpeg(color), zlib.compress(depth_image(number).tobytes())))
    result[2].pose = np.full((4, 4), -np.inf)
    return result


@pytest.fixture
def path(tmp_path: Path, frames: list[Frame]) -> Path:
    path = tmp_path / "scans" / NAME / f"{NAME}.sens"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack(frames))
    return path


def test_header_and_frames(path: Path, frames: list[Frame]):
    recording = SensFile(path)
    assert len(recording) == 4
    assert recording.sensor == "StructureSensor"
    assert (recording.color_size, recording.image_size, recording.depth_scale) == (COLOR_SIZE, DEPTH_SIZE, 1000.0)
    assert recording.intrinsics.tolist() == [[7.5, 0, 3.5], [0, 7.5, 2.5], [0, 0, 1]]
    assert np.array_equal(recording.poses, np.stack([frame.pose for frame in frames]))
    for number in (3, 0, 2, 1):  # any order
        assert np.array_equal(recording.depth(number), depth_image(number))
        assert np.abs(recording.color(number).astype(int) - 40 * (number + 1)).max() <= 1
        assert recording.color(number).shape == (*COLOR_SIZE, 3)


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("color", [0, 1, 2])
def test_every_compression(tmp_path: Path, color: int, depth: int):
    image = np.random.default_rng(0).integers(0, 256, (*COLOR_SIZE, 3)).astype(np.uint8)
    encoded = {0: image.tobytes(), 1: jpeg(image, "PNG"), 2: jpeg(image)}[color]
    raw = depth_image(5).tobytes()
    path = tmp_path / "a.sens"
    path.write_bytes(pack([Frame(np.eye(4), encoded, zlib.compress(raw) if depth else raw)], color=color, depth=depth))
    recording = SensFile(path)
    assert np.array_equal(recording.depth(0), depth_image(5))
    expected = np.asarray(Image.open(io.BytesIO(encoded))) if color == 2 else image
    assert np.array_equal(recording.color(0), expected)


@pytest.fixture
def scene_folder(path: Path) -> Path:
    points = np.array([[0, 0, 1], [0.1, 0, 1], [0, 0.1, 1], [0, 0, 7]], np.float32)
    write_ply(
        path.parent / f"{NAME}_vh_clean_2.ply", points, np.zeros((4, 3), np.uint8), np.array([[0, 1, 2], [0, 1, 3]])
    )
    return path.parent


def test_a_scene_reads_its_frames_from_the_recording(scene_folder: Path):
    (scene_folder / "label-filt").mkdir()
    Image.fromarray(np.full(DEPTH_SIZE, 5, np.uint16)).save(scene_folder / "label-filt" / "1.png")
    scene = load_scene(scene_folder)
    assert [view.name for view in scene.views] == ["0", "1", "2", "3"]
    assert [view.has_pose for view in scene.views] == [True, True, False, True]
    view = scene.views[1]
    assert view.image_size == view.color().shape[:2] == view.depth().shape == DEPTH_SIZE  # colour resized to depth
    assert view.depth()[0].tolist() == [0, 0, *[2.0] * 6]  # 65535 is no reading
    assert view.labels()[0, 0] == 5 and scene.views[0].label_path is None
    with pytest.raises(DataError, match=r"view 0: has no label image"):
        scene.views[0].labels()
    assert [view.name for view in load_scene(scene_folder, frame_skip=3).views] == ["0", "3"]
    small = load_scene(scene_folder, image_size=(3, 4)).views[0]
    assert small.depth().shape == small.color().shape[:2] == (3, 4)
    assert small.intrinsics[0, 0] == 3.75


def test_lifting_streams_the_recording_and_skips_the_lost_pose(scene_folder: Path):
    scene = load_scene(scene_folder)
    with pytest.warns(UserWarning, match=r"1 of 4 views skipped, pose holds nan or inf: 2") as caught:
        mean, count = fuse(scene.points, scene.views, lambda view: view.color() / np.float32(255), border=0)
    assert len(caught) == 1
    assert count.tolist() == [3, 3, 3, 0]  # frames 0, 1, 3 stand 1, 2 and 4 m off, as their depth says
    np.testing.assert_allclose(mean[0], (40 + 80 + 160) / 3 / 255, atol=0.01)


def test_extracted_frames_come_first(scene_folder: Path):
    for kind in ("color", "depth", "pose", "intrinsic"):
        (scene_folder / kind).mkdir()
    assert len(load_scene(scene_folder).views) == 4  # an empty folder holds none
    Image.fromarray(np.zeros((*DEPTH_SIZE, 3), np.uint8)).save(scene_folder / "color" / "7.jpg")
    Image.fromarray(depth_image(0)).save(scene_folder / "depth" / "7.png")
    np.savetxt(scene_folder / "pose" / "7.txt", np.eye(4))
    np.savetxt(scene_folder / "intrinsic" / "intrinsic_depth.txt", camera(7.5, 3.5, 2.5))
    (view,) = load_scene(scene_folder).views
    assert view.name == "7" and not isinstance(view, SensView)


def test_a_recording_is_part_of_the_scenes_fingerprint(scene_folder: Path, frames: list[Frame]):
    scene = load_scene(scene_folder)
    before = fingerprint(scene)
    frames[0].color = jpeg(np.random.default_rng(0).integers(0, 256, (*COLOR_SIZE, 3)).astype(np.uint8))
    (scene_folder / f"{NAME}.sens").write_bytes(pack(frames))
    assert fingerprint(load_scene(scene_folder)) != before


def test_views_travel_to_other_processes(scene_folder: Path):
    view = pickle.loads(pickle.dumps(load_scene(scene_folder).views[1]))
    assert view.depth()[1, 1] == 2.0


def test_only_one_frame_is_ever_in_memory(tmp_path: Path):
    path, size = tmp_path / "a.sens", (400, 500)
    color = bytes(3 * size[0] * size[1])
    depth = zlib.compress(bytes(2 * size[0] * size[1]))
    frames = [Frame(np.eye(4), color, depth)] * 20
    path.write_bytes(pack(frames, color=0, color_size=size, depth_size=size, camera=camera(400, 249.5, 199.5)))
    tracemalloc.start()
    recording = SensFile(path)
    assert sum(int(recording.color(frame).max()) + int(recording.depth(frame).max()) for frame in range(20)) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * len(color)  # of the 20 frames in the file


@pytest.mark.parametrize("keep", [0, 3, 6, 20, 100, 300, 330, -1, -100, -500])
def test_truncated_files_are_named_when_opened(path: Path, keep: int):
    content = path.read_bytes()[:-8]  # without the count of IMU records, which is not read
    path.write_bytes(content[:keep])
    with pytest.raises(DataError, match=rf"{NAME}.sens: (ends within|frame \d of 4 ends at|4 frames do not fit)"):
        SensFile(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"version": 3}, "version must be 4, found 3"),
        ({"color": -1}, "colour compression unknown is not known"),
        ({"color": 9}, "colour compression number 9 is not known"),
        ({"depth": 2}, "depth compression occi_ushort is not supported"),
        ({"scale": 0.0}, "depth units must be positive"),
        ({"scale": float("nan")}, "depth units must be positive"),
        ({"camera": camera(0, 3, 2)}, "intrinsics need finite values and positive focal lengths"),
        ({"camera": camera(7.5, 3.5, 2.5) + np.eye(4, k=3)}, "intrinsics must have zeros beyond .*, found 1 0 0 0 0 0"),
        ({"camera": camera(15, 7.5, 5.5)}, r"image is \[6, 8\] \(H, W\), but the intrinsics .* about \[12, 16\]"),
        ({"color_size": (12, 20)}, r"image is \[12, 20\] \(H, W\), not of the shape of the depth images, \[6, 8\]"),
        ({"count": 0}, "holds no frame"),
        ({"count": 10**15}, "1000000000000000 frames do not fit into"),
        ({"name": b"x" * 5000}, "name would be 5000 bytes long"),
    ],
)
def test_broken_headers_are_named(path: Path, frames: list[Frame], header: dict, message: str):
    path.write_bytes(pack(frames, **header))
    with pytest.raises(DataError, match=f"{NAME}.sens: .*{message}"):
        SensFile(path)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("color", b"no image", r"colour of frame 1 is not a readable image \(in no known format\)$"),
        ("color", jpeg(np.zeros((6, 8, 3), np.uint8)), r"colour of frame 1 must be \[12, 16\].*found \[6, 8\]"),
        ("color", jpeg(np.zeros((12, 16, 3), np.uint8))[:-200], "colour of frame 1 is not a readable image"),
        ("depth", b"not zlib", "depth of frame 1 cannot be decompressed"),
        ("depth", zlib.compress(bytes(50)), "depth of frame 1 must be 96 bytes, found 50"),
        ("depth", zlib.compress(bytes(10**6)), "depth of frame 1 must be 96 bytes, found more than 96"),
        ("depth", zlib.compress(bytes(96))[:-8], "depth of frame 1 "),
    ],
)
def test_broken_frames_are_named_when_read(path: Path, frames: list[Frame], kind: str, data: bytes, message: str):
    setattr(frames[1], kind, data)
    path.write_bytes(pack(frames))
    recording = SensFile(path)
    getattr(recording, kind)(0)
    with pytest.raises(DataError, match=f"{NAME}.sens: {message}"):
        getattr(recording, kind)(1)


def test_missing_recording(tmp_path: Path):
    with pytest.raises(DataError, match=r"none.sens: .sens recording not found"):
        SensFile(tmp_path / "none.sens")


def test_a_recording_cut_later_is_named(scene_folder: Path):
    """A file cut after the scene was opened is named, not read as zeros."""
    view = load_scene(scene_folder).views[3]
    path = scene_folder / f"{NAME}.sens"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"ends within depth of frame 3: expected \d+ bytes, found \d+"):
        view.depth()


def test_a_pose_that_is_no_rigid_motion_is_named(path: Path, frames: list[Frame]):
    frames[3].pose = np.diag([2.0, 2, 2, 1])
    path.write_bytes(pack(frames))
    with pytest.raises(DataError, match=r"\.sens: frame 3: .* must be a rotation, found one scaled by 2"):
        SensFile(path)


def test_a_zero_pose_is_a_lost_frame(scene_folder: Path, frames: list[Frame]):
    frames[1].pose = np.zeros((4, 4))
    (scene_folder / f"{NAME}.sens").write_bytes(pack(frames))
    scene = load_scene(scene_folder)
    assert [view.has_pose for view in scene.views] == [True, False, False, True]
    assert scene.as_read == ("2 of 4 frames are left out, their pose is lost (not finite or zero): 1, 2",)


# ---------------------------------------------------------------- writing


def write(path: Path, frames: list[SensFrame], **options) -> int:
    cameras = {
        "color": SensCamera(camera(15, 7.5, 5.5)[:3, :3], COLOR_SIZE),
        "depth": SensCamera(camera(7.5, 3.5, 2.5)[:3, :3], DEPTH_SIZE),
    }
    return write_sens(path, frames, **{"sensor": "StructureSensor"} | cameras | options)


def to_write(frames: list[Frame]) -> list[SensFrame]:
    times = [(100 * number, 100 * number + 1) for number in range(len(frames))]
    images = [depth_image(number) for number in range(len(frames))]
    return [SensFrame(f.pose, f.color, image, time) for f, image, time in zip(frames, images, times, strict=True)]


def test_the_bytes_are_those_that_scannets_own_writer_lays_out(tmp_path: Path, frames: list[Frame]):
    path = tmp_path / "deep" / "a.sens"
    assert write(path, iter(to_write(frames))) == 4
    assert path.read_bytes() == pack(frames)
    assert [item.name for item in path.parent.iterdir()] == ["a.sens"]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back(data: st.DataObject):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    sizes = [data.draw(st.tuples(st.integers(4, 40), st.integers(4, 40)))] * 2
    scale = float(data.draw(st.sampled_from([1000, 4000, 5000])))
    cameras = [SensCamera(camera(w, (w - 1) / 2, (h - 1) / 2)[:3, :3], (h, w)) for h, w in sizes]
    frames = []
    for _ in range(data.draw(st.integers(1, 5))):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
        pose[:3, 3] = rng.uniform(-20, 20, 3)
        depth = rng.integers(0, 65536, sizes[1]).astype(np.uint16)
        frames.append(SensFrame(pose, jpeg(rng.integers(0, 256, (*sizes[0], 3)).astype(np.uint8)), depth))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.sens"
        write_sens(path, frames, color=cameras[0], depth=cameras[1], sensor="ein Gerät", depth_scale=scale)
        recording = SensFile(path)
        assert (len(recording), recording.sensor, recording.depth_scale) == (len(frames), "ein Gerät", scale)
        assert (recording.color_size, recording.image_size) == tuple(sizes)
        assert np.array_equal(recording.intrinsics, cameras[1].intrinsics)
        for number, frame in enumerate(frames):
            assert np.array_equal(recording.depth(number), frame.depth)
            assert np.array_equal(recording.color(number), np.asarray(Image.open(io.BytesIO(frame.color))))
            assert np.array_equal(recording.poses[number], frame.cam_to_world.astype(np.float32))


def test_frames_are_written_one_by_one(tmp_path: Path):
    """The memory for twenty frames is that for one."""
    size = (400, 500)
    color = jpeg(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8))
    wide = SensCamera(camera(400, 249.5, 199.5)[:3, :3], size)
    made = (SensFrame(np.eye(4), bytes(bytearray(color)), np.zeros(size, np.uint16)) for _ in range(20))
    tracemalloc.start()
    write(tmp_path / "a.sens", made, color=wide, depth=wide)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * (len(color) + 2 * size[0] * size[1]) and (tmp_path / "a.sens").stat().st_size > 20 * len(color)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        ({"depth": np.zeros((6, 9), np.uint16)}, {}, r"frame 3: depth must be uint16 \[6, 8\], found uint16 \[6, 9\]"),
        ({"depth": np.zeros((6, 8))}, {}, r"frame 3: depth must be uint16 \[6, 8\], found float64 \[6, 8\]"),
        ({"color": b"no image"}, {}, "frame 3: colour is not a readable image"),
        ({"color": jpeg(np.zeros((12, 16, 3), np.uint8), "PNG")}, {}, "colour must be a JPEG image .* found PNG"),
        ({"color": jpeg(np.zeros((6, 8, 3), np.uint8))}, {}, r"JPEG image of \[12, 16\] .* found JPEG of \[6, 8\]"),
        ({"cam_to_world": np.eye(3)}, {}, r"frame 3: pose must be \[4, 4\], found \[3, 3\]"),
        ({}, {"depth_scale": 0.0}, "depth units per metre must be positive, found 0.0"),
        ({}, {"sensor": "x" * 5000}, "sensor's name must be at most 4096 bytes long, found 5000"),
        ({}, {"color": SensCamera(np.eye(4), COLOR_SIZE)}, r"intrinsics of colour must be \[3, 3\], found \[4, 4\]"),
        ({}, {"depth": SensCamera(np.eye(3), DEPTH_SIZE, np.eye(3))}, r"extrinsics of depth must be \[4, 4\]"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(
    path: Path, frames: list[Frame], frame: dict, options: dict, message: str
):
    before, made = path.read_bytes(), to_write(frames)
    with pytest.raises(InputError, match=f"{NAME}.sens.*{message}"):
        write(path, [*made[:3], dataclasses.replace(made[3], **frame)], **options)
    assert path.read_bytes() == before and [item.name for item in path.parent.iterdir()] == [path.name]


def test_a_recording_without_frames_is_not_written(tmp_path: Path):
    with pytest.raises(InputError, match=r"a.sens: a recording needs at least one frame, found none"):
        write(tmp_path / "a.sens", [])
    assert not list(tmp_path.iterdir())
