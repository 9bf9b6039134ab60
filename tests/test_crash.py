"""Kills, two processes at once, a full disk, a read-only one: nothing corrupt, nothing lost, nothing left over."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from test_resume import Training

from geoguide import paths
from geoguide.cli import main
from geoguide.errors import DataError
from geoguide.experiments import pools, records
from geoguide.model import load
from geoguide.own_scan import Scan, Segmentation, write_labelled
from geoguide.own_scan.fit import FittedScan
from geoguide.pipeline.cache import StageCache
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare, prepare_split, scene_sources
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.scene import Scene
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.rooms.make import MiniConfig, make_mini_scannet

SMALL = MiniConfig(seed=3, voxel=0.1, sensor=SensorConfig(frames=4, image_size=(60, 80), focal=72.0))
FULL = "No space left on device"
spawn = multiprocessing.get_context("spawn")


def mount(folder: Path, *options: str) -> None:
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a disk: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if sys.platform != "linux":
        pytest.skip("tmpfs is Linux's")
    mount(folder, "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(disk: Path) -> None:
    mount(disk, "-o", "remount,ro")


def tree(folder: Path) -> dict[str, bytes]:
    """Everything below a folder; a folder holds nothing itself."""
    found = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): b"" if path.is_dir() else path.read_bytes() for path in found}


# Working folders: whose process is dead, and whose is not.


def hold(path: Path, held: multiprocessing.Event) -> None:
    with paths.replacing(path) as temporary:
        temporary.write_text("half")
        held.set()
        time.sleep(60)


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_holds_is_not(tmp_path: Path) -> None:
    path, held = tmp_path / "x.txt", spawn.Event()
    process = spawn.Process(target=hold, args=(path, held))
    process.start()
    assert held.wait(60)
    (left,) = tmp_path.iterdir()
    paths.sweep(tmp_path)
    paths.write_text(path, "mine")
    assert left.is_dir() and (left / "x.txt").read_text() == "half" and path.read_text() == "mine"
    process.kill()
    process.join()
    assert left.is_dir()
    paths.sweep(tmp_path)
    assert tree(tmp_path) == {"x.txt": b"mine"}


def test_what_another_machine_holds_stays_for_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock is not seen here on a network disk that keeps locks to their machine."""
    monkeypatch.setattr(paths.locks, "take", lambda handle, *, wait=True: True)  # as such a disk answers
    with monkeypatch.context() as there, paths.replacing(tmp_path / "x.txt") as temporary:
        temporary.write_text("half")
        there.setattr(paths.platform, "node", lambda: "another")
        paths.sweep(tmp_path)
        assert temporary.read_text() == "half"
        os.utime(temporary.parent / paths.LOCK, (0, 0))
        paths.sweep(tmp_path)
        assert not [*tmp_path.iterdir()]
        temporary.parent.mkdir()
        temporary.write_text("whole")
    assert (tmp_path / "x.txt").read_text() == "whole"


def test_what_is_no_working_folder_of_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".making-plans").write_text("someone's file")
    of_a_film, empty = tmp_path / ".making-of", tmp_path / ".making-scene-killed"  # neither has a lock
    for folder in (of_a_film, empty):
        folder.mkdir()
    (of_a_film / "x").write_text("someone's")
    os.utime(of_a_film, (0, 0))
    paths.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".making-plans", of_a_film.name}
    paths.sweep(tmp_path / "nowhere")


def test_a_half_written_record_is_no_record(tmp_path: Path) -> None:
    """The temporary file had the record's ending: a killed `replicate` made every later table fail."""
    path = records.record_path(ExperimentConfig(), tmp_path)
    with paths.replacing(path) as temporary:
        temporary.write_text("{")
        assert records.read_all(tmp_path) == [] and records.find(ExperimentConfig(), tmp_path) is None


def test_the_longest_file_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".json")
    paths.write_text(path, "x")
    assert path.read_text() == "x"


def test_a_folder_in_the_files_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.txt" / "inside").mkdir(parents=True)
    with pytest.raises(DataError, match=r"x\.txt: cannot be written \(Is a directory\)"):
        paths.write_text(tmp_path / "x.txt", "x")
    with pytest.raises(DataError, match=r"y: cannot be written \((File exists|Not a directory)\)"):
        (tmp_path / "f").write_text("")
        paths.write_text(tmp_path / "f" / "y", "x")
    assert sorted(tree(tmp_path)) == ["f", "x.txt", "x.txt/inside"]


# A kill while rooms are made.


def make(root: Path, workers: int) -> None:
    os.setsid()
    make_mini_scannet(root, rooms=(2, 0, 0), config=SMALL, workers=workers, progress=False)


def start_making(root: Path, workers: int) -> multiprocessing.Process:
    """A process that makes rooms, and is in the middle of one."""
    process = spawn.Process(target=make, args=(root, workers))
    process.start()
    until = time.monotonic() + 60
    while not list(root.glob("scans/.making-*/scene*")) and time.monotonic() < until:
        time.sleep(0.002)
    return process


def wait_for_end_of(group: int) -> None:
    """A killed process keeps its locks until the system finds the time to end it, and so long its folder is in use."""
    until = time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(group, 0)
            time.sleep(0.002)


@pytest.mark.parametrize("workers", [1, 2])
def test_rooms_that_were_killed_and_made_again_leave_nothing(tmp_path: Path, workers: int) -> None:
    for _ in range(5):  # a room may be finished before the signal arrives
        process = start_making(tmp_path / "killed", workers)
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        wait_for_end_of(process.pid)
        if list(tmp_path.glob("killed/scans/.making-*/scene*")):
            break
        shutil.rmtree(tmp_path / "killed")
    else:
        pytest.fail("no room was half made in five tries")
    for name in ("killed", "whole"):
        make_mini_scannet(tmp_path / name, rooms=(2, 0, 0), config=SMALL, workers=1, progress=False)
    assert tree(tmp_path / "killed") == tree(tmp_path / "whole")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="asks /proc for a process's children")
def test_workers_end_when_only_the_process_that_started_them_is_killed(tmp_path: Path) -> None:
    """As the system does it that is short of memory: they waited for their next room for ever."""
    process = start_making(tmp_path / "rooms", 2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert workers
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    until = time.monotonic() + 20
    while living(workers) and time.monotonic() < until:
        time.sleep(0.05)
    assert not living(workers)


def living(processes: list[str]) -> list[str]:
    """Those that are there and not merely waiting to be counted as ended."""
    states = {pid: Path(f"/proc/{pid}/stat") for pid in processes}
    return [
        pid for pid, stat in states.items() if stat.is_file() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    ]


# Two processes at once.


def at_once(target: Callable[..., None], *arguments: object) -> None:
    """Run two processes side by side; both must end well."""
    both = [spawn.Process(target=target, args=(*arguments, number)) for number in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(300)
    assert [process.exitcode for process in both] == [0, 0]


def make_rooms(root: Path, number: int) -> None:
    make_mini_scannet(root, rooms=(2, 0, 0), config=SMALL, workers=1, progress=False)
    (root.parent / f"saw-{number}").write_bytes((root / "manifest.json").read_bytes())


def test_two_that_make_the_same_rooms(tmp_path: Path) -> None:
    at_once(make_rooms, tmp_path / "both")
    alone = make_mini_scannet(tmp_path / "alone", rooms=(2, 0, 0), config=SMALL, workers=1, progress=False)
    assert tree(tmp_path / "both") == tree(alone)
    assert {(tmp_path / f"saw-{n}").read_bytes() for n in range(2)} == {(alone / "manifest.json").read_bytes()}


def make_file(path: Path, number: int) -> None:
    """What takes a while is done by one process: the other finds it done."""
    with paths.making_alone(path) as held:
        assert held
        if not path.is_file():
            time.sleep(0.3)
            (path.parent / f"made-by-{number}").touch()
            path.touch()


def test_two_that_would_make_the_same_file(tmp_path: Path) -> None:
    at_once(make_file, tmp_path / "file")
    assert (tmp_path / "file").is_file() and len([*tmp_path.iterdir()]) == 2  # it, and who made it


def hold_the_name(path: Path) -> None:
    with paths.making_alone(path):
        (path.parent / "held").touch()
        time.sleep(60)


def test_what_is_in_work_is_left_alone_and_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    process = spawn.Process(target=hold_the_name, args=(tmp_path / "file",))
    process.start()
    while not (tmp_path / "held").is_file():
        time.sleep(0.01)
    paths.sweep(tmp_path)
    with paths.making_alone(tmp_path / "file", wait=False) as held:
        assert not held
    process.kill()
    process.join()
    with paths.making_alone(tmp_path / "file") as held:
        assert held
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_two_that_replicate_share_the_rows(tiny: ExperimentConfig, data_home: Path, tmp_path: Path) -> None:
    """Each row was computed by both."""
    rows = [
        tiny.replace(seed=seed, train__steps=20, train__evaluate_every=10, backbone__name="descriptors")
        for seed in range(3)
    ]
    prepare_split(rows[0], "train", progress=False)
    at_once(run_counted, rows, tmp_path)
    made = [path.read_text().split() for path in tmp_path.glob("ran-*")]
    assert sorted(seed for seeds in made for seed in seeds) == ["0", "1", "2"]
    assert len(records.read_all(tmp_path)) == 3 and not [*tmp_path.rglob(".making-*")]


def run_counted(rows: list[ExperimentConfig], folder: Path, number: int) -> None:
    """Replicate, and note the seeds of the rows that this process ran."""
    ran, run = [], pools.run

    def counted(config: ExperimentConfig, **how: object) -> records.Record:
        ran.append(str(config.seed))
        return run(config, **how)

    pools.run = counted
    assert len(pools.run_all(rows, folder=folder)) == len(rows)
    (folder / f"ran-{number}").write_text(" ".join(ran))


def scan_of(number: int) -> Segmentation:
    """A labelled scan that says who wrote it."""
    scene = Scene("scan", np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32))
    ids, scores, label = np.zeros(4, np.int64), np.zeros(4, np.float32), f"of {number}"
    return Segmentation(scene, (label,), ids, scores, {"labels": {label: 4}})


def write_scans(out: Path, number: int) -> None:
    """Write the same names again and again, and look whether both files are of one writer."""
    for _ in range(40):
        write_labelled(out, scan_of(number))
        with paths.alone_beside(out):
            told = json.loads(out.with_suffix(".json").read_text())["labels"]
            assert f"label 0 {next(iter(told))}\n".encode() in out.read_bytes()


def test_two_that_label_into_the_same_files(tmp_path: Path) -> None:
    """The cloud was of one command and the summary of the other."""
    at_once(write_scans, tmp_path / "out.ply")
    assert sorted(tree(tmp_path)) == ["out.json", "out.ply"]


def write_models(out: Path, number: int) -> None:
    """Likewise a model and the scan that it labelled."""
    model, result = dataclasses.replace(load("mini"), trained_on=f"of {number}"), scan_of(number)
    fitted = FittedScan(Scan(result.scene), model, result.scene, (), *[None] * 4)
    for _ in range(20):
        fitted.save(out, out.with_suffix(".ply"), result)
        with paths.alone_beside(out):
            told = load(out).trained_on
            assert f"label 0 {told}\n".encode() in out.with_suffix(".ply").read_bytes()
            assert told in json.loads(out.with_suffix(".json").read_text())["labels"]


def test_two_that_fit_a_scan_into_the_same_files(tmp_path: Path) -> None:
    """The model was of one command and the labelled cloud of the other."""
    at_once(write_models, tmp_path / "out.safetensors")
    assert sorted(tree(tmp_path)) == ["out.json", "out.ply", "out.safetensors"]


def weights_of(config: ExperimentConfig, scenes: dict[str, list[PreparedScene]], checkpoints: Path) -> np.ndarray:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the last digits depend on how many share the work
    try:
        fitted = fit(config, **scenes, run_dir=checkpoints, progress=False)
    finally:
        torch.set_num_threads(threads)
    return torch.cat([value.flatten() for value in fitted.student.network.state_dict().values()]).numpy()


def prepare_and_fit(config: ExperimentConfig, home: Path, number: int) -> None:
    """In a cache and a folder of checkpoints that both share."""
    scenes = {
        split: [prepare(scene_sources(config.data, split)[0], config, home / "cache")] for split in ("train", "val")
    }
    np.save(home / f"weights-{number}.npy", weights_of(config, scenes, home / "checkpoints"))


def test_two_that_prepare_the_same_scenes_and_train_the_same_experiment(
    tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]], tmp_path: Path
) -> None:
    config = tiny.replace(train__steps=20, train__checkpoint_every=2, train__evaluate_every=10)
    at_once(prepare_and_fit, config, tmp_path)
    one_scene_each = {split: [tiny_scenes[split][0]] for split in ("train", "val")}
    alone = weights_of(config, one_scene_each, tmp_path / "alone")
    for number in range(2):
        assert np.array_equal(np.load(tmp_path / f"weights-{number}.npy"), alone)
    cached = tree(paths.cache_root())
    assert all(cached[path] == content for path, content in tree(tmp_path / "cache").items())
    assert sorted(tree(tmp_path / "checkpoints")) == sorted(tree(tmp_path / "alone"))


# A full disk.


def big() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, 3_000_000).astype(np.uint8)


def write_checkpoint(path: Path) -> None:
    training = Training()
    training.layer = torch.nn.Linear(1000, 1000)
    training.save(path)


def write_model(path: Path) -> None:
    model = load("mini")
    model.trained_on = "x" * 3_000_000
    model.save(path)


WRITERS = {
    "text": lambda path: paths.write_text(path, "x" * 3_000_000),
    "checkpoint": write_checkpoint,
    "model": write_model,
    "stage": lambda path: StageCache(path.parent).get("stage", 0, lambda: {"a": big()}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_one_line_and_the_old_file_stays(disk: Path, kind: str) -> None:
    path = disk / "x.pt"
    path.write_text("old")
    with pytest.raises(DataError, match=rf"{disk}/.*: cannot be written \({FULL}\)$"):
        WRITERS[kind](path)
    assert tree(disk) == {"x.pt": b"old"}


def test_a_disk_that_was_full_a_moment_ago(tmp_path: Path) -> None:
    """Another process's unfinished file may be gone again when ours is reported: numpy's words say enough."""
    path = tmp_path / "x.npy"
    with pytest.raises(DataError, match=rf"x.npy: cannot be written \({FULL}\)$"), paths.writing(path):
        raise OSError("4430496 requested and 3145664 written")


@pytest.mark.parametrize(("dataset", "option"), [("mini-scannet", "--rooms"), ("mini-nuscenes", "--scenes")])
def test_making_data_on_a_full_disk(disk: Path, capsys, dataset: str, option: str) -> None:
    (disk / "other").write_bytes(bytes(1_700_000))
    home = disk / "data"
    arguments = ["data", "make", str(home), "--dataset", dataset, option, "1", "0", "0", "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("geoguide:")]
    assert stop.value.code == 2 and len(error) == 1
    assert f"{FULL})" in error[0] and str(home) in error[0] and ".making" not in error[0]
    assert not [path for path in disk.rglob("*") if paths.MAKING in path.name]
    assert (disk / "other").stat().st_size == 1_700_000


# A read-only disk.


def test_a_read_only_cache_is_read_and_what_it_lacks_is_one_line_before_it_is_computed(disk: Path) -> None:
    cache = StageCache(disk / "scene")
    cache.get("stage", 0, lambda: {"a": np.arange(5)})
    before = tree(disk)
    read_only(disk)
    assert cache.get("stage", 0, big)["a"].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=rf"{disk}/scene: cannot be written \(Read-only file system\)"):
        cache.get("other", 0, lambda: pytest.fail("computed for nothing"))
    assert tree(disk) == before


def test_a_finished_training_is_read_from_a_read_only_disk_and_another_is_refused_at_once(disk: Path) -> None:
    path = disk / "runs" / "a.pt"
    for _ in (training := Training()).steps(2, path, 1, "train", progress=False):
        training.count({"total": 1.0})
    read_only(disk)
    again = Training()
    assert not list(again.steps(2, path, 1, "train", progress=False)) and again.step == 2
    with pytest.raises(DataError, match=r"runs: cannot be written \(Read-only file system\)"):
        next(again.steps(3, path, 1, "train", progress=False))
    assert again.step == 2


def test_complete_data_on_a_read_only_disk_is_complete(disk: Path) -> None:
    config = dataclasses.replace(SMALL, voxel=0.2)
    root = make_mini_scannet(disk / "data", rooms=(1, 0, 0), config=config, workers=1, progress=False)
    before = tree(disk)
    read_only(disk)
    assert make_mini_scannet(root, rooms=(1, 0, 0), config=config, workers=1, progress=False) == root
    with pytest.raises(DataError, match=rf"{root}.*: cannot be written \(Read-only file system\)"):
        make_mini_scannet(root, rooms=(2, 0, 0), config=config, workers=1, progress=False)
    assert tree(disk) == before
