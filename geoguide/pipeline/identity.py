"""What a scene is known by in the cache and in records, without reading it where that was noted before."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.datasets.sources import SceneSource
from geoguide.frozen import from_dict
from geoguide.ops.block_digest import block_digest
from geoguide.paths import write_text
from geoguide.pipeline.cache import settings_digest
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene

READING = 4  # of scenes' files; raised where readers make another scene of the same files, so that notes are made anew


def fingerprint(scene: Scene) -> str:
    """Name a scene's content: its points, colours, labels and instances, its frames' poses, and their image files.

    Of a real scene also what people correct: its normals and faces, to which side they look (see
    `datasets.orientation`); its frames' intrinsics, image size and depth scale, and what its image files hold. Those of
    a generated scene follow from its points, poses and the names and sizes of its files.

    Args:
        scene: Any scene. Images are not decoded; of files beyond 4 MB some blocks are read (see `ops.block_digest`).

    Returns:
        The first twelve hex digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in (scene.points, scene.colors, scene.labels, scene.instances):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    if scene.provenance == "real":
        for array in (scene.normals, scene.faces):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    of_file = functools.cache(_size if scene.provenance == "mini" else _content)  # a recording is one file for all
    for view in scene.views:
        digest.update(np.ascontiguousarray(view.cam_to_world, np.float64).tobytes())
        if scene.provenance != "mini":
            digest.update(np.ascontiguousarray(view.intrinsics, np.float64).tobytes())
            digest.update(f"{view.image_size} {view.depth_scale}".encode())
        for path in view.pixel_files:
            digest.update(b"-" if path is None else f"{path.name} {of_file(path)}".encode())
    return digest.hexdigest()[:12]


def _size(path: Path) -> int | None:
    """Bytes of a file; None of one that is missing, which whoever asks for its pixels is told of."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _content(path: Path) -> str | None:
    """What a file holds; None of one that is missing, as in `_size`."""
    try:
        return block_digest(path, path.name).hex()
    except FileNotFoundError:
        return None


def data_digest(*splits: Iterable[PreparedScene]) -> str:
    """Name what a training reads beside its config: the content of its scenes, and what was made of them by what.

    Args:
        *splits: The scenes, in order.

    Returns:
        Ten hex digits, the same on every machine.
    """
    read = [[(scene.fingerprint, scene.made_by, len(scene)) for scene in scenes] for scenes in splits]
    return settings_digest(read)


def of_all(fingerprints: Iterable[str]) -> dict[str, Any]:
    """Name the scenes of an experiment, as its record holds it.

    Args:
        fingerprints: Of the scenes of train, val and test, in order.

    Returns:
        `fingerprint`, twelve hex digits, and the `reading` by which scenes were fingerprinted.
    """
    joint = hashlib.sha256("".join(fingerprints).encode()).hexdigest()[:12]
    return {"fingerprint": joint, "reading": READING}


@dataclass(frozen=True)
class Identity:
    """What a scene is known by in the cache and in records.

    Attributes:
        name: Name of the scene.
        provenance: "mini" (generated) or "real".
        fingerprint: `fingerprint` of the scene.
    """

    name: str
    provenance: str
    fingerprint: str

    @classmethod
    def of(cls, scene: Scene) -> "Identity":
        """Identify a scene in memory.

        Args:
            scene: Any scene.

        Returns:
            Its identity.
        """
        return cls(scene.name, scene.provenance, fingerprint(scene))

    @classmethod
    def of_prepared(cls, scene: PreparedScene) -> "Identity":
        """Identify a prepared scene, which was identified when it was prepared.

        Args:
            scene: Any prepared scene.

        Returns:
            Its identity.
        """
        return cls(scene.name, scene.provenance, scene.fingerprint)

    @classmethod
    def of_source(cls, source: SceneSource, cache: Path, load: Callable[[], Scene]) -> "Identity":
        """Identify a scene on disk; without reading it where its files have not changed since that was noted.

        Args:
            source: The scene.
            cache: Folder of the disk cache.
            load: As in `noted`.

        Returns:
            The scene's identity.
        """
        return cls.noted(cache / "sources" / f"{source.stamp()}.json", load)

    @classmethod
    def noted(cls, note: Path, load: Callable[[], Scene]) -> "Identity":
        """Identify a scene without reading it, where that was noted before.

        Args:
            note: The file of the note; written where it is missing or damaged.
            load: Reads the scene; called in that case alone.

        Returns:
            The scene's identity.
        """
        try:
            noted = json.loads(note.read_text())
            if noted.pop("reading", 1) != READING:
                raise ValueError(f"{note}: of another reading")
            return from_dict(cls, noted, str(note))
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):  # no note, an old or a damaged one
            found = cls.of(load())
        write_text(note, json.dumps({**asdict(found), "reading": READING}))
        return found
