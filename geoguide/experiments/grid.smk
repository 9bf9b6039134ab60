# The grid on Snakemake 9: data -> prepared scenes -> record -> tables -> book. See geoguide/experiments/grid.py.
#
# What is to be made comes from the package alone, as a plan. `geoguide replicate --engine snakemake` hands one over; else
#   snakemake -s workflow/Snakefile --cores 2 --config replicate="--profile quick"
# asks for it in the words of `geoguide replicate`. Snakemake may live in another environment than the package:
# --config geoguide=... is how jobs call the package, by default the command on the path.
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

TEXTS, NUMBERS = {"geoguide": "geoguide", "replicate": "", "plan": ""}, {"gpu": 0, "runtime": 120, "mem_mb": 4000}
for name in config:
    if name not in {**TEXTS, **NUMBERS}:  # of one misspelt the profile `all` would be made, for hours
        raise WorkflowError(f"--config {name}: unknown, known are {', '.join([*TEXTS, *NUMBERS])}")


def set_to(name, kind, default):
    """A setting; a command or a path may be a number to YAML."""
    value = config.get(name, default)
    try:
        if isinstance(value, (list, dict, bool)) or value is None:
            raise ValueError
        return kind(value)
    except ValueError:
        what = "a whole number" if kind is int else "one text"
        raise WorkflowError(f"--config {name}={value}: expected {what}") from None


GEOGUIDE, WORDS = (set_to(name, str, TEXTS[name]) for name in ("geoguide", "replicate"))
GPUS = set_to("gpu", int, 0)
GPUS = {"gpu": GPUS} if GPUS else {}  # GPUs of a job that runs networks

# Minutes and megabytes of steps that neither a record nor the cost model (preparation) tells; --config runtime=...
# mem_mb=... says otherwise, of preparation too.
UNMEASURED = {name: set_to(name, int, NUMBERS[name]) for name in ("runtime", "mem_mb")}
# What CUDA takes of the host's memory in a process: context, libraries, pinned pages. Records of CPUs do not know it.
GPU_MB = 4000
PREPARING = 4  # processes of a job that makes or prepares scenes

if "plan" in config:
    PLAN = Path(set_to("plan", str, "")).absolute()
else:
    PLAN = Path(".snakemake", "geoguide", hashlib.sha256(WORDS.encode()).hexdigest()[:8] + ".json").absolute()
    # A job of a cluster reads this file again: the plan is that of the process which submitted it.
    if workflow.is_main_process or not PLAN.is_file():
        try:
            ask = [*shlex.split(GEOGUIDE), "replicate", *shlex.split(WORDS), "--plan", str(PLAN)]
            done = subprocess.run(ask, stdout=subprocess.DEVNULL).returncode
        except (OSError, ValueError) as error:  # no such command, or a quote that is not closed
            raise WorkflowError(f"{GEOGUIDE} replicate {WORDS}: {error}; --config geoguide=... names the command") from None
        if done:
            raise WorkflowError(f"{shlex.join(ask)}: exit code {done}; what it said stands above")

try:
    PLANNED = json.loads(PLAN.read_text())
    if not {"results", "rows", "scenes", "data", "table", "clone"} <= set(PLANNED):
        raise ValueError("something else")
except (OSError, ValueError, TypeError) as error:
    raise WorkflowError(f"{PLAN}: no plan of `geoguide replicate --plan` ({error})") from None
# Snakemake removes the output of a job that it starts, and so a record that another run just made: of two runs into one
# folder the second waits. The lock is gone with this process, however it ends; on disks without locks there is none.
LOOKING = any(re.fullmatch("-[a-z]*n[a-z]*|--dry-?run", word) for word in sys.argv)
if workflow.is_main_process and not LOOKING:
    os.makedirs(PLANNED["results"], exist_ok=True)
    LOCKED = os.open(PLANNED["results"], os.O_RDONLY)
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(LOCKED, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{PLANNED['results']}: waiting for another run of Snakemake into this folder", file=sys.stderr)
            fcntl.flock(LOCKED, fcntl.LOCK_EX)
ROWS, SCENES, DATA = PLANNED["rows"], PLANNED["scenes"], PLANNED["data"]
# Local: on folders that every machine sees, and never copied to a storage that a profile names (Kubernetes needs one).
RECORDS, TABLE = [local(row["record"]) for row in ROWS.values()], local(PLANNED["table"])
# A record that is there is a source, whatever lies beside it: no rule makes it, so none is ever computed again.
TODO = [row for row, about in ROWS.items() if not os.path.exists(about["record"])]


def any_of(names):
    return "|".join(map(re.escape, names)) or "(?!)"


def asked(about, name, attempt, processes=1):
    """Of a second attempt twice as much: for want of it the first may have been ended."""
    known = about["resources"].get(name)
    value = UNMEASURED[name] if known is None else known
    if GPUS and name == "mem_mb" and (known is not None or name not in config):
        value += GPU_MB * processes
    return attempt * value


def told(about, name, attempt):
    return attempt * int(config[name]) if name in config else asked(about, name, attempt, PREPARING)


localrules: all, tables, book


rule all:
    input: TABLE, RECORDS  # Snakemake would not miss records that were removed after the table was written


rule data:
    output: local("{folder}/manifest.json")
    wildcard_constraints: folder=any_of(str(Path(manifest).parent) for manifest in DATA)
    threads: PREPARING
    resources:
        runtime=lambda wildcards, attempt: attempt * UNMEASURED["runtime"],
        mem_mb=lambda wildcards, attempt: attempt * UNMEASURED["mem_mb"],
    shell: "{GEOGUIDE} grid data {PLAN:q} {output:q} --workers {threads}"


rule scenes:
    input: lambda wildcards: list(map(local, SCENES[wildcards.key]["data"]))
    output: local("{folder}/{key}.json")
    wildcard_constraints:
        key=any_of(SCENES),
        folder=any_of({str(Path(scenes["stamp"]).parent) for scenes in SCENES.values()}),
    threads: PREPARING
    resources:
        runtime=lambda wildcards, attempt: told(SCENES[wildcards.key], "runtime", attempt),
        mem_mb=lambda wildcards, attempt: told(SCENES[wildcards.key], "mem_mb", attempt),
        **GPUS,
    shell: "{GEOGUIDE} grid scenes {PLAN:q} {wildcards.key} --workers {threads}"


rule record:
    input: lambda wildcards: local(SCENES[ROWS[wildcards.row]["scenes"]]["stamp"])
    output: local(PLANNED["results"] + "/{dataset}/{name}-{row}.json")
    wildcard_constraints: row=any_of(TODO), dataset="[^/]+", name="[^/]+"
    threads: 1
    resources:
        runtime=lambda wildcards, attempt: asked(ROWS[wildcards.row], "runtime", attempt),
        mem_mb=lambda wildcards, attempt: asked(ROWS[wildcards.row], "mem_mb", attempt),
        **GPUS,
    shell: "{GEOGUIDE} grid record {PLAN:q} {wildcards.row}"


rule tables:
    input: RECORDS
    output: TABLE
    shell: "{GEOGUIDE} grid tables {PLAN:q}"


if PLANNED["clone"]:

    rule book:
        input: rules.all.input
        output: local(PLANNED["clone"] + "/book/_build/html/index.html")
        shell: "make -C {PLANNED[clone]:q} book"
