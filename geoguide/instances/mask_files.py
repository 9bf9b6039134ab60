"""Files of instance masks: an index of lines "relative/mask.txt label score" for a scene, a text file for each mask.

It is the format of ScanNet's instance benchmark (`BenchmarkScripts/3d_evaluation/evaluate_semantic_instance.py`), and
what Mask3D writes into `eval_output/.../decoder_-1/`: `<scene>.txt` beside `pred_mask/<scene>_<number>.txt`. A mask's
file holds one integer for each vertex of the scene's mesh, in its order; every positive integer is inside the mask.
"""

import hashlib
import posixpath
from pathlib import Path

import numpy as np

from geoguide.errors import DataError, InputError
from geoguide.instances.masks import InstanceMasks
from geoguide.ops.block_digest import block_digest
from geoguide.paths import replacing, write_text
from geoguide.text_files import need_file, read_text

FOLDER = "predicted_masks"  # where a submission's masks lie beside its indices


def read_mask_index(path: str | Path, num_points: int | None = None, *, min_score: float = -np.inf) -> InstanceMasks:
    """Read a scene's masks as Mask3D writes them, or as they are submitted to ScanNet's benchmark.

    Args:
        path: The index.
        num_points: P, the scene's number of points; None takes the first mask's length.
        min_score: Masks of a lower score are left out, and their files are not opened.

    Returns:
        The masks and their scores, in the order of the index; the labels are not read. A mask that is named again is
        one prediction, with the score of its last line, as in ScanNet's evaluation.

    Raises:
        DataError: A file is missing, a line cannot be read, a mask has another length or lies outside the index's
            folder, or no mask is left and `num_points` is not given; the message names the file.
    """
    path = Path(path)
    masks, scores = [], []
    for name, score in _entries(path).items():
        if score < min_score:
            continue
        mask = _read_mask(path.parent / name)
        num_points = len(mask) if num_points is None else num_points
        if len(mask) != num_points:
            raise DataError(f"{path.parent / name}: mask must have {num_points} lines, found {len(mask)}")
        masks.append(mask)
        scores.append(score)
    if num_points is None:
        which = "is empty" if min_score == -np.inf else f"has no mask of score {min_score:g} or more"
        raise DataError(f"{path}: mask index {which} and no point count is given")
    return InstanceMasks.from_dense(np.array(masks, dtype=bool).reshape(len(masks), num_points), np.array(scores))


def write_mask_index(path: str | Path, masks: InstanceMasks, *, label: int) -> Path:
    """Write a scene's masks as they are submitted to ScanNet's benchmark.

    The index is written last: a killed run leaves none that names a missing mask. M * P * 2 bytes.

    Args:
        path: The index, `<scene>.txt`; the masks go into `predicted_masks/` beside it, numbered from 000.
        masks: M masks over the P vertices of the scene's mesh, in their order.
        label: What every line says of the class, an id of NYU40: the masks themselves have none, and the benchmark
            looks only at masks of its own ids.

    Returns:
        `path`.

    Raises:
        InputError: The path has no `.txt` at its end or blanks in its name, or a score is not finite: the format does
            not know these.
        WriteError: A file cannot be written.
    """
    path = Path(path)
    odd = np.flatnonzero(~np.isfinite(masks.scores))
    if len(odd):
        raise InputError(f"scores of masks must be finite, found {masks.scores[odd[0]]} for mask {odd[0]}")
    if path.suffix != ".txt" or any(character.isspace() for character in path.name):
        raise InputError(f"mask index must be named <scene>.txt, without blanks, found {path.name!r}")
    lines = []
    for number, score in enumerate(masks.scores):  # over masks, a few hundred
        name = f"{FOLDER}/{path.stem}_{number:03d}.txt"
        text = np.full((masks.num_points, 2), (ord("0"), ord("\n")), np.uint8)  # [P, 2] bytes
        text[masks.index[masks.offsets[number] : masks.offsets[number + 1]], 0] = ord("1")
        with replacing(path.parent / name) as temporary:
            temporary.write_bytes(text.tobytes())
        lines.append(f"{name} {label} {score:.9g}\n")
    write_text(path, "".join(lines))
    return path


def scene_index(folder: str | Path, scene: str) -> Path:
    """The index of a scene in a folder of masks.

    Args:
        folder: The folder that holds an index for each scene.
        scene: The scene's name.

    Returns:
        `<folder>/<scene>.txt`.

    Raises:
        DataError: It is missing; the message says how many others are there.
    """
    path = Path(folder) / f"{scene}.txt"
    if not path.is_file():
        others = len(list(Path(folder).glob("*.txt"))) if Path(folder).is_dir() else 0
        found = f"found {others} of other scenes" if others else "found no index there"
        raise DataError(f"{path}: mask index of scene {scene} not found in masks.folder, {found}")
    return path


def index_digest(path: str | Path, *, min_score: float = -np.inf) -> str:
    """What an index and its masks hold, as part of the name of what is computed from them.

    Args:
        path: The index.
        min_score: As in `read_mask_index`.

    Returns:
        Hexadecimal digits that are others where the index or one of its masks that are read is another (see
        `block_digest`).

    Raises:
        DataError: As `read_mask_index`, of missing files and lines that cannot be read.
    """
    path = Path(path)
    names = [name for name, score in _entries(path).items() if score >= min_score]
    digest = hashlib.sha256(read_text(path, "mask index").encode("utf-8", "surrogateescape"))
    for name in names:
        digest.update(block_digest(need_file(path.parent / name, "mask file"), name))
    return digest.hexdigest()[:16]


def _entries(path: Path) -> dict[str, float]:
    r"""The relative path and the score of each mask, in the order of the index.

    A class is a whole number, which some write as "4.0"; a score is any finite one. Windows writes paths with "\".
    """
    scores: dict[str, float] = {}
    for number, line in enumerate(read_text(path, "mask index").split("\n"), start=1):
        if not line.strip():
            continue
        fields = line.strip().rsplit(maxsplit=2)
        try:
            name, label, score = fields[0], float(fields[1]), float(fields[2])
            if not label.is_integer() or not np.isfinite(score):  # another class: columns of another order
                raise ValueError(label, score)
        except (IndexError, ValueError):
            expected = "'mask.txt class score', a whole number and a number"
            raise DataError(f"{path}: line {number} must be {expected}, found {line!r}") from None
        place = posixpath.normpath(name.replace("\\", "/"))
        if posixpath.isabs(name) or place.split("/")[0] == "..":
            raise DataError(f"{path}: line {number} must name a mask below the index's folder, found {name!r}")
        scores[place] = score
    return scores


def _read_mask(path: Path) -> np.ndarray:
    words = read_text(path, "mask file").split()
    try:
        values = np.array(words, dtype=np.int64)
        vertex = int((values < 0).argmax()) if (values < 0).any() else None  # -1 for "outside" would be inside
    except (ValueError, OverflowError):
        vertex = next(vertex for vertex, word in enumerate(words) if not _is_integer(word))
    if vertex is not None:
        expected = "mask must hold one integer a line, 0 outside the mask and none below"
        raise DataError(f"{path}: {expected}, found {words[vertex][:40]!r} for vertex {vertex}")
    return values != 0


def _is_integer(word: str) -> bool:
    """Whether numpy reads it as an int64."""
    try:
        np.array([word], dtype=np.int64)
    except (ValueError, OverflowError):
        return False
    return True
