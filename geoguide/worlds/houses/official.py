"""The files of mini-Matterport3D: `write_house` writes one scanned house as a Matterport3D house.

A house is a folder with images, camera parameters, and a reconstructed and segmented mesh for each region (room).
Two folders are our own, beside the official ones: `label_images` (index of category_mapping.tsv, 0 for none) and
`instance_images` (object of the house + 1, 0 for none), which the simulated 2D teacher reads.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from geoguide.datasets.formats.matterport_cameras import DEPTH_SCALE
from geoguide.datasets.matterport3d import INSTANCE_IMAGES, LABEL_IMAGES, REGIONS
from geoguide.datasets.reconstruct import reconstruct
from geoguide.scene import HeldView
from geoguide.superpoints import segment_mesh
from geoguide.worlds.annotate import nearest_object
from geoguide.worlds.camera import JPEG_QUALITY, SensorConfig
from geoguide.worlds.casting import NO_OBJECT
from geoguide.worlds.houses.scan import Shot
from geoguide.worlds.houses.world import FurnishedHouse
from geoguide.worlds.jobs import write_stamp
from geoguide.worlds.things.vocabulary import load_vocabulary

COLOR, DEPTH, PARAMETERS = "undistorted_color_images", "undistorted_depth_images", "undistorted_camera_parameters"
MAPPING_COLUMNS = ("index", "raw_category", "category", "nyu40id", "nyuClass")
FRAGMENT = 20  # vertices; smaller loose parts of the mesh are dropped as debris, but a loose ball of 20 cm must stay
EDGE = 0.14  # metres beyond the room's walls that belong to its region: reveals and panes, not the neighbour's wall
AXES_FLIP = np.array([1.0, -1.0, -1.0, 1.0])  # OpenCV's camera axes to Matterport3D's: y up, looking along -z


def write_house(
    folder: Path,
    name: str,
    house: FurnishedHouse,
    shots: list[Shot],
    sensor: SensorConfig,
    voxel: float,
    recipe: dict[str, Any],
) -> None:
    """Reconstruct and annotate a scanned house and write it in Matterport3D's layout, its stamp last.

    The stamp `mini.json` holds the recipe, a SHA-256 over all other files, counts, and for each name the number of
    objects that reached the annotation.

    Args:
        folder: An empty folder.
        name: Name of the house.
        house: The house.
        shots: Its scan.
        sensor: The cameras of the scan.
        voxel: Edge of the reconstruction's voxels, metres.
        recipe: What the house was made by.
    """
    index_of = {entry.name: index for index, entry in enumerate(load_vocabulary(), start=1)}
    category = np.array([index_of[item.category] for item in house.objects] + [0], dtype=np.int64)  # [O + 1]
    views = _write_images(folder, name, shots, sensor, category)
    regions, found = [], set()
    for region in range(len(house.rooms)):
        here = [number for number, shot in enumerate(shots) if shot.region == region]
        mesh = _region_mesh([views[n] for n in here], house, region, sensor, voxel)
        owner = nearest_object(mesh[0][mesh[1]].mean(axis=1), [shots[n].frame for n in here], 2 * voxel)  # [F]
        path = folder / REGIONS / f"region{region}.ply"
        _write_region(path, name, mesh, owner, house, category)
        found |= set(np.unique(owner[owner != NO_OBJECT]).tolist())
        regions.append({"type": house.rooms[region].room_type, "vertices": len(mesh[0]), "faces": len(mesh[1])})
    instances = Counter(house.objects[item].category for item in sorted(found))
    facts = {
        "regions": regions,
        "images": len(shots),
        "objects": len(house.objects),
        "no_space_for": list(house.missing),
        "instances": dict(sorted(instances.items())),
    }
    write_stamp(folder, recipe, facts)


def _write_images(
    folder: Path, name: str, shots: list[Shot], sensor: SensorConfig, category: np.ndarray
) -> list[HeldView]:
    """Write images and camera parameters; returns the views to reconstruct from, as a reader would see them.

    category int64 [O + 1]: number of each object's name in the mapping, the last entry 0 for pixels of no object.
    """
    for kind in (COLOR, DEPTH, PARAMETERS, LABEL_IMAGES, INSTANCE_IMAGES, REGIONS):
        (folder / kind).mkdir(parents=True)
    height, width = sensor.image_size
    intrinsics, views = f"{sensor.focal} 0 {width / 2}  0 {sensor.focal} {height / 2}  0 0 1", []
    lines = ["dataset matterport", f"n_images {len(shots)}", f"depth_directory {DEPTH}", f"color_directory {COLOR}"]
    for number, shot in enumerate(shots):
        color, depth = folder / COLOR / f"{shot.name('i')}.jpg", folder / DEPTH / f"{shot.name('d')}.png"
        frame = shot.frame
        Image.fromarray(frame.color).save(color, quality=JPEG_QUALITY)
        quarters = frame.depth * np.uint16(DEPTH_SCALE / 1000)  # of a millimetre
        Image.fromarray(quarters).save(depth)
        Image.fromarray(category[frame.object].astype(np.uint8)).save(folder / LABEL_IMAGES / f"{color.stem}.png")
        instance = (frame.object + 1).astype(np.uint16)
        Image.fromarray(instance).save(folder / INSTANCE_IMAGES / f"{color.stem}.png")
        if number == 0 or shots[number - 1].camera != shot.camera:
            lines += ["", f"intrinsics_matrix {intrinsics}"]
        pose = np.round(frame.cam_to_world * AXES_FLIP, 6)
        lines.append(f"scan {depth.name} {color.name} " + " ".join(f"{value:.6f}" for value in pose.ravel()))
        camera = (color.stem, sensor.intrinsics, pose * AXES_FLIP, sensor.image_size)
        views.append(HeldView(*camera, color, depth, DEPTH_SCALE, held={"depth": quarters}))  # as it was written
    (folder / PARAMETERS / f"{name}.conf").write_text("\n".join(lines) + "\n")
    return views


def _region_mesh(
    views: list[HeldView], house: FurnishedHouse, region: int, sensor: SensorConfig, voxel: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [P, 3], faces [F, 3] and colours uint8 [P, 3] of what the region's own cameras saw inside it."""
    mesh = reconstruct(views, voxel=voxel, max_depth=sensor.depth_range[1], min_fragment=FRAGMENT)
    low = house.offsets[region, :2] - EDGE
    high = house.offsets[region, :2] + house.rooms[region].size[:2] + EDGE
    inside = np.all((mesh.vertices[:, :2] > low) & (mesh.vertices[:, :2] < high), axis=1)  # [P]
    faces = mesh.faces[inside[mesh.faces].all(axis=1)]  # [F, 3]
    kept, index = np.unique(faces, return_inverse=True)
    colors = np.rint(mesh.colors[kept] * 255).astype(np.uint8)
    return mesh.vertices[kept], index.reshape(-1, 3).astype(np.int64), colors


def _write_region(
    path: Path,
    name: str,
    mesh: tuple[np.ndarray, np.ndarray, np.ndarray],
    owner: np.ndarray,
    house: FurnishedHouse,
    category: np.ndarray,
) -> None:
    """Write mesh, face segments and objects of one region; owner int64 [F] is each face's object or -1.

    Geometric segments are cut where they cover several objects: the real annotators worked on a finer segmentation,
    and objects of a few centimetres would vanish in segments of 20 vertices.
    """
    vertices, faces, colors = mesh
    surface = segment_mesh(vertices, faces, k=0.01, min_size=20)[faces[:, 0]]  # [F]
    pairs, segment = np.unique(np.stack([surface, owner]), axis=1, return_inverse=True)  # [2, S]
    segment = segment.reshape(-1)  # [F]
    category_id = np.where(owner == NO_OBJECT, -1, category[owner])
    path.write_bytes(_region_ply(vertices, colors, faces, segment, category_id))
    scene = f"{name}_{path.stem}"
    text = json.dumps({"sceneId": scene, "segIndices": segment.tolist()}, separators=(",", ":"))
    path.with_suffix(".fsegs.json").write_text(text)
    groups = [
        {
            "id": number,
            "objectId": int(item),
            "segments": np.flatnonzero(pairs[1] == item).tolist(),
            "label": house.objects[item].category,
        }
        for number, item in enumerate(np.unique(pairs[1][pairs[1] != NO_OBJECT]))
    ]
    path.with_suffix(".semseg.json").write_text(json.dumps({"sceneId": scene, "segGroups": groups}))


def _region_ply(
    vertices: np.ndarray, colors: np.ndarray, faces: np.ndarray, segment: np.ndarray, category: np.ndarray
) -> bytes:
    """The bytes of a region's ply file; `segment` and `category` are integers [F].

    All lists of corners have three entries, so that faces are records of one size and need no loop.
    """
    vertex = np.empty(len(vertices), [(a, "<f4") for a in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")])
    for number, (axis, channel) in enumerate(zip("xyz", ("red", "green", "blue"), strict=True)):
        vertex[axis], vertex[channel] = vertices[:, number], colors[:, number]
    ids = ("material_id", "segment_id", "category_id")
    face = np.zeros(len(faces), [("count", "u1"), ("vertex_indices", "<i4", 3), *((name, "<i4") for name in ids)])
    face["count"], face["vertex_indices"] = faces.shape[1], faces
    face["segment_id"], face["category_id"] = segment, category
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertices)}"]
    header += [f"property {'float' if name in 'xyz' else 'uchar'} {name}" for name in vertex.dtype.names or ()]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    header += [f"property int {name}" for name in ids]
    return "\n".join([*header, "end_header\n"]).encode("ascii") + vertex.tobytes() + face.tobytes()


def write_mapping(path: Path) -> None:
    """Write the official category_mapping.tsv, reduced to the columns and rows that generated houses need.

    Args:
        path: The file.
    """
    lines = ["\t".join(MAPPING_COLUMNS)]
    for index, entry in enumerate(load_vocabulary(), start=1):
        lines.append(f"{index}\t{entry.name}\t{entry.name}\t{entry.nyu40}\t{entry.name}")
    path.write_text("\n".join(lines) + "\n")
