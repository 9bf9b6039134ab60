"""The table of every reader: what writes a valid input for it, and what reads all of that. A new reader is one line."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import originals
from hypothesis import reject
from originals import BUILDING, HOUSE, SCAN, SIZE, TinyTraining

from geoguide import labels, model
from geoguide.backbones import checkpoints
from geoguide.backbones.point_mae import load_point_mae
from geoguide.backbones.sonata_mini import MiniSonataBackbone
from geoguide.datasets import matterport3d, nuscenes, openscene_layout, pointcept, rgbd, scannet
from geoguide.datasets.formats.cameras import read_intrinsics, read_pose
from geoguide.datasets.formats.matterport_cameras import read_cameras
from geoguide.datasets.formats.sens import SensFile
from geoguide.datasets.matterport_categories import load_category_mapping
from geoguide.datasets.points import load_points
from geoguide.experiments import records
from geoguide.frozen import from_dict
from geoguide.instances.mask_files import read_mask_index
from geoguide.labels import nuscenes as finer
from geoguide.pipeline.cache import StageCache
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.identity import Identity
from geoguide.pretraining.probe_record import read_record
from geoguide.pretraining.probing import ProbeConfig
from geoguide.scene import Scene, View
from geoguide.text.encoder import TextEncoder


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes:
        name: For the test's name.
        write: Writes a valid input into an empty folder.
        read: Reads all of it, pixels too.
        repairs: It is a cache: what is damaged is made again, so its files may change, and it is never refused.
        ours: Its files are written by this package alone: always in UTF-8, never by hand.
        named: What an error's message must hold beside file and field; None: the name of a file of the folder.
    """

    name: str
    write: Callable[[Path], object]
    read: Callable[[Path], Any]
    repairs: bool = False
    ours: bool = False
    named: str | None = None


def _images(folder: Path) -> tuple:
    view = View("a", originals.camera(SIZE), np.eye(4), SIZE, folder / "color.png", folder / "depth.png")
    view, other = (View(**vars(view) | {"label_path": folder / "label.png", "color_path": folder / f"color.{kind}"})
                   for kind in ("png", "jpg"))  # fmt: skip
    return view.color(), view.depth(), view.labels(), other.color()


def _sens(folder: Path) -> dict:
    file = SensFile(folder / "a.sens")
    frames = tuple((file.color(number), file.depth(number)) for number in range(len(file)))
    return {"poses": file.poses, "intrinsics": file.intrinsics, "scale": file.depth_scale, "frames": frames}


def _scannet(root: Path, **options: Any) -> Scene:
    return scannet.load_scene(scannet.list_scenes(root, "val")[0], **options)


def _matterport(root: Path) -> Scene:
    house = matterport3d.list_houses(root, "val")[0]
    region = matterport3d.list_regions(house)[0]
    return matterport3d.load_region(house, region, mapping=matterport3d.find_mapping(root))


def _nuscenes(root: Path) -> Scene:
    tables = nuscenes.read_tables(root, "v1.0-mini")
    return nuscenes.load_sample(tables, nuscenes.list_samples(tables, nuscenes.list_scenes(tables)[0])[0])


def _openscene(name: str, root: Path) -> Scene:
    return openscene_layout.load_scene(openscene_layout.list_scenes(root, name, "val")[0])


def _fused(folder: Path) -> tuple:
    scene = folder / "scannet_3d" / "val" / f"{SCAN}_vh_clean_2.pth"  # need not be there
    return tuple(features.rows(np.arange(98)) for features in openscene_layout.open_features(folder, scene, 98))


def _label_sets(folder: Path) -> tuple:
    with mock.patch.object(labels, "FOLDER", folder), mock.patch.object(finer, "FOLDER", folder):
        sets = tuple(labels.load_label_set.__wrapped__(name) for name in ("scannet20", "nuscenes16"))
        with mock.patch.object(finer, "load_label_set", lambda name: sets[1]):
            return *sets, finer.category_classes.__wrapped__(), finer.load_finer_names.__wrapped__()


def _counts(folder: Path) -> Any:
    record = records.read(folder / "a-run-s0-0123456789.json")
    sums = [record.scene_sums(label_set) for label_set in (None, *record.class_sums)] if record.confusions else []
    totals = [(found.hits.sum(axis=0), found.union.sum(axis=0), found.totals.sum(axis=0)) for _, found in sums]
    return record, [sorted(names) for names, _ in sums], totals


def _probe_rows(folder: Path) -> tuple:
    return tuple(sorted(read_record(folder / "probe.json", ProbeConfig())["rows"]))


def _config(folder: Path) -> ExperimentConfig:
    """A config from plain values; what is no json is not for it."""
    try:
        value = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        reject()
    return from_dict(ExperimentConfig, value)


class _LengthEncoder(TextEncoder):
    """A text encoder whose vectors say how long a sentence is."""

    name, width, identity = "length", 8, "length"

    def _embed(self, sentences: list[str]) -> np.ndarray:
        return np.array([[len(sentence), *range(1, 8)] for sentence in sentences], np.float32)


def _text(folder: Path) -> np.ndarray:
    return _LengthEncoder(folder).encode(["chair", "Tür"])


def _stages(folder: Path) -> dict:
    def compute() -> dict:
        points, _, _ = originals.corner()
        return {"points": points, "labels": originals.classes()}

    return StageCache(folder).get("scene", [1, None], compute)


def _identity(folder: Path) -> Identity:
    return Identity.noted(folder / "note.json", lambda: Scene("room", *[np.zeros((3, 3), np.float32)] * 2))


def _training(folder: Path) -> tuple:
    state = TinyTraining()
    state.load(folder / "checkpoint.pt")
    return state.layer, state.step, state.history, state.sums


SCANS = (  # by the extra `scans`
    Reader("las", lambda folder: originals.las(folder / "scan.las"), lambda folder: load_points(folder / "scan.las")),
    Reader("laz", lambda folder: originals.las(folder / "scan.laz"), lambda folder: load_points(folder / "scan.laz")),
    Reader("e57", originals.e57, lambda folder: load_points(folder / "scan.e57")),
)
READERS = (
    *(reader for reader in SCANS if find_spec("pye57" if reader.name == "e57" else "lazrs")),
    Reader("ply", originals.ply, lambda folder: load_points(folder / "scan.ply")),
    Reader("npz", originals.npz, lambda folder: load_points(folder / "scan.npz")),
    Reader("bin", originals.points_bin, lambda folder: load_points(folder / "scan.bin")),
    Reader("pth", originals.pth, lambda folder: load_points(folder / "scan.pth")),
    Reader("sens", lambda folder: originals.sens(folder / "a.sens"), _sens),
    Reader("sens-raw", lambda folder: originals.sens(folder / "a.sens", raw=True), _sens),
    Reader("images", originals.images, _images),
    Reader("pose-text", originals.cameras, lambda folder: {"pose": read_pose(folder / "pose.txt")}),
    Reader("pose-npy", originals.cameras, lambda folder: {"pose": read_pose(folder / "pose.npy")}),
    Reader("intrinsics-text", originals.cameras, lambda folder: read_intrinsics(folder / "intrinsic.txt")),
    Reader("intrinsics-npy", originals.cameras, lambda folder: read_intrinsics(folder / "intrinsic.npy")),
    Reader("rgbd", originals.rgbd, lambda folder: rgbd.load_rgbd(folder / "room", voxel=0.2)),
    Reader("scannet", originals.scannet, _scannet),
    Reader("scannet200", originals.scannet, partial(_scannet, labels="scannet200")),
    Reader("scannet-sens", originals.scannet_sens, lambda root: scannet.load_scene(root / "scans" / SCAN)),
    Reader("scannet-superpoints", originals.scannet,
           lambda root: scannet.load_annotation_superpoints(root / "scans" / SCAN)),
    Reader("scannet-table", lambda folder: originals.category_table(folder / "table.tsv"),
           lambda folder: labels.load_category_table(folder / "table.tsv")),
    Reader("matterport3d", originals.matterport, _matterport),
    Reader("matterport3d-json", partial(originals.matterport, in_ply=False), _matterport),
    Reader("matterport3d-mapping", lambda folder: originals.category_mapping(folder / "mapping.tsv"),
           lambda folder: load_category_mapping(folder / "mapping.tsv")),
    Reader("matterport3d-cameras", lambda folder: originals.camera_file(folder / f"{HOUSE}.conf"),
           lambda folder: read_cameras(folder / f"{HOUSE}.conf")),
    Reader("nuscenes", originals.nuscenes, _nuscenes),
    Reader("nuscenes-key-frame", originals.key_frame, lambda root: nuscenes.load_key_frame(root / "frame")),
    Reader("openscene-scannet", originals.openscene_scannet, partial(_openscene, "scannet_3d")),
    Reader("openscene-matterport3d", originals.openscene_matterport, partial(_openscene, "matterport_3d")),
    Reader("openscene-nuscenes", originals.openscene_nuscenes, partial(_openscene, "nuscenes_3d")),
    Reader("pointcept", originals.arrays, lambda root: pointcept.load_scene(root / SCAN, labels="scannet20")),
    Reader("fused-features", originals.fused, _fused),
    Reader("fused-features-legacy", partial(originals.fused, legacy=True), _fused),
    Reader("model", originals.model, lambda folder: model.load(folder / "model.safetensors")),
    Reader("encoder-pth", partial(originals.encoder, suffix=".pth"),
           lambda folder: checkpoints.load_encoder(folder / "encoder.pth")),
    Reader("encoder-safetensors", partial(originals.encoder, suffix=".safetensors"),
           lambda folder: checkpoints.load_encoder(folder / "encoder.safetensors")),
    Reader("point-mae", originals.point_mae, lambda folder: load_point_mae(folder / "pretrain.pth")),
    Reader("mini-backbone", originals.pretrained, lambda folder: MiniSonataBackbone(folder / "mini.safetensors").model),
    Reader("training-checkpoint", originals.training, _training),
    Reader("record", originals.record, lambda folder: records.read(folder / "a-run-s0-0123456789.json"), ours=True),
    Reader("record-counts", originals.record_with_counts, _counts, ours=True),
    Reader("probe-record", originals.probe_record, _probe_rows, ours=True),
    Reader("config", originals.config, _config, named=""),
    Reader("label-sets", originals.label_set, _label_sets, ours=True),
    Reader("mask-index", originals.masks, lambda folder: read_mask_index(folder / "scene.txt", 98)),
    Reader("text-cache", _text, _text, repairs=True),
    Reader("stage-cache", _stages, _stages, repairs=True),
    Reader("identity-cache", _identity, _identity, repairs=True),
)  # fmt: skip
assert BUILDING == HOUSE
