"""Cells of a grid against np.unique over rows."""

import numpy as np
import pytest

from geoguide.errors import InputError
from geoguide.ops.voxels import cells_of, unique_cells


def test_equals_unique_rows(rng):
    points = rng.normal(size=(500, 3))
    cell = cells_of(points, 0.4)
    np.testing.assert_array_equal(cell, np.floor(points / 0.4) - np.floor(points / 0.4).min(axis=0))
    rows, first, inverse = np.unique(cell, axis=0, return_index=True, return_inverse=True)
    found = unique_cells(cell)
    np.testing.assert_array_equal(cell[found[0]], rows)
    np.testing.assert_array_equal(found[0], first)
    np.testing.assert_array_equal(found[1], inverse.reshape(-1))


def test_a_box_too_large_to_number_is_refused():
    with pytest.raises(InputError, match="too far apart"):
        unique_cells(np.array([[0, 0, 0], [2**21, 2**21, 2**21]]))
