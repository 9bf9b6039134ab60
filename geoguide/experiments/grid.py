"""The grid: a profile's rows as a plan for Snakemake (`grid.smk`), and the steps that its jobs take.

A plan is one JSON file that says what is to be made from what: generated data (their manifests), prepared scenes (a
stamp in the cache), records (their own files) and a table. It holds the configs, so that a job on another machine that
sees the same folders needs the file and a key alone. Every file is written whole or not at all, so that a job may be
killed at any moment, and a record that exists is never computed again.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from geoguide.benchmarks.scenes import generate, list_sources
from geoguide.datasets.config import DataConfig
from geoguide.errors import ConfigError, DataError, require
from geoguide.experiments.at_hand import all_generated, find_here
from geoguide.experiments.needs import measured, preparation, resources
from geoguide.experiments.pools import prepare_data
from geoguide.experiments.records import Record, find_all, frame, record_path, stored
from geoguide.experiments.run import data_key, get
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.ops.devices import take_gpu
from geoguide.ops.machine import available_memory, cores
from geoguide.paths import PACKAGE, cache_root, clone, results_root, runs_root, sweep, write_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.pipeline.stages import VERSIONS
from geoguide.text_files import parse_json, read_text
from geoguide.worlds.jobs import MANIFEST

PATIENCE = 30.0  # seconds that Snakemake and its jobs have to end, when they are interrupted
PREPARING = 4  # processes of a job that prepares scenes, as `grid.smk` has it
WORKFLOW = PACKAGE / "experiments" / "grid.smk"
_WHERE_TO_RUN = ("--cores", "-c", "--jobs", "-j", "--executor", "-e", "--profile", "--workflow-profile")


def plan(configs: Sequence[ExperimentConfig], name: str) -> dict[str, Any]:
    """What is to be made from what, so that every row has its record.

    Args:
        configs: The experiments.
        name: Of the plan: its table is called so.

    Returns:
        As JSON types, all paths absolute: `folder`, where this process works, which paths in configs may count from;
        `results`, the folder of records; `table`, what is made in the end; `clone`, the repository that the package
        runs from, or None; `data`, by manifest what is generated; `scenes`, by key the stamp, the manifests and a
        config of prepared scenes, and the resources of preparing them (see `needs.preparation`; nothing for scenes that
        are still to be generated); `rows`, by hash the record, the key of its scenes, its resources (see `resources`)
        and its config.

    Raises:
        ConfigError: A path holds braces.
        DataError: A record cannot be read, or is of other scenes than those at hand.
    """
    known, top = measured(), clone()
    data: dict[str, list[dict[str, Any]]] = {}
    scenes: dict[str, dict[str, Any]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for config in configs:
        there = stored(config)
        # To Snakemake a record that is there is a source.
        if there and not all_generated(config) and find_here(config) is None:
            raise DataError(f"{there[0]}: of other scenes than lie in {config.tested().data.folder}: delete it")
        decides = data_key(config) + json.dumps(VERSIONS, sort_keys=True)  # stages of a new number are prepared anew
        key = hashlib.sha256(decides.encode()).hexdigest()[:12]
        made = _generated(config)
        for manifest, described in made.items():
            known_data = data.setdefault(manifest, [])
            known_data += [] if described in known_data else [described]
        stamp = (cache_root() / "prepared" / f"{key}.json").absolute()
        if key not in scenes:
            about = {"stamp": str(stamp), "data": list(made), "config": to_dict(config)}
            scenes[key] = about | {"resources": _preparation(config)}
        rows[config_hash(config)] = {
            "record": str((there[0] if there else record_path(config)).absolute()),
            "scenes": key,
            "resources": resources(config, known),
            "config": to_dict(config),
        }
    table = str((runs_root() / "grid" / f"{name}.csv").absolute())
    files = [table, *data, *(about["stamp"] for about in scenes.values()), *(row["record"] for row in rows.values())]
    odd = next((file for file in files if {"{", "}"} & {*file}), None)
    if odd is not None:
        raise ConfigError(f"{odd}: Snakemake takes braces in a path for a wildcard: use folders without {{ and }}")
    return {
        "folder": os.getcwd(),
        "results": str(results_root().absolute()),
        "table": table,
        "clone": None if top is None else str(top),
        "data": data,
        "scenes": scenes,
        "rows": rows,
    }


def _preparation(config: ExperimentConfig) -> dict[str, int]:
    """What preparing the scenes of an experiment takes, where they are there to be counted and nothing else is known.

    The cost model knows no 2D model's time: where images are looked at, what nobody measured is asked for.
    """
    if config.image_model is not None:
        return {}
    splits = ((config.data, "train"), (config.data, "val"), (config.tested().data, "test"))
    if any(data.generated and not (data.folder / MANIFEST).is_file() for data, _ in splits):
        return {}
    count = sum(len(list_sources(data, split)) for data, split in splits)
    return preparation(config, count, PREPARING)


def _generated(config: ExperimentConfig) -> dict[str, dict[str, Any]]:
    """The generated data that an experiment reads, by manifest."""
    both = (config.data, config.tested().data)
    return {str((data.folder / MANIFEST).absolute()): to_dict(data) for data in both if data.generated}


def write_plan(path: Path, configs: Sequence[ExperimentConfig]) -> None:
    """Write the plan of some experiments (see `plan`).

    Args:
        path: The file; the table has its name.
        configs: The experiments.
    """
    write_text(path, json.dumps(plan(configs, path.stem), indent=1) + "\n")


def read_plan(path: Path) -> dict[str, Any]:
    """A plan from disk.

    Args:
        path: Of the file.

    Returns:
        See `plan`.

    Raises:
        DataError: It cannot be read, or is no plan.
    """
    held = parse_json(read_text(path, "plan"), path)
    for part, kind in (
        ("folder", str),
        ("results", str),
        ("table", str),
        ("data", dict),
        ("scenes", dict),
        ("rows", dict),
    ):
        if not isinstance(held, dict) or not isinstance(held.get(part), kind):
            raise DataError(f"{path}: no plan of `geoguide replicate --plan` ({part} is missing or no {kind.__name__})")
    return held


def _part(held: dict[str, Any], part: str, key: str) -> Any:
    if key not in held[part]:
        raise DataError(f"the plan has no {part} {key!r}, expected one of {', '.join(sorted(held[part])[:5])}, ...")
    return held[part][key]


def enter(held: dict[str, Any]) -> None:
    """Go to the folder that the plan was written in: Snakemake's jobs begin elsewhere, and paths may count from there.

    Args:
        held: The plan.

    Raises:
        DataError: This machine does not see that folder.
    """
    if not os.path.isdir(held["folder"]):
        raise DataError(f"{held['folder']}: not on this machine; plans are for machines that share the folder")
    os.chdir(held["folder"])


def make_data(held: dict[str, Any], manifest: str, workers: int) -> None:
    """Generate a data set, where it is not complete.

    Args:
        held: The plan.
        manifest: Its manifest, which is written last.
        workers: Processes.

    Raises:
        DataError: The plan has no such data, or its folder holds something that was not generated.
    """
    for described in _part(held, "data", manifest):
        generate(from_dict(DataConfig, described), workers)


def prepare_scenes(held: dict[str, Any], key: str, workers: int) -> None:
    """Prepare the scenes that rows share, and write the stamp that says so.

    Args:
        held: The plan.
        key: Of the scenes.
        workers: Processes; the scenes are spread over them.

    Raises:
        DataError: The plan has no such scenes, or one of them cannot be read.
    """
    described = _part(held, "scenes", key)
    config = from_dict(ExperimentConfig, described["config"])
    prepare_data(config, workers)
    names = {split: [source.name for source in scene_sources(config.data, split)] for split in ("train", "val")}
    names["test"] = [source.name for source in scene_sources(config.tested().data, "test")]
    write_text(Path(described["stamp"]), json.dumps(names) + "\n")


def run_row(held: dict[str, Any], row: str) -> Record:
    """Make the record of one row, where it is not there.

    On one thread, as the built-in pool's workers: rows side by side beat one row on many threads. Of several GPUs that
    the scheduler has left in sight (on one machine all of them) it takes one by its hash.

    Args:
        held: The plan.
        row: Hash of its config.

    Returns:
        The record.

    Raises:
        DataError: The plan has no such row, or the row of another version of the package.
    """
    described, folder = _part(held, "rows", row), Path(held["results"])
    config = from_dict(ExperimentConfig, described["config"])
    if config_hash(config) != row:
        raise DataError(f"the plan's row {row} is {config_hash(config)} to this version: write the plan again")
    sweep(record_path(config, folder).parent)
    torch.set_num_threads(1)
    take_gpu(int(row, 16))
    return get(config, folder=folder, progress=False)


def write_table(held: dict[str, Any]) -> int:
    """Write the records of a plan as one table (see `records.frame`), a line each.

    Args:
        held: The plan.

    Returns:
        How many lines it has.

    Raises:
        DataError: A row has no record.
    """
    configs = [from_dict(ExperimentConfig, row["config"]) for row in held["rows"].values()]
    found = find_all(configs, Path(held["results"]))
    require(len(found) == len(configs), f"{len(configs) - len(found)} of {len(configs)} rows have no record")
    lines = [frame([record], edition=record.config.data.edition) for record in found]
    write_text(Path(held["table"]), pd.concat(lines).to_csv(index=False))
    return len(found)


def run_grid(
    path: Path, configs: Sequence[ExperimentConfig], workers: int | None, passed: Sequence[str]
) -> list[Record]:
    """Write the plan of some experiments and let Snakemake carry it out.

    Snakemake's own lock, which a killed run leaves behind, is not used: of two runs into one folder of records the
    second waits (see `grid.smk`). What ends this process ends Snakemake and the jobs on this machine too.

    Args:
        path: Where the plan is written; Snakemake keeps its notes beside it.
        configs: The experiments.
        workers: Cores of this machine that may be used; None for all, with as many rows at a time as there is memory
            for. Unread where `passed` says where to run.
        passed: Further options of Snakemake. Its jobs call the package by this process' Python, or, where an executor
            of other machines is named, as `geoguide`, unless `--config geoguide=...` says otherwise.

    Returns:
        The records, in the order of the configs.

    Raises:
        ConfigError: Snakemake is not installed.
        DataError: Snakemake gave up; its own messages stand above.
    """
    snakemake = _snakemake()
    write_plan(path, configs)
    command = [*snakemake, "--snakefile", str(WORKFLOW), "--directory", str(path.parent.absolute())]
    command += ["--nolock", "--rerun-incomplete"]
    if not any(word.split("=")[0] in _WHERE_TO_RUN for word in passed):
        command += ["--cores", str(workers or cores())]
        available = available_memory()
        if workers is None and available is not None and not any(_names_resources(word) for word in passed):
            command += ["--resources", f"mem_mb={available // 2**20}"]
    rest, given = _without_config(passed)
    own = [] if _elsewhere(passed) else [f"geoguide={_as_word(sys.executable)} -m geoguide"]
    # The last of a name holds. Snakemake reads a setting as YAML, where a folder's name may mean anything: so the
    # plan is named from the folder that it works in.
    settings = [*own, *given, f"plan={path.name}"]
    process = subprocess.Popen([*command, *rest, "--config", *settings], start_new_session=True)
    try:
        code = process.wait()
    except BaseException:
        _end(process)
        raise
    if code:
        raise DataError(f"snakemake ended with exit code {code}; run the same command again to go on")
    return find_all(configs)


def _names_resources(word: str) -> bool:
    """Whether an option of Snakemake says what this machine has; of several the last alone would hold."""
    return word.split("=")[0] in ("--resources", "--res")


def _end(process: subprocess.Popen) -> None:
    """End Snakemake and its jobs: on SIGTERM it would wait until those that run are done, which may take hours.

    Args:
        process: Snakemake, the first of a session of its own. All of its group are interrupted, as by Ctrl-C, so that
            Snakemake cancels what it submitted elsewhere; what is left after `PATIENCE` seconds is killed.
    """
    if not hasattr(os, "killpg"):  # Windows
        process.terminate()
        process.wait()
        return
    until = time.monotonic() + PATIENCE
    try:
        os.killpg(process.pid, signal.SIGINT)
        while time.monotonic() < until:
            process.poll()  # takes its exit code: it else counts as one of the group
            os.killpg(process.pid, 0)  # raises where nobody is left
            time.sleep(0.05)
    except ProcessLookupError:
        return
    finally:  # a second Ctrl-C does not wait
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _as_word(path: str) -> str:
    r"""A path as one word of the shell, by backslashes: quotes at the ends of a setting are taken off by Snakemake.

    Example:
        >>> print(_as_word("/my disk/bin/python"))
        /my\ disk/bin/python
    """
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", path)


def _without_config(passed: Sequence[str]) -> tuple[list[str], list[str]]:
    """Snakemake's options without its settings (`--config A=B C=D`), and these: of several --config it takes the last.

    Args:
        passed: The options.

    Returns:
        The others, and the settings.

    Example:
        >>> _without_config(["--jobs", "2", "--config", "gpu=1", "mem_mb=9", "-n", "-C", "runtime=5"])
        (['--jobs', '2', '-n'], ['gpu=1', 'mem_mb=9', 'runtime=5'])
    """
    rest: list[str] = []
    given: list[str] = []
    reading = False
    for word in passed:
        option, _, value = word.partition("=")
        if option in ("--config", "-C"):
            reading = True
            given += [value] if value else []
        elif word.startswith("-C"):
            given.append(word[2:])
        elif reading and not word.startswith("-"):
            given.append(word)
        else:
            reading = False
            rest.append(word)
    return rest, given


def _elsewhere(passed: Sequence[str]) -> bool:
    """Whether options of Snakemake, or a profile that they name, have jobs run on other machines."""
    named: dict[str, str] = {}
    for word, following in zip(passed, [*passed, ""][1:], strict=True):
        option, joined, value = word.partition("=")
        named[option] = value if joined else following
    executor = named.get("--executor") or named.get("-e")
    profiles = (named.get("--profile"), named.get("--workflow-profile"), os.environ.get("SNAKEMAKE_PROFILE"))
    for profile in profiles if executor is None else ():
        for path in sorted(Path(profile).glob("config*.yaml")) if profile else ():
            line = re.search(r"^executor:\s*['\"]?([\w-]+)", read_text(path, "profile"), re.MULTILINE)
            executor = executor or (line and line[1])
    return executor not in (None, "local", "dryrun")


def _snakemake() -> list[str]:
    """The command: of this environment, else the first on the path, such as a cluster's own."""
    if importlib.util.find_spec("snakemake") is not None:
        return [sys.executable, "-m", "snakemake"]
    found = shutil.which("snakemake")
    if found is None:
        raise ConfigError("--engine snakemake needs Snakemake 9: pip install 'geoguide[grid]'")
    return [found]


def plan_path(name: str, configs: Sequence[ExperimentConfig]) -> Path:
    """Where the plan of some experiments lies.

    Args:
        name: Of the profile.
        configs: Its experiments.

    Returns:
        A file in `grid/` of the folder of runs, another one for other experiments.
    """
    rows = "".join(map(config_hash, configs))
    return runs_root() / "grid" / f"{name}-{hashlib.sha256(rows.encode()).hexdigest()[:8]}.json"
