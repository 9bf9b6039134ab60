"""Arrays of one scene's stages on disk: memory-mapped, named by what they were computed from, never half-written."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.paths import replacing

Arrays = dict[str, np.ndarray]


class StageCache:
    """One folder of stages. A stage is a few .npy files and their list, which is written last.

    Args:
        folder: Where the files of one scene lie; made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, kind: str, settings: object, compute: Callable[[], Arrays]) -> Arrays:
        """A stage's arrays, memory-mapped; anything missing or unreadable is computed again.

        Args:
            kind: Name of the stage, part of the files' names.
            settings: All that decides the arrays beside the scene, as JSON types; hashed into the files' names.
            compute: Makes the arrays where they are not there.

        Returns:
            Arrays by name, as `compute` returns them; nothing is read from disk until it is used.
        """
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
        stem = f"{kind}-{digest}"
        index = self.folder / f"{stem}.json"
        if index.is_file():
            try:
                return {name: self._map(stem, name) for name in json.loads(index.read_text())}
            except (OSError, ValueError) as error:
                tqdm.write(f"{index}: cache entry unreadable ({error}), computing it again")
        arrays = compute()
        for name, array in arrays.items():
            with replacing(self._file(stem, name)) as temporary:
                np.save(temporary, array)
        with replacing(index) as temporary:
            temporary.write_text(json.dumps(sorted(arrays)))
        return {name: self._map(stem, name) for name in arrays}

    def _file(self, stem: str, name: str) -> Path:
        return self.folder / f"{stem}.{name}.npy"

    def _map(self, stem: str, name: str) -> np.ndarray:
        return np.asarray(np.load(self._file(stem, name), mmap_mode="r"))  # a plain array over the mapped file
