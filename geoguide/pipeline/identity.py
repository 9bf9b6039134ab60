"""What a scene is known by in the cache and in records, without reading it where that was noted before."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from geoguide.frozen import from_dict
from geoguide.paths import write_text
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene

READING = 2  # of scenes' files; raised where readers make another scene of the same files, so that notes are made anew


def fingerprint(scene: Scene) -> str:
    """Name a scene's content: its points, colours, labels and instances, its frames' poses, and their image files.

    Of a real scene also its normals and faces: to which side they look, readers decide (see `datasets.orientation`),
    and did not always. Those of a generated scene follow from its points.

    Args:
        scene: Any scene. Images are not decoded: their file names and sizes count.

    Returns:
        The first twelve hex digits of a SHA-256.
    """
    digest = hashlib.sha256()
    for array in (scene.points, scene.colors, scene.labels, scene.instances):
        digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    if scene.provenance == "real":
        for array in (scene.normals, scene.faces):
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    for view in scene.views:
        digest.update(np.ascontiguousarray(view.cam_to_world, np.float64).tobytes())
        for path in view.pixel_files:
            digest.update(b"-" if path is None else f"{path.name} {_size(path)}".encode())
    return digest.hexdigest()[:12]


def _size(path: Path) -> int | None:
    """Bytes of a file; None of one that is missing, which whoever asks for its pixels is told of."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


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
