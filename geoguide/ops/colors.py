"""Colours of any encoding in [0, 1]: one rule says what stands for black and for white."""

from typing import NamedTuple

import numpy as np

from geoguide.errors import InputError

# A share of points that may lie outside the range that the others tell, one at least: bad pixels, not the encoding.
STRAY = 0.001
FEWEST = 20  # points from which on a single one is a stray; of fewer, each counts
OVERSHOOT = 2.0  # floats up to here are 0..1 with highlights: read as 0..255 they would be a picture without light
SIGNED = -0.1  # the least of floats of -1..1 lies below; what resampling adds to 0..1 stays above
BULK = 0.9  # share of fractional floats within 0..1 from which on the brighter ones are light beyond white (HDR)
DIM = 16.0  # floats with fractions up to here may be either: a very dark 0..255, or HDR
GREY = 0.5  # of points without a colour
ROUNDED = 1.05  # of a range's end: what averaging and rounding may add to it


class ColorScale(NamedTuple):
    """What stands for black and for white, and what to tell the user of it."""

    black: float
    white: float
    said: str | None = None


def unit_colors(colors: np.ndarray, *, signed: bool = False) -> tuple[np.ndarray, str | None]:
    """Bring colours to [0, 1] on the scale that `color_scale` finds; what lies beyond it is cut.

    Args:
        colors: [P, 3], truth values, integers or floats, finite.
        signed: As in `color_scale`.

    Returns:
        float32 [P, 3] in [0, 1], and a sentence that says how they were read where another way was possible.

    Raises:
        InputError: They are on no known scale.

    Example:
        >>> unit_colors(np.array([[0, 51, 255]], np.uint8))[0].tolist()
        [[0.0, 0.20000000298023224, 1.0]]
        >>> unit_colors(np.array([[-1.0, 0.0, 1.0]]))
        (array([[0. , 0.5, 1. ]], dtype=float32), 'colours are floats -1..1: read as -1 (black) to 1 (white)')
    """
    scale = color_scale(colors, signed=signed)
    kind = np.float32 if scale.black == 0 else np.float64  # a sum would round, a quotient rounds once
    values = (colors.astype(kind) - kind(scale.black)) / kind(scale.white - scale.black)  # [P, 3]
    return np.clip(values, 0.0, 1.0).astype(np.float32), scale.said


def color_scale(colors: np.ndarray, *, signed: bool = False) -> ColorScale:
    """Find the scale of colours from their type and their range.

    The range is that of all points but the brightest and darkest few (`STRAY`; none of fewer than `FEWEST` points), so
    that it never hangs on one value.

    | type | range | read as | said |
    |---|---|---|---|
    | bool | | 0..1 | yes |
    | uint8 | any | 0..255 | where all are 0 or 1 |
    | other integers | 0..255 | 0..255 | where the type has 16 bits, or all are 0 or 1 |
    | | 256..65535 | 0..65535 | yes |
    | floats | 0..1 | 0..1 | where some lie beyond (and are cut), or all are 0 or 1 |
    | | whole numbers, 2..255 | 0..255 | up to `OVERSHOOT` |
    | | fractions, above 1 up to `OVERSHOOT` | 0..1 | yes |
    | | above it, up to 255, `BULK` of them fractions up to 1 | 0..1 | yes |
    | | above it, up to 255 | 0..255 | fractions up to `DIM`, or where some lie beyond |
    | | 256..65535 | 0..65535 | yes |
    | | below `SIGNED`, -1..1 | -1..1 | yes, but not for `signed` |
    | anything else: negative integers, standardised floats, packed colours | | refused | |

    Args:
        colors: [P, 3].
        signed: The format's convention is floats in -1..1 (OpenScene's .pth): then zeros alone mean it too (grey, for
            points without colour), and any other scale is said.

    Returns:
        The scale.

    Raises:
        InputError: No scale fits.
    """
    if colors.size == 0 or colors.dtype.kind == "b":
        return ColorScale(0, 1, "colours are true or false: read as 0 and 1" if colors.size else None)
    low, high = _range(colors)
    if colors.dtype.kind in "iu":
        scale = _integer_scale(colors.dtype, low, high)
    else:
        scale = _signed_scale(low, high) if signed else None
        scale = scale or _float_scale(low, high, _usual(colors, low, high))
    if signed and scale.black == 0 and scale.said is None:
        found = f"colours are {colors.dtype} {low:.4g}..{high:.4g}"
        scale = scale._replace(said=f"{found}: read as 0..{scale.white:g}, not as -1..1")
    return _with_cut(colors, scale)


def _range(colors: np.ndarray) -> tuple[float, float]:
    """The least and the largest value without the strays."""
    count = len(colors)
    few = max(1, int(STRAY * count)) if count >= FEWEST else 0
    low = np.partition(colors.min(axis=1), few)[few]
    high = np.partition(colors.max(axis=1), count - 1 - few)[count - 1 - few]
    return float(low), float(high)


def _usual(colors: np.ndarray, low: float, high: float) -> np.ndarray:
    """Colours [n, 3] of the points that lie in the range."""
    return colors[((colors >= low) & (colors <= high)).all(axis=1)]


def _integer_scale(dtype: np.dtype, low: float, high: float) -> ColorScale:
    found = f"colours are {dtype} {low:g}..{high:g}"
    if low < 0:
        raise InputError(f"{found}: negative integers are on no known scale (0..255, 0..65535)")
    if high <= 255 * ROUNDED:
        ambiguous = high <= 1 or (dtype.itemsize == 2 and dtype.kind == "u")
        return ColorScale(0, 255, f"{found}: read as 0..255" if ambiguous else None)
    if high <= 65535:
        return ColorScale(0, 65535, f"{found}: read as 16 bits, 0..65535")
    raise InputError(f"{found}: on no known scale (0..255, 0..65535)")


def _float_scale(low: float, high: float, usual: np.ndarray) -> ColorScale:
    whole = bool((usual % 1 == 0).all())
    found = f"colours are floats {low:.4g}..{high:.4g}"
    if low < SIGNED:
        if low >= -ROUNDED and high <= ROUNDED:
            return ColorScale(-1, 1, f"{found}: read as -1 (black) to 1 (white)")
        raise InputError(f"{found}: on no known scale (0..1, -1..1, 0..255, 0..65535)")
    if high <= 1:
        return ColorScale(0, 1, f"{found}, all 0 or 1: read as 0..1" if whole and high > 0 else None)
    if high <= OVERSHOOT:
        return ColorScale(0, 255 if whole else 1, f"{found}: read as 0..{'255' if whole else '1'}")
    if high <= 255 * ROUNDED:
        if not whole and (usual <= 1).mean() >= BULK:
            return ColorScale(0, 1, f"{found}, most of them up to 1: read as 0..1")
        return ColorScale(0, 255, None if whole or high > DIM else f"{found}: read as 0..255")
    if high <= 65535 * ROUNDED:
        return ColorScale(0, 65535, f"{found}: read as 16 bits, 0..65535")
    raise InputError(f"{found}: on no known scale (0..1, -1..1, 0..255, 0..65535)")


def _signed_scale(low: float, high: float) -> ColorScale | None:
    """The scale of a format that is -1..1 by convention; None where the values are on another."""
    if low == high == 0 or (-ROUNDED <= low < SIGNED and high <= ROUNDED):
        return ColorScale(-1, 1)
    return None


def _with_cut(colors: np.ndarray, scale: ColorScale) -> ColorScale:
    """The scale, saying how many points it cuts; rounding alone is not worth a word."""
    slack = 1e-6 * scale.white
    cut = int(((colors < scale.black - slack) | (colors > scale.white + slack)).any(axis=1).sum())
    if not cut:
        return scale
    said = scale.said or f"colours are read as {scale.black:g}..{scale.white:g}"
    return scale._replace(said=f"{said}; {cut} of {len(colors)} points lie beyond it and are cut")
