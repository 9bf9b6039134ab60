"""The counts of every scene in a record: packed and back, checked against the scores, small; older files lack them."""

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_records import fake_record
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide.errors import ConfigError, DataError
from geoguide.experiments import records, run
from geoguide.experiments.confusions import pack, pack_matrices, pack_sums, unpack, unpack_counts
from geoguide.experiments.presets import fusion
from geoguide.experiments.records import Record
from geoguide.labels import load_label_set
from geoguide.metrics import ClassSums, ConfusionMatrix
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import Evaluation, evaluate
from geoguide.prepared import PreparedScene

SHORT = "matterport40"


def scored(rng: np.random.Generator, label_set: str, scenes: int, no_feature: str, unseen: float) -> Evaluation:
    """An evaluation of random labels, some classes absent, some points without prediction."""
    config = fusion().replace(protocol__no_feature=no_feature)
    count = len(load_label_set(label_set))
    found = {f"room{number}": ConfusionMatrix(count, no_feature) for number in range(scenes)}
    for matrix in found.values():
        target = rng.choice(rng.permutation(count)[: count // 2], 3000)
        wrong = rng.random(3000) < 0.4
        prediction = np.where(wrong, rng.integers(0, count, 3000), target)
        matrix.update(target, np.where(rng.random(3000) < unseen, 255, prediction))
    total = sum(found.values(), ConfusionMatrix(count, no_feature))
    return Evaluation(total, found, config.protocol)


def kept(own: Evaluation, further: Evaluation) -> dict:
    """The file of a record of both evaluations, as `run` writes it."""
    config = fusion().replace(protocol__no_feature=own.protocol.no_feature, evaluation__label_sets=(SHORT,))
    other = run.describe(further, SHORT)
    del other["confusion"]
    raw = fake_record(config, by_label_set={SHORT: other}).raw
    raw["metrics"] = run.describe(own, "scannet20")
    raw |= {"confusions": pack_matrices(own.per_scene), "class_sums": {SHORT: pack_sums(further.per_scene)}}
    return raw


@pytest.fixture(params=["openscene", "wrong", "drop"])
def raw(request: pytest.FixtureRequest, rng: np.random.Generator) -> dict:
    return kept(*(scored(rng, name, 5, request.param, 0.1) for name in ("scannet20", SHORT)))


def read(raw: dict, folder: Path) -> Record:
    path = folder / "a-s0-0.json"
    path.write_text(records.dumps(raw))
    return records.read(path)


def counts_of(record: Record, scene: str) -> np.ndarray:
    return unpack_counts({scene: record.confusions[scene]}, record.facts.label_set)[0]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_packed_counts_come_back(height: int, width: int, share: float, seed: int):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 2 ** rng.integers(1, 62), (height, width)) * (rng.random((height, width)) < share)
    text = pack(counts)
    assert np.array_equal(unpack(text, counts.shape, "x"), counts) and text.isascii()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no base64", "x holds no packed counts"),
        ("höh", "x holds no packed counts"),
        (base64.b64encode(b"no zlib").decode(), "x holds no packed counts"),
        (base64.b64encode(zlib.compress(bytes(17))).decode(), "x must hold two rows of 64-bit counts, found 17 bytes"),
        (
            base64.b64encode(zlib.compress(bytes(10**7))).decode(),
            "x must hold two rows of 64-bit counts, found 97 bytes",
        ),
        (pack(np.ones((3, 3), int)), "found 97 bytes"),
        (pack(np.array([0] * 8 + [1])), r"x must hold counts of \[2, 3\], found cells outside or counts below 1"),
        (pack(np.array([0, -4])), "found cells outside or counts below 1"),
    ],
)
def test_text_that_holds_no_such_counts_is_refused(text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        unpack(text, (2, 3), "x")


def test_a_record_gives_back_the_counts_of_every_scene(raw: dict, tmp_path: Path, rng: np.random.Generator):
    record = read(raw, tmp_path)
    rule = record.config.protocol.no_feature
    own = scored(np.random.default_rng(0), "scannet20", 5, rule, 0.1)  # as the fixture draws it
    names, sums = record.scene_sums()
    for number, (name, matrix) in enumerate(own.per_scene.items()):
        assert np.array_equal(counts_of(record, name), matrix.counts)
        assert np.array_equal(ClassSums.of(matrix.counts, rule).union, sums.union[number]) and names[number] == name
    further, sums = record.scene_sums(SHORT)
    assert further == names and sums.hits.shape == (5, len(load_label_set(SHORT)))
    for number, name in enumerate(further):
        one = ClassSums(*(part[number] for part in (sums.hits, sums.union, sums.totals)))
        found = 100 * one.mean(one.iou(), record.config.protocol.absent_class)
        assert found == pytest.approx(record.by_label_set[SHORT].scene_miou[name], abs=0.001)
    with pytest.raises(DataError, match="keeps no counts of its scenes on matterport80"):
        record.scene_sums("matterport80")


def moved(text: str, shape: tuple[int, int]) -> str:
    """The same counts with one point in another class."""
    counts = unpack(text, shape, "x")
    row = int(np.flatnonzero(counts.diagonal())[0])
    counts[row, row] -= 1
    counts[row, (row + 1) % shape[0]] += 1
    return pack(counts)


def tampered(change: Callable[[dict], None], message: str) -> tuple[Callable[[dict], None], str]:
    return change, message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        tampered(lambda raw: raw["confusions"].update(room2=moved(raw["confusions"]["room2"], (20, 21))),
                 r"(miou|macc) of confusions is \S+ by the counts, \S+ as stated"),
        tampered(lambda raw: raw["metrics"].update(miou=raw["metrics"]["miou"] + 1e-6), r"miou of confusions is"),
        tampered(lambda raw: raw["metrics"].update(macc=raw["metrics"]["macc"] + 1e-6), r"macc of confusions is"),
        tampered(lambda raw: raw["metrics"]["scene_miou"].update(room1=1.0), r"miou of confusions.room1 is"),
        tampered(lambda raw: raw["confusions"].pop("room1"), r"confusions and scene_miou must hold the same .* room1"),
        tampered(lambda raw: raw["confusions"].update(room1="?"), r"confusions.room1 holds no packed counts"),
        tampered(lambda raw: raw["confusions"].update(room1=7), r"record.confusions.room1 must be str, found 7"),
        tampered(lambda raw: raw.update(confusions=[]), r"record.confusions must be"),
        tampered(lambda raw: raw["class_sums"].update(other={}), r"class_sums.other has no scores in by_label_set"),
        tampered(lambda raw: raw["class_sums"][SHORT].pop("room0"), r"class_sums.matterport40 and scene_miou must"),
        tampered(lambda raw: raw["by_label_set"][SHORT].update(miou=raw["by_label_set"][SHORT]["miou"] + 1e-6),
                 r"miou of class_sums.matterport40 is"),
    ],
)  # fmt: skip
def test_counts_that_do_not_fit_the_scores_are_refused(raw: dict, tmp_path: Path, change, message: str):
    read(raw, tmp_path)
    change(raw)
    with pytest.raises(DataError, match=rf"a-s0-0.json: unreadable record \(.*{message}"):
        read(raw, tmp_path)


def test_scenes_that_swapped_their_counts_are_refused(raw: dict, tmp_path: Path):
    """All sums are the same; that a scene's own mIoU is another tells it."""
    held = raw["confusions"]
    held["room0"], held["room1"] = held["room1"], held["room0"]
    with pytest.raises(DataError, match=r"miou of confusions.room[01] is"):
        read(raw, tmp_path)


def test_old_records_are_read_and_say_what_they_lack(raw: dict, tmp_path: Path):
    del raw["confusions"], raw["class_sums"]
    record = read(raw, tmp_path)
    assert record.confusions == record.class_sums == {}
    with pytest.raises(DataError, match="keeps no counts of its scenes on scannet20"):
        record.scene_sums()


def test_a_hundred_scenes_are_small(rng: np.random.Generator):
    """Random errors, many more cells than real ones have; 100 rooms and 100 regions of three further label sets."""
    own = scored(rng, "scannet20", 100, "openscene", 0.1)
    assert len(json.dumps(pack_matrices(own.per_scene))) < 100_000
    sizes = [
        len(json.dumps(pack_sums(scored(rng, f"matterport{n}", 100, "openscene", 0.1).per_scene)))
        for n in (40, 80, 160)
    ]
    assert sum(sizes) < 150_000


def test_a_run_writes_them(tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]], tmp_path: Path):
    """2D fusion of the tiny experiment: the matrices are those of `evaluate`, and the file is read again."""
    config = tiny.replace(protocol__mode="fusion")
    record = run.run(config, folder=tmp_path, progress=False)
    (path,) = tmp_path.glob("*/*.json")
    assert records.read(path) == record and list(record.confusions) == [scene.name for scene in tiny_scenes["test"]]
    expected = evaluate(config, None, scenes=tiny_scenes["test"], progress=False)
    for name, matrix in expected.per_scene.items():
        assert np.array_equal(counts_of(record, name), matrix.counts)
        assert len(record.confusions[name]) < 600
