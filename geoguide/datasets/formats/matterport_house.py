"""Matterport3D's house_segmentations/<house>.house: where the regions of a house lie, by its annotators.

A text of one record a line; of those only regions are read: `R index level 0 0 label px py pz xlo ylo zlo xhi yhi zhi
height 0 0 0 0`. Regions have the numbers of the files region<N>.ply.
"""

from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import read_text
from geoguide.errors import DataError

BOX = slice(9, 15)  # fields of a region's line
# Shares of a region's points in the box of that region and of another one. Of 85 generated regions 99.9 % of the points
# lie in a box around nearly all of them, 0 to 9 % in those of the house's others; boxes drawn by people are less exact.
INSIDE, ELSEWHERE = 0.5, 0.9
SLACK = 0.1  # metres: walls have a thickness


def read_boxes(path: Path) -> dict[int, np.ndarray]:
    """Read the boxes of a house's regions.

    Args:
        path: The .house file.

    Returns:
        Number of a region -> its lowest and highest corner, float64 [2, 3], metres.

    Raises:
        DataError: The file is missing, no text, or a region's line has no box.
    """
    boxes = {}
    for number, line in enumerate(read_text(path, "house file").split("\n"), start=1):
        fields = line.split()
        if fields[:1] != ["R"]:
            continue
        try:
            boxes[int(fields[1])] = np.array([float(field) for field in fields[BOX]]).reshape(2, 3)
        except (ValueError, IndexError):
            raise DataError(
                f"{path}: line {number}: expected a region with a box of 6 numbers, found {line!r}"
            ) from None
    return boxes


def exchanged_with(points: np.ndarray, number: int, boxes: dict[int, np.ndarray]) -> str | None:
    """Say which other region's points these seem to be.

    Args:
        points: Points of a region [P, 3], metres.
        number: The region.
        boxes: As `read_boxes` gives them.

    Returns:
        What was found, None where most points lie in the region's own box, or no other box holds nearly all of them.
    """
    shares = {
        region: float(((points >= low - SLACK) & (points <= high + SLACK)).all(axis=1).mean())
        for region, (low, high) in boxes.items()
    }
    own = shares.pop(number, None)
    best = max(shares, key=lambda region: shares[region], default=None)
    if own is None or best is None or own >= INSIDE or shares[best] < ELSEWHERE:
        return None
    return f"{own:.0%} of its points lie in the box of region {number}, {shares[best]:.0%} in that of region {best}"
