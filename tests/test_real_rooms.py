"""The rows of real rooms, and how the chapter reads their records."""

from dataclasses import replace

import numpy as np
import pytest

from geoguide.errors import ConfigError, DataError
from geoguide.experiments import real_rooms
from geoguide.experiments.records import read_all
from geoguide.experiments.run import portable
from geoguide.frozen import config_hash, to_dict
from geoguide.metrics import ConfusionMatrix
from geoguide.paths import clone
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.evaluate import evaluate
from geoguide.prepared import PreparedScene
from geoguide.report import real_rooms as report
from geoguide.report.evidence import DECIDED, TOO_FEW
from geoguide.scene import NO_INSTANCE, VOID
from geoguide.superpoints import SuperpointConfig, scene_superpoints
from geoguide.teachers.registry import ImageModelConfig


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch):
    """All rows, with given features in place of networks, which would have to be opened."""
    model = ImageModelConfig("given", "A")
    monkeypatch.setattr(real_rooms, "with_image_model", lambda config, name: config.replace(
        image_model=replace(model, source=name, name=name)))  # fmt: skip
    return real_rooms.real_rooms("somewhere/scannet", ["A", "B"], seeds=(0, 1))


def test_each_row_is_another_experiment_and_is_told_from_its_config(rows) -> None:
    assert len({config_hash(config) for config in rows}) == len(rows)
    trainings = {config_hash(config.training()) for config in rows if config.protocol.mode == "distill"}
    # two scored scenes each: 12 rows of A and 2 + 2 + 2 others for each seed, and 2 that are longer
    assert len(trainings) == 2 * (12 + 6) + 2
    assert all(config.data.splits.train and not config.data.splits.test for config in rows)
    assert {config.tested().data.splits.test for config in rows} == {(real_rooms.ROOM,), (real_rooms.RESCAN,)}


def test_what_lies_where_is_no_part_of_a_record(rows) -> None:
    for config in rows:
        held = portable(config.replace(image_model=replace(config.image_model, source="/home/me/nets/a.tflite")))
        assert config_hash(held) == config_hash(config)
        assert held.data.root == held.evaluation.data.root == "scannet"
        assert "/" not in str(to_dict(held.image_model))


def test_superpoints_cut_at_annotated_objects_are_pure(tiny_scenes: dict[str, list[PreparedScene]]) -> None:
    scene = tiny_scenes["test"][0].load()
    mixed = replace(scene, instances=np.arange(len(scene)) // 700)
    whole = scene_superpoints(mixed, SuperpointConfig())
    parts = scene_superpoints(mixed, SuperpointConfig(cut="annotation"))
    for kinds in (whole, mixed.labels, mixed.instances):  # a part lies within one of each
        assert len(np.unique(np.column_stack([parts, kinds]), axis=0)) == parts.max() + 1
    _, first = np.unique(parts, return_index=True)
    assert (np.diff(first) > 0).all()  # ids in the order of first appearance
    with pytest.raises(DataError, match=r"superpoints\.cut 'annotation' needs labels and instances"):
        scene_superpoints(replace(scene, instances=None), SuperpointConfig(cut="annotation"))
    with pytest.raises(ConfigError, match=r"superpoints\.cut must be one of"):
        SuperpointConfig(cut="by hand")  # ty: ignore[invalid-argument-type]


@pytest.mark.parametrize("pooled", ["superpoints", "instances"])
def test_pooled_fusion_follows_a_slow_loop(
    pooled: str, tiny: ExperimentConfig, tiny_scenes: dict[str, list[PreparedScene]]
) -> None:
    scene = tiny_scenes["test"][0]
    config = tiny.replace(protocol__mode="fusion").replace(protocol__pooled=pooled)
    found = evaluate(config, None, scenes=[scene], progress=False).confusion
    text = class_text(config.data.label_set, config.protocol).vectors.numpy()
    lifted, seen = scene.features(np.arange(len(scene)))
    region = np.asarray(scene.superpoints)
    if pooled == "instances":
        own = np.asarray(scene.instances)
        region = np.where(own == NO_INSTANCE, own.max() + 1 + region, own)
    answer = np.full(len(scene), VOID)
    for one in np.unique(region):
        mine = region == one
        if seen[mine].any():
            answer[mine] = (text @ lifted[mine & seen].astype(np.float64).mean(axis=0)).argmax()
    slow = ConfusionMatrix(20, config.protocol.no_feature)
    slow.update(scene.labels, answer)
    assert np.abs(found.matrix - slow.matrix).sum() <= 2  # ties of float16
    with pytest.raises(ConfigError, match="belongs to mode fusion"):
        Protocol(pooled="superpoints")


def test_the_committed_records_are_read() -> None:
    top = clone()
    found = [] if top is None else [record for record in read_all(top / "results") if report.is_of_rooms(record)]
    if not found:
        pytest.skip("not a clone")
    lines = report.frame(found)
    assert set(lines["row"]) <= set(report.ROWS)
    assert lines["accuracy"].between(0, 100).all() and lines["classes"].isin((14, 15)).all()
    main = report.plain(lines, lines["teacher"].value_counts().idxmax())
    assert not main.duplicated(["row", "scored", "seed"]).any()
    shown = report.differences(main, report.ADAPTER)
    assert report.ADAPTER not in set(shown["row"]) and set(shown[report.HIGHER]) <= {*DECIDED, TOO_FEW}


def test_names_of_networks_are_short() -> None:
    name = "mean of mobile_segmenter_r4_quant_argmax_uint8 (31 classes, labels only) and other (2 class probabilities)"
    assert report.short(name) == "mean of MOSAIC and other"
