"""Train the tiny experiment by several processes: what `test_ranks` starts, once for each process by Fabric.

python two_processes.py FOLDER DEVICES MODULES [RANK STEP]: process RANK is killed before step STEP
python two_processes.py FOLDER DEVICES MODULES record: a training in float32, scored and written as a record
"""

import json
import os
import signal
import sys
from pathlib import Path

from geoguide.experiments.presets import preset
from geoguide.experiments.run import run
from geoguide.guard import guarded
from geoguide.pipeline import train
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.ranks import LostRankError, Ranks, launch


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


def kill_before(step: int) -> None:
    advance = train._State.advance

    def dying(self: train._State, scenes: object) -> None:
        if self.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        advance(self, scenes)

    train._State.advance = dying


def work() -> int:
    folder, devices, name, *kill = sys.argv[1:]
    ranks: Ranks = launch(int(devices), 1, "cpu")
    if kill == ["record"]:
        record = run(config(name), folder=Path(folder), device="cpu", progress=False, ranks=ranks)
        (Path(folder) / f"record-{ranks.rank}.json").write_text(json.dumps(record.raw))
        return 0
    if kill and ranks.rank == int(kill[0]):
        kill_before(int(kill[1]))
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
    sys.exit(guarded(work, sys.argv[1:], lambda: "run it again"))
