"""Small valid inputs of every format that the package reads: the same bytes each time, written by other libraries."""

import io
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from fake_records import fake_record, scores
from PIL import Image
from plyfile import PlyData, PlyElement
from safetensors.torch import save_file
from simple_room import PERFECT, simple_room, write_flat
from tiny_nuscenes import write_dataset, write_key_frame

from geoguide import labels
from geoguide.backbones import BackboneConfig
from geoguide.backbones.descriptors import DescriptorBackbone
from geoguide.backbones.point_mae import PointMAEConfig, PointMAEEncoder
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.experiments.confusions import pack_matrices, pack_sums
from geoguide.experiments.records import dumps
from geoguide.experiments.run import describe
from geoguide.frozen import to_dict
from geoguide.metrics import ConfusionMatrix
from geoguide.model import GeoGuideModel
from geoguide.pipeline.checkpoint import Progress
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import Evaluation
from geoguide.pretraining.probing import ProbeConfig
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.rooms.scan import scan_room

SCAN, HOUSE, BUILDING = "scene0011_00", "2t7WUuJeko7", "2t7WUuJeko7"
RGB = ("Red", "Green", "Blue")
SIDE, STEP = 7, 0.5  # vertices along an edge of the corner, and metres between them
SIZE = (12, 16)  # (H, W) of images whose size is free
SENSOR = SensorConfig(frames=6, image_size=(30, 40), focal=36.0, **PERFECT)
ENCODER = {"enc_depths": [1, 1], "enc_channels": [4, 8], "enc_num_head": [1, 2], "enc_patch_size": [16, 16]}
ENCODER |= {"stride": [2], "order": ["z"], "in_channels": 9}
POINT_MAE = {"trans_dim": 12, "depth": 3, "num_heads": 2, "group_size": 5}


def camera(size: tuple[int, int], width: int = 3) -> np.ndarray:
    """A camera matrix [3, 3] or [4, 4] whose principal point is the middle of images of a size (H, W)."""
    matrix = np.eye(width)
    matrix[0, 0] = matrix[1, 1] = size[1]
    matrix[0, 2], matrix[1, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
    return matrix


def pose(*place: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = place
    return matrix


def corner() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A floor and a wall of three metres: points float32 [98, 3], faces [144, 3], colours uint8 [98, 3]."""
    u, v = (grid.ravel() * STEP for grid in np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"))
    floor, wall = np.stack([u, v, 0 * u], axis=1), np.stack([u, 0 * u, v + STEP / 5], axis=1)
    cell = (np.arange(SIDE - 1)[:, None] * SIDE + np.arange(SIDE - 1)).ravel()
    square = np.concatenate([[cell, cell + SIDE, cell + 1], [cell + 1, cell + SIDE, cell + SIDE + 1]], axis=1).T
    points = np.concatenate([floor, wall]).astype(np.float32)
    colors = (np.arange(len(points))[:, None] * (1, 2, 5) % 256).astype(np.uint8)
    return points, np.concatenate([square, square + len(floor)]), colors


def classes() -> np.ndarray:
    """The floor is 1, the wall 0, one vertex void: int64 [98]."""
    result = np.repeat([1, 0], SIDE * SIDE)
    result[5] = 255
    return result


def save_mesh(path: Path, face: dict[str, np.ndarray] | None = None, **vertex: np.ndarray) -> None:
    points, faces, colors = corner()
    columns = dict(zip("xyz", points.T, strict=True)) | dict(zip(("red", "green", "blue"), colors.T, strict=True))
    records = np.rec.fromarrays(list((columns | vertex).values()), names=list(columns | vertex))
    kinds = [("vertex_indices", "i4", (3,)), *((name, values.dtype) for name, values in (face or {}).items())]
    triangles = np.zeros(len(faces), kinds)
    triangles["vertex_indices"] = faces
    for name, values in (face or {}).items():
        triangles[name] = values
    path.parent.mkdir(parents=True, exist_ok=True)
    PlyData([PlyElement.describe(np.array(records), "vertex"), PlyElement.describe(triangles, "face")]).write(path)


def save_image(path: Path, size: tuple[int, int] = SIZE, kind: str = "color") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.indices(size)
    pixels = {"color": np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)}
    pixels |= {"depth": (1500 + rows + columns).astype(np.uint16), "label": (1 + rows // 2 % 3).astype(np.uint8)}
    Image.fromarray(pixels[kind]).save(path)


def save_text(path: Path, matrix: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, matrix)


def save_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def ply(folder: Path) -> None:
    up = np.repeat([[0, 0, 1], [0, 1, 0]], SIDE * SIDE, axis=0).astype(np.float32)
    save_mesh(folder / "scan.ply", **dict(zip(("nx", "ny", "nz"), up.T, strict=True)))


def npz(folder: Path) -> None:
    points, _, colors = corner()
    np.savez(folder / "scan.npz", points=points, colors=colors, labels=classes())


def arrays(root: Path) -> None:
    """A scene as Pointcept preprocesses it."""
    points, _, colors = corner()
    parts = {"coord": points, "color": colors.astype(np.uint8), "segment20": classes() % 20}
    (root / SCAN).mkdir()
    for name, array in (parts | {"normal": np.ones_like(points), "instance": classes() % 3}).items():
        np.save(root / SCAN / f"{name}.npy", array)


def points_bin(folder: Path) -> None:
    points, _, colors = corner()
    np.concatenate([points, colors], axis=1).astype("<f4").tofile(folder / "scan.bin")


def las(path: Path) -> None:
    """A LAS or LAZ file, by its suffix."""
    import laspy

    points, _, colors = corner()
    data = laspy.LasData(laspy.LasHeader(point_format=3, version="1.4"))
    data.x, data.y, data.z = points.T
    data.red, data.green, data.blue = colors.T
    data.write(path)


def e57(folder: Path) -> None:
    import pye57

    points, _, colors = corner()
    scan = {f"cartesian{axis}": column.astype(np.float64) for axis, column in zip("XYZ", points.T, strict=True)}
    scan |= {f"color{name}": np.ascontiguousarray(column) for name, column in zip(RGB, colors.T, strict=True)}
    file = pye57.E57(str(folder / "scan.e57"), mode="w")
    file.write_scan_raw(scan)
    file.close()


def pth(folder: Path) -> None:
    points, _, colors = corner()
    torch.save((points, (colors / 127.5 - 1).astype(np.float32), classes().astype(np.float64)), folder / "scan.pth")


def sens(path: Path, raw: bool = False) -> None:
    """Three frames as ScanNet's writer lays them out; the second pose is lost."""
    rows, columns = np.indices(SIZE)
    data = struct.pack("<IQ", 4, 15) + b"StructureSensor"
    for matrix in (camera(SIZE, 4), np.eye(4), camera(SIZE, 4), np.eye(4)):
        data += struct.pack("<16f", *matrix.ravel())
    data += struct.pack("<2i4IfQ", 0 if raw else 2, 0 if raw else 1, *SIZE[::-1], *SIZE[::-1], 1000.0, 3)
    for number in range(3):
        depth = (1500 + rows + number).astype("<u2").tobytes()
        color = np.stack([rows, columns, rows + number], axis=2).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(color).save(buffer, "JPEG")
        color, depth = (color.tobytes(), depth) if raw else (buffer.getvalue(), zlib.compress(depth))
        placed = np.full((4, 4), -np.inf) if number == 1 else pose(0, 0, -number)
        data += struct.pack("<16f4Q", *placed.ravel(), number, number, len(color), len(depth)) + color + depth
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data + struct.pack("<Q", 0))


def images(folder: Path) -> None:
    for kind in ("color", "depth", "label"):
        save_image(folder / f"{kind}.png", kind=kind)
    save_image(folder / "color.jpg")


def cameras(folder: Path) -> None:
    save_text(folder / "pose.txt", pose(1, 2, 3))
    save_text(folder / "intrinsic.txt", camera(SIZE, 4))
    np.save(folder / "pose.npy", pose(1, 2, 3))
    np.save(folder / "intrinsic.npy", camera(SIZE))


def rgbd(folder: Path) -> None:
    write_flat(folder / "room", scan_room(simple_room(), 1, SENSOR), SENSOR)


def category_table(path: Path) -> None:
    """The packaged table, and a row with a letter beyond ASCII."""
    text = labels.CATEGORY_TABLE.read_text(encoding="utf-8").rstrip("\n")
    columns = text.splitlines()[0].split("\t")
    row = dict.fromkeys(columns, "") | {"id": "9001", "raw_category": "Tür", "nyu40id": "8"}
    path.write_text("\n".join([text, "\t".join(row[name] for name in columns)]) + "\n", encoding="utf-8")


def scannet(root: Path) -> None:
    """One scan with labels, instances and two frames."""
    folder = root / "scans" / SCAN
    save_mesh(folder / f"{SCAN}_vh_clean_2.ply")
    nyu40 = np.array([1, 2] + [0] * 254, np.uint16)[classes()]  # class 0 is wall, 1 is floor
    save_mesh(folder / f"{SCAN}_vh_clean_2.labels.ply", label=nyu40)
    segments = np.repeat([3, 8, 21, 40], len(nyu40) // 4 + 1)[: len(nyu40)]
    save_json(folder / f"{SCAN}_vh_clean_2.0.010000.segs.json", {"sceneId": SCAN, "segIndices": segments.tolist()})
    groups = [{"id": 0, "objectId": 0, "label": "floor", "segments": [3, 8]}]
    groups += [{"id": 1, "objectId": 1, "label": "wall", "segments": [21, 40]}]
    save_json(folder / f"{SCAN}.aggregation.json", {"sceneId": SCAN, "segGroups": groups})
    category_table(root / "scannetv2-labels.combined.tsv")
    (root / "scannetv2_val.txt").write_text(f"{SCAN}\n")
    save_text(folder / "intrinsic" / "intrinsic_depth.txt", camera(SIZE, 4))
    for number in (0, 20):
        save_image(folder / "color" / f"{number}.jpg")
        save_image(folder / "depth" / f"{number}.png", kind="depth")
        save_image(folder / "label-filt" / f"{number}.png", kind="label")
        save_text(folder / "pose" / f"{number}.txt", pose(1, 1, number / 20))


def scannet_sens(root: Path) -> None:
    folder = root / "scans" / SCAN
    save_mesh(folder / f"{SCAN}_vh_clean_2.ply")
    sens(folder / f"{SCAN}.sens")


def category_mapping(path: Path) -> None:
    rows = [("1", "wall", "1", "wall"), ("2", "Tür", "8", "door"), ("3", "floor", "2", "floor"), ("4", "void", "0", "")]
    lines = ["index\traw_category\tcount\tnyu40id\tnyuClass", *("\t".join((*r[:2], "3", *r[2:])) for r in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def camera_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["dataset matterport", "n_images 2", "intrinsics_matrix 20 0 8  0 20 6  0 0 1"]
    for yaw in range(2):
        lines += [f"scan abc_d0_{yaw}.png abc_i0_{yaw}.jpg " + " ".join(map(str, pose(1, 1, 1 + yaw).ravel()))]
    path.write_text("\n".join(lines) + "\n")


def matterport(root: Path, in_ply: bool = True) -> None:
    """A region with two images; its categories lie in the ply or in the json files beside it."""
    house = root / "v1" / "scans" / HOUSE
    category = np.repeat([3, 1], 72).astype(np.int32)  # of each face
    region = house / "region_segmentations" / "region0.ply"
    save_mesh(region, {"category_id": category} if in_ply else {"material_id": category})
    save_json(region.with_suffix(".fsegs.json"), {"segIndices": np.repeat([4, 9], 72).tolist()})
    groups = [{"id": 0, "segments": [4], "label": "floor"}, {"id": 1, "segments": [9], "label": "wall"}]
    save_json(region.with_suffix(".semseg.json"), {"segGroups": groups})
    category_mapping(root / "category_mapping.tsv")
    (root / "scenes_val.txt").write_text(f"{HOUSE}\n")
    camera_file(house / "undistorted_camera_parameters" / f"{HOUSE}.conf")
    for yaw in range(2):
        save_image(house / "undistorted_color_images" / f"abc_i0_{yaw}.jpg")
        save_image(house / "undistorted_depth_images" / f"abc_d0_{yaw}.png", kind="depth")


def nuscenes(root: Path) -> None:
    write_dataset(root, np.random.default_rng(0))


def key_frame(root: Path) -> None:
    write_key_frame(root / "frame", np.random.default_rng(0))


def openscene(root: Path, name: str, scene: str, colors: bool = True) -> None:
    path = root / name / "val" / f"{scene}.pth"
    path.parent.mkdir(parents=True)
    points, _, rgb = corner()
    torch.save((points, (rgb / 127.5 - 1).astype(np.float32) if colors else 0, classes().astype(np.float64)), path)


def openscene_scannet(root: Path) -> None:
    openscene(root, "scannet_3d", f"{SCAN}_vh_clean_2")
    home = root / "scannet_2d"
    save_text(home / "intrinsics.txt", camera((240, 320), 4))
    for number in (0, 20):
        save_image(home / SCAN / "color" / f"{number}.jpg", (240, 320))
        save_image(home / SCAN / "depth" / f"{number}.png", (240, 320), "depth")
        save_text(home / SCAN / "pose" / f"{number}.txt", pose(1, 1, 1))


def openscene_matterport(root: Path) -> None:
    openscene(root, "matterport_3d", f"{BUILDING}_region3")
    home = root / "matterport_2d" / BUILDING
    save_image(home / "color" / "abc_i1_0.jpg", (512, 640))
    save_image(home / "depth" / "abc_d1_0.png", (512, 640), "depth")
    save_text(home / "pose" / "abc_i1_0.txt", pose(1, 1, 1))
    save_text(home / "intrinsic" / "abc_i1_0.txt", camera((512, 640)))


def openscene_nuscenes(root: Path) -> None:
    openscene(root, "nuscenes_3d", "scene-0003", colors=False)
    home = root / "nuscenes_2d" / "val" / "scene-0003"
    for kind in ("pose", "K"):
        (home / kind).mkdir(parents=True)
    looks = {"back": 180, "back_left": 120, "back_right": -120, "front": 0, "front_left": 60, "front_right": -60}
    wide = np.array([[0.75, 1, 1], [1, 0.75, 1], [1, 1, 1]])  # 67 degrees, so that neighbours overlap
    for name, degrees in looks.items():
        save_image(home / "color" / f"{name}.jpg", (450, 800))
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        around = np.array([[s, 0, c, 0], [-c, 0, s, 0], [0, -1, 0, 1], [0, 0, 0, 1]])  # degrees to the left of x
        np.save(home / "pose" / f"{name}.npy", around)
        np.save(home / "K" / f"{name}.npy", camera((450, 800)) * wide)


def fused(folder: Path, legacy: bool = False) -> None:
    """Features of width 4 for two thirds of the 98 points."""
    seen = np.arange(98) % 3 != 0
    value = {"feat": torch.arange(int(seen.sum()) * 4).reshape(-1, 4).half() / 300, "mask_full": torch.from_numpy(seen)}
    if legacy:
        value["mask"] = torch.arange(0, int(seen.sum()), 2)
    torch.save(value, folder / f"{SCAN}_0.pt")


def model(folder: Path) -> None:
    torch.manual_seed(0)
    config = AdapterConfig(hidden=(8,))
    adapter = Adapter(DescriptorBackbone().width, 384, config).eval()
    GeoGuideModel(adapter, config, BackboneConfig("descriptors"), "a photo of a {}", "a test").save(
        folder / "model.safetensors"
    )


def encoder(folder: Path, suffix: str) -> None:
    """A tiny encoder of Sonata's kind, with its configuration inside (.pth) or beside (.safetensors)."""
    torch.manual_seed(0)
    state = PointTransformerV3(**ENCODER).state_dict()
    if suffix == ".pth":
        torch.save({"config": ENCODER, "state_dict": state}, folder / "encoder.pth")
    else:
        save_file(state, folder / "encoder.safetensors")
        save_json(folder / "config.json", ENCODER)


def point_mae(folder: Path) -> None:
    """A tiny encoder of Point-MAE's kind in the released layout, its sizes beside it."""
    torch.manual_seed(0)
    state = PointMAEEncoder(PointMAEConfig(**POINT_MAE)).state_dict()
    torch.save({"base_model": {f"MAE_encoder.{k}": v for k, v in state.items()}, "epoch": 1}, folder / "pretrain.pth")
    save_json(folder / "config.json", POINT_MAE)


def pretrained(folder: Path) -> None:
    torch.manual_seed(0)
    state = PointTransformerV3(**ENCODER).state_dict()
    notes = {"config": ENCODER, "pretraining": {"network": {"voxel": 0.05, "concat": 1}, "steps": 5}}
    notes |= {"step": 5, "rooms": [[0, "train", 1]]}
    save_file(state, folder / "mini.safetensors", metadata={name: json.dumps(note) for name, note in notes.items()})


def record(folder: Path) -> None:
    share = {"iou": {"wall": 50.0, "floor": None}, "acc": {"wall": 50.0, "floor": None}, "confusion": [[1, 1], [0, 0]]}
    further = {"scannet200": scores(20.0, 20.0, iou={"wall": 20.0}, acc={"wall": 20.0}, scene_miou={"room": 20.0})}
    share |= {"macc": 25.0, "miou_skip": 50.0, "scene_miou": {"room": 50.0}}
    config = ExperimentConfig(name="a run")
    raw = fake_record(config, 25.0, by_label_set=further, **share).raw
    raw["training"] |= {"history": [{"step": config.train.steps, "val_miou": 40.0, "total": 0.5}]}
    (folder / "a-run-s0-0123456789.json").write_text(dumps(raw))


def record_with_counts(folder: Path) -> None:
    """A record that keeps the counts of its scenes, on its own label set and on a further one."""
    config, made = ExperimentConfig(name="a run"), {}
    for label_set, count in (("scannet20", 20), ("matterport21", 21)):
        rooms = {"room": ConfusionMatrix(count), "hall": ConfusionMatrix(count)}
        rooms["room"].update([0, 0, 1, 2, 2], [0, 1, 1, 2, 4])
        rooms["hall"].update([3, 3, 3, 2], [3, 3, 0, 2])
        made[label_set] = Evaluation(rooms["room"] + rooms["hall"], rooms, config.protocol)
    own, further = (describe(found, label_set) for label_set, found in made.items())
    raw = fake_record(config, by_label_set={"matterport21": further | {"confusion": None}}).raw | {"metrics": own}
    raw["confusions"] = pack_matrices(made["scannet20"].per_scene)
    raw["class_sums"] = {"matterport21": pack_sums(made["matterport21"].per_scene)}
    (folder / "a-run-s0-0123456789.json").write_text(dumps(raw))


def probe_record(folder: Path) -> None:
    rows = {"random": {"miou": 1.0}, "descriptors": {"miou": 2.0}}  # either alone is a record
    save_json(folder / "probe.json", {"protocol": {"probe": to_dict(ProbeConfig())}, "rows": rows})


def config(folder: Path) -> None:
    save_json(folder / "config.json", to_dict(ExperimentConfig()))


def label_set(folder: Path) -> None:
    for name in ("scannet20.csv", "nuscenes16.csv", "nuscenes16/finer_names.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(labels.FOLDER / name, folder / name)


def masks(folder: Path) -> None:
    (folder / "masks").mkdir()
    for number in range(2):
        np.savetxt(folder / "masks" / f"{number}.txt", np.arange(98) % 2 == number, fmt="%d")
    (folder / "scene.txt").write_text("masks/0.txt 2 0.9\nmasks/1.txt 3 0.5\n")


class TinyTraining(Progress):
    """A training whose network is one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.layer.parameters())

    @property
    def parts(self) -> dict:
        return {"layer": self.layer, "optimizer": self.optimizer}

    def one_step(self) -> None:
        self.layer(torch.ones(1, 3)).sum().backward()
        self.optimizer.step()
        self.count({"total": 0.5})
        self.log("tiny", val_miou=1.0)


def training(folder: Path) -> None:
    state = TinyTraining()
    state.one_step()
    state.save(folder / "checkpoint.pt")
