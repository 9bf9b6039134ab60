"""Argument checks shared by every public entry."""

import math

import numpy as np
import pytest
import torch

from geoguide.errors import InputError
from geoguide.ops.arrays import coordinates, host, number, whole


def test_host_takes_arrays_lists_and_tensors(device):
    expected = np.array([[1.5, 2.0]])
    tensor = torch.tensor(expected, device=device, requires_grad=True)
    for value in (expected, [[1.5, 2.0]], tensor, torch.tensor(expected, dtype=torch.bfloat16)):
        np.testing.assert_array_equal(host("x", value), expected)
    assert host("x", expected) is expected
    assert host("x", torch.ones(2, dtype=torch.int32), "iu").dtype == np.int32


def test_coordinates_share_or_widen():
    single = np.ones((4, 3), np.float32)
    assert coordinates("x", single).dtype == np.float64
    assert np.shares_memory(coordinates("x", single, keep_single=True), single)
    assert coordinates("x", np.asfortranarray(single)).flags.c_contiguous
    assert coordinates("x", np.zeros((0, 3), int)).shape == (0, 3)
    np.testing.assert_array_equal(coordinates("x", np.full((2, 3), 1.7e308)), 1.7e308)  # finite, its sum is not


def test_numbers():
    assert number("x", np.float32(0.5)) == 0.5 and number("x", -1, -2) == -1.0
    assert whole("x", np.int64(3), 0) == 3 and whole("x", 3.0, 0) == 3 and isinstance(whole("x", 3.0, 0), int)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: host("mesh", [[1], [1, 2]]), "mesh must be an array of numbers"),
        (lambda: host("mesh", ["a"]), "mesh must hold numbers, found dtype <U1"),
        (lambda: host("ids", [1.0], "iu"), "ids must hold integers, found dtype float64"),
        (lambda: host("seen", [1], "b"), "seen must hold truth values"),
        (lambda: coordinates("p", np.zeros((3, 2))), r"p must be \[P, 3\], found \[3, 2\]"),
        (lambda: coordinates("p", [[0, 0, 0], [math.nan, 0, 0], [0, math.inf, 0]]), "nan or inf in 2 of 3 rows"),
        (lambda: number("k", None), "k must be a finite number >= 0, found None"),
        (lambda: number("k", math.inf), "k must be a finite number"),
        (lambda: number("k", 10**400), "k must be a finite number >= 0, found 10*$"),
        (lambda: number("k", -1), "k must be a finite number >= 0, found -1"),
        (lambda: whole("n", 2.5, 1), "n must be a whole number >= 1, found 2.5"),
        (lambda: whole("n", 0, 1), "n must be a finite number >= 1, found 0"),
    ],
)
def test_refuses(call, message):
    with pytest.raises(InputError, match=message):
        call()
