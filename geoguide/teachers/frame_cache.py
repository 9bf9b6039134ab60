"""What 2D models said of single frames, on disk: one memory-mapped array a frame, keyed by its pixels and the model.

`<cache>/<model>-<hash of identity>/model.json` says whose frames these are; beside it lies `<hash of pixels>.npy`,
which ends in a digest of its name and content (see `ops.block_digest`): numpy reads such a file as any other.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.errors import NUMPY_DAMAGES, DataError, first_line, pass_on_shortage
from geoguide.ops.block_digest import block_digest
from geoguide.paths import check_writable, replacing, write_text

SHOWN = 40  # characters of a model's name in that of its folder


class FrameCache:
    """The kept frames of one model.

    Args:
        root: Folder of all models' frames; made when first written to.
        name: The model's, for people.
        identity: Which weights and settings it has: frames of another identity are never read.

    Attributes:
        folder: The model's own folder below `root`.

    Raises:
        DataError: The folder is another model's, renamed or copied.
    """

    def __init__(self, root: Path, name: str, identity: str) -> None:
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.folder = root / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', name)[:SHOWN]}-{digest}"
        self._about = {"name": name, "identity": identity}
        self._swept = False
        self._check_owner()

    def read(self, image: np.ndarray) -> np.ndarray | None:
        """Look up a frame.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            The array that was written, memory-mapped; None where there is none, or a damaged one (a line says so).
        """
        path = self._path(image)
        if not path.is_file():
            return None
        try:
            with np.errstate(all="ignore"):  # of a damaged header's shape, which the file is then too short for
                mapped = np.load(path, mmap_mode="r")
            kept = np.asarray(mapped)
            if kept.dtype.kind not in "fiu" or not np.isfinite(kept).all():
                raise ValueError(f"expected finite numbers, found {kept.dtype}")
            self._check_digest(path, mapped.offset + mapped.nbytes)
        except NUMPY_DAMAGES as error:
            pass_on_shortage(error, path)
            self.damaged(image, error)
            return None
        return kept

    def write(self, image: np.ndarray, kept: np.ndarray) -> None:
        """Keep what the model said of a frame.

        Args:
            image: uint8 [H, W, 3].
            kept: Any array of numbers.

        Raises:
            WriteError: It cannot be written.
        """
        if not (self.folder / "model.json").is_file():
            write_text(self.folder / "model.json", json.dumps(self._about, indent=2) + "\n")
        with replacing(self._path(image), swept=self._swept) as temporary:
            np.save(temporary, kept)
            digest = block_digest(temporary, self._place(temporary))
            with temporary.open("ab") as file:
                file.write(digest)
        self._swept = True  # once for each scene that is described: the folder holds the frames of all of them

    def check_writable(self) -> None:
        """Make sure that frames can be written, before a model is asked about them.

        Raises:
            WriteError: They cannot.
        """
        check_writable(self.folder)

    def check_space(self, kept: np.ndarray, count: int) -> None:
        """Make sure that further frames of one's size fit on the disk.

        Args:
            kept: A frame that was written.
            count: How many are to come.

        Raises:
            DataError: They do not.
        """
        needed, free = count * kept.nbytes, shutil.disk_usage(self.folder).free
        if needed > free:
            sizes = f"{needed / 1e9:.1f} GB for {count} frames, found {free / 1e9:.1f} GB free"
            raise DataError(f"{self.folder}: the frames of {self._about['name']} need {sizes}; use it without a cache")

    def damaged(self, image: np.ndarray, error: Exception) -> None:
        """Say that a frame is no use and is computed again.

        Args:
            image: uint8 [H, W, 3].
            error: What is wrong with it.
        """
        tqdm.write(f"{self._path(image)}: kept frame unreadable ({first_line(error)}), computing it again")

    def _place(self, path: Path) -> str:
        return f"{self.folder.name}/{path.name}"

    def _check_digest(self, path: Path, end: int) -> None:
        """`ValueError` where the array, which ends after so many bytes, is not the one that was written there."""
        if path.stat().st_size == end:  # files from before 0.8 end here
            return
        with path.open("rb") as file:
            file.seek(end)
            found = file.read()
        if found != block_digest(path, self._place(path), end):
            raise ValueError("it is not what was written here: copied from elsewhere, or edited")

    def _path(self, image: np.ndarray) -> Path:
        digest = hashlib.sha256(f"{image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def _check_owner(self) -> None:
        path = self.folder / "model.json"
        if not path.is_file():
            return
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({first_line(error)}); remove the folder") from None
        if about != self._about:
            raise DataError(f"{path}: these are frames of another model: expected {self._about}, found {about}")
