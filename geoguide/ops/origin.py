"""Coordinates far from the origin (UTM and other map grids): how far they must be moved before they become float32."""

import numpy as np

# float32 at 100 m has steps of 0.008 mm, no matter for a scan; at 5,400 km (UTM north) its steps are 0.5 m.
FAR = 100.0
ROOM = 10.0  # metres beside a scan within which its own origin is looked for


def far_offset(points: np.ndarray) -> np.ndarray:
    """Say where the origin must be moved to, so that coordinates far from it keep their precision in float32.

    An axis is moved where (nearly) all coordinates lie beyond `FAR` on one side of the origin; a scan around the origin
    is never moved, however wide it is, nor for a few stray points. The new origin is the roundest number within a
    scan's own length (at least `ROOM`) of it: offsets of map grids are round, and so a scan gets back the very numbers
    that it had before it was placed on the map.

    Args:
        points: Metres [P, 3], P > 0, finite; points, or the positions of cameras.

    Returns:
        The new origin, float64 [3]; 0 on an axis that is not moved. Subtract it in float64, before anything is rounded.

    Example:
        >>> far_offset(np.array([[448000.0, 5411000.0, 2.0], [448004.0, 5411003.0, 0.0]])).tolist()
        [448000.0, 5411000.0, 0.0]
        >>> far_offset(np.array([[-150.0, 0.0, 2.0], [150.0, 3.0, 0.0]])).tolist()
        [0.0, 0.0, 0.0]
    """
    if np.abs(points).max() <= FAR:
        return np.zeros(3)
    low, high = np.percentile(np.asarray(points, np.float64), (1, 99), axis=0)  # [3] each; a stray point does not count
    reach = np.maximum(high - low, ROOM)
    far = (low > FAR) | (high < -FAR)
    roundest = [_roundest(*interval) for interval in zip(low - reach, high + reach, strict=True)]
    return np.where(far, roundest, 0.0)


def _roundest(low: float, high: float) -> float:
    """Of the numbers in an interval at least 2 `ROOM` long the multiple of the largest power of ten nearest its middle.

    A power above the interval's ends has no multiple in it but perhaps 0, which `far_offset` rules out.
    """
    steps = 10.0 ** np.arange(np.ceil(np.log10(max(abs(low), abs(high), 10.0))), -1, -1)  # [n], largest first
    nearest = np.rint((low + high) / 2 / steps) * steps
    inside = (nearest >= low) & (nearest <= high)
    return float(nearest[np.argmax(inside)])
