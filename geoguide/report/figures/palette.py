"""Colours of classes that readers who see few colours tell apart: the benchmark's own where they do, else moved."""

import functools

import numpy as np
from plotly.colors import hex_to_rgb, sequential
from skimage.color import deltaE_ciede2000, rgb2lab

from geoguide.labels import LabelSet

APART = 10.0  # CIEDE2000 between any two classes, as far as a label set has room; about ten just noticeable steps

# Machado, Oliveira and Fernandes 2009, deuteranopia (severity 1.0): on linear RGB.
_DEUTERANOPIA = np.array([
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
])  # fmt: skip


def as_deuteranope(colors: np.ndarray) -> np.ndarray:
    """What a deuteranope sees of colours (Machado et al. 2009).

    Args:
        colors: uint8 [N, 3], sRGB.

    Returns:
        float [N, 3] sRGB in [0, 1].
    """
    srgb = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    return np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)


@functools.lru_cache(maxsize=8)
def _moved(colors: bytes) -> np.ndarray:
    """See `class_colors`; of uint8 [C, 3] as bytes."""
    official = np.frombuffer(colors, dtype=np.uint8).reshape(-1, 3)
    steps = np.linspace(30, 235, 12).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)  # [G, 3]
    choices = np.concatenate([official, grid])  # [C + G, 3]
    labs = [rgb2lab(choices / 255), rgb2lab(as_deuteranope(choices))]  # [C + G, 3] each
    nearest = np.full(len(choices), np.inf)  # to the colours chosen so far, in the eyes that tell them apart worse
    chosen = np.zeros(len(official), dtype=np.int64)
    for number in range(len(official)):
        if nearest[number] >= APART:
            pick = number
        elif (fits := np.flatnonzero(nearest >= APART)).size:
            pick = int(fits[np.argmin(deltaE_ciede2000(labs[0][fits], labs[0][number][None]))])
        else:
            pick = int(np.argmax(nearest))
        chosen[number] = pick
        apart = np.minimum(*(deltaE_ciede2000(lab, lab[pick][None]) for lab in labs))
        nearest = np.minimum(nearest, apart)
    return choices[chosen]


def class_colors(label_set: LabelSet) -> np.ndarray:
    """Colours of the classes of a label set for pictures.

    Class by class the benchmark's own colour stays where it lies `APART` from all before it, in normal eyes and in a
    deuteranope's; else the nearest one that does takes its place, and where none is left the one farthest from all.

    Args:
        label_set: Its colours are the benchmark's.

    Returns:
        uint8 [C, 3]; files that are written keep the benchmark's own.
    """
    return _moved(label_set.colors.astype(np.uint8).tobytes())


def viridis(shade: np.ndarray) -> np.ndarray:
    """Plotly's colours of heat maps.

    Args:
        shade: float [N] in [0, 1].

    Returns:
        uint8 [N, 3].
    """
    steps = np.array([hex_to_rgb(color) for color in sequential.Viridis], dtype=np.float64)  # [10, 3]
    at = np.linspace(0, 1, len(steps))
    return np.stack([np.interp(shade, at, steps[:, channel]) for channel in range(3)], axis=1).round().astype(np.uint8)
