"""Checkpoints: what is written comes back, and a file that does not fit is one error that names it."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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


def changed(path: Path, change: Callable[[dict], None]) -> None:
    """Change what a checkpoint holds."""
    saved = torch.load(path, weights_only=True)
    change(saved)
    torch.save(saved, path)


def test_round_trip(tmp_path):
    one, other = Training(step=7, history=[{"loss": 0.5}], sums={"loss": 1.5}), Training()
    one.save(tmp_path / "a.pt")
    other.load(tmp_path / "a.pt")
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
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of this training") as refused:
        training.load(path)
    assert "weights_only" not in str(refused.value)  # torch's advice, to read it so that code in it is run
    assert damage != "garbage" or "expected a zip archive or a pickle, found b'not a ch' at" in str(refused.value)


HARMS = {
    "layer holds nan or inf": lambda saved: saved["layer"]["weight"].fill_(float("nan")),
    "optimizer holds nan or inf": lambda saved: saved["optimizer"]["state"][0]["exp_avg"].fill_(float("inf")),
    "step must be at least 0 and finite, found -3": lambda saved: saved.update(step=-3),
    "seconds must be at least 0 and finite, found -1": lambda saved: saved.update(seconds=-1.0),
    "seconds must be at least 0 and finite, found nan": lambda saved: saved.update(seconds=float("nan")),
    "checkpoint.step must be int": lambda saved: saved.update(step=1.5),
    "checkpoint.history must be list": lambda saved: saved.update(history=[{"step": "x"}]),
    "it is of the training b": lambda saved: saved.update(training="b"),
}


@dataclass(eq=False)
class Optimized(Training):
    optimizer: torch.optim.Optimizer | None = None

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.AdamW(self.layer.parameters())
        self.layer(torch.ones(1, 3)).sum().backward()
        self.optimizer.step()

    @property
    def parts(self) -> dict[str, Any]:
        return super().parts | {"optimizer": self.optimizer}


@pytest.mark.parametrize("message", HARMS)
def test_what_was_changed_is_named(tmp_path, message):
    path, training = tmp_path / "a.pt", Optimized(step=7)
    training.save(path)
    Optimized().load(path)
    changed(path, HARMS[message])
    with pytest.raises(DataError, match=rf"a\.pt: not a checkpoint of this training \({message}"):
        Optimized().load(path)


@pytest.mark.parametrize("value", [0.25, 123456789])
def test_a_byte_that_was_changed_is_told(tmp_path, value):
    """Of a weight, or of a whole number of the pickle: torch reads either."""
    path, training = tmp_path / "a.pt", Training(step=123456789)
    training.layer.weight.data.fill_(0.25)
    training.save(path)
    kind = "<f" if value == 0.25 else "<i"
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack(kind, value))] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(DataError, match=r"a\.pt: not a checkpoint of this training \(the checksum of its part a"):
        Training().load(path)


def test_a_checkpoint_of_another_training_is_not_gone_on_with(tmp_path):
    """Its network has the same shape, so that nothing but the name tells them apart."""
    Training(step=7).save(tmp_path / "a.pt")
    (tmp_path / "a.pt").rename(tmp_path / "b.pt")
    with pytest.raises(DataError, match=r"b\.pt: not a checkpoint of this training \(it is of the training a\)"):
        Training().load(tmp_path / "b.pt")
    for name in ("training", "seconds"):  # as older versions wrote it
        changed(tmp_path / "b.pt", lambda saved, name=name: saved.pop(name))
    older = Training()
    older.load(tmp_path / "b.pt")
    assert (older.step, older.before) == (7, 0.0)


def test_time_counts_over_runs(tmp_path):
    first, second = Training(step=7, before=5000.0), Training()
    first.save(tmp_path / "a.pt")
    second.load(tmp_path / "a.pt")
    assert 5000 < second.before <= first.seconds and second.seconds > second.before


def test_a_gpu_without_room_for_a_checkpoint_is_no_damage(tmp_path, monkeypatch):
    path, training = tmp_path / "a.pt", Optimized(step=7)
    training.save(path)

    def full(state: dict) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(training.optimizer, "load_state_dict", full)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        training.load(path)


def test_rows_are_means_since_the_row_before_and_the_end_is_saved(tmp_path):
    training, path = Training(), tmp_path / "a.pt"
    for _ in training.steps(3, path, 2, "train", progress=False):
        training.count({"total": float(training.step)})
        if training.step == 2:
            training.log("this", extra=1.0)
    assert training.history == [{"step": 2, "extra": 1.0, "total": 0.5}]
    again = Training()
    assert not list(again.steps(3, path, 2, "train", progress=False))
    assert again.step == 3 and again.sums == {"total": 2.0, "_steps": 1.0}
    again.count({"total": float("nan")})
    with pytest.raises(DataError, match="this: loss is nan at step 4"):
        again.log("this")
