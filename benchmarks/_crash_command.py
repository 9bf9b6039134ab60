"""One `geoguide` command in tiny settings, for `crash.py`.

The command itself is the real one; only what it would train on and for how long is made small, and which README it
updates. Where everything lies is said by $GEOGUIDE_DATA and $GEOGUIDE_RESULTS.
"""

import functools
import os
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import transformers  # noqa: F401 (imported before the fork, as all that follows, and not for each command)

import geoguide.own_scan
import geoguide.pretraining
import geoguide.pretraining.run
import geoguide.text.minilm
from geoguide.cli import main
from geoguide.experiments import placing, presets, profiles
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pretraining.config import DistillationConfig, NetworkConfig, PretrainConfig, ViewConfig
from geoguide.report import readme

ROOMS = (1, 1, 1)
SMALL_TRAINING = {
    "data__rooms": ROOMS,
    "train__steps": 40,
    "train__points_per_step": 1500,
    "train__evaluate_every": 20,
    "train__checkpoint_every": 5,  # many writes: they are what a kill must not break
}
SMALL_PRETRAINING = PretrainConfig(
    network=NetworkConfig(0.12, (1, 1), (8, 12), (1, 2), (32, 32), (2,), concat=1),
    views=ViewConfig(local_views=1, global_share=(0.4, 0.5)),
    distillation=DistillationConfig(hidden=16, bottleneck=8, prototypes=12, matches=100, radius=0.24),
    benchmark_rooms=1, rooms=1, rooms_per_step=1, steps=30, log_every=10, checkpoint_every=2,
)  # fmt: skip


def small(config: ExperimentConfig) -> ExperimentConfig:
    return config.replace(**SMALL_TRAINING)


def make_small(readme_path: Path) -> None:
    """Make the settings of the commands small."""
    placed, rows = placing.placed, [presets.fusion(), presets.preset()]
    placing.placed = lambda *where, **options: small(placed(*where, **options))
    profiles.profile = lambda name: [small(row) for row in rows]
    geoguide.pretraining.PretrainConfig = functools.partial(replace, SMALL_PRETRAINING)
    readme.update_own = lambda results: readme.update_readme(readme_path)


def start(home: Path, arguments: list[str], log: Path) -> int:
    """Run a command in a process group of its own.

    The process is forked from this one, which has imported the package already: an import takes seconds, in which
    nothing is written, and most kills would hit it.
    """
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os.environ |= {"GEOGUIDE_DATA": str(home / "data"), "GEOGUIDE_RESULTS": str(home / "results")}
        tempfile.tempdir = os.environ["TMPDIR"] = str(home / "tmp")
        make_small(home / "README.md")
        main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:  # a forked process must never return into its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)
