"""`geoguide data clean`: what it may remove and what it must not; a command beside it; kept points of two 2D models."""

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide.benchmarks.scenes import list_sources
from geoguide.cli import Data, main
from geoguide.errors import ConfigError, WriteError
from geoguide.paths import replacing
from geoguide.pipeline.cache import StageCache
from geoguide.pipeline.checkpoint import Progress
from geoguide.pipeline.cleaning import DAY, LARGE, WHAT, clean, entries, in_words
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare
from geoguide.pipeline.stages import VERSIONS, Stages
from geoguide.pipeline.train import checkpoint_name
from geoguide.scene import Scene
from geoguide.teachers.frame_cache import FrameCache
from geoguide.text.minilm import MiniLMTextEncoder

ROW = {"rows": np.arange(12, dtype=np.float32).reshape(3, 4)}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


class Counting(Progress):
    """A training without networks."""

    @property
    def parts(self) -> dict:
        return {}


@pytest.fixture
def full(home: Path) -> Path:
    """A data folder with two entries or more of every kind, each written by the code that writes it in earnest."""
    for scene in ("scene0000_00-0123456789ab", "a scene-with-dashes-ba9876543210"):
        for kind in VERSIONS:
            StageCache(home / "cache" / scene).get(kind, [1], lambda: ROW)
    frames = FrameCache(home / "cache" / "frames", "openseg mini/1", "identity")
    for value in range(2):
        frames.write(np.full((2, 2, 3), value, np.uint8), np.ones((2, 2, 4)))
    MiniLMTextEncoder().encode(["chair", "table"])
    for place in (checkpoint_name(ExperimentConfig()), f"0123456789ab/{checkpoint_name(ExperimentConfig(seed=1))}"):
        Counting(step=3).save(home / "runs" / "checkpoints" / place)
    Counting(step=4).save(home / "runs" / "checkpoints" / "sonata-mini-5cm-0123456789.pt")
    return home


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def bytes_of(paths: set[Path]) -> int:
    return sum(path.lstat().st_size for path in paths)


def test_every_kind_is_found_and_the_rest_of_a_full_folder_are_two_notes(full: Path) -> None:
    assert {entry.kind for entry in entries()} == set(WHAT)
    assert {kind.partition("_")[0] for kind in VERSIONS} <= set(WHAT)  # a new stage must be named here, too
    found = clean(tuple(WHAT), progress=False)
    assert {path.name for path in files(full)} == {"model.json"} and found.others == {}
    assert found.kinds["kept"][0] == 4 and found.kinds["checkpoints"][0] == 3 and found.kinds["text"][0] == 2


def test_by_default_the_features_of_points_go(full: Path) -> None:
    before, features = files(full), {path for path in files(full) if path.name.split("-")[0].split("_")[0] in LARGE}
    would = clean(dry_run=True)
    assert files(full) == before and would.size == bytes_of(features) and would.lines()[-1].startswith("would free")
    done = clean(progress=False)
    assert files(full) == before - features and done.kinds == would.kinds and done.removed
    assert done.lines()[-1].startswith(f"freed {in_words(would.size)}; what stays: superpoints, masks, ")
    assert clean().size == 0  # a second time there is nothing


def test_with_a_stage_goes_the_note_that_all_are_there(full: Path) -> None:
    notes = [full / "cache" / "prepared" / name for name in ("0123456789ab.json", "mine.json")]
    notes[0].parent.mkdir()
    for note in notes:
        note.write_text("{}")
    clean(("text",), progress=False)
    clean(("lifted",), dry_run=True)
    assert all(note.is_file() for note in notes)
    clean(("lifted",), progress=False)
    assert [note.is_file() for note in notes] == [False, True]


def test_age(full: Path) -> None:
    old = {path for path in files(full) if path.name.startswith("lifted")}
    for path in old:
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 2 * DAY))
    one = next(path for path in old if path.suffix == ".npy")
    os.utime(one)  # an entry is as old as its newest file
    assert clean(older_than=3).size == 0
    before = files(full)
    assert clean(older_than=1, progress=False).kinds["lifted"][0] == 1
    assert len(before - files(full)) == 2 and one in files(full)


def test_nothing_else_is_touched(full: Path, tmp_path: Path) -> None:
    """Files of others beside ours, generated worlds, models, and whatever links lead to."""
    cache, scene = full / "cache", full / "cache" / "scene0000_00-0123456789ab"
    elsewhere = tmp_path / "elsewhere-0123456789ab"
    StageCache(elsewhere).get("lifted", [1], lambda: ROW)
    foreign = [
        scene / name for name in ("lifted-notes.txt", "lifted-0123456789.npz", "lifted.json", "own-0123456789.json")
    ]
    foreign += [cache / "lifted-0123456789.json", cache / "notes" / "lifted-0123456789.json", cache / "numba" / "x.nbi"]
    foreign += [
        full / "mini-scannet" / "scans" / "scene-0123456789ab" / "lifted-0123456789.json",
        full / "a-0123456789.pt",
    ]
    foreign += [
        full / "runs" / name for name in ("model.safetensors", "checkpoints/mine.pt", "checkpoints/x/0123456789.pt")
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (scene / "kept-0123456789.rows.npy").mkdir()  # a folder of such a name
    links = [
        cache / "linked-0123456789ab",
        scene / "means-0123456789.rows.npy",
        full / "runs" / "checkpoints" / "fedcba987654",
    ]
    for link, target in zip(links, (elsewhere, foreign[0], elsewhere), strict=True):
        link.symlink_to(target)
    clean(tuple(WHAT), progress=False)
    assert all(path.read_text() == "mine" for path in foreign) and all(link.is_symlink() for link in links)
    assert len(files(elsewhere)) == 2 and (scene / "kept-0123456789.rows.npy").is_dir()


def test_what_killed_processes_left_goes_and_what_is_being_written_stays(full: Path) -> None:
    scene = full / "cache" / "scene0000_00-0123456789ab"
    (scene / "lifted-aaaaaaaaaa.rows.npy").write_bytes(b"an array without its list")
    (scene / ".making-lifted-x").mkdir()
    with replacing(scene / "geometry-aaaaaaaaaa.rows.npy") as temporary:
        temporary.write_bytes(b"half")
        clean(progress=False)
        assert not (scene / "lifted-aaaaaaaaaa.rows.npy").exists() and not (scene / ".making-lifted-x").exists()
    assert (scene / "geometry-aaaaaaaaaa.rows.npy").read_bytes() == b"half"


def test_what_a_command_has_mapped_stays_readable_and_the_rest_is_computed_again(full: Path) -> None:
    stages = StageCache(full / "cache" / "scene0000_00-0123456789ab")
    mapped = stages.get("lifted", [1], lambda: pytest.fail("it is there"))["rows"]
    clean(progress=False)
    np.testing.assert_array_equal(mapped, ROW["rows"])
    np.testing.assert_array_equal(stages.get("lifted", [1], lambda: ROW)["rows"], ROW["rows"])


@pytest.mark.parametrize("moment", ["_digest", "_map"])
def test_a_stage_that_is_removed_while_it_is_written_is_given_from_memory(
    full: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable = getattr(StageCache, moment)

    def removed(self: StageCache, stem: str, name: str) -> object:
        clean(progress=False)
        return original(self, stem, name)

    monkeypatch.setattr(StageCache, moment, removed)
    found = StageCache(full / "cache" / "scene0000_00-0123456789ab").get("lifted", [2], lambda: ROW)
    np.testing.assert_array_equal(found["rows"], ROW["rows"])


def test_beside_a_writer_nothing_fails(full: Path) -> None:
    """A thread writes and reads stages without a pause while the cache is cleaned again and again."""
    faults, ended = [], threading.Event()
    stages = StageCache(full / "cache" / "scene0000_00-0123456789ab")

    def work() -> None:
        try:
            for number in range(150):
                mine = ["mine", number % 3]  # no entry that the folder was filled with
                found = stages.get("lifted", mine, lambda number=number: {"rows": np.full(5, number % 3)})
                assert (found["rows"] == number % 3).all()
        except Exception as error:
            faults.append(error)
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not ended.is_set():
        clean(progress=False)
    thread.join()
    assert faults == []


def test_refusals_are_one_line(full: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"kinds must be of lifted, kept, .*, found worlds"):
        clean(("lifted", "worlds"))
    with pytest.raises(ConfigError, match="older_than must be at least 0 days, found nan"):
        clean(older_than=float("nan"))
    refused = {
        "--older-than must be at least 0": ["clean", "--older-than", "-1"],
        "--kind belongs to `data clean`": ["make", "--kind", "lifted"],
        "--path belongs to `data make` and `data check`": ["clean", "folder"],
        "--all and --kind exclude each other": ["clean", "--all", "--kind", "text"],
    }
    for message, arguments in refused.items():
        with pytest.raises(SystemExit) as stop:
            main(["data", *arguments])
        assert stop.value.code == 2 and message in capsys.readouterr().err

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(WriteError, match=r"lifted-.* \(Permission denied\)"):
        clean(("lifted",), progress=False)


def test_the_command(full: Path, capsys: pytest.CaptureFixture) -> None:
    """Its choices are the kinds; --dry-run says the same as the command that follows, and removes nothing."""
    from typing import get_args, get_type_hints

    assert get_args(get_args(get_type_hints(Data)["kind"])[0]) == tuple(WHAT)
    outputs = []
    for more in (["--dry-run"], []):
        with pytest.raises(SystemExit) as stop:
            main(["data", "clean", "--kind", "text", "frames", *more])
        outputs.append(capsys.readouterr().out)
        assert stop.value.code == 0
    assert outputs[0].replace("would free", "freed") == outputs[1] and outputs[1].count("2 entries") == 2
    with pytest.raises(SystemExit):
        main(["data", "clean", "--all"])
    assert entries() == [] and "freed" in capsys.readouterr().out


def test_two_2d_models_share_the_kept_3d_features(tiny: ExperimentConfig, tmp_path: Path) -> None:
    """On disk once; of the second model the same scene as without a cache, to the bit."""
    whole = list_sources(tiny.data, "train")[0].load()
    scene: Scene = replace(whole, views=whole.views[:2])
    config = tiny.replace(pooling__kept_points=500, pooling__means="exact")
    other = config.replace(teacher__confusion=0.3)
    for one in (config, other):
        prepare(scene, one, tmp_path, training=True)
    names = [path.name for path in tmp_path.rglob("*.json")]
    counts = {
        kind: sum(name.rpartition("-")[0] == kind for name in names) for kind in ("kept", "kept_geometry", "means")
    }
    assert counts == {"kept": 2, "kept_geometry": 1, "means": 2}
    for one in (config, other):
        cached, fresh = prepare(scene, one, tmp_path, training=True), Stages(scene, one, training=True).prepared()
        np.testing.assert_array_equal(np.asarray(cached.geometry), np.asarray(fresh.geometry))
        np.testing.assert_array_equal(cached.lifted, fresh.lifted)
        chosen = np.arange(0, 500, 3)
        assert torch.equal(
            cached.batch(chosen, torch.device("cpu")).lifted, fresh.batch(chosen, torch.device("cpu")).lifted
        )
