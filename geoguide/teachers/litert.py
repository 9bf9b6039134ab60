"""Segmentation networks in LiteRT files (.tflite), by the extra `litert` (ai-edge-litert)."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from geoguide.errors import START, DataError, InputError, first_line, pass_on_shortage, refuse_foreign
from geoguide.teachers.closed_set import ROUNDING, softmax

MARK = b"TFL3"
BYTE = 1 / 255  # the coarsest step of scores that a byte can hold from 0 to no more than 1
INSTALL = "`pip install -c constraints.txt -e '.[litert]'`"


class LiteRTSegmenter:
    """A LiteRT file that takes one RGB image and gives labels, or a score for each class, for every pixel.

    The image is squeezed to the network's own size. Scores that do not sum to 1 are taken for logits (of probabilities
    in bytes, to 1 but for the rounding of each); of a network with one score a pixel and one class name, scores beyond
    0..1.

    Args:
        path: The .tflite file.
        names: K class names, None for "other", in the order of the network's classes.
        low: What a float network takes for black; quantised ones take bytes (see `network_input`).
        high: What it takes for white.
        threads: Processor threads.

    Attributes:
        name: The file's name without its suffix.
        names: As above.
        identity: Hash of the file, and the range.
        gives_probabilities: Whether it gives scores; else labels only.

    Raises:
        DataError: The extra is not installed, or the file is missing or no such network.
        InputError: The network has another number of classes than there are names.
    """

    def __init__(
        self, path: str | Path, names: Sequence[str | None], *, low: float = -1.0, high: float = 1.0, threads: int = 1
    ) -> None:
        self.name, self.names, self._range = Path(path).stem, tuple(names), (low, high)
        self._network = _opened(Path(path), threads)
        (self._input,), (self._output,) = _details(self._network, Path(path))
        self._taken(np.zeros((1, 1, 3), np.uint8), path)
        self.identity = f"{hashlib.sha256(Path(path).read_bytes()).hexdigest()} {low} {high}"
        shape = self._output["shape"]
        scored = np.dtype(self._output["dtype"]).kind == "f" or self._output["quantization"][0] > 0
        single = scored and len(self.names) == 1  # else one number a pixel is a label
        self.gives_probabilities = len(shape) == 4 and (shape[-1] > 1 or single)
        if self.gives_probabilities and shape[-1] != len(self.names):
            raise InputError(f"{path}: names must be {shape[-1]}, one for each class, found {len(self.names)}")

    def answer(self, image: np.ndarray) -> np.ndarray:
        """Classify the pixels of an image.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            Of the network's own height and width: probabilities float32 [h, w, K], or labels int64 [h, w].

        Raises:
            DataError: Labels that are no whole numbers: the network scores a single class, and several are named.
        """
        _, height, width, _ = self._input["shape"]
        pixels = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
        self._network.set_tensor(self._input["index"], self._taken(pixels, self.name)[None])
        self._network.invoke()
        answer = np.squeeze(self._network.get_tensor(self._output["index"]), axis=0)
        if not self.gives_probabilities:
            labels = answer.reshape(answer.shape[:2]).astype(np.int64)
            if (labels != answer.reshape(labels.shape)).any():
                found = f"found scores of one class, and {len(self.names)} class names"
                raise DataError(f"{self.name}: labels must be whole numbers, {found}")
            return labels
        scale, zero = self._output["quantization"]
        scores = (answer.astype(np.float32) - zero) * scale if scale else answer.astype(np.float32)
        single, total = scores.shape[-1] == 1, scores.sum(axis=-1, keepdims=True)
        rounded = scores.shape[-1] * scale / 2 if 0 < scale <= BYTE else 0  # what rounding each to bytes may add up to
        sums = scores.max() <= 1 if single else np.allclose(total, 1, atol=ROUNDING + rounded)
        if scores.min() < 0 or not sums:
            return softmax(scores)
        return scores / np.where(total > 0, total, 1) if rounded and not single else scores

    def _taken(self, pixels: np.ndarray, where: str | Path) -> np.ndarray:
        try:
            return network_input(pixels, self._input["dtype"], self._input["quantization"], *self._range)
        except InputError as error:
            raise DataError(f"{where}: no network for images: {error}") from None


def network_input(
    pixels: np.ndarray, dtype: type[np.generic], quantization: tuple[float, int], low: float = -1.0, high: float = 1.0
) -> np.ndarray:
    """Bring bytes to what the input of a network takes.

    A quantised input q stands for scale (q - zero point). Networks quantised to uint8 are fed the image's bytes, black
    0 and white 255; those to int8 differ in that q and zero point are less by 128.

    Args:
        pixels: uint8 [H, W, 3].
        dtype: Of the input: uint8, int8, float16 or float32.
        quantization: Its scale and zero point; scale 0 where it has none.
        low: What a float input takes for black.
        high: What it takes for white.

    Returns:
        [H, W, 3] of that dtype.

    Raises:
        InputError: Another dtype, or int8 without a scale.

    Example:
        >>> network_input(np.array([0, 200], np.uint8), np.int8, (1 / 127.5, 0)).tolist()
        [-128, 72]
    """
    kind, scale = np.dtype(dtype), quantization[0]
    if kind == np.uint8:
        return pixels
    if kind == np.int8 and scale > 0:
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    if kind in (np.float16, np.float32):
        return (low + pixels.astype(np.float32) * ((high - low) / 255)).astype(kind)
    expected = "uint8, int8 with a scale, float16 or float32"
    raise InputError(f"its input must be {expected}, found {kind} of scale {scale:g}")


def check_file(path: Path) -> Path:
    """Make sure that a file is a LiteRT network, by the mark that its format has at the fifth byte.

    Args:
        path: Any path.

    Returns:
        The same.

    Raises:
        DataError: The file is missing, or of another kind.
    """
    if not path.is_file():
        raise DataError(f"{path}: LiteRT file not found")
    with path.open("rb") as file:
        start = file.read(START)
    refuse_foreign(path, "LiteRT network", start)
    if start[4:8] != MARK:
        raise DataError(f"{path}: no LiteRT network: expected {MARK!r} at byte 4, found {start[4:8]!r}")
    return path


def _opened(path: Path, threads: int) -> Any:
    check_file(path)
    try:
        from ai_edge_litert.interpreter import Interpreter  # an extra
    except ImportError as error:
        raise DataError(f"{path}: needs ai-edge-litert ({first_line(error)}): {INSTALL}") from None
    try:
        network = Interpreter(model_path=str(path), num_threads=threads)
        network.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: no LiteRT network ({first_line(error)})") from None
    return network


def _details(network: Any, path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Its input and its output, of which there must be one each, of an image's shape."""
    inputs, outputs = network.get_input_details(), network.get_output_details()
    shapes = [[list(map(int, part["shape"])) for part in side] for side in (inputs, outputs)]
    if [len(side) for side in shapes] != [1, 1]:
        raise DataError(f"{path}: must have one input and one output, found {len(shapes[0])} and {len(shapes[1])}")
    taken, given = shapes[0][0], shapes[1][0]
    if len(taken) != 4 or taken[0] != 1 or taken[3] != 3 or len(given) not in (3, 4) or given[0] != 1:
        raise DataError(f"{path}: must take [1, h, w, 3] and give [1, h, w] or [1, h, w, K], found {taken} and {given}")
    return inputs, outputs
