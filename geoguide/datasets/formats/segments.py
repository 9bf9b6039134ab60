"""Annotated objects as ScanNet and Matterport3D store them: segments of a mesh in one json file, objects in another.

    <mesh>.segs.json, .fsegs.json                   {"segIndices": [segment of each vertex or face]}
    <scene>.aggregation.json, <mesh>.semseg.json    {"segGroups": [{"segments": [...], "label": ..., ...}]}

Where they come from another mesh, most ids mean nothing or the wrong thing. Four signs are looked at: their number, the
ids that the objects name, whether the points of an object have one label, and the scene that ScanNet's file names.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.formats.files import integers, need_type, read_json
from geoguide.errors import DataError, ReadAs

# Measured. On 2 real scans, 63 generated rooms and 85 generated regions all ids that objects name are ids of the mesh;
# on the 2 scans, 30 of the rooms and 25 of the regions all points of an object have one label. With another scene's
# objects (90 and 75 pairs) 26 to 100 % of the ids are there, since the ids of every generated scene begin at 0, and 46
# to 87 % of the points have their object's usual label; in a scene that a user reported 0 % of the ids were there.
FOUND = 0.5  # smallest share of ids that are ids of the mesh
COVERED = 0.5  # smallest share of labelled points that belong to an object; on the 2 scans and 63 rooms all do
AGREE = 0.9  # smallest share of points that have the usual label of their object
JUDGED = 1000  # points; with fewer, AGREE says nothing. Real and generated scenes have more than 10,000


def read_segments(path: Path) -> np.ndarray:
    """Read the segment of each vertex or face.

    Args:
        path: The file of segments.

    Returns:
        Segment ids as in the file, int64 [N].

    Raises:
        DataError: The file is missing or broken.
    """
    return integers(read_json(path, {"segIndices": list})["segIndices"], path, "field 'segIndices'")


def read_objects(
    segments: Path, groups: Path, count: int, unit: str, kinds: Mapping[str, type], scene: str | None = None
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Read the annotated objects of a mesh.

    Segments that several objects name belong to the last of them; a `ReadAs` warning counts them, and one the objects
    that name none. Segments that are not in the mesh give one warning, and so does the name of another scene.

    Args:
        segments: The file of segments.
        groups: The file of objects.
        count: N, how many vertices or faces the mesh has.
        unit: "vertices" or "faces", for messages.
        kinds: Fields that every object must have, "segments" among them, and the type of each (see `need_type`).
        scene: Name of the scene that the file of objects should name, where it names one; None where it need not.

    Returns:
        The objects as in the file, and the position among them of each vertex or face, int64 [N], -1 for none.

    Raises:
        DataError: A file is missing or broken, or was made for another mesh: it holds another number of segments than
            `count`, or the objects name ids of which fewer than half are there.
    """
    ids = read_segments(segments)  # [N]
    if len(ids) != count:
        held = f"field 'segIndices' holds {len(ids)} values, the mesh has {count}"
        raise DataError(f"{segments}: {held}, made for another mesh? Expected one of {count} {unit} each")
    content = read_json(groups, {"segGroups": list})
    objects, named_scene = content["segGroups"], " ".join(str(content.get("sceneId") or scene).split()).rsplit(".")[-1]
    if scene is not None and named_scene != scene:
        warnings.warn(f"{groups}: made for {named_scene} by its field 'sceneId', found with {scene}", stacklevel=3)
    need_fields(objects, kinds, groups)
    named = [integers(entry["segments"], groups, f"segments of entry {n}") for n, entry in enumerate(objects)]
    empty = [number for number, part in enumerate(named) if not len(part)]
    if empty:
        found = f"{len(empty)} of {len(objects)} objects have no segments and are left out, first entry {empty[0]}"
        warnings.warn(f"{groups}: {found}", ReadAs, stacklevel=3)
    named.insert(0, np.empty(0, dtype=np.int64))
    owner = np.repeat(np.arange(-1, len(objects)), [len(part) for part in named])  # [n], of each id that is named
    wanted = np.concatenate(named)  # [n]
    unique, inverse = np.unique(ids, return_inverse=True)  # [S], [N]
    there = np.isin(wanted, unique)  # [n]
    _check_found(there, segments, groups)
    several = len(np.unique(np.stack([owner, wanted]), axis=1).T) - len(np.unique(wanted))
    if several:
        found = f"{several} times a segment belongs to more than one object: the last of them has it"
        warnings.warn(f"{groups}: {found}", ReadAs, stacklevel=3)
    of_segment = np.full(len(unique), -1, dtype=np.int64)  # [S]
    of_segment[np.searchsorted(unique, wanted[there])] = owner[there]
    return objects, of_segment[inverse.reshape(-1)]


def need_fields(objects: list, kinds: Mapping[str, type], path: Path) -> None:
    """Check what every object has.

    Args:
        objects: The value of 'segGroups'.
        kinds: Fields that every object must have, and the type of each (see `need_type`).
        path: The file of objects, for the message.

    Raises:
        DataError: An entry is no object, or a field is missing or of another type.
    """
    for number, entry in enumerate(objects):
        for field, kind in kinds.items():
            if not isinstance(entry, dict) or field not in entry:
                needs = f"each of 'segGroups' needs {' and '.join(kinds)}"
                raise DataError(f"{path}: {needs}, entry {number} has no {field}")
            need_type(entry[field], kind, f"{path}: {field} of entry {number}")


def check_agree(owner: np.ndarray, labels: np.ndarray, groups: Path, labelled: Path) -> None:
    """Check that objects and labels belong to one mesh: what has a label is in an object, whose points have one label.

    Args:
        owner: Object of each vertex or face, int64 [N], -1 for none, as `read_objects` gives it.
        labels: Label of each as stored in the mesh's file, integers [N].
        groups: The file of objects, for the message.
        labelled: The file of labels, for the message.

    Raises:
        DataError: Of at least `JUDGED` labelled vertices or faces fewer than `COVERED` are in an object, or of as many
            in objects fewer than `AGREE` have the label that most of their object have.
    """
    if not (owner >= 0).any():
        return  # nothing is annotated as an object
    inside, labelled_in = owner >= 0, owner[labels > 0] >= 0  # [N], [n]
    if len(labelled_in) >= JUDGED and labelled_in.mean() < COVERED:
        found = f"only {labelled_in.mean():.0%} of the points that have a label by {labelled.name} belong to an object"
        raise DataError(f"{groups}: {found}: made for other segments?")
    if inside.sum() < JUDGED:
        return
    known, code = np.unique(labels[inside], return_inverse=True)
    pair, count = np.unique(owner[inside] * len(known) + code.reshape(-1), return_counts=True)
    usual = np.zeros(int(owner.max()) + 1, dtype=np.int64)  # points that have their object's usual label
    np.maximum.at(usual, pair // len(known), count)
    share = usual.sum() / inside.sum()
    if share < AGREE:
        found = f"only {share:.0%} of the points of its objects have the label that is usual in their object"
        raise DataError(f"{groups}: {found} by {labelled.name}: made for another mesh?")


def _check_found(there: np.ndarray, segments: Path, groups: Path) -> None:
    """Judge by which of the segments that objects name, bool [n], are segments of the mesh."""
    lost = int((~there).sum())
    found = f"{lost} of the {len(there)} segments that its objects name are not in {segments.name}"
    if lost > (1 - FOUND) * len(there):
        raise DataError(f"{groups}: {found}: made for another mesh?")
    if lost:
        warnings.warn(f"{groups}: {found} and belong to nothing", stacklevel=3)
