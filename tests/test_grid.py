"""The grid on Snakemake: plans by hand, and the real Snakemake on tiny rows, on two cores, killed, and on Slurm."""

import importlib.util
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geoguide import locks
from geoguide.cli import main
from geoguide.errors import DataError
from geoguide.experiments import grid, needs, records
from geoguide.experiments.cost import Work, estimate, points_of_a_scene, rates
from geoguide.experiments.presets import adapter_only, fusion
from geoguide.experiments.run import run
from geoguide.frozen import config_hash, to_dict
from geoguide.paths import PACKAGE
from geoguide.pipeline.config import ExperimentConfig

ROOT = PACKAGE.parent
snakemake = pytest.mark.skipif(importlib.util.find_spec("snakemake") is None, reason="extra grid is not installed")
OF_THE_RUN = {"wall_seconds", "own_memory_mb", "environment"}


def contents(path: Path) -> dict:
    """A record but for when and where it was made."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name not in OF_THE_RUN}


@pytest.fixture
def results(tmp_path: Path, data_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of records of the test's own."""
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def rows(tiny: ExperimentConfig) -> list[ExperimentConfig]:
    """2D fusion, and a short training."""
    short = {"train__steps": 20, "train__evaluate_every": 10, "train__checkpoint_every": 10}
    return [tiny.replace(name="tiny fusion", protocol__mode="fusion", **short), tiny.replace(**short)]


def call(plan: Path, *options: str) -> subprocess.Popen:
    """Plain Snakemake on the repository's file."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile")]
    command += ["--directory", str(plan.parent), *options]
    own = ["--config", f"plan={plan}", f"geoguide={sys.executable} -m geoguide"]
    return subprocess.Popen(
        [*command, *own], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def stamped(held: dict) -> None:
    """Say of scenes that are prepared that they are: another test has the job that does it."""
    for scenes in held["scenes"].values():
        Path(scenes["stamp"]).parent.mkdir(parents=True, exist_ok=True)
        Path(scenes["stamp"]).write_text("{}")


def fake_slurm(folder: Path) -> Path:
    """A cluster of one machine on which a job runs while it is submitted; the file that notes what was asked for."""
    folder.mkdir()
    scripts = {
        "sbatch": """echo "$*" >> "$here/asked"
number=$(wc -l < "$here/asked")
for word in "$@"; do
  [[ $word == --wrap=* ]] && command=${word#--wrap=}
  [[ $last == --wrap ]] && command=$word
  last=$word
done
state=COMPLETED
SLURM_JOB_ID=$number bash -c "${command:-$(cat)}" > "$here/$number.log" 2>&1 || state=FAILED
echo "$number|$state" >> "$here/states"
echo "$number" """,
        "sacct": 'cat "$here/states"',
        "scontrol": "echo MinJobAge = 300 sec",
        "sinfo": "echo all",
        "scancel": "true",
        "srun": 'while [[ $1 == -* ]]; do shift; done; exec "$@"',
    }
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\nhere={folder}\n{script}\n")
        (folder / name).chmod(0o755)
    return folder / "asked"


# What to ask for.


def line(config: ExperimentConfig, seconds: float, megabytes: float | None) -> needs.Measured:
    return needs.Measured(needs._alike(config), needs._steps(config), seconds, megabytes)


def test_resources_are_the_most_that_alike_rows_took_with_a_margin() -> None:
    mine, other = adapter_only(0), adapter_only(0).replace(data__dataset="mini-nuscenes")
    known = [line(mine, 100, 400), line(mine, 310, None), line(other, 9000, 8000)]
    assert needs.resources(adapter_only(1), known) == {"runtime": 11, "mem_mb": 500}
    assert needs.resources(mine.replace(data__edition="large"), known) == {"runtime": 11, "mem_mb": 500}
    assert needs.resources(mine, [line(other, 60, 80)]) == {"runtime": 2, "mem_mb": 100}  # of the same student at least
    assert needs.resources(fusion(0), known) == {}


def test_memory_may_be_known_of_less_alike_rows_than_time() -> None:
    mine, other = adapter_only(0), adapter_only(0).replace(data__dataset="mini-nuscenes")
    assert needs.resources(mine, [line(mine, 60, None), line(other, 6000, 80)]) == {"runtime": 2, "mem_mb": 100}


def test_committed_records_are_measured() -> None:
    known = needs.measured(ROOT / "results")
    assert len(known) == len(records.read_all(ROOT / "results"))
    assert {"runtime", "mem_mb"} == {*needs.resources(adapter_only(0), known)}


# Plans.


def test_a_plan_holds_all_that_a_job_needs(rows, results: Path, tmp_path: Path) -> None:
    path = tmp_path / "plans" / "tiny.json"
    grid.write_plan(path, rows)
    held = grid.read_plan(path)
    assert [*held["rows"]] == [config_hash(config) for config in rows]
    assert [row["record"] for row in held["rows"].values()] == [str(records.record_path(config)) for config in rows]
    assert Path(held["table"]).name == "tiny.csv" and len(held["data"]) == len(held["scenes"]) == 1
    (scenes,) = held["scenes"].values()
    assert scenes["data"] == [*held["data"]] and Path(scenes["data"][0]).is_file()


def test_scenes_are_prepared_in_the_time_that_the_cost_model_says(
    rows, results: Path, tmp_path: Path, monkeypatch
) -> None:
    """ScanNet's own number of scenes needs more than the two hours of what nobody measured."""
    monkeypatch.setattr(
        grid, "list_sources", lambda data, split: [None] * {"train": 1201, "val": 312, "test": 0}[split]
    )
    (real,) = grid.plan(rows, "x")["scenes"].values()
    points = points_of_a_scene("scannet")
    seconds = 1513 * points * (rates().frozen_seconds + rates().point_seconds) / grid.PREPARING
    assert real["resources"]["runtime"] == math.ceil(needs.TIME_MARGIN * seconds / 60) > 120
    assert real["resources"]["mem_mb"] == math.ceil(
        needs.MEMORY_MARGIN * grid.PREPARING * 1024 * estimate(Work(1, points)).memory_gib
    )
    elsewhere = rows[0].replace(data__root=str(tmp_path / "not made"))
    (planned,) = grid.plan([elsewhere], "x")["scenes"].values()
    assert planned["resources"] == {}


def test_stages_of_a_new_number_are_prepared_anew(rows, results: Path, monkeypatch) -> None:
    (before,) = grid.plan(rows, "x")["scenes"]
    monkeypatch.setitem(grid.VERSIONS, "geometry", 99)
    (after,) = grid.plan(rows, "x")["scenes"]
    assert before != after


def test_settings_of_the_user_and_of_the_plan_are_one_option(rows, results: Path, tmp_path: Path, monkeypatch) -> None:
    """Of several --config Snakemake takes the last alone. What another machine cannot run is not named there."""
    said = tmp_path / "said"
    monkeypatch.setattr(grid, "_snakemake", lambda: ["sh", "-c", f'printf "%s\\n" "$@" > {said}', "sh"])
    own, plan = f"geoguide={sys.executable} -m geoguide", "plan=p.json"
    slurm, local = (str(ROOT / "workflow" / "profiles" / name) for name in ("slurm", "local"))
    cases = {
        ("--config", "gpu=1", "mem_mb=9", "--jobs", "3", "-C", "runtime=5"): [own, "gpu=1", "mem_mb=9", "runtime=5"],
        ("--executor=slurm", "--config=gpu=1"): ["gpu=1"],
        ("-e", "local", "-Cgpu=1"): [own, "gpu=1"],
        ("--profile", slurm, "--config", "geoguide=/there/geoguide"): ["geoguide=/there/geoguide"],
        ("--profile", local): [own],
        (): [own],
    }
    for passed, settings in cases.items():
        grid.run_grid(tmp_path / "p.json", rows[:1], 1, passed)
        words = said.read_text().splitlines()
        assert words.count("--config") == 1 and "-C" not in words
        assert words[words.index("--config") + 1 :] == [*settings, plan]
        assert ("--jobs" in words) == ("--jobs" in passed)


def test_a_row_whose_record_was_named_otherwise_has_it(rows, results: Path, tmp_path: Path) -> None:
    old = records.record_path(rows[0].replace(name="as it was called"))
    old.parent.mkdir(parents=True)
    old.write_text(json.dumps({"config": to_dict(rows[0]), "wall_seconds": 90.0, "own_memory_mb": 100}))
    (planned,) = grid.plan(rows[:1], "x")["rows"].values()
    assert planned["record"] == str(old) and planned["resources"] == {"runtime": 3, "mem_mb": 125}


@pytest.mark.parametrize(
    ("workers", "passed", "resources"),
    [
        (None, (), "mem_mb=3072"),
        (2, (), None),
        (None, ("--resources", "mem_mb=9"), "mem_mb=9"),
        (None, ("--resources=mem_mb=9",), None),
        (None, ("--cores", "2"), None),
        (None, ("--executor=slurm",), None),
    ],
)
def test_rows_side_by_side_are_no_more_than_memory_holds(
    workers, passed, resources, rows, results: Path, tmp_path: Path, monkeypatch
) -> None:
    said = tmp_path / "said"
    monkeypatch.setattr(grid, "_snakemake", lambda: ["sh", "-c", f'printf "%s\\n" "$@" > {said}', "sh"])
    monkeypatch.setattr(grid, "available_memory", lambda: 3 * 2**30)
    grid.run_grid(tmp_path / "p.json", rows[:1], workers, passed)
    words = said.read_text().splitlines()
    assert words.count("--resources") == (resources is not None)
    assert resources is None or words[words.index("--resources") + 1] == resources


@pytest.mark.parametrize(
    ("text", "found"),
    [("{", "p.json"), ("[]", "folder is missing"), ('{"folder": "/", "results": 3}', "results is missing or no str")],
)
def test_what_is_no_plan_is_refused(text: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(DataError, match=found):
        grid.read_plan(tmp_path / "p.json")


def test_steps_refuse_what_is_not_in_the_plan(rows, results: Path, tmp_path: Path) -> None:
    grid.write_plan(tmp_path / "p.json", rows)
    held = grid.read_plan(tmp_path / "p.json")
    for step in (grid.run_row, lambda h, k: grid.make_data(h, k, 1), lambda h, k: grid.prepare_scenes(h, k, 1)):
        with pytest.raises(DataError, match="the plan has no"):
            step(held, "elsewhere")
    (first, row), *_ = held["rows"].items()
    row["config"]["seed"] = 7
    with pytest.raises(DataError, match="write the plan again"):
        grid.run_row(held, first)
    with pytest.raises(DataError, match="not on this machine"):
        grid.enter(held | {"folder": "/nowhere"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["replicate", "--", "--cores", "2"], "--passed belongs to --engine snakemake"),
        (["replicate", "--engine", "snakemake", "--force"], "--force belongs to --engine pool"),
        (["grid", "record", "p.json"], "grid record takes a key of the plan"),
        (["grid", "tables", "p.json", "x"], "grid tables takes no key of the plan"),
    ],
)
def test_the_command_refuses(words, message, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.json").write_text(
        json.dumps({"folder": "/", "results": "", "table": "", "data": {}, "scenes": {}, "rows": {}})
    )
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_without_snakemake_one_line_says_what_to_install(rows, results, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(grid.ConfigError, match=r"pip install 'geoguide\[grid\]'"):
        grid.run_grid(tmp_path / "p.json", rows, 1, ())


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to look for the job in")
@pytest.mark.parametrize("deaf", [False, True])
def test_what_ends_the_engine_ends_snakemake_and_its_jobs(deaf, rows, results, tmp_path, monkeypatch) -> None:
    """The stand-in finishes its job on SIGTERM, as Snakemake does; a deaf job outlives an interrupt too."""
    there = tmp_path / "job"
    ignored = "INT TERM" if deaf else "TERM"
    job = f"trap '' {ignored}; echo $$ > {there}.new; mv {there}.new {there}; exec sleep 60"
    (tmp_path / "job.sh").write_text(job)
    monkeypatch.setattr(grid, "_snakemake", lambda: ["bash", "-c", f"trap '' TERM; bash {tmp_path / 'job.sh'}; exit 0"])
    monkeypatch.setattr(grid, "PATIENCE", 1.0 if deaf else 10.0)
    wait = subprocess.Popen.wait

    def interrupted(process: subprocess.Popen, timeout: float | None = None) -> int:
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
        while not there.is_file():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        grid.run_grid(tmp_path / "p.json", rows[:1], 1, ())
    stat = Path("/proc") / there.read_text().strip() / "stat"  # gone, or a zombie where nobody takes its exit code
    until = time.monotonic() + 10  # a signal takes a moment
    while stat.is_file() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < until, "the job still runs"
        time.sleep(0.02)


# Snakemake itself.


@snakemake
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("replicat=--profile quick", "--config replicat: unknown, known are geoguide, replicate"),
        ("gpu=yes", "--config gpu=yes: expected a whole number"),
        ("mem_mb=4G", "--config mem_mb=4G: expected a whole number"),
        ("plan=nowhere.json", "nowhere.json: no plan of `geoguide replicate --plan`"),
        ("geoguide=/nowhere/geoguide", "--config geoguide=... names the command"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(setting: str, said: str, tmp_path: Path) -> None:
    """Of one misspelt the rows of the profile `all` were begun."""
    command = [sys.executable, "-m", "snakemake", "-s", str(ROOT / "workflow" / "Snakefile"), "--cores", "1", "-n"]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    done = subprocess.run([*command, "--config", setting], cwd=tmp_path, timeout=100, **told)
    assert done.returncode == 1 and said in done.stdout and "Traceback" not in done.stdout


@snakemake
def test_two_cores_make_the_records_of_one_process_and_a_kill_loses_nothing(
    rows, results: Path, tmp_path: Path
) -> None:
    alone = {config_hash(config): records.record_path(config, tmp_path / "alone") for config in rows}
    for config in rows:
        run(config, folder=tmp_path / "alone", progress=False)
    for checkpoint in (Path(os.environ["GEOGUIDE_DATA"]) / "runs" / "checkpoints").glob("*.pt"):
        checkpoint.unlink()
    plan = tmp_path / "work" / "tiny.json"
    grid.write_plan(plan, rows)
    stamped(grid.read_plan(plan))
    first = records.record_path(rows[0])
    process = call(plan, "--profile", str(ROOT / "workflow" / "profiles" / "local"), "--cores", "2")
    while not first.is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)  # Snakemake and every job
    process.communicate()
    done = {path.name: path.stat().st_mtime_ns for path in results.rglob("*.json")}
    assert first.name in done and len(records.read_all()) == len(done)
    said = finish(call(plan, "--profile", str(ROOT / "workflow" / "profiles" / "local"), "--cores", "2"))
    assert {record.id for record in records.read_all()} == {*alone}
    for config in rows:
        assert contents(records.record_path(config)) == contents(alone[config_hash(config)])
    assert all((results / "mini-scannet" / name).stat().st_mtime_ns == at for name, at in done.items()), said
    assert sorted(path.name for path in results.rglob("*") if path.name.startswith(".making")) == []
    table = Path(grid.read_plan(plan)["table"]).read_text().splitlines()
    assert len(table) == 1 + len(rows)
    assert "Nothing to be done" in finish(call(plan, "--cores", "1"))


@snakemake
def test_of_two_runs_at_once_the_second_waits_and_makes_nothing_again(rows, results: Path, tmp_path: Path) -> None:
    """It removed the records that the first had made meanwhile, and made them again."""
    plans = [tmp_path / name / "tiny.json" for name in ("one", "two")]
    for plan in plans:
        grid.write_plan(plan, rows)
        stamped(grid.read_plan(plan))
    results.mkdir()
    folder = os.open(results, os.O_RDONLY)
    assert locks.take(folder)  # as another run holds it
    both = [call(plan, "--cores", "1", "--nolock") for plan in plans]
    assert not [*results.rglob("*.json")]
    try:
        assert "This was a dry-run" in finish(call(plans[0], "--cores", "1", "--nolock", "-n"))  # to look needs no wait
    finally:
        os.close(folder)
    said = [finish(process) for process in both]
    assert any("waiting for another run of Snakemake into this folder" in text for text in said)
    assert sorted(text.count("rule record:") for text in said) == [0, 2], said
    assert len(records.read_all()) == 2 and not [*results.rglob(".making-*")]


def plan_with_resources(rows, plan: Path) -> Path:
    """The plan of one row, whose job asks for 7 minutes and 1,234 MB, with its scenes prepared."""
    grid.write_plan(plan, rows)
    held = grid.read_plan(plan)
    (row,) = held["rows"].values()
    row["resources"] = {"runtime": 7, "mem_mb": 1234}
    plan.write_text(json.dumps(held))
    stamped(held)
    return plan


@snakemake
def test_on_slurm_every_record_is_a_job_with_what_was_measured(
    rows, results: Path, tmp_path: Path, monkeypatch
) -> None:
    """`sbatch` here runs the job at once; `sacct` tells what became of it."""
    asked = fake_slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm'}:{os.environ['PATH']}")
    plan = plan_with_resources(rows[:1], tmp_path / "work" / "tiny.json")
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5", "--slurm-no-account"]
    finish(call(plan, "--profile", str(ROOT / "workflow" / "profiles" / "slurm"), *quick))
    (job,) = [line for line in asked.read_text().splitlines() if "rule_record" in line]
    assert " -t 7 " in job and " --mem 1234 " in job and "--cpus-per-task=1" in job
    assert [record.id for record in records.read_all()] == [config_hash(rows[0])]


@snakemake
def test_a_gpu_that_the_user_asks_for_reaches_slurm(rows, results: Path, tmp_path: Path, monkeypatch) -> None:
    asked = fake_slurm(tmp_path / "slurm")
    (tmp_path / "slurm" / "geoguide").write_text(f'#!/bin/bash\nexec {sys.executable} -m geoguide "$@"\n')
    (tmp_path / "slurm" / "geoguide").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'slurm'}:{os.environ['PATH']}")
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5", "--slurm-no-account"]
    profile = ["--profile", str(ROOT / "workflow" / "profiles" / "slurm"), "--config", "gpu=1"]
    done = grid.run_grid(tmp_path / "work" / "tiny.json", rows[:1], 1, (*profile, *quick))
    jobs = [line for line in asked.read_text().splitlines() if "rule_record" in line or "rule_scenes" in line]
    assert len(done) == 1 and any("rule_record" in job for job in jobs)
    assert all(re.search(r"--gpus=1|--gres=gpu:1", job) for job in jobs)
    assert all(" --mem 8000 " in job for job in jobs if "rule_record" in job)  # what CUDA takes beside the default


@snakemake
def test_a_job_that_failed_asks_for_twice_as_much(rows, results: Path, tmp_path: Path) -> None:
    """It may have been ended for want of it; here it always fails."""
    plan = plan_with_resources(rows[:1], tmp_path / "work" / "tiny.json")
    options = ["--snakefile", str(grid.WORKFLOW), "--directory", str(plan.parent), "--cores", "1", "--retries", "1"]
    given = ["--config", f"plan={plan}", "geoguide=false"]
    command = [sys.executable, "-m", "snakemake", *options, *given]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    asked = re.findall(r"mem_mb=(\d+).*runtime=(\d+)|runtime=(\d+).*mem_mb=(\d+)", ended.stderr)
    numbers = [sorted(int(number) for number in found if number) for found in asked]
    assert ended.returncode and numbers == [[7, 1234], [14, 2468]], ended.stderr


@snakemake
@pytest.mark.parametrize("name", ["local", "slurm", "kubernetes"])
def test_profiles_are_read_and_the_book_is_the_last_rule(
    name, rows, results: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(results))
    plan = tmp_path / "work" / "tiny.json"
    grid.write_plan(plan, rows)
    if name == "kubernetes":
        pytest.importorskip("snakemake_storage_plugin_fs")
    there = ["--default-storage-prefix", str(tmp_path)] if name == "kubernetes" else []
    profile = str(ROOT / "workflow" / "profiles" / name)
    said = finish(call(plan, "--profile", profile, *there, "-n", "book"))
    assert all(re.search(rf"^{rule} +{count}$", said, re.MULTILINE) for rule, count in {"record": 2, "book": 1}.items())


@snakemake
def test_folders_may_have_any_name(rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    """Of a path, Snakemake's constraints make expressions, YAML comments and mappings, and the shell words."""
    odd = tmp_path / "it's a+b (c) [d] $HOME & #1: e"
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(odd / "results"))
    monkeypatch.setenv("GEOGUIDE_DATA", str(odd / "data"))
    engine, python, plan = [sys.executable, "-m", "snakemake"], str(odd / "bin" / "python"), odd / "plans" / "tiny.json"
    monkeypatch.setattr(grid, "_snakemake", lambda: engine)
    monkeypatch.setattr(grid.sys, "executable", python)
    assert grid.run_grid(plan, rows[:1], 2, ("--dry-run", "--printshellcmds")) == []
    (key,), (row,) = grid.read_plan(plan)["scenes"], grid.read_plan(plan)["rows"]
    lines = [line.strip() for line in "".join(capfd.readouterr()).splitlines() if " -m geoguide grid " in line]
    told = [shlex.split(line.removeprefix("Shell command: ")) for line in lines]
    (manifest,), two = grid.read_plan(plan)["data"], ["--workers", "2"]
    steps = [["data", str(plan), manifest, *two], ["scenes", str(plan), key, *two], ["record", str(plan), row]]
    steps.append(["tables", str(plan)])
    assert sorted(told) == sorted([python, "-m", "geoguide", "grid", *step] for step in steps)


def test_braces_in_a_path_are_refused_before_snakemake_makes_wildcards_of_them(rows, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("GEOGUIDE_RESULTS", str(tmp_path / "of {me}"))
    with pytest.raises(grid.ConfigError, match=r"of \{me\}.*\.json: Snakemake takes braces in a path for a wildcard"):
        grid.write_plan(tmp_path / "p.json", rows)
    assert not (tmp_path / "p.json").exists()


@snakemake
def test_the_engine_makes_what_is_missing_and_says_in_one_line_that_it_gave_up(
    rows, results: Path, tmp_path: Path
) -> None:
    done = grid.run_grid(tmp_path / "work" / "tiny.json", rows[:1], 2, ())
    assert [record.id for record in done] == [config_hash(rows[0])]
    with pytest.raises(DataError, match="snakemake ended with exit code"):
        grid.run_grid(tmp_path / "work" / "tiny.json", rows[:1], 1, ("--no-such-option",))
