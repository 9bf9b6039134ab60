"""Own memory counts, mapped files do not; and a file that memory is short for is no damaged one."""

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide.datasets.formats.files import read_npy
from geoguide.datasets.points import load_points
from geoguide.errors import PACKED, DataError, pass_on_shortage, shortage
from geoguide.experiments.peak_memory import STATUS, PeakMemory
from geoguide.image_files import read_image

POINTS, ROOM = 4_000_000, 48 * 2**20  # 96 MB of float64, and half of that


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    pages, before = int(Path("/proc/self/statm").read_text().split()[0]), resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def write_large(path: Path) -> None:
    """A whole file of more than there is room for."""
    if path.suffix == ".npz":
        np.savez_compressed(path, points=np.zeros((POINTS, 3)))
    elif path.suffix == ".pth":
        torch.save((torch.zeros(POINTS, 3), torch.zeros(POINTS, 3)), path)
    elif path.suffix == ".npy":
        np.save(path, np.zeros((POINTS, 3)))
    elif path.suffix == ".png":
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (6000, 6000, 3), np.uint8)).save(
            path, compress_level=1
        )
    else:
        laspy = pytest.importorskip("laspy")
        header = laspy.LasHeader(point_format=0)
        with laspy.open(path, mode="w", header=header) as writer:
            writer.write_points(laspy.ScaleAwarePointRecord.zeros(POINTS, header=header))


def read(path: Path) -> object:
    readers = {".npy": lambda path: read_npy(path, (POINTS, 3), "matrix"), ".png": read_image}
    return readers.get(path.suffix, load_points)(path)


@pytest.mark.skipif(not STATUS.is_file(), reason="needs /proc")
@pytest.mark.parametrize("suffix", [".npz", ".pth", ".npy", ".png", ".las"])
def test_a_whole_file_that_memory_is_short_for_is_not_called_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large{suffix}"
    write_large(path)
    with little_memory(), pytest.raises((MemoryError, RuntimeError)) as caught:
        read(path)
    assert "not enough memory" in str(shortage(caught.value))


def test_a_header_that_asks_for_more_than_its_file_holds_is_damaged(tmp_path: Path) -> None:
    """Whatever memory there is: no file of so few bytes is so large."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((3, 3)))
    path.write_bytes(path.read_bytes().replace(b"(3, 3), }" + b" " * 15, b"(3, 3" + b"0" * 15 + b"), }"))
    for reader in (lambda: read_npy(path, (3, 3), "matrix"), lambda: read_image(path)):
        with pytest.raises(DataError, match=r"a.npy: .*truncated\?"):
            reader()
    size = path.stat().st_size
    told = "DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes."
    pass_on_shortage(RuntimeError(told.format(PACKED * size + 1)), path)
    pass_on_shortage(ValueError("no number"), path)
    for error in (RuntimeError(told.format(PACKED * size)), MemoryError(), OSError(24, "Too many open files")):
        with pytest.raises(type(error)):
            pass_on_shortage(error, path)


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
