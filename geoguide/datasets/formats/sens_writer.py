"""ScanNet's `.sens` recordings, written frame by frame; `sens.py` has the layout, and reads them."""

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.formats.sens import COLOR_COMPRESSION, DEPTH_COMPRESSION, FRAME, HEADER, LONGEST_NAME, VERSION
from geoguide.errors import InputError, first_line
from geoguide.paths import replacing

JPEG = next(number for number, name in COLOR_COMPRESSION.items() if name == "jpeg")
ZLIB = next(number for number, name in DEPTH_COMPRESSION.items() if name == "zlib_ushort")
_COUNT = struct.Struct("<Q")


@dataclass(frozen=True, eq=False)
class SensCamera:
    """The colour or the depth camera of a recording.

    Attributes:
        intrinsics: float [3, 3], pixels.
        size: (H, W) of its images.
        extrinsics: float [4, 4], as ScanNet has it: the identity for the camera that the poses belong to.
    """

    intrinsics: np.ndarray
    size: tuple[int, int]
    extrinsics: np.ndarray = field(default_factory=lambda: np.eye(4))


@dataclass(frozen=True, eq=False)
class SensFrame:
    """One frame to write.

    Attributes:
        cam_to_world: float [4, 4], metres; a lost pose holds inf or nan.
        color: The bytes of a JPEG file, which are stored as they are.
        depth: uint16 [H, W], 0 where there is no reading.
        times: Time stamps of colour and of depth, microseconds; ScanNet's own 0 says that there is none.
    """

    cam_to_world: np.ndarray
    color: bytes
    depth: np.ndarray
    times: tuple[int, int] = (0, 0)


def write_sens(
    path: str | Path,
    frames: Iterable[SensFrame],
    *,
    color: SensCamera,
    depth: SensCamera,
    sensor: str,
    depth_scale: float = 1000.0,
) -> int:
    """Write a recording of version 4, colour as JPEG, depth as zlib_ushort, without IMU records.

    One frame at a time is in memory; a kill leaves the file that was there, or none.

    Args:
        path: The `.sens` file.
        frames: Its frames, asked for one after the other.
        color: The colour camera.
        depth: The depth camera.
        sensor: The sensor's name.
        depth_scale: Units of the depth images per metre.

    Returns:
        The number of frames, K.

    Raises:
        InputError: A matrix, an image or the name is not as it must be, or there is no frame.
        WriteError: The file cannot be written.
    """
    path = Path(path)
    start, count = _header(path, color, depth, sensor, depth_scale), 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(start)
        for frame in frames:
            file.write(_frame(f"{path}: frame {count}", frame, color.size, depth.size))
            count += 1
        if count == 0:
            raise InputError(f"{path}: a recording needs at least one frame, found none")
        file.write(_COUNT.pack(0))  # IMU records
        file.seek(len(start) - _COUNT.size)
        file.write(_COUNT.pack(count))
    return count


def _header(path: Path, color: SensCamera, depth: SensCamera, sensor: str, depth_scale: float) -> bytes:
    """All that comes before the first frame, the number of frames still 0."""
    name = sensor.encode()
    if len(name) > LONGEST_NAME:
        raise InputError(f"{path}: the sensor's name must be at most {LONGEST_NAME} bytes long, found {len(name)}")
    if not (np.isfinite(depth_scale) and depth_scale > 0):
        raise InputError(f"{path}: depth units per metre must be positive, found {depth_scale}")
    matrices = []
    for kind, camera in (("colour", color), ("depth", depth)):
        intrinsics = np.eye(4)
        intrinsics[:3, :3] = _matrix(camera.intrinsics, 3, f"{path}: intrinsics of {kind}")
        matrices += [*intrinsics.ravel(), *_matrix(camera.extrinsics, 4, f"{path}: extrinsics of {kind}").ravel()]
    sizes = (*color.size[::-1], *depth.size[::-1])
    fields = HEADER.pack(*matrices, JPEG, ZLIB, *sizes, depth_scale, 0)
    return struct.pack("<IQ", VERSION, len(name)) + name + fields


def _matrix(values: np.ndarray, side: int, where: str) -> np.ndarray:
    """The matrix; `InputError` unless it is [side, side]."""
    matrix = np.asarray(values, np.float64)
    if matrix.shape != (side, side):
        raise InputError(f"{where} must be {[side, side]}, found {list(matrix.shape)}")
    return matrix


def _frame(where: str, frame: SensFrame, color_size: tuple[int, int], depth_size: tuple[int, int]) -> bytes:
    """The bytes of one frame."""
    if frame.depth.dtype != np.uint16 or frame.depth.shape != depth_size:
        found = f"{frame.depth.dtype} {list(frame.depth.shape)}"
        raise InputError(f"{where}: depth must be uint16 {list(depth_size)}, found {found}")
    try:
        with Image.open(io.BytesIO(frame.color)) as image:  # its header alone is read
            kind, found_size = image.format, image.size[::-1]
    except OSError as error:
        raise InputError(f"{where}: colour is not a readable image ({first_line(error)})") from None
    if (kind, found_size) != ("JPEG", color_size):
        expected = f"a JPEG image of {list(color_size)} (H, W)"
        raise InputError(f"{where}: colour must be {expected}, found {kind} of {list(found_size)}")
    depth = zlib.compress(np.ascontiguousarray(frame.depth, "<u2").tobytes())
    pose = _matrix(frame.cam_to_world, 4, f"{where}: pose").ravel()
    return FRAME.pack(*pose, *frame.times, len(frame.color), len(depth)) + frame.color + depth
