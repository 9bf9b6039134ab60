"""The committed split lists: the official ones, the generators' own, and nothing evaluated that was trained on."""

import csv
import hashlib
from itertools import combinations
from pathlib import Path

import pytest

from geoguide.backbones.sonata_mini import WEIGHTS, read_notes
from geoguide.datasets.splits import FOLDER, SPLITS, load_split
from geoguide.errors import ConfigError
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pretraining.config import PretrainConfig
from geoguide.worlds.houses import make as houses
from geoguide.worlds.jobs import Job, list_jobs
from geoguide.worlds.rooms import make as rooms
from geoguide.worlds.streets import make as streets

COUNTS = {
    "scannet": (1201, 312, 100),
    "matterport3d": (61, 11, 18),
    "nuscenes": (700, 150, 150, 8, 2),
    "mini-scannet": (28, 14, 21),
    "mini-matterport3d": (8, 3, 6),
    "mini-nuscenes": (15, 10, 10),
}
# Git's own names (blob ids) of the files in the official repositories.
OFFICIAL = {
    "scannet_train": "ef625f120b812fea5ac507d3b7049fc7ebd2e7e4",
    "scannet_val": "b9e7d9205321e8ca047a527466f4b7100c9c9d2c",
    "scannet_test": "79d15b0ee4afa889883562a722b837b78ee8ce4b",
    "matterport3d_train": "b055039bd251d96052e6da539698a0a15e695ae5",
    "matterport3d_val": "a05caba6eca9f455303b502146402768fe3e3096",
    "matterport3d_test": "fea0766e309ec2f2c674b80604040a543c477f89",
}
MINI = {
    "mini-scannet": (rooms._Room, rooms.ROOM_COUNTS, rooms.MiniConfig()),
    "mini-matterport3d": (houses._House, houses.HOUSE_COUNTS, houses.HouseConfig()),
    "mini-nuscenes": (streets._Street, streets.STREET_COUNTS, streets.StreetConfig()),
}
EVALUATION = ("val", "test")


def jobs_of(dataset: str) -> list[Job]:
    """The scenes that a generator makes by default."""
    kind, counts, config = MINI[dataset]
    return list_jobs(kind, Path("nowhere"), counts, config, "scenes")


def pretraining_jobs() -> list[Job]:
    """The rooms that the packaged backbone has seen, by the metadata of its weights."""
    return [
        rooms._Room(Path("nowhere"), split, number, rooms.MiniConfig(seed=seed))
        for seed, split, number in read_notes(WEIGHTS)["rooms"]
    ]


def identity(job: Job) -> tuple[int, str, int]:
    return job.config.seed, job.split, job.number


def test_every_list_is_there_and_no_other():
    files = {path.stem for path in FOLDER.glob("*.txt")}
    assert files == {f"{dataset}_{split}" for dataset in SPLITS for split in SPLITS[dataset]}
    assert SPLITS.keys() == COUNTS.keys()


@pytest.mark.parametrize("dataset", COUNTS)
def test_counts_and_no_scene_in_two_splits(dataset: str):
    lists = [load_split(dataset, split) for split in SPLITS[dataset]]
    assert tuple(map(len, lists)) == COUNTS[dataset]
    assert all(len(set(names)) == len(names) for names in lists)
    for one, other in combinations(lists[:3], 2):
        assert not set(one) & set(other)


@pytest.mark.parametrize("dataset", ["scannet", "mini-scannet"])
def test_no_room_in_two_splits(dataset: str):
    """ScanNet scanned many rooms more than once: sceneXXXX is the room, sceneXXXX_YY a scan of it."""
    scanned = [{name.partition("_")[0] for name in load_split(dataset, split)} for split in SPLITS[dataset]]
    assert sum(map(len, scanned)) == len(set().union(*scanned)) == {"scannet": 807, "mini-scannet": 63}[dataset]


def test_nuscenes_mini_train_holds_two_scenes_of_val():
    """So the devkit has it: who trains on mini_train may score mini_val, not val."""
    small, small_val = set(load_split("nuscenes", "mini_train")), set(load_split("nuscenes", "mini_val"))
    train, val = set(load_split("nuscenes", "train")), set(load_split("nuscenes", "val"))
    assert not small & small_val and small_val <= val
    assert small - train == small & val == {"scene-0553", "scene-0796"}


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_lists_are_the_official_files(name: str):
    content = (FOLDER / f"{name}.txt").read_bytes()
    assert hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == OFFICIAL[name]


@pytest.mark.parametrize("dataset", MINI)
def test_mini_lists_are_what_the_generators_make(dataset: str):
    for split in SPLITS[dataset]:
        assert load_split(dataset, split) == tuple(job.name for job in jobs_of(dataset) if job.split == split)


def test_experiments_take_these_rooms():
    data = ExperimentConfig().data
    assert data.dataset == "mini-scannet"
    assert (data.rooms, data.room_seed) == (rooms.ROOM_COUNTS, rooms.MiniConfig().seed)


def test_pretraining_rooms_are_those_in_the_weights_and_those_of_the_default_configuration():
    with (FOLDER / "sonata-mini_rooms.csv").open(newline="") as file:
        listed = [(int(row["seed"]), row["split"], int(row["number"])) for row in csv.DictReader(file)]
    config = PretrainConfig()
    assert listed == [identity(job) for job in pretraining_jobs()]
    assert listed == [(0, "train", number) for number in range(config.benchmark_rooms)] + [
        (config.room_seed, "train", number) for number in range(config.rooms)
    ]


@pytest.mark.parametrize("dataset", MINI)
def test_nothing_evaluated_was_trained_or_pretrained_on(dataset: str):
    jobs = jobs_of(dataset)
    evaluated = {identity(job) for job in jobs if job.split in EVALUATION}
    seen = [identity(job) for job in (*jobs, *pretraining_jobs()) if job.split not in EVALUATION]
    assert len(evaluated) == sum(COUNTS[dataset][1:])
    assert not evaluated.intersection(seen)


def test_random_seeds_differ():
    """No two scenes of a data set are drawn from one seed, and none evaluated from the seed of any trained on."""
    sets = {dataset: jobs_of(dataset) for dataset in MINI}
    known = {identity(job) for job in sets["mini-scannet"]}
    sets["mini-scannet"] += [job for job in pretraining_jobs() if identity(job) not in known]
    drawn: dict[bool, set[int]] = {True: set(), False: set()}
    for jobs in sets.values():
        assert len({seed for job in jobs for seed in job.seeds(2)}) == 2 * len(jobs)
        for job in jobs:
            drawn[job.split in EVALUATION].update(job.seeds(2))
    assert not drawn[True] & drawn[False]


def test_unknown_names_are_refused():
    with pytest.raises(ConfigError, match=r"dataset must be one of matterport3d, nuscenes, scannet, .*, found 's3dis'"):
        load_split("s3dis", "train")
    with pytest.raises(ConfigError, match=r"split of scannet must be one of train, val, test, found 'mini_val'"):
        load_split("scannet", "mini_val")
