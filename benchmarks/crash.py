"""Crash campaign: commands are killed at random moments and run again, and must end as if nothing had happened.

A trial starts a command in a fresh folder, sends SIGKILL to its whole process group at a moment drawn over the time
of an undisturbed run, starts it again, kills it again (`IN_A_ROW` times), and then lets it end. Every second kill is
aimed: it waits from its moment on until a working folder appears, which is when something is being written.

Required after each kill: every file outside the working folders is as it was or as it will be, or is a checkpoint that
can be loaded.
Required at the end: the same folders and files as after an undisturbed run, with the same bytes, but for
- the date, commit, seconds and peak memory in a record, which say how the run went and not what came of it;
- checkpoints, of which the content is compared: pickle notes which equal strings were one object, and those read from
  a checkpoint are not.

Not looked at: the semaphores of Python's own process pools (32 bytes each in /dev/shm), which stay until the machine
restarts where Python's resource tracker is killed together with everything else.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from _crash_command import ROOMS, start
from _measure import report

from geoguide.paths import MAKING
from geoguide.report.readme import BEGIN, END, README

RESULTS = README.parent / "results"
IN_A_ROW = 5  # kills of a trial, at most
COUNTS = [str(count) for count in ROOMS]
MAKE = ["data", "make", "--workers", "2"]
COMMANDS = {  # {home} is the trial's folder
    "data make": [*MAKE, "--rooms", *COUNTS],
    "data make (streets)": [*MAKE, "--dataset", "mini-nuscenes", "--scenes", *COUNTS],
    "train": ["train", "--workers", "1"],
    "replicate": ["replicate", "--workers", "1"],
    "segment": [
        *("segment", "{home}/data/mini-scannet/scans/scene0000_00/scene0000_00_vh_clean_2.ply", "--masks"),
        *("--labels", "chair, table, whiteboard, floor", "--out", "{home}/labelled.ply"),
    ],
    "pretrain": ["pretrain", "--workers", "1"],
}
Tree = dict[str, str]  # path below a trial's folder -> hash of its content; "" for a folder


@dataclass
class Count:
    """What happened to one command."""

    seconds: float
    kills: int = 0
    trials: int = 0
    when: Counter = field(default_factory=Counter)
    working_folders: int = 0  # left by the kills, all gone at the end
    finds: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--no-report", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin, rows = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="geoguide-crash-") as folder:
        shares = np.array_split(np.arange(arguments.kills), len(arguments.only))
        for name, share in zip(arguments.only, shares, strict=True):
            rng = np.random.default_rng([arguments.seed, list(COMMANDS).index(name)])
            rows.append(campaign(Path(folder), name, len(share), rng))
            print(json.dumps(rows[-1]), flush=True)
    total = {"command": "all", "kills": sum(row["kills"] for row in rows), "seed": arguments.seed}
    total |= {"finds": sum(len(row["finds"]) for row in rows), "seconds": round(time.perf_counter() - begin)}
    if not arguments.no_report:
        report("crash", [*rows, total])
    raise SystemExit(bool(total["finds"]))


def campaign(folder: Path, name: str, kills: int, rng: np.random.Generator) -> dict:
    """Kill one command that many times."""
    begin = time.perf_counter()
    fresh = fresh_home(folder, name)
    whole = copy(fresh, folder / "whole")
    run_to_end(whole, name)  # warms numba's cache
    count, expected = Count(0.0), tree(whole)
    again = copy(fresh, folder / "again")
    count.seconds = run_to_end(again, name)
    count.finds += differences(tree(again), expected, "an undisturbed run repeated")
    before = tree(fresh)
    while count.kills < kills:
        trial(copy(fresh, folder / "trial"), name, min(IN_A_ROW, kills - count.kills), rng, count, before, expected)
    return {
        "command": name,
        "kills": count.kills,
        "trials": count.trials,
        "undisturbed_seconds": round(count.seconds, 1),
        **{f"hit_{when}": count.when[when] for when in ("before", "during", "between", "after")},
        "left_working_folders": count.working_folders,
        "finds": count.finds,
        "seconds": round(time.perf_counter() - begin),
    }


def fresh_home(folder: Path, name: str) -> Path:
    """The folder that each trial starts from: data where the command needs them, records, a README to be updated."""
    home, data = folder / "fresh", folder / "data"
    shutil.rmtree(home, ignore_errors=True)
    for part in ("tmp", "data"):
        (home / part).mkdir(parents=True)
    if not name.startswith("data make"):
        if not data.is_dir():
            run_to_end(home, "data make")
            shutil.copytree(home / "data", data)
        shutil.copytree(data, home / "data", dirs_exist_ok=True)
    if name == "replicate":
        shutil.copytree(RESULTS, home / "results")
        text = README.read_text()
        (home / "README.md").write_text(text[: text.index(BEGIN)] + BEGIN + END + text.split(END, 1)[1])
    return home


def copy(fresh: Path, home: Path) -> Path:
    shutil.rmtree(home, ignore_errors=True)
    return Path(shutil.copytree(fresh, home))


def trial(
    home: Path, name: str, kills: int, rng: np.random.Generator, count: Count, before: Tree, expected: Tree
) -> None:
    """Kill a command, start it again, and look at what there is in the end."""
    count.trials += 1
    where = f"trial {count.trials}"
    for _ in range(kills):
        moment, aimed, begun = rng.uniform(0, count.seconds), count.kills % 2 == 1, finished_files(tree(home))
        if not killed(home, name, moment, aimed):
            break  # it had ended before
        count.kills += 1
        found = tree(home)
        now = finished_files(found)
        count.working_folders += sum(Path(path).name.startswith(MAKING) and not found[path] for path in found)
        count.when[phase(now, begun, expected, writing=len(now) < len(found))] += 1
        count.finds += half_written(now, before, expected, f"{where}, killed after {moment:.2f} s")
    run_to_end(home, name)
    count.finds += differences(tree(home), expected, where)


def killed(home: Path, name: str, moment: float, aimed: bool) -> bool:
    """Start a command and kill it; False where it ends before."""
    process, begin = launch(home, name), time.perf_counter()
    while time.perf_counter() - begin < moment or (aimed and not any_making(home)):
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return False
        time.sleep(0.001)
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:  # so early that it leads no group yet
        os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def any_making(home: Path) -> bool:
    return any(name.startswith(MAKING) for _, folders, _ in os.walk(home) for name in folders)


def launch(home: Path, name: str) -> int:
    return start(home, [part.format(home=home) for part in COMMANDS[name]], home.parent / "log.txt")


def run_to_end(home: Path, name: str) -> float:
    """Seconds that a command takes; it must succeed."""
    begin = time.perf_counter()
    _, status = os.waitpid(launch(home, name), 0)
    if status:
        log = (home.parent / "log.txt").read_text()[-3000:]
        raise SystemExit(f"{name}: exit code {os.waitstatus_to_exitcode(status)}\n{log}")
    return time.perf_counter() - begin


def tree(home: Path) -> Tree:
    """Everything below a folder, by what it holds."""
    paths = [path for path in home.rglob("*") if path.exists()]
    return {path.relative_to(home).as_posix(): "" if path.is_dir() else digest(path, home) for path in paths}


def digest(path: Path, home: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".pt" and MAKING not in str(path):
        content = plain(torch.load(path, weights_only=True)).encode()
    elif path.suffix == ".json":
        content = without_times(content)
    return hashlib.sha256(content.replace(str(home).encode(), b"HOME")).hexdigest()


def plain(value: object) -> str:
    """What a checkpoint holds, as text: tensors by the hash of their bytes."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(value.numpy().tobytes()).hexdigest()}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {plain(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(plain, value)) + "]" if isinstance(value, list | tuple) else repr(value)


def without_times(content: bytes) -> bytes:
    """A record without what says how the run went; other JSON, and what is no JSON, as it is."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    if not isinstance(value, dict) or "environment" not in value:
        return content
    for name in ("wall_seconds", "own_memory_mb"):
        value.pop(name, None)
    for name in ("date", "git_commit"):
        value["environment"].pop(name)
    return json.dumps(value).encode()


def finished_files(found: Tree) -> Tree:
    return {path: digest for path, digest in found.items() if MAKING not in path}


def phase(now: Tree, begun: Tree, expected: Tree, *, writing: bool) -> str:
    """When a kill came: `during` while something was being written, `between` two writes, `before` or `after` all."""
    if writing:
        return "during"
    return "before" if now == begun else "after" if now == expected else "between"


def half_written(now: Tree, before: Tree, expected: Tree, where: str) -> list[str]:
    """Files that are neither as they were nor as they will be; a checkpoint was loaded when it was hashed."""
    odd = [path for path, found in now.items() if found not in (before.get(path), expected.get(path))]
    return [f"{where}: {path} is half written" for path in odd if not path.endswith(".pt")]


def differences(found: Tree, expected: Tree, where: str) -> list[str]:
    """How a folder differs from that of an undisturbed run."""
    rows = [f"{where}: {path} is left over" for path in sorted(found.keys() - expected.keys())]
    rows += [f"{where}: {path} is missing" for path in sorted(expected.keys() - found.keys())]
    both = sorted(found.keys() & expected.keys())
    return rows + [f"{where}: {path} differs" for path in both if found[path] != expected[path]]


if __name__ == "__main__":
    main()
