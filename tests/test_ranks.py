"""One training by several processes: the losses of one process, a killed rank, and what one process alone averages."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes

from geoguide.errors import ConfigError
from geoguide.pipeline import prepare, ranks
from geoguide.pipeline.config import ExperimentConfig, TrainConfig
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene

HERE = Path(__file__).parent
fabric = pytest.mark.skipif(importlib.util.find_spec("lightning_fabric") is None, reason="extra devices not installed")


def start(folder: Path, devices: int, name: str, *kill: int) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / "two_processes.py"), str(folder), str(devices), name, *map(str, kill)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=inherited)


def came_of(folder: Path, devices: int, rank: int = 0) -> dict:
    return json.loads((folder / f"{devices}-{rank}.json").read_text())


@fabric
@pytest.mark.parametrize("name", ["works-best", "as-written"])  # λ by gradient, and λ by value
def test_two_processes_follow_one(name: str, tiny: ExperimentConfig, tiny_scenes: dict, tmp_path: Path) -> None:
    """A killed rank on the way: its training goes on from the checkpoint and ends where one process ends."""
    fitted = fit(
        two_processes.config(name),
        train=tiny_scenes["train"],
        val=tiny_scenes["val"],
        device="cpu",
        progress=False,
        precision="float64",
    )
    if name == "works-best":
        ended = start(tmp_path, 2, name, 1, 12)
        said = [line for line in ended.stderr.splitlines() if line.startswith("geoguide:")]
        assert ended.returncode == 2 and len(said) == 1, ended.stderr
        assert "a process of the 2 of this training ended; run the same command again" in said[0]
        (checkpoint,) = tmp_path.glob("*.pt")
        assert torch.load(checkpoint, weights_only=True)["step"] == 10
    done = start(tmp_path, 2, name)
    assert done.returncode == 0, done.stderr
    first, second = came_of(tmp_path, 2), came_of(tmp_path, 2, 1)
    assert first["weights"] == second["weights"] and first["history"] == second["history"]
    assert [row["step"] for row in first["history"]] == list(range(1, 21))
    for one, two in zip(fitted.history, first["history"], strict=True):
        assert one.keys() == two.keys()
        for term in one:
            assert two[term] == pytest.approx(one[term], rel=1e-6, abs=1e-6), (one["step"], term)
    assert 0 <= first["waited"] < 1


def test_a_step_of_two_batches_is_the_mean_of_both(tiny: ExperimentConfig, tiny_scenes: dict) -> None:
    """The oracle: gradients of each batch alone, averaged by hand."""
    from geoguide.pipeline.train import _State

    scenes, device = tiny_scenes["train"], torch.device("cpu")
    config = tiny.replace(train__batches_per_step=2)
    gradients = []
    for turn in (0, 1):
        torch.manual_seed(0)
        state = _State.new(tiny, scenes, device)
        batch = state.student.draw(scenes, turn, tiny.seed, device)
        state.objective(state.student.forward(batch), batch, state._generator(turn))["total"].backward()
        gradients.append([part.grad for part in state.student.network.parameters()])
    torch.manual_seed(0)
    state = _State.new(config, scenes, device)
    state.optimizer.step = lambda: None
    state.advance(scenes)
    state.reader.shutdown()
    for part, one, two in zip(state.student.network.parameters(), *gradients, strict=True):
        torch.testing.assert_close(part.grad, (one + two) / 2, rtol=1e-4, atol=1e-7)


def test_turns_are_shared_out_and_none_is_taken_twice() -> None:
    class Of(ranks.Ranks):
        def __init__(self, rank: int, size: int) -> None:
            self.rank, self.size = rank, size

    taken = [Of(rank, 3).share(range(12, 18)) for rank in range(3)]
    assert sorted(np.concatenate(taken).tolist()) == list(range(12, 18)) and {len(part) for part in taken} == {2}


def test_what_several_processes_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be a multiple of the 2 processes, found 3"):
        TrainConfig(batches_per_step=3).check_processes(2)
    with pytest.raises(ConfigError, match=r"batches_per_step must be"):
        TrainConfig(batches_per_step=0)
    with pytest.raises(ConfigError, match="--device must be auto, cpu or cuda beside --devices"):
        ranks.launch(2, 1, "cuda:1")


def test_without_fabric_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'geoguide\[devices\]'"):
        ranks.launch(2, 1, "cpu")


def test_the_share_of_waiting_is_known(tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]]) -> None:
    short = tiny.replace(train__steps=4)
    assert 0 < fit(short, train=tiny_scenes["train"], val=[], device="cpu", progress=False).waited < 1


def test_each_process_prepares_its_share_before_any_opens_all(
    tiny: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    did = []

    class Second(ranks.Ranks):
        rank, size = 1, 2

        def of_first(self, ask: object) -> int:
            return did.append("generated")

        def wait(self) -> None:
            did.append("waited")

    monkeypatch.setattr(
        prepare, "prepare", lambda source, *_, **options: did.append((source.name, options["training"]))
    )
    scenes = prepare.prepare_shared(tiny, "train", Second(), device="cpu", progress=False)
    first, second = (source.name for source in prepare.scene_sources(tiny.data, "train"))
    assert did[:3] == ["generated", (second, True), "waited"] and len(scenes) == 2
    assert did[3:] == [(first, True), (second, True)]
