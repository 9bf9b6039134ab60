"""The data cards: every file is listed once and as it is, writing them changes nothing else; the page of them."""

import hashlib
import importlib
import json
import re
from pathlib import Path

import pytest
import yaml

from geoguide.benchmarks import benchmark, benchmarks
from geoguide.benchmarks.data_card import CARD, card, facts, in_words, write_card
from geoguide.benchmarks.scenes import known_layouts, list_sources
from geoguide.cli import main
from geoguide.datasets.check import check_folder
from geoguide.datasets.config import GENERATED, DataConfig
from geoguide.errors import DataError
from geoguide.labels import load_label_set
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses.make import HouseConfig, make_mini_matterport3d
from geoguide.worlds.jobs import MANIFEST
from geoguide.worlds.rooms.make import MiniConfig, make_mini_scannet
from geoguide.worlds.streets.make import make_mini_nuscenes

ROOT = Path(__file__).resolve().parents[1]
CAMERA = SensorConfig(frames=4, image_size=(60, 80), focal=72.0)
HOUSE = HouseConfig(regions=2, panoramas=1)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One scene of each world, small where that can be had."""
    home = tmp_path_factory.mktemp("worlds")
    few, quiet = (1, 0, 0), {"workers": 1, "progress": False}
    return {
        "scannet": make_mini_scannet(
            home / "r", rooms=few, config=MiniConfig(seed=3, voxel=0.1, sensor=CAMERA), **quiet
        ),
        "matterport3d": make_mini_matterport3d(home / "h", houses=few, config=HOUSE, **quiet),
        "nuscenes": make_mini_nuscenes(home / "s", scenes=few, **quiet),
    }


@pytest.fixture(params=["scannet", "matterport3d", "nuscenes"])
def data(request: pytest.FixtureRequest, worlds: dict[str, Path]) -> DataConfig:
    return DataConfig(GENERATED + request.param, root=str(worlds[request.param]))


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_card_lists_every_file_once_with_its_size_and_hash(data: DataConfig) -> None:
    files, found = content(data.folder), card(data)
    files.pop(CARD, None)
    listed: list[str] = []
    for part in found["distribution"]:
        if part["@type"] == "cr:FileObject":
            name = part["contentUrl"]
            assert part["sha256"] == hashlib.sha256(files[name]).hexdigest()
            assert part["contentSize"] == f"{len(files[name])} B"
            listed.append(name)
        else:
            own = [path.relative_to(data.folder).as_posix() for path in data.folder.glob(part["includes"])]
            size = sum(len(files[name]) for name in own)
            assert part["description"].endswith(f". {len(own)} files, {size} bytes.")
            listed += own
    assert sorted(listed) == sorted(files)
    names = [part["@id"] for part in found["distribution"]]
    assert len(set(names)) == len(names)


def test_writing_it_changes_nothing_else_and_is_deterministic(data: DataConfig, capsys: pytest.CaptureFixture) -> None:
    (data.folder / CARD).unlink(missing_ok=True)
    before = content(data.folder)
    stamps = [source.stamp() for source in list_sources(data, "train")]
    code = check_folder(data.folder, known_layouts())
    said = capsys.readouterr().out
    path = write_card(data)
    first = path.read_bytes()
    assert content(data.folder) == before | {CARD: first} and write_card(data).read_bytes() == first
    assert [source.stamp() for source in list_sources(data, "train")] == stamps
    assert check_folder(data.folder, known_layouts()) == code and capsys.readouterr().out == said


def test_what_it_says_is_what_the_manifest_and_the_labels_say(data: DataConfig) -> None:
    found, manifest = card(data), json.loads((data.folder / MANIFEST).read_text())
    records = {part["@id"]: part.get("data") for part in found["recordSet"]}
    assert {row["scenes/name"]: row["scenes/fingerprint"] for row in records["scenes"]} == manifest["scenes"]
    counts = {row["splits/name"]: row["splits/scenes"] for row in records["splits"]}
    assert counts == {"train": 1, "val": 0, "test": 0}
    (recipe,) = records["recipe"]
    assert recipe["recipe/fingerprint"] == manifest["fingerprint"] and recipe["recipe/seed"] == manifest["seed"]
    there = benchmark(data.dataset.removeprefix(GENERATED))
    names = [row["classes/name"] for row in records["classes"] if row["classes/label_set"] == there.label_set]
    assert tuple(names) == tuple(load_label_set(there.label_set).names)
    assert found["license"].endswith("MIT.html") and there.world.limits in found["rai:dataLimitations"]


def test_mlcroissant_validates_and_reads_it(data: DataConfig) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    found = mlcroissant.Dataset(write_card(data))
    assert not found.metadata.issues.errors
    standard = importlib.import_module("mlcroissant._src.core.rdf").make_context()
    assert card(data)["@context"] == standard
    (warned,) = found.metadata.issues.warnings  # data that can be made at any time were published on no day
    assert "datePublished" in warned
    images = [data.folder / row["frames/path"].decode() for row in found.records("frames")]
    (pattern,) = (part["includes"] for part in card(data)["distribution"] if part["@id"] == "images")
    assert sorted(images) == sorted(data.folder.glob(pattern))
    first = next(iter(found.records("frames")))["frames/image"]
    assert first.mode == "RGB"
    for name in ("splits", "recipe", "scenes", "classes"):
        written = next(part["data"] for part in card(data)["recordSet"] if part["@id"] == name)
        text = [{k: v.decode() if isinstance(v, bytes) else v for k, v in row.items()} for row in found.records(name)]
        assert text == written


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "data",
                "make",
                str(tmp_path / "d"),
                "--dataset",
                "mini-nuscenes",
                "--scenes",
                "1",
                "0",
                "0",
                "--workers",
                "1",
            ]
        )
    assert stop.value.code == 0 and "croissant.json describes it" in capsys.readouterr().out
    assert json.loads((tmp_path / "d" / CARD).read_text())["name"] == "mini-nuscenes"


def test_without_data_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest.json"):
        write_card(DataConfig("mini-scannet", root=str(tmp_path)))


def test_facts_are_those_of_the_worlds() -> None:
    rows = facts()
    assert {(row["--dataset"], row["--edition"]): (row["train"], row["val"], row["test"]) for row in rows} == {
        (GENERATED + there.name, edition): counts
        for there in benchmarks()
        for edition, counts in there.world.editions.items()
    }
    for there in benchmarks():
        names = [kind.name for kind in there.world.files]
        assert len(set(names)) == len(names) and {"images", "stamps"} <= {*names}
        assert all(f"`{kind.place}`" in in_words(there) for kind in there.world.files)


def test_the_page_is_in_the_book_and_types_no_number() -> None:
    page = (ROOT / "book" / "data.md").read_text()
    _, head, body = page.split("---\n", 2)
    assert yaml.safe_load(head)["kernelspec"]["name"] == "python3"
    chapters = [entry["file"] for part in yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())["parts"]
                for entry in part["chapters"]]  # fmt: skip
    assert "data" in chapters
    prose = "".join(part for number, part in enumerate(body.split("```")) if number % 2 == 0)
    plain = re.sub(r"^ {4}.*$|`[^`]*`|\]\([^)]*\)", "", prose, flags=re.MULTILINE)
    assert not [character for character in plain if character.isdigit()]
