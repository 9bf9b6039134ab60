"""Pixels of image files as stored, and as colours of 8 bits, whatever they are stored in."""

import contextlib
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from geoguide.errors import NUMPY_DAMAGES, START, DataError, foreign, pass_on_shortage

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what pillow raises on a broken file
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = range(2, 9)  # its values; 1: as stored; any other, such as the 0 that some programs write, asks for nothing
WHITES = (255, 1023, 4095, 16383, 65535)  # of cameras' bits
# Raw modes of png of 16 bits, of which pillow keeps the upper bytes, and those that read the lower ones: of the other
# order of bytes, or of a pixel's four bytes as they are.
LOWER_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L", "LA;16B": "RGBA"}
GREY_AND_OPACITY = 4  # png's kind of colour
PIXELS_A_BYTE = 10_000  # of a file, at most: png packs 1,032 bytes into one, and 8 pixels of one bit into a byte


def read_image(path: str | Path) -> np.ndarray:
    """Decode an image file completely.

    Args:
        path: A file that pillow reads, or an array in an .npy file.

    Returns:
        The pixels [H, W] or [H, W, channels], as stored.

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy" and path.is_file():
        return _array(path)
    with _opened(path) as image:
        return np.asarray(image)


def map_npy(path: Path) -> np.ndarray:
    """Open an array on disk, of whose type and shape the header alone is read.

    Args:
        path: An .npy file.

    Returns:
        The array, memory-mapped.

    Raises:
        DataError: The file is truncated, or no array of numbers.
    """
    return _array(path, "r")


def _array(path: Path, mapped: Literal["r"] | None = None) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode=mapped, allow_pickle=False)
    except NUMPY_DAMAGES as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable npy file, truncated? ({error})") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path}: not a readable npy file, but an archive")
    return found


def is_deep(path: str | Path | None) -> bool:
    """Tell whether a file is a png whose colours or grey have 16 bits.

    Args:
        path: Any file, or None.

    Returns:
        By its header, of which 26 bytes are read.
    """
    return path is not None and _png_kind(Path(path))[:1] == b"\x10"


def is_float_image(path: Path) -> bool:
    """Tell whether a file holds floats, as only tiff does, which is also found under the names of others.

    Args:
        path: Any file.

    Returns:
        By its header.
    """
    if not path.is_file() or _png_kind(path):
        return False
    with contextlib.suppress(*UNREADABLE), Image.open(path) as image:  # who reads its pixels says so
        return image.mode == "F"
    return False


def image_fault(error: Exception, start: bytes | Path) -> str:
    """Say why something is no readable image.

    Args:
        error: What pillow raised.
        start: Its first `START` bytes or more, or the file.

    Returns:
        What it holds instead, where that can be told; else what pillow says.
    """
    if not isinstance(error, UnidentifiedImageError):
        return str(error)
    if isinstance(start, Path):
        with start.open("rb") as file:
            start = file.read(START)
    return foreign(start) or (f"{start[8:12].decode('ascii', 'replace')}, which is not read here: convert it"
                              if start[4:8] == b"ftyp" else "in no known format")  # fmt: skip


def read_deep(path: str | Path) -> np.ndarray:
    """Decode a file that `is_deep` with all of its bits.

    Args:
        path: The file.

    Returns:
        The values as stored, int64 [H, W, 3], or [H, W, 1] of grey; opacity is dropped.

    Raises:
        DataError: The file is truncated or no image.
    """
    with _opened(Path(path)) as image:
        upper = np.asarray(image).astype(np.int64)
    if upper.ndim == 2:  # grey alone, which pillow does not cut
        return upper[..., None]
    with _opened(Path(path), LOWER_BYTES) as image:
        lower = np.asarray(image).astype(np.int64)
    grey = _png_kind(Path(path))[1] == GREY_AND_OPACITY
    return 256 * upper[..., :1] + lower[..., 1:2] if grey else 256 * upper[..., :3] + lower[..., :3]


def white_of(values: np.ndarray) -> int:
    """Find what stands for white in values that a file holds in 16 bits: cameras have 8, 10, 12, 14 or 16.

    Args:
        values: Grey or colours, integers of any shape.

    Returns:
        2^bits - 1 of the fewest bits that hold all but a thousandth of the values (bad pixels).
    """
    high = np.partition(values.ravel(), -1 - values.size // 1000)[-1 - values.size // 1000]
    return next((white for white in WHITES if high <= white), WHITES[-1])


def read_color(path: str | Path, white: int | None = None) -> np.ndarray:
    """Decode a colour image, whatever colours it is stored in. A rotation that its EXIF data ask for is not done.

    Args:
        path: A file that pillow reads: RGB, grey, palette, CMYK, with or without opacity (which is dropped), of 8 or 16
            bits.
        white: What stands for white in a png, or in grey, of 16 bits; None: what `white_of` finds.

    Returns:
        The pixels as RGB, uint8 [H, W, 3].

    Raises:
        DataError: The file is missing, truncated or no image, or its pixels are no colours (floats).
    """
    if is_deep(path):
        return _eight_bits(read_deep(path), white)
    with _opened(Path(path)) as image:
        if image.mode.startswith("I"):  # grey of 16 bits, which pillow would cut at 255
            return _eight_bits(np.asarray(image).astype(np.int64)[..., None], white)
        if image.mode == "F":
            raise DataError(f"{path}: expected a colour image, found floats")
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _eight_bits(values: np.ndarray, white: int | None) -> np.ndarray:
    """Colours, or grey, int64 [H, W, 3 or 1], as uint8 [H, W, 3]."""
    white = white or white_of(values)
    pixels = ((values * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    return np.repeat(pixels, 3 // values.shape[2], axis=2)


def _png_kind(path: Path) -> bytes:
    """Bits and kind of colour of a png, two bytes of its header; none of any other file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24:] if header.startswith(b"\x89PNG") else b""


def is_turned(path: Path | None) -> bool:
    """Whether an image's EXIF data ask for a rotation or reflection, which `read_color` does not do.

    Args:
        path: An image file, or None.

    Returns:
        True where they do; False for a file that is no image.
    """
    if path is None or not path.is_file():
        return False
    with contextlib.suppress(*UNREADABLE, struct.error), Image.open(path) as image:  # who reads its pixels says so
        return image.getexif().get(_ORIENTATION) in _TURNED
    return False


@contextmanager
def _opened(path: Path, raw_modes: dict[str, str] | None = None) -> Generator[Image.Image]:
    """An image file, decoded, by other raw modes if given; `DataError` where that, or what is done with it, fails."""
    if not path.is_file():
        raise DataError(f"{path}: image not found")
    try:
        with Image.open(path) as image:
            pixels, held = image.width * image.height, path.stat().st_size
            if pixels > PIXELS_A_BYTE * held:
                raise DataError(f"{path}: {image.width} x {image.height} pixels do not fit into {held} bytes, damaged?")
            if raw_modes is not None:
                image.tile = [tile._replace(args=raw_modes[str(tile.args)]) for tile in image.tile]
            image.load()
            yield image
    except UNREADABLE as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a readable image ({image_fault(error, path)})") from None
