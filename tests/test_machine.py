"""What a process may use: made-up machines, as files of /proc and /sys; commands that run no more than fit."""

import os
import re
from pathlib import Path

import pytest

from geoguide.cli import main
from geoguide.experiments import needs, pools
from geoguide.experiments.presets import adapter_only
from geoguide.ops import machine
from geoguide.ops.machine import GIB
from geoguide.paths import PACKAGE

MIB = 2**20
# Files below /proc and /sys/fs/cgroup, the cores of the affinity, then what is found: cores, and GiB.
MACHINES = {
    "a laptop": ({"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable:    8388608 kB\n"}, 8, (8, 8)),
    "no limits": (
        {
            "proc/self/cgroup": "0::/user.slice\n",
            "sys/user.slice/memory.max": "max\n",
            "sys/user.slice/memory.current": "4096\n",
            "sys/user.slice/cpu.max": "max 100000\n",
        },
        8,
        (8, 64),
    ),
    "a container, its pages of files given back": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/memory.max": f"{8 * GIB}\n",
            "sys/memory.current": f"{6 * GIB}\n",
            "sys/memory.stat": f"anon {2 * GIB}\ninactive_file {3 * GIB}\nactive_file {1 * GIB}\n",
            "sys/cpu.max": "250000 100000\n",
        },
        64,
        (3, 6),
    ),
    "a job of Slurm: the limit is of a group above": (
        {
            "proc/self/cgroup": "0::/system.slice/job_7/step_0/task_0\n",
            "sys/system.slice/job_7/memory.max": f"{4 * GIB}\n",
            "sys/system.slice/job_7/memory.current": f"{1 * GIB}\n",
            "sys/system.slice/job_7/step_0/task_0/memory.max": "max\n",
            "sys/system.slice/job_7/step_0/task_0/memory.current": f"{1 * GIB}\n",
        },
        2,
        (2, 3),
    ),
    "a service that is slowed down first": (
        {
            "proc/self/cgroup": "0::/a\n",
            "sys/a/memory.max": f"{8 * GIB}\n",
            "sys/a/memory.high": f"{5 * GIB}\n",
            "sys/a/memory.current": "0\n",
        },
        8,
        (8, 5),
    ),
    "version 1, seen from within a container": (
        {
            "proc/self/cgroup": "5:cpuacct,cpu:/docker/1f\n4:memory:/docker/1f\n1:name=systemd:/docker/1f\n",
            "sys/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/memory/memory.usage_in_bytes": f"{1 * GIB}\n",
            "sys/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB // 2}\ntotal_active_file 0\n",
            "sys/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
        (1, 1.5),
    ),
    "version 1 without limits": (
        {
            "proc/self/cgroup": "4:memory:/\n3:cpu:/\n",
            "sys/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/memory/memory.usage_in_bytes": "4096\n",
            "sys/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/cpu/cpu.cfs_period_us": "100000\n",
        },
        8,
        (8, 64),
    ),
    "more is used than allowed": (
        {"proc/self/cgroup": "0::/\n", "sys/memory.max": f"{GIB}\n", "sys/memory.current": f"{2 * GIB}\n"},
        4,
        (4, 0),
    ),
    "a namespace of groups, from outside": (
        {
            "proc/self/cgroup": "0::/../../other\n",
            "sys/memory.max": f"{GIB}\n",
            "sys/memory.current": "0\n",
        },
        4,
        (4, 1),
    ),
    "files that say something else": (
        {"proc/self/cgroup": "nonsense\n\n0\n", "sys/memory.max": "\n", "sys/memory.current": "", "sys/cpu.max": "x y"},
        4,
        (4, 64),
    ),
}


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a machine of these files and cores in place of this one."""

    def make(files: dict[str, str], cores: int) -> None:
        for name, text in {"proc/meminfo": f"MemAvailable: {64 * 2**20} kB\n", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
        monkeypatch.setattr(machine, "CGROUPS", tmp_path / "sys")
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {*range(cores)}, raising=False)

    return make


def small(made_up, gib: float, cores: int = 8) -> None:
    made_up({"proc/meminfo": f"MemAvailable: {int(gib * 2**20)} kB\n"}, cores)


@pytest.mark.parametrize("name", MACHINES)
def test_cores_and_memory_are_those_that_are_left_to_the_process(name: str, made_up) -> None:
    files, affinity, (cores, gib) = MACHINES[name]
    made_up(files, affinity)
    assert (machine.cores(), machine.available_memory()) == (cores, gib * GIB)


def test_this_machine_has_some_of_both() -> None:
    available = machine.available_memory()
    assert 1 <= machine.cores() <= (os.cpu_count() or 1) and (available is None or available > 2**24)


@pytest.mark.parametrize(
    ("gib", "cores", "jobs", "taken", "said"),
    [
        (64, 8, None, 8, ""),
        (6, 8, None, 3, "3 processes at a time, where cores suffice for 8: 6.0 GiB of memory are available, and each"),
        (6, 8, 3, 3, ""),
        (3, 2, 5, 1, "1 process at a time, where cores suffice for 2: 3.0 GiB"),
        (1, 2, None, 1, "1 process at a time"),
        (1, 1, None, 1, ""),
        (1, 8, 1, 1, ""),
        (1, 8, 0, 1, ""),
    ],
)
def test_as_many_processes_as_cores_and_memory_allow(gib, cores, jobs, taken, said, made_up, capsys) -> None:
    small(made_up, gib, cores)
    assert machine.fitting(2 * GIB, jobs) == taken
    written = capsys.readouterr().err
    assert said in written and written.count("\n") == bool(said)


def test_where_nothing_is_known_of_memory_cores_decide(made_up, tmp_path, monkeypatch, capsys) -> None:
    small(made_up, 1)
    (tmp_path / "proc" / "meminfo").unlink()
    monkeypatch.setattr(os, "sysconf_names", {}, raising=False)
    assert machine.fitting(1024 * GIB) == 8 and capsys.readouterr().err == ""


def test_rows_are_counted_by_the_one_that_needs_most(made_up, capsys) -> None:
    small(made_up, 7)
    mine = adapter_only(0)
    line = needs.Measured(needs._alike(mine), needs._steps(mine), 60.0, 1600.0)  # 2000 MB with the margin
    assert needs.fitting_rows([mine], [line]) == 3 and needs.fitting_preparers(mine) == 6
    entire = mine.replace(train__model="point_transformer")
    more = needs.Measured(needs._alike(entire), needs._steps(entire), 60.0, 4800.0)
    assert needs.fitting_rows([mine, entire], [line, more]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 3 and "each may take 2.0 GiB" in said and "--workers sets another number" in said


def test_a_gpu_has_room_for_fewer(made_up, monkeypatch, capsys) -> None:
    small(made_up, 500, 16)
    monkeypatch.setattr(needs.torch.cuda, "is_available", lambda: True)
    mine = adapter_only(0)
    line = needs.Measured(needs._alike(mine), needs._steps(mine), 60.0, 1600.0)
    for free, device, taken in (
        ([8 * GIB], "auto", 4),
        ([8 * GIB, 9 * GIB], "auto", 8),
        ([80 * GIB], "auto", 16),
        ([GIB], "auto", 1),
        ([GIB], "cpu", 16),
    ):
        monkeypatch.setattr(needs, "_look", lambda _, free=free: free)
        assert needs._fitting(2000, device) == taken
    assert needs.fitting_rows([mine], [line]) == 1
    said = capsys.readouterr().err
    assert "8.0 GiB are free on a GPU, and each may take 2.0 GiB" in said and said.count("\n") == 4


def test_the_host_s_memory_of_cuda_is_that_of_the_grid() -> None:
    grid = (PACKAGE / "experiments" / "grid.smk").read_text(encoding="utf-8")
    assert int(re.search(r"^GPU_MB = (\d+)", grid, re.MULTILINE)[1]) == needs.GPU_MB


def test_a_command_takes_as_many_and_says_so(made_up, tmp_path, monkeypatch, capsys) -> None:
    """Without --workers; the last line of each is of what the pool was asked for."""
    asked = []

    class Asked(Exception):
        pass

    def pool(count: int, **_: bool):
        asked.append(count)
        raise Asked

    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GEOGUIDE_DEBUG", "1")
    monkeypatch.setattr("geoguide.worlds.jobs.worker_pool", pool)
    monkeypatch.setattr(pools, "worker_pool", pool)
    small(made_up, 3.4)
    for words, taken in (
        (["data", "make", "--rooms", "9", "0", "0"], 4),
        (["data", "make", "--rooms", "9", "0", "0", "--workers", "7"], 7),
        (["train", "--steps", "1"], 3),
        (["train", "--steps", "1", "--workers", "7"], 7),
    ):
        with pytest.raises(Asked):
            main(words)
        said = capsys.readouterr().err
        assert asked.pop() == taken and ("at a time" in said) == ("--workers" not in words)
