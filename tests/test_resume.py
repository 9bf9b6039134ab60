"""Checkpoints: what is written comes back, and a file that does not fit is one error that names it."""

import pytest
import torch
from torch import nn

from geoguide.errors import DataError
from geoguide.pipeline.checkpoint import load_checkpoint, save_checkpoint


def test_round_trip(tmp_path):
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    save_checkpoint(tmp_path / "a.pt", {"layer": layer}, step=7, history=[{"loss": 0.5}])
    found = load_checkpoint(tmp_path / "a.pt", {"layer": other}, ("step", "history"), torch.device("cpu"))
    assert found == [7, [{"loss": 0.5}]]
    assert torch.equal(layer.weight, other.weight) and torch.equal(layer.bias, other.bias)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "other network", "a value missing", "code"])
def test_what_does_not_fit_is_named(tmp_path, damage):
    path, parts, plain = tmp_path / "a.pt", {"layer": nn.Linear(3, 2)}, ("step",)
    save_checkpoint(path, parts, step=7)
    if damage == "garbage":
        path.write_bytes(b"not a checkpoint at all")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "other network":
        parts = {"layer": nn.Linear(4, 2)}
    elif damage == "a value missing":
        plain = ("step", "history")
    else:
        torch.save({"layer": nn.Linear(3, 2), "step": 7}, path)  # a pickled module
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of this training"):
        load_checkpoint(path, parts, plain, torch.device("cpu"))
