"""Names of devices: those that are there, and one line for every other."""

import pytest
import torch

import geoguide
from geoguide.errors import InputError
from geoguide.ops.devices import resolve_device


def test_devices_that_are_there() -> None:
    best = "cuda" if torch.cuda.is_available() else "cpu"
    assert resolve_device() == resolve_device("auto") == torch.device(best)
    assert resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    for number in range(torch.cuda.device_count()):
        assert resolve_device(f"cuda:{number}") == torch.device("cuda", number)


@pytest.mark.parametrize(
    "name", ["gpu", "", "meta", "CPU", "cpu:3", "cuda:-1", "cuda:x", "mps", "tpu", "cuda:99", " cpu"]
)
def test_any_other_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="device") as error:
        resolve_device(name)
    assert repr(name) in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    for use in (resolve_device, geoguide.load("mini").to):
        with pytest.raises(InputError, match="device 'cuda': (this torch is a CPU build|no GPU is visible)"):
            use("cuda")
