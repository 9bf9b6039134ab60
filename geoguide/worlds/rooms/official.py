"""The files of mini-ScanNet: `write_room` writes one scanned room as a ScanNet v2 scene.

A scene is a folder with a reconstructed mesh, its labels, its annotation (objects as sets of segments) and the frames.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from geoguide.datasets.formats.ply import write_ply
from geoguide.datasets.reconstruct import Reconstruction, reconstruct
from geoguide.datasets.scannet import SEGMENTS
from geoguide.errors import ConfigError
from geoguide.labels import load_category_table, load_label_set
from geoguide.scene import VOID, HeldView
from geoguide.worlds.annotate import Annotation, annotate
from geoguide.worlds.camera import JPEG_QUALITY, Frame, SensorConfig
from geoguide.worlds.interior import FurnishedRoom
from geoguide.worlds.jobs import write_stamp

UNITS_PER_METRE = 1000  # units of the depth images in a metre


def write_room(
    folder: Path,
    name: str,
    room: FurnishedRoom,
    frames: list[Frame],
    sensor: SensorConfig,
    voxel: float,
    recipe: dict[str, Any],
    follow: Literal["segments", "surface"] = "segments",
) -> None:
    """Reconstruct and annotate a scanned room and write it as a scene, its stamp last.

    The stamp `mini.json` holds the recipe, a SHA-256 over all other files, and counts.

    Args:
        folder: An empty folder.
        name: Name of the scene.
        room: The room.
        frames: Its scan.
        sensor: The camera of the scan.
        voxel: Edge of the reconstruction's voxels, metres.
        recipe: What the scene was made by.
        follow: What the annotation follows, see `RoomRecipe.annotation`.

    Raises:
        ConfigError: The room names a category that ScanNet's table lacks.
    """
    table = load_category_table()
    unknown = sorted({item.category for item in room.objects} - set(table.ids))
    if unknown:
        raise ConfigError(f"room of type {room.room_type}: categories not in ScanNet's table: {', '.join(unknown)}")
    raw_ids = np.array([table.ids[item.category] for item in room.objects] + [0], dtype=np.int64)  # [O + 1]
    views = _write_frames(folder, frames, sensor, raw_ids)
    mesh = reconstruct(views, voxel=voxel, max_depth=sensor.depth_range[1])
    annotation = annotate(mesh.vertices, mesh.faces, frames, 2 * voxel, follow)
    _write_mesh(folder, name, mesh, annotation, table.nyu40(raw_ids))
    _write_annotation(folder, name, annotation, room)
    _write_meta(folder / f"{name}.txt", room, frames, sensor)
    facts = {
        "room_type": room.room_type,
        "vertices": len(mesh.vertices),
        "faces": len(mesh.faces),
        "segments": len(annotation.owner),
        "objects": len(np.unique(annotation.owner[annotation.owner >= 0])),
        "segment_purity": round(annotation.purity, 4),
    }
    write_stamp(folder, recipe, facts)


def _write_frames(folder: Path, frames: list[Frame], sensor: SensorConfig, raw_ids: np.ndarray) -> list[HeldView]:
    """Write color, depth, pose, intrinsic, label-filt and instance-filt; returns the views to reconstruct from.

    raw_ids int64 [O + 1]: ScanNet's category id of each object, the last entry 0 for pixels of no object.
    """
    for kind in ("color", "depth", "pose", "intrinsic", "label-filt", "instance-filt"):
        (folder / kind).mkdir(parents=True)
    matrix = np.eye(4)
    matrix[:3, :3] = sensor.intrinsics
    for kind in ("color", "depth"):
        _write_matrix(folder / "intrinsic" / f"intrinsic_{kind}.txt", matrix)
        _write_matrix(folder / "intrinsic" / f"extrinsic_{kind}.txt", np.eye(4))
    views = []
    for number, frame in enumerate(frames):
        color, depth = folder / "color" / f"{number}.jpg", folder / "depth" / f"{number}.png"
        Image.fromarray(frame.color).save(color, quality=JPEG_QUALITY)
        Image.fromarray(frame.depth).save(depth)
        pose = _write_matrix(folder / "pose" / f"{number}.txt", frame.cam_to_world)
        Image.fromarray(raw_ids[frame.object].astype(np.uint16)).save(folder / "label-filt" / f"{number}.png")
        instance = frame.object + 1
        instance = instance.astype(np.uint8 if len(raw_ids) <= 256 else np.uint16)
        Image.fromarray(instance).save(folder / "instance-filt" / f"{number}.png")
        camera = (str(number), sensor.intrinsics, pose, sensor.image_size)
        views.append(HeldView(*camera, color, depth, UNITS_PER_METRE, held={"depth": frame.depth}))  # as it was written
    return views


def _write_matrix(path: Path, matrix: np.ndarray) -> np.ndarray:
    """Write a matrix [4, 4] as text, as numpy.savetxt does but ten times faster; returns it as it is read back."""
    cells = [[f"{value:.6f}" for value in row] for row in matrix.tolist()]
    path.write_text("".join(" ".join(row) + "\n" for row in cells))
    return np.array(cells, np.float64)


def _write_mesh(folder: Path, name: str, mesh: Reconstruction, annotation: Annotation, nyu40: np.ndarray) -> None:
    """Write the coloured mesh, and the one whose `label` is the NYU40 id of the object that owns a vertex's segment."""
    colors = np.rint(mesh.colors * 255).astype(np.uint8)
    write_ply(folder / f"{name}_vh_clean_2.ply", mesh.vertices, colors, mesh.faces)
    label = nyu40[annotation.owner[annotation.segment]]  # [P]; owner -1 takes the last entry, 0
    classes = load_label_set("scannet20")
    palette = np.zeros((VOID + 1, 3), dtype=np.uint8)
    palette[: len(classes)] = classes.colors
    painted = palette[classes.from_raw(label)]
    path = folder / f"{name}_vh_clean_2.labels.ply"
    write_ply(path, mesh.vertices, painted, mesh.faces, label=label.astype(np.uint16))


def _write_annotation(folder: Path, name: str, annotation: Annotation, room: FurnishedRoom) -> None:
    """Write the segment of each vertex, and the segments and the name of each object."""
    segments = {
        "params": {"kThresh": "0.010000", "segMinVerts": "20"},
        "sceneId": name,
        "segIndices": annotation.segment.tolist(),
    }
    (folder / f"{name}{SEGMENTS}").write_text(json.dumps(segments, separators=(",", ":")))
    owners = np.unique(annotation.owner[annotation.owner >= 0])
    groups = [
        {
            "id": int(item),
            "objectId": int(item),
            "segments": np.flatnonzero(annotation.owner == item).tolist(),
            "label": room.objects[item].category,
        }
        for item in owners
    ]
    aggregation = {"sceneId": f"scannet.{name}", "segGroups": groups, "segmentsFile": f"scannet.{name}{SEGMENTS}"}
    (folder / f"{name}.aggregation.json").write_text(json.dumps(aggregation))


def _write_meta(path: Path, room: FurnishedRoom, frames: list[Frame], sensor: SensorConfig) -> None:
    """Write the scene's text file: alignment, image sizes, intrinsics, type of room."""
    height, width = sensor.image_size
    fields: dict[str, Any] = {"axisAlignment": " ".join(f"{value:.6f}" for value in np.eye(4).reshape(-1))}
    for kind in ("color", "depth"):
        fields |= {f"{kind}Height": height, f"{kind}Width": width}
        fields |= {f"fx_{kind}": sensor.focal, f"fy_{kind}": sensor.focal}
        fields |= {f"mx_{kind}": sensor.intrinsics[0, 2], f"my_{kind}": sensor.intrinsics[1, 2]}
    fields |= {"numColorFrames": len(frames), "numDepthFrames": len(frames), "sceneType": room.room_type}
    path.write_text("".join(f"{key} = {value}\n" for key, value in fields.items()))
