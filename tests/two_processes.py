"""Train the tiny experiment by several processes: what `test_ranks` starts, once for each process by Fabric.

python two_processes.py FOLDER DEVICES MODULES [RANK STEP]: process RANK is killed before step STEP
python two_processes.py FOLDER DEVICES MODULES RANK STEP SIGNAL: all are sent that signal by process RANK instead
python two_processes.py FOLDER DEVICES MODULES record: a training in float32, scored and written as a record
python two_processes.py FOLDER DEVICES MODULES prepare [ELSEWHERE]: no training; ELSEWHERE is the data of process 1
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from geoguide.experiments.presets import preset
from geoguide.experiments.run import run
from geoguide.guard import guarded
from geoguide.pipeline import train
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare_shared
from geoguide.pipeline.ranks import LostRankError, Ranks, launch
from geoguide.pipeline.stages import Stages


def config(preset_name: str, processes: int = 2) -> ExperimentConfig:
    base = preset(preset_name)
    return base.replace(
        data__rooms=(2, 1, 1),
        train__steps=20,
        train__points_per_step=300,
        train__evaluate_every=1,
        train__checkpoint_every=5,
        train__batches_per_step=processes,
    )


def kill_before(step: int, number: int | None = None) -> None:
    advance = train._State.advance

    def dying(self: train._State, scenes: object) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL) if number is None else os.killpg(0, number)
        advance(self, scenes)

    train._State.advance = dying


def prepared(config: ExperimentConfig, ranks: Ranks) -> dict[str, list[tuple[str, str]]]:
    """Prepare the scenes: what this process computed of each split, stage and scene."""
    did: list[tuple[str, str]] = []

    def noting(kind: str) -> None:
        compute = getattr(Stages, kind)
        setattr(Stages, kind, lambda self: (did.append((kind, self.identity.name)), compute(self))[1])

    for kind in ("_superpoints", "_masks", "_geometry", "_lifted"):
        noting(kind)
    found = {}
    for split in ("train", "val"):
        prepare_shared(config, split, ranks, device="cpu", progress=False)
        found[split] = [*did]
        did.clear()
    return found


def refused(*_: object, **__: object) -> None:
    """A barrier is one of the GPUs where there are any, and waits there for ever for a process that is gone."""
    raise AssertionError("processes must wait for each other by the CPU")


def work() -> int:
    folder, devices, name, *kill = sys.argv[1:]
    ranks: Ranks = launch(int(devices), 1, "cpu")
    torch.distributed.barrier = refused
    if kill[:1] == ["prepare"]:
        if ranks.rank == 1 and kill[1:]:
            os.environ["GEOGUIDE_DATA"] = kill[1]
        try:
            found = prepared(config(name), ranks)
        except LostRankError:
            return 2
        (Path(folder) / f"prepared-{ranks.rank}.json").write_text(json.dumps(found))
        return 0
    if kill == ["record"]:
        record = run(config(name), folder=Path(folder), device="cpu", progress=False, ranks=ranks)
        (Path(folder) / f"record-{ranks.rank}.json").write_text(json.dumps(record.raw))
        return 0
    if kill and ranks.rank == int(kill[0]):
        kill_before(*map(int, kill[1:]))
    options = {"run_dir": Path(folder), "progress": False, "ranks": ranks, "precision": "float64"}
    try:
        fitted = train.fit(config(name, int(devices)), device="cpu", **options)
    except LostRankError:
        if ranks.speaks():  # as `geoguide train`
            raise
        return 2
    out = {"history": fitted.history, "waited": fitted.waited, "step": len(fitted.history)}
    weights = [float(value.double().abs().sum()) for value in fitted.student.network.state_dict().values()]
    (Path(folder) / f"{devices}-{ranks.rank}.json").write_text(json.dumps(out | {"weights": weights}))
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that run in the background inherit none
    sys.exit(guarded(work, sys.argv[1:], lambda: "run it again"))
