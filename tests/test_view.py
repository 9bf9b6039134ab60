"""Pixels of one view: of whatever type they are stored in, and of another size than asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoguide.scene import View

STORED, ASKED = (24, 34), (13, 11)


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<u4", "<i8", "<f2", "<f4", ">f4", "<f8"])
def test_measurements_of_any_type_are_resized_alike(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    values = rng.integers(1, 2000, STORED)  # exact in half precision too
    np.save(tmp_path / "image.npy", values.astype(dtype))
    file, pose = tmp_path / "image.npy", np.eye(4)
    nearest = np.asarray(Image.fromarray(values.astype(np.int32)).resize(ASKED[::-1], Image.Resampling.NEAREST))
    for size, expected in ((STORED, values), (ASKED, nearest)):
        view = View("0", np.eye(3), pose, size, depth_path=file, depth_scale=1.0, label_path=file)
        np.testing.assert_array_equal(view.depth(), expected)
        if np.dtype(dtype).kind in "iu":
            np.testing.assert_array_equal(view.labels(), expected)
