"""Checkpoints: what is written comes back, and a file that does not fit is one error that names it."""

from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from geoguide.errors import DataError
from geoguide.pipeline.checkpoint import Progress


@dataclass(eq=False)
class Training(Progress):
    layer: nn.Linear = field(default_factory=lambda: nn.Linear(3, 2))

    @property
    def parts(self) -> dict[str, nn.Module]:
        return {"layer": self.layer}


def test_round_trip(tmp_path):
    one, other = Training(step=7, history=[{"loss": 0.5}], sums={"loss": 1.5}), Training()
    one.save(tmp_path / "a.pt")
    other.load(tmp_path / "a.pt", torch.device("cpu"))
    assert (other.step, other.history, other.sums) == (7, [{"loss": 0.5}], {"loss": 1.5})
    assert torch.equal(one.layer.weight, other.layer.weight) and torch.equal(one.layer.bias, other.layer.bias)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "other network", "a value missing", "code"])
def test_what_does_not_fit_is_named(tmp_path, damage):
    path, training = tmp_path / "a.pt", Training(step=7)
    training.save(path)
    if damage == "garbage":
        path.write_bytes(b"not a checkpoint at all")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "other network":
        training = Training(nn.Linear(4, 2))
    elif damage == "a value missing":
        torch.save({"layer": training.layer.state_dict(), "step": 7}, path)
    else:
        torch.save({"layer": nn.Linear(3, 2), "step": 7}, path)  # a pickled module
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of this training"):
        training.load(path, torch.device("cpu"))


def test_rows_are_means_since_the_row_before_and_the_end_is_saved(tmp_path):
    training, path = Training(), tmp_path / "a.pt"
    for _ in training.steps(3, path, 2, torch.device("cpu"), "train", progress=False):
        training.count({"total": float(training.step)})
        if training.step == 2:
            training.log("this", extra=1.0)
    assert training.history == [{"step": 2, "extra": 1.0, "total": 0.5}]
    again = Training()
    assert not list(again.steps(3, path, 2, torch.device("cpu"), "train", progress=False))
    assert again.step == 3 and again.sums == {"total": 2.0, "_steps": 1.0}
    again.count({"total": float("nan")})
    with pytest.raises(DataError, match="this: loss is nan at step 4"):
        again.log("this")
