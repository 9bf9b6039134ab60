"""Own memory counts; mapped files do not."""

from pathlib import Path

import numpy as np
import pytest

from geoguide.experiments.peak_memory import STATUS, PeakMemory


@pytest.mark.skipif(not STATUS.is_file(), reason="needs /proc")
def test_own_memory_counts_and_mapped_files_do_not(tmp_path: Path):
    megabyte, size = 2**20, 200
    np.save(tmp_path / "file.npy", np.zeros(size * megabyte, np.uint8))
    with PeakMemory() as start:
        pass
    with PeakMemory() as mapped:
        np.load(tmp_path / "file.npy", mmap_mode="r").sum()
    with PeakMemory() as held:
        array = np.ones(size * megabyte, np.uint8)
    assert mapped.megabytes - start.megabytes < 0.2 * size
    assert held.megabytes - start.megabytes > 0.9 * size and array.any()  # still there at the last look
