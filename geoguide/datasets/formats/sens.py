"""ScanNet's `.sens` recordings, read frame by frame straight from the file: nothing needs to be extracted first.

Layout (version 4, little-endian): uint32 version; uint64 length and the sensor's name; float32 [4, 4] intrinsics and
extrinsics of colour, then of depth; int32 compression of colour and of depth; uint32 width and height of colour, then
of depth; float32 depth units per metre; uint64 frames. Each frame: float32 [4, 4] camera-to-world; uint64 time stamp of
colour and of depth, uint64 bytes of colour and of depth, then those bytes. (IMU records may follow; they are not read.)
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.datasets.formats.cameras import camera_of, check_fits, check_shape, checked_pose
from geoguide.datasets.formats.files import need_file
from geoguide.errors import DataError, pass_on_shortage
from geoguide.image_files import UNREADABLE, image_fault
from geoguide.scene import View

VERSION = 4
COLOR_COMPRESSION = {-1: "unknown", 0: "raw", 1: "png", 2: "jpeg"}
DEPTH_COMPRESSION = {-1: "unknown", 0: "raw_ushort", 1: "zlib_ushort", 2: "occi_ushort"}
LONGEST_NAME = 4096  # bytes; a longer sensor name means that this is no .sens file
HEADER = struct.Struct("<64f2i4IfQ")
FRAME = struct.Struct("<16f4Q")


class SensFile:
    """A recording on disk: its cameras and poses, and where each frame's pixels lie; pixels are read when asked for.

    Opening costs one short read a frame. `len()` is the number of frames, K.

    Args:
        path: The `.sens` file.

    Attributes:
        path: The file.
        sensor: The sensor's name.
        intrinsics: Camera matrix of the depth images, float64 [3, 3].
        image_size: (H, W) of the depth images.
        color_size: (H, W) of the colour images.
        depth_scale: Units of the depth images per metre.
        color_compression: "raw", "png" or "jpeg".
        depth_compression: "raw_ushort" or "zlib_ushort".
        poses: Camera-to-world, float64 [K, 4, 4]; a lost pose holds inf or nan.

    Raises:
        DataError: The file is missing, truncated or of another version or compression; the message names file, field,
            expected and found.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = need_file(path, ".sens recording")
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            version = struct.unpack("<I", self._take(file, 4, "version"))[0]
            if version != VERSION:
                raise DataError(f"{self.path}: version must be {VERSION}, found {version}")
            length = struct.unpack("<Q", self._take(file, 8, "length of the sensor's name"))[0]
            if length > LONGEST_NAME:
                raise DataError(f"{self.path}: the sensor's name would be {length} bytes long; not a .sens file?")
            self.sensor = self._take(file, length, "sensor's name").decode("utf-8", "replace")
            count = self._read_header(file)
            self._index_frames(file, count, size)

    def _read_header(self, file: io.BufferedReader) -> int:
        """Read and check what follows the sensor's name; returns the number of frames."""
        values = HEADER.unpack(self._take(file, HEADER.size, "header"))
        depth_camera = np.array(values[32:48], np.float64).reshape(4, 4)
        color, depth, color_width, color_height, width, height, scale, count = values[64:]
        self.color_compression = COLOR_COMPRESSION.get(color, f"number {color}")
        self.depth_compression = DEPTH_COMPRESSION.get(depth, f"number {depth}")
        if self.color_compression not in ("raw", "png", "jpeg"):
            raise DataError(f"{self.path}: colour compression {self.color_compression} is not known")
        if self.depth_compression not in ("raw_ushort", "zlib_ushort"):
            raise DataError(f"{self.path}: depth compression {self.depth_compression} is not supported")
        self.color_size, self.image_size = (color_height, color_width), (height, width)
        if 0 in self.color_size or 0 in self.image_size or not np.isfinite(scale) or scale <= 0:
            found = f"{list(self.color_size)}, {list(self.image_size)} and {scale}"
            raise DataError(f"{self.path}: image sizes and depth units must be positive, found {found}")
        self.intrinsics = camera_of(depth_camera, self.path)
        check_fits(self.intrinsics, self.image_size, self.path, self.path)
        check_shape(self.color_size, self.image_size, self.path)
        self.depth_scale = float(scale)
        return count

    def _index_frames(self, file: io.BufferedReader, count: int, size: int) -> None:
        """Read each frame's pose, and where in the file its colour and depth lie, without touching pixels."""
        if count == 0:
            raise DataError(f"{self.path}: holds no frame")
        if count * FRAME.size > size:  # before anything is allocated for a number read from a broken file
            raise DataError(f"{self.path}: {count} frames do not fit into {size} bytes, truncated?")
        self.poses = np.empty((count, 4, 4))  # [K, 4, 4]
        self._where = np.empty((count, 3), np.int64)  # [K, 3]: start, bytes of colour, bytes of depth
        for number in range(count):
            record = FRAME.unpack(self._take(file, FRAME.size, f"frame {number} of {count}"))
            start, colors, depths = file.tell(), record[18], record[19]
            end = start + colors + depths
            if end > size:
                where = f"{self.path}: frame {number} of {count}"
                raise DataError(f"{where} ends at byte {end}, the file has {size}: truncated")
            self.poses[number] = checked_pose(np.array(record[:16]).reshape(4, 4), f"{self.path}: frame {number}")
            self._where[number] = start, colors, depths
            file.seek(end)

    def _take(self, file: io.BufferedReader, count: int, field: str) -> bytes:
        """The next `count` bytes; `DataError` naming `field` where the file ends before."""
        data = file.read(count)
        if len(data) != count:
            raise DataError(f"{self.path}: ends within {field}: expected {count} bytes, found {len(data)}")
        return data

    def __len__(self) -> int:
        return len(self.poses)

    def color(self, frame: int) -> np.ndarray:
        """Read and decode the colour image of one frame.

        Args:
            frame: Its number, 0..K-1.

        Returns:
            The image, uint8 [H, W, 3] of `color_size`.

        Raises:
            DataError: The image is broken or of another size.
        """
        data = self._bytes(frame, "color")
        if self.color_compression == "raw":
            self._need(frame, "colour", len(data), 3 * self.color_size[0] * self.color_size[1])
            return np.frombuffer(data, np.uint8).reshape(*self.color_size, 3)
        try:
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except UNREADABLE as error:
            pass_on_shortage(error, self.path)
            reason = image_fault(error, data)
            raise DataError(f"{self.path}: colour of frame {frame} is not a readable image ({reason})") from None
        if pixels.shape[:2] != self.color_size:
            sizes = f"{list(self.color_size)} (H, W) as the header says, found {list(pixels.shape[:2])}"
            raise DataError(f"{self.path}: colour of frame {frame} must be {sizes}")
        return pixels

    def depth(self, frame: int) -> np.ndarray:
        """Read and decompress the depth image of one frame.

        Args:
            frame: Its number, 0..K-1.

        Returns:
            Depth, uint16 [H, W] of `image_size`, in units of 1 / depth_scale metres, 0 where there is no reading.

        Raises:
            DataError: The image cannot be decompressed or is of another size.
        """
        data = self._bytes(frame, "depth")
        expected = 2 * self.image_size[0] * self.image_size[1]
        if self.depth_compression == "zlib_ushort":
            try:
                data = zlib.decompressobj().decompress(data, expected + 1)  # never more than one image, whatever it is
            except zlib.error as error:
                raise DataError(f"{self.path}: depth of frame {frame} cannot be decompressed ({error})") from None
        self._need(frame, "depth", len(data), expected)
        return np.frombuffer(data, "<u2").reshape(self.image_size)

    def _bytes(self, frame: int, kind: str) -> bytes:
        """The stored bytes of a frame's "color" or "depth"."""
        start, colors, depths = self._where[frame].tolist()
        with self.path.open("rb") as file:  # opened anew: views may be read in other processes
            file.seek(start if kind == "color" else start + colors)
            return self._take(file, colors if kind == "color" else depths, f"{kind} of frame {frame}")

    def _need(self, frame: int, kind: str, found: int, expected: int) -> None:
        """`DataError` unless an image has as many bytes as its size asks for."""
        if found != expected:
            shown = f"more than {expected}" if found > expected else found
            raise DataError(f"{self.path}: {kind} of frame {frame} must be {expected} bytes, found {shown}")


@dataclass(frozen=True, eq=False)
class SensView(View):
    """A view whose pixels lie in a `.sens` recording; labels and instances, where extracted, are image files.

    Attributes:
        recording: The recording that holds colour and depth; None: an ordinary view, whose pixels are image files.
        frame: Number of the frame in the recording, 0..K-1.
    """

    recording: SensFile | None = None
    frame: int = 0

    @property
    def pixel_files(self) -> tuple[Path | None, ...]:
        """The files that decide what this view shows, as `View.pixel_files`: the recording stands for two of them."""
        if self.recording is None:
            return super().pixel_files
        return self.recording.path, self.recording.path, self.label_path

    def _pixels(self, kind: str) -> np.ndarray:
        if self.recording is None or kind not in ("color", "depth"):
            return super()._pixels(kind)
        return self.recording.color(self.frame) if kind == "color" else self.recording.depth(self.frame)
