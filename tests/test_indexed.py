"""Rows stored once give back every row."""

import numpy as np
import pytest

from geoguide.ops.indexed import IndexedRows


@pytest.mark.parametrize("width", [1, 3, 8])
def test_compress_keeps_every_row(rng: np.random.Generator, width: int):
    rows = rng.normal(size=(40, width)).astype(np.float16)
    values = rows[rng.integers(0, 40, 500)]
    stored = IndexedRows.compress(values)
    assert len(stored["rows"]) == len(np.unique(values, axis=0))
    packed = IndexedRows(**stored)
    assert packed.shape == values.shape and len(packed) == 500
    np.testing.assert_array_equal(np.asarray(packed), values)
    chosen = rng.integers(0, 500, 30)
    np.testing.assert_array_equal(packed[chosen], values[chosen])
    np.testing.assert_array_equal(packed[::7], values[::7])


def test_some_points_of_numbers_and_of_vectors(rng: np.random.Generator):
    """As a scene of kept points has its labels: rows of one dimension, some of them chosen by a mask."""
    chosen, mask = np.sort(rng.permutation(50)[:20]), rng.random(20) < 0.5
    for values in (rng.integers(0, 9, 50), rng.normal(size=(50, 3))):
        some = IndexedRows(values, chosen)
        assert some.shape == values[chosen].shape and len(some) == 20
        np.testing.assert_array_equal(some, values[chosen])
        np.testing.assert_array_equal(some[mask], values[chosen][mask])


def test_different_rows_are_left_alone(rng: np.random.Generator):
    values = rng.normal(size=(100, 4)).astype(np.float16)
    assert list(IndexedRows.compress(values)) == ["rows"]


def test_signed_zeros_are_two_values():
    values = np.array([[0.0], [-0.0]] * 10, np.float16)
    assert np.array_equal(np.signbit(np.asarray(IndexedRows(**IndexedRows.compress(values)))), np.signbit(values))


@pytest.mark.parametrize("different", [40, 400])
def test_held_rows_are_compressed_as_all_rows_are(rng: np.random.Generator, different: int):
    held = rng.normal(size=(different, 8)).astype(np.float16)
    held[3] = held[2]
    packed = IndexedRows(held, np.concatenate([np.arange(different), rng.integers(0, different, 100)]).astype(np.int32))
    found, expected = packed.compressed(), IndexedRows.compress(packed[:])
    assert found.keys() == expected.keys() and ("index" in found) == (different == 40)
    for name in found:
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_array_equal(found[name], expected[name])
