"""Fixtures shared by all tests: the device flag, a seeded generator, and the folders that exist only beside the project."""

from pathlib import Path

import numpy as np
import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="cpu (default) or cuda: the same tests run on both")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    name = request.config.getoption("--device")
    if name.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    return torch.device(name)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Input and output of the official code; absent on a user's machine."""
    if not (SHARED / "golden").is_dir():
        pytest.skip("golden files are not beside the project")
    return SHARED / "golden"


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Real recordings (RGB-D, LiDAR, a scan); absent on a user's machine."""
    if not (SHARED / "data").is_dir():
        pytest.skip("real recordings are not beside the project")
    return SHARED / "data"
