"""The generators of the mini worlds: CPU and wall seconds of a scene, against another version of the same code.

    OMP_NUM_THREADS=1 python benchmarks/generators.py --against ../before

`--against` is a checkout of the version to compare with. Both make the same scenes, each in a process of its own, in
turn: each round makes one world by the one and then by the other, so that a busy machine is shared fairly. Seconds are
medians over the rounds and scenes; the first scene of a process stands apart, with its imports and the loading (or,
where nothing is kept yet, the compilation) of kernels. All files that the two write are compared byte by byte.
`stages` are shares of the new version's CPU time of a scene, as cProfile sees them: it burdens Python more than C.
"""

import argparse
import cProfile
import filecmp
import json
import os
import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

WORLDS = {"rooms": "_Room", "houses": "_House", "streets": "_Street"}
SCENES = {"rooms": (0, 1, 2, 3), "houses": (0, 1), "streets": (0, 1, 2)}  # of the split train; the first warms up
STAGES = {  # name: functions whose cumulative time is its share; those of one world do not contain each other
    "draw": ("generate_room", "generate_house", "generate_street"),
    "rays and shading": ("scan_room", "scan_house", "take_sweep", "take_picture", "_things"),
    "image files": ("save",),
    "reconstruction": ("reconstruct",),
    "annotation": ("annotate", "nearest_object", "_write_region"),
    "fingerprint": ("write_stamp",),
}


def make(world: str, root: Path, profile: bool) -> None:
    """Make a world's scenes and print one JSON line: CPU and wall seconds of the start and of each scene, stages."""
    begin = time.perf_counter()
    module = __import__(f"geoguide.worlds.{world}.make", fromlist=["make"])
    config = {"rooms": "MiniConfig", "houses": "HouseConfig", "streets": "StreetConfig"}[world]
    seconds, profiler = [(time.process_time(), time.perf_counter() - begin)], cProfile.Profile(time.thread_time)
    for number in SCENES[world]:
        job = getattr(module, WORLDS[world])(root, "train", number, getattr(module, config)())
        folder = root / job.name
        folder.mkdir()
        cpu, wall = time.process_time(), time.perf_counter()
        if profile and number:
            profiler.enable()
        job.write(folder)
        profiler.disable()
        seconds.append((time.process_time() - cpu, time.perf_counter() - wall))
    print(json.dumps({"seconds": seconds, "stages": _stages(profiler) if profile else {}}))


def _stages(profiler: cProfile.Profile) -> dict[str, float]:
    """The share of each stage in all CPU time; of an `annotate` that calls `nearest_object` only the outer counts."""
    stats = pstats.Stats(profiler).stats  # ty: ignore[unresolved-attribute]
    ours: dict[str, float] = {}
    for (_, _, name), times in stats.items():  # of functions of one name the outermost: it contains the others
        ours[name] = max(ours.get(name, 0.0), times[3])
    total = ours["write"]
    shares = {}
    for stage, functions in STAGES.items():
        names = [name for name in functions if not (name == "nearest_object" and "annotate" in ours)]
        shares[stage] = round(sum(ours.get(name, 0.0) for name in names) / total, 3)
    return shares | {"rest": round(1 - sum(shares.values()), 3)}


def _run(code: Path, world: str, root: Path, profile: bool = False) -> dict:
    command = [sys.executable, __file__, "--make", world, "--root", str(root)] + ["--profile"] * profile
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(code)}, capture_output=True, check=True)
    return json.loads(done.stdout)


def _same_files(one: Path, other: Path) -> int:
    """The number of files in both folders; an error where the folders are not the same, byte for byte."""
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    different = filecmp.cmpfiles(one, other, [str(path) for path in files], shallow=False)[1:]
    assert different == ([], []), different
    return len(files)


def compare_world(world: str, codes: dict[str, Path], rounds: int) -> dict:
    """One row of the results: both versions of one world."""
    made = {name: [] for name in codes}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place:
            for name, code in codes.items():
                root = Path(place) / name
                root.mkdir()
                made[name].append(_run(code, world, root)["seconds"])
            files = _same_files(*(Path(place) / name for name in codes))
    with tempfile.TemporaryDirectory() as place:
        stages = _run(codes["new"], world, Path(place), profile=True)["stages"]
    row: dict = {"world": world, "scenes": len(SCENES[world]), "rounds": rounds, "files_compared": files}
    for name, runs in made.items():
        times = np.array(runs)  # [rounds, 1 + scenes, 2]
        start, (cpu, wall) = np.median(times[:, 0, 0]), np.median(times[:, 2:], axis=(0, 1))
        row[name] = {
            "cpu_seconds_a_scene": float(cpu),
            "least_cpu_seconds_a_scene": float(times[:, 2:, 0].mean(axis=1).min()),
            "scenes_a_cpu_second": 1 / float(cpu),
            "scenes_a_wall_second_of_one_process": 1 / float(wall),
            "cpu_seconds_of_the_start": float(start),
            "cpu_seconds_of_the_first_scene": float(np.median(times[:, 1, 0])),
        }
    for key in ("cpu_seconds_a_scene", "least_cpu_seconds_a_scene", "cpu_seconds_of_the_start"):
        row[f"ratio_{key}"] = row["old"][key] / row["new"][key]
    return row | {"stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="a checkout of the version to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--make", choices=list(WORLDS), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.make, arguments.root, arguments.profile)
        return
    from _measure import report

    codes = {"old": arguments.against.resolve(), "new": Path(__file__).resolve().parents[1]}
    commits = {
        name: subprocess.check_output(["git", "-C", code, "rev-parse", "--short", "HEAD"], text=True).strip()
        for name, code in codes.items()
    }
    rows = [compare_world(world, codes, arguments.rounds) | {"commits": commits} for world in WORLDS]
    report("generators", rows)


if __name__ == "__main__":
    main()
