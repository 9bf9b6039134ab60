"""One training by several processes: the losses of one process, a killed rank, and what one process alone averages."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import two_processes

from geoguide.cli import Command
from geoguide.cli.arguments import read_arguments
from geoguide.errors import ConfigError, DataError
from geoguide.experiments.presets import preset
from geoguide.experiments.run import run
from geoguide.frozen import config_hash
from geoguide.pipeline import prepare, ranks
from geoguide.pipeline.config import ExperimentConfig, TrainConfig
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene

HERE = Path(__file__).parent
ROOT = HERE.parent
fabric = pytest.mark.skipif(importlib.util.find_spec("lightning_fabric") is None, reason="extra devices not installed")


def start(folder: Path, devices: int, name: str, *kill: int | str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(HERE / "two_processes.py"), str(folder), str(devices), name, *map(str, kill)]
    inherited = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "NODE_RANK")}
    told = {"capture_output": True, "text": True, "env": inherited, "start_new_session": True}  # signals are its own
    return subprocess.run(command, timeout=280, check=False, **told)


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


@fabric
def test_where_the_first_is_killed_another_one_says_so_once(tiny: ExperimentConfig, tmp_path: Path) -> None:
    ended = start(tmp_path, 3, "as-written", 0, 2)
    said = [line for line in ended.stderr.splitlines() if line.startswith("geoguide:")]
    assert ended.returncode == -9 and len(said) == 1, ended.stderr
    assert "a process of the 3 of this training ended; run the same command again" in said[0]


@fabric
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_asks_all_processes_to_end_is_said_by_the_first(number: signal.Signals, tmp_path: Path) -> None:
    """As Ctrl-C in a terminal. Each said so, and Fabric killed the first where another one had ended before it."""
    ended = start(tmp_path, 2, "as-written", 0, 2, int(number))
    said = [line for line in ended.stderr.splitlines() if line.startswith("geoguide:")]
    assert ended.returncode in (128 + number, -number) and len(said) == 1, ended.stderr
    assert said[0].endswith("; run it again")


@fabric
def test_two_processes_write_the_record_of_one(tiny: ExperimentConfig, tmp_path: Path) -> None:
    """Of the same config, once, and each knows it; numbers differ by the order of a sum in float32."""
    done = start(tmp_path, 2, "works-best", "record")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"record-{rank}.json").read_text()) for rank in (0, 1))
    alone = run(two_processes.config("works-best"), folder=tmp_path / "alone", device="cpu", progress=False)
    (path,) = tmp_path.glob("mini-scannet/*.json")
    assert path.name == alone.file.name and json.loads(path.read_text()) == first == second
    for part in ("id", "name", "config", "protocol", "regions", "data", "source"):
        assert first[part] == alone.raw[part], part
    assert first["metrics"]["miou"] == pytest.approx(alone.metrics.miou, abs=0.5)


@pytest.fixture
def empty_cache(tiny_scenes: dict, data_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the generated rooms, of which nothing is prepared."""
    home = tmp_path / "home"
    home.mkdir()
    for made in data_home.glob("mini-*"):
        (home / made.name).symlink_to(made)
    monkeypatch.setenv("GEOGUIDE_DATA", str(home))
    return home


@fabric
def test_two_processes_prepare_each_scene_once(empty_cache: Path, data_home: Path, tmp_path: Path) -> None:
    """Superpoints, masks and both features of two training rooms, one each; the first has the validation room."""
    (empty_cache / "cache").mkdir()  # the words are embedded: where a torchvision does not fit, no other process can
    (empty_cache / "cache" / "text").symlink_to(data_home / "cache" / "text")
    done = start(tmp_path, 2, "works-best", "prepare")
    assert done.returncode == 0, done.stderr
    did = [json.loads((tmp_path / f"prepared-{rank}.json").read_text()) for rank in (0, 1)]
    rooms = [{name for _, name in part["train"]} for part in did]
    assert [len(names) for names in rooms] == [1, 1] and not rooms[0] & rooms[1]
    stages = {"_superpoints", "_masks", "_geometry", "_lifted"}
    for part in did:
        assert sorted(kind for kind, _ in part["train"]) == sorted(stages)
    assert {kind for kind, _ in did[0]["val"]} == stages and len(did[0]["val"]) == 4 and not did[1]["val"]


@fabric
def test_machines_that_share_no_disk_are_told_so_once(empty_cache: Path, tmp_path: Path) -> None:
    """Each would generate and prepare every scene by itself, and say nothing."""
    done = start(tmp_path, 2, "works-best", "prepare", str(tmp_path / "elsewhere"))
    said = [line for line in done.stderr.splitlines() if line.startswith("geoguide:")]
    assert done.returncode == 2 and len(said) == 1, done.stderr
    told = "process 1 of 2 has another disk there; all machines must share it"
    assert said[0].startswith(f"geoguide: {empty_cache / 'cache'}: {told}")
    assert not (empty_cache / "cache").exists() or not [*(empty_cache / "cache").iterdir()]


@fabric
@pytest.mark.parametrize(("device", "backend"), [("cuda", "cpu:gloo,cuda:nccl"), ("cpu", None)])
def test_gpus_average_by_nccl_and_know_by_gloo_who_is_gone(
    device: str, backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NCCL alone would wait for a killed process as long as for one that scores: days."""
    import lightning_fabric

    asked = {}

    def refuses(**options: object) -> None:
        asked.update(options)
        raise ValueError("no such GPU")

    monkeypatch.setattr(lightning_fabric, "Fabric", refuses)
    with pytest.raises(ConfigError, match="--devices 2 --nodes 1: no such GPU"):
        ranks.launch(2, 1, device)
    assert asked["accelerator"] == device and asked["strategy"].process_group_backend == backend


def test_a_gpu_that_is_full_is_no_lost_process() -> None:
    with pytest.raises(torch.OutOfMemoryError), ranks._lost(ranks.Ranks()):
        raise torch.OutOfMemoryError("CUDA out of memory")


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


def test_what_no_process_learns_from_is_left_alone_by_the_optimizer() -> None:
    def parameters() -> list[torch.nn.Parameter]:
        return [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]  # used by both, by the other one, by none

    class WithAnother(ranks.Ranks):
        size = 2

        def average(self, values: torch.Tensor) -> torch.Tensor:
            other = torch.tensor([3.0, 3, 5, 5, 0, 0, 1, 1, 0])  # its gradients, then whether it has each
            return (values + other) / 2

    ours, alone = parameters(), parameters()
    ours[0].grad, alone[0].grad = torch.full((2,), 1.0), torch.full((2,), 2.0)
    alone[1].grad = torch.full((2,), 2.5)
    WithAnother().average_gradients(ours)
    assert ours[2].grad is None
    for held in (ours, alone):
        torch.optim.AdamW(held, lr=0.1, weight_decay=0.5).step()
    assert all(torch.equal(one, other) for one, other in zip(ours, alone, strict=True))


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


@fabric
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"SLURM_NTASKS_PER_NODE": "1", "SLURM_NTASKS": "2"}, "--ntasks-per-node=1` does not match"),
        ({"SLURM_NTASKS": "2"}, "--ntasks=2"),
        ({"SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "2"}, "expected 4 processes, found 1"),
    ],
)
def test_what_slurm_has_not_started_is_one_line(given: dict, found: str, tmp_path: Path) -> None:
    """In another process: Fabric leaves a process group behind."""
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "t", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    slurm |= {"SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    words = "from geoguide.cli import main; main(['train', '--devices', '2', '--nodes', '2', '--device', 'cpu'])"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    options = {"capture_output": True, "text": True, "timeout": 100, "check": False, "env": inherited | slurm | given}
    ended = subprocess.run([sys.executable, "-c", words], cwd=tmp_path, **options)
    said = [line for line in ended.stderr.splitlines() if line.startswith("geoguide:")]
    assert ended.returncode == 2 and len(said) == 1, ended.stderr
    assert said[0].startswith("geoguide: --devices 2 --nodes 2: ") and found in said[0]
    assert "srun --nodes=2 --ntasks-per-node=2" in said[0]


@pytest.mark.parametrize("rank", [0, 1])
def test_checkpoints_of_other_steps_are_refused_once(
    tiny: ExperimentConfig, tiny_scenes: dict, tmp_path: Path, rank: int
) -> None:
    """A machine that does not see the others' disk has no checkpoint, or an older one."""

    class Of(ranks.Ranks):
        size = 2

        def gather(self, value: int) -> list[int]:
            return [value, 7]

    here = Of()
    here.rank = rank
    two = tiny.replace(train__steps=4, train__batches_per_step=2)
    with pytest.raises(DataError, match=r"go on from steps 0, 7: checkpoints must lie on a disk") as refused:
        fit(two, train=tiny_scenes["train"], val=[], device="cpu", progress=False, run_dir=tmp_path, ranks=here)
    assert isinstance(refused.value, ranks.LostRankError) == (rank > 0)


DOCUMENTED = re.compile(r"geoguide (train [^`#(\n]*--devices +\w+[^`#(\n]*)")


def test_documented_commands_of_several_processes_are_accepted() -> None:
    """Every one in the README, the book and the notebooks, with 3 for N."""
    texts = [ROOT / "README.md", *(ROOT / "book").glob("*.md"), *(ROOT / "notebooks").glob("*.py")]
    commands = [found for path in texts for found in DOCUMENTED.findall(path.read_text("utf-8"))]
    assert len(commands) >= 3
    for command in commands:
        asked = read_arguments(Command, command.replace(" N", " 3").split(), "")
        batches = asked.experiment().train.batches_per_step
        assert batches == asked.devices * asked.nodes > 1, command
    plain = read_arguments(Command, ["train"], "").experiment()
    assert config_hash(plain) == config_hash(preset("works-best"))


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

        def need_shared(self, folder: Path) -> None:
            did.append("shared")

    monkeypatch.setattr(
        prepare, "prepare", lambda source, *_, **options: did.append((source.name, options["training"]))
    )
    scenes = prepare.prepare_shared(tiny, "train", Second(), device="cpu", progress=False)
    first, second = (source.name for source in prepare.scene_sources(tiny.data, "train"))
    assert did[:4] == ["shared", "generated", (second, True), "waited"] and len(scenes) == 2
    assert did[4:] == [(first, True), (second, True)]
