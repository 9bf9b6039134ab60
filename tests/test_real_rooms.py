"""The rows of real rooms, and how the chapter reads their records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments import facts, real_rooms, regime
from geoguide.experiments.facts import Facts
from geoguide.experiments.records import read_all
from geoguide.experiments.run import portable
from geoguide.frozen import config_hash, to_dict
from geoguide.method.objective import MODULES
from geoguide.metrics import ConfusionMatrix
from geoguide.paths import clone
from geoguide.pipeline.class_text import class_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.evaluate import evaluate
from geoguide.prepared import PreparedScene
from geoguide.report import real_rooms as report
from geoguide.report import real_rooms_story as story
from geoguide.report.evidence import CONTRADICTED, DECIDED, NO_VERDICT, SUPPORTED, TOO_FEW, UNDECIDED, estimate
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
    # two scored scenes each: 14 rows of A and 2 + 4 + 2 others for each seed, and 2 that are longer
    assert len(trainings) == 2 * (14 + 8) + 2
    assert all(config.data.splits.train and not config.data.splits.test for config in rows)
    assert {config.tested().data.splits.test for config in rows} == {(real_rooms.ROOM,), (real_rooms.RESCAN,)}
    anew = [Facts.of(config).method for config in rows if config.train.model == "point_transformer"]
    assert anew == [facts.STILL] * 2 * 2 * 2  # adapter and works-best, seeds, scored scenes


def test_the_settings_of_large_rooms_are_taken_whole(rows) -> None:
    """All but the room, its 2D model and frozen features, and the number of steps are those of the large tables."""
    mine = [config for config in rows if config.name.endswith(report.UNCHANGED) and config.seed == 0]
    known = {config: Facts.of(config) for config in regime.ablation((0,))}
    plain = [config for config, of in known.items() if of.plain and of.preset in (None, "works-best")]
    theirs = {config.objective.modules: config for config in plain if config.protocol.mode == "distill"}
    assert len(mine) == 4 and {config.objective.modules for config in mine} == {(), MODULES}
    for here in mine:
        there = theirs[here.objective.modules]
        for part in ("adapter", "objective", "pooling", "masks", "superpoints"):
            assert getattr(here, part) == getattr(there, part)
        assert here.train == replace(there.train, steps=there.train.steps // 2)


def test_what_lies_where_is_no_part_of_a_record(rows) -> None:
    for config in rows:
        held = portable(config.replace(image_model=replace(config.image_model, source="/home/me/nets/a.tflite")))
        assert config_hash(held) == config_hash(config)
        assert held.data.root == held.evaluation.data.root == "scannet"
        assert "/" not in str(to_dict(held.image_model))


def test_sonata_adds_four_rows_a_seed_and_changes_no_other(rows, tmp_path: Path) -> None:
    weights = tmp_path / "sonata.pth"
    with pytest.raises(DataError, match=r"sonata\.pth: weights file not found; fetch the weights"):
        real_rooms.real_rooms("somewhere/scannet", ["A", "B"], seeds=(0, 1), weights=weights)
    weights.write_bytes(b"not opened before it is trained on")
    more = real_rooms.real_rooms("somewhere/scannet", ["A", "B"], seeds=(0, 1), weights=weights)
    new = [config for config in more if config_hash(config) not in {config_hash(config) for config in rows}]
    assert len(more) - len(rows) == len(new) == 4 * 2 * 2  # four rows, two seeds and scored scenes
    assert {(config.backbone.name, config.backbone.weights) for config in new} == {("sonata", str(weights))}


def test_without_a_second_room_no_row_is_there_twice(rows) -> None:
    fewer = real_rooms.real_rooms("somewhere/scannet", ["A", "B"], more="", seeds=(0, 1))
    hashes = [config_hash(config) for config in fewer]
    assert len(hashes) == len(set(hashes)) == len(rows) - 2 * 2 * 2
    for wrong in ({"features": []}, {"features": "A", "train": ""}, {"features": "A", "scored": ()}):
        with pytest.raises(InputError, match="must name at least one"):
            real_rooms.real_rooms("somewhere", **wrong)


class Listed(Exception):
    """The notebook has listed its experiments."""


def listed(**given: Any) -> list[ExperimentConfig]:
    """What the notebook would train with some parameters, as papermill gives them."""
    notebook = nbformat.read(Path(__file__).parents[1] / "notebooks" / "14_real_scenes.ipynb", as_version=4)
    parameters, imports, runs = [cell.source for cell in notebook.cells if cell.cell_type == "code"][:3]
    held: dict[str, Any] = {}
    exec(parameters, held)
    assert set(given) <= set(held)
    held |= given
    exec(imports, held)
    found: list[ExperimentConfig] = []

    def stop(configs: list[ExperimentConfig], **_: Any) -> None:
        found.extend(configs)
        raise Listed

    with pytest.raises(Listed):
        exec(runs, held | {"run_all": stop})
    return found


def test_the_notebook_lists_rows_for_whoever_has_scannet(tmp_path: Path) -> None:
    """One word, as papermill's -p gives it; the second room where it is; nothing but packaged models is opened."""
    pytest.importorskip("IPython")
    (tmp_path / "scans" / real_rooms.ROOM).mkdir(parents=True)
    alone = listed(data=str(tmp_path))
    assert {config.image_model.name for config in alone} == {"lseg-mini"}
    assert {config.data.splits.train for config in alone} == {(real_rooms.ROOM,)}
    (tmp_path / "scans" / real_rooms.OTHER_ROOM).mkdir()
    models = ["mini:openseg-mini", "mini:lseg-mini"]
    several = listed(data=str(tmp_path), models=models, train=real_rooms.ROOM)
    assert {config.image_model.name for config in several} == {"openseg-mini", "lseg-mini"}
    assert {len(config.data.splits.train) for config in several} == {1, 2}


def test_the_committed_records_are_those_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    top = clone()
    found = [] if top is None else [record for record in read_all(top / "results") if report.is_of_rooms(record)]
    if not found:
        pytest.skip("not a clone")
    models = {record.config.image_model.name: record.config.image_model for record in found}
    monkeypatch.setattr(real_rooms, "with_image_model", lambda config, name: config.replace(
        image_model=models[name], text=models[name].space))  # fmt: skip
    first = max(models, key=lambda name: sum(record.config.image_model.name == name for record in found))
    rows = real_rooms.real_rooms("scannet_real", [first, *(name for name in models if name != first)])
    assert {config_hash(config) for config in rows} == {record.id for record in found}


def test_experiments_of_ones_own_are_none_of_the_committed() -> None:
    """Their facts are those of a row: on real data most of what trains is no fact."""
    top = clone()
    found = [] if top is None else [record for record in read_all(top / "results") if report.is_of_rooms(record)]
    if not found:
        pytest.skip("not a clone")
    changes = (
        {"train__learning_rate": 1e-4},
        {"train__steps": 17},
        {"lifting__border": 3},
        {"adapter__hidden": (8,)},
        {"seed": 7},
        {"backbone__name": "sonata-mini+descriptors"},
        {"objective__lambda_sp": 2.0},
        {"data__splits": replace(found[-1].config.data.splits, train=("scene0042_00",))},
    )
    for change in changes:
        assert not report.is_of_rooms(replace(found[-1], config=found[-1].config.replace(**change))), change
    foreign = replace(found[-1], facts=replace(found[-1].facts, teacher="lseg-mini"))
    assert not report.is_of_rooms(foreign)
    with pytest.raises(InputError, match="scored must name scenes of the records .*, found 'scene0042_00'"):
        report.need_scenes(report.frame(found), ("scene0000_00",), ("scene0042_00",))
    with pytest.raises(DataError, match="no records of real rooms"):
        report.frame([])


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
    blind = replace(scene, name="blind", lifted=None, seen_by=None)
    with pytest.warns(UserWarning, match="1 of 2 scenes have no 2D features, all of their points count as points with"):
        both = evaluate(config, None, scenes=[scene, blind], progress=False)
    nothing = ConfusionMatrix(20, config.protocol.no_feature)
    nothing.update(scene.labels, np.full(len(scene), VOID))
    assert np.array_equal(both.per_scene["blind"].matrix, nothing.matrix) and both.without_features == ("blind",)
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
    assert report.ADAPTER not in set(shown["row"]) and set(shown[report.HIGHER]) <= {*DECIDED, TOO_FEW, NO_VERDICT}


def test_names_of_networks_are_short() -> None:
    name = "mean of mobile_segmenter_r4_quant_argmax_uint8 (31 classes, labels only) and other (2 class probabilities)"
    assert report.short(name) == "mean of MOSAIC and other"


def curve(*losses: float, more: float | None = None) -> list[dict[str, float]]:
    extra = {} if more is None else {"superpoint": more}
    return [{"step": step, "point": loss} | extra for step, loss in enumerate(losses)]


def test_the_end_of_a_loss_by_hand() -> None:
    assert report.fall_of(curve(9, 9, 9, 9, 4, 4, 3, 3)) == pytest.approx(0.25)
    assert report.fall_of(curve(9, 9, 9, 9, 4, 4, 3, 3, more=6)) == pytest.approx(0.1)  # of both terms
    assert report.fall_of(curve(1, 1, 1, 2)) == pytest.approx(-0.5)
    assert np.isnan([report.fall_of(curve(1, 1, 1)), report.fall_of([]), report.fall_of([{"total": 1.0}] * 8)]).all()
    nan = float("nan")
    for falls, settled in (((0.0, 0.1, 0.2), True), ((0.05, 0.2, -0.1), False), ((0.05, 0.2), False), ((nan,), False)):
        assert report.has_settled(pd.Series(falls)) == settled


def scores(row: str, *miou: float, fall: float = 0.05, **facts: Any) -> list[dict[str, Any]]:
    known = {"row": row, "teacher": "A", "backbone": "descriptors", "learned from": "S", "scored": "S", "steps": 1000}
    known["settings"] = ""
    return [known | facts | {"seed": seed, "miou": value, "fall": fall} for seed, value in enumerate(miou)]


def test_a_row_whose_loss_still_moves_has_no_verdict_and_leaves_the_family() -> None:
    adapter = scores(report.ADAPTER, 30.0, 31.0, 32.0)
    full, gradient = (32.0, 33.1, 34.2), (35.0, 36.1, 37.2)
    lines = pd.DataFrame([*adapter, *scores(report.FULL, *full), *scores(report.BY_GRADIENT, *gradient, fall=-0.05)])
    told = report.differences(lines, report.ADAPTER).set_index("row")
    assert told[report.HIGHER].to_dict() == {report.FULL: SUPPORTED, report.BY_GRADIENT: NO_VERDICT}
    assert told.loc[report.BY_GRADIENT, f"mIoU less {report.ADAPTER}"].startswith("+5.10 [")  # shown all the same
    alone = report.differences(pd.DataFrame([*adapter, *scores(report.FULL, *full)]), report.ADAPTER)
    assert alone[report.HIGHER].tolist() == [SUPPORTED]
    unsettled = pd.DataFrame([*scores(report.ADAPTER, 30.0, 31.0, 32.0, fall=0.2), *scores(report.FULL, *full)])
    assert report.differences(unsettled, report.ADAPTER)[report.HIGHER].tolist() == [NO_VERDICT]
    sentences = story.findings(lines, ["S"])
    assert sentences[0].startswith(f"- **{SUPPORTED}**: on S, *{report.FULL}*") and NO_VERDICT in sentences[-1]
    assert story.findings(lines, ["another"]) == []


def test_what_twice_the_steps_changed_by_hand() -> None:
    usual = [*scores(report.ADAPTER, 30.0, 40.0), *scores(report.FULL, 31.0, 50.0)]
    longer = [*scores(report.ADAPTER, 29.0, steps=2000), *scores(report.FULL, 33.0, steps=2000)]
    first, last = story.longer_findings(pd.DataFrame([*usual, *longer]))
    assert "1 seed: " in first and "*adapter only* from 30.0 to 29.0" in first and "from +1.00 to +4.00 points" in first
    assert last.startswith("- So few seeds")
    assert story.longer_findings(pd.DataFrame(usual)) == ["- No row was trained for longer."]


def test_what_augmented_rooms_changed_by_hand() -> None:
    usual = [*scores(report.ADAPTER, 30.0, 40.0), *scores(report.FULL, 31.0, 50.0)]
    fresh = [*scores(report.AUGMENTED[report.ADAPTER], 32.0, 45.0), *scores(report.AUGMENTED[report.FULL], 30.0)]
    (told,) = story.augmented_findings(pd.DataFrame([*usual, *fresh]))
    assert "scored on S: *adapter only* from 35.0 to 38.5 (+3.50 [" in told
    assert "*works-best* from 31.0 to 30.0 (-1.00)" in told  # of the one seed that both have
    assert told.endswith(" *works-best* less *adapter only*, both so: -2.00.")
    assert story.augmented_findings(pd.DataFrame(usual)) == ["- No row was run whose network reads the room augmented."]


def test_what_all_settings_of_large_rooms_say_by_hand() -> None:
    usual = [*scores(report.ADAPTER, 30.0, 31.0, 32.0), *scores(report.BY_GRADIENT, 35.0, 36.1, 37.2)]
    there = [row | {"settings": report.UNCHANGED} for row in scores(report.ADAPTER, 40.0, 41.0, 42.0)]
    there += [row | {"settings": report.UNCHANGED} for row in scores(report.BY_GRADIENT, 38.0, 38.9, 40.1)]
    (told,) = story.unchanged_findings(pd.DataFrame([*usual, *there]))
    assert told.startswith(f"- **{CONTRADICTED}**: ") and "scored on S" in told and "(-2.00 [" in told
    assert story.unchanged_findings(pd.DataFrame(usual)) == ["- No row was run in all settings of the large edition."]


def test_signs_agree_where_both_are_decided() -> None:
    row = scores(f"{report.FULL}, no iirc", 33.0, 34.1, 35.2)
    lines = pd.DataFrame([*scores(report.FULL, 32.0, 33.0, 34.0), *row])
    test = {"edition": "small", "metric": "mIoU", "test": "removing IIRC lowers the scores (works-best)",
            "difference": "-2.87 [-3.65, -2.10]", "says": "lower than 0"}  # fmt: skip
    for verdict, agreement in ((SUPPORTED, story.OPPOSITE), (CONTRADICTED, story.SAME), (NO_VERDICT, UNDECIDED)):
        (beside,) = story.beside_generated(lines, pd.DataFrame([test | {"verdict": verdict}]))
        assert beside.here == {"S": ("+1.10 [+0.85, +1.35]", SUPPORTED)}
        assert story.beside_findings([beside])[0].endswith(f"**{agreement}**.")
    table = story.beside_table([beside]).iloc[0]
    assert (table[story.GENERATED["small"]], table[story.GENERATED["large"]]) == (test["difference"], "")


class Scored:
    """Of a record what the sentences on classes read: two classes, four points each."""

    def __init__(self, *confusion: list[int]) -> None:
        counts = np.array(confusion)
        either = counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts)
        self.metrics = self
        self.confusion, self.iou = counts, dict(zip(("door", "cabinet"), 100 * np.diag(counts) / either, strict=True))


def test_the_module_that_a_class_loses_by_is_found_by_leaving_it_out() -> None:
    right, wrong = ([4, 0], [0, 4]), ([4, 0], [3, 1])  # three cabinets are taken for a door
    kinds = {
        report.ADAPTER: right,
        report.BY_GRADIENT: wrong,
        f"{report.BY_GRADIENT}, no imr": wrong,
        f"{report.BY_GRADIENT}, no iirc": right,
    }
    found: Any = [Scored(*kind) for kind in kinds.values() for _ in range(3)]
    lines = pd.DataFrame([line for row in kinds for line in scores(row, 1.0, 2.0, 3.0, fall=0.2)])
    told = story.class_findings(found, lines.assign(record=range(len(lines))))
    (door,) = [line for line in told if "IoU of **door**" in line]
    assert "by -42.86" in door and "+0.00 [+0.00, +0.00] without IMR, +42.86" in door
    assert "100 % (*works-best by gradient*)" in door and "0, 0, 75, at last most of them cabinet" in door
    assert "chosen by these same runs (p 0, corrected for all 2 classes)" in door
    assert "is the cause" not in told[-1] and "cabinet and door came back without IIRC; no cause is named" in told[-1]
    settled = lines.assign(record=range(len(lines)), fall=0.0)
    assert "IIRC at matched gradient is the cause for cabinet and door" in story.class_findings(found, settled)[-1]
    kinds[f"{report.BY_GRADIENT}, no iirc"] = wrong
    found = [Scored(*kind) for kind in kinds.values() for _ in range(3)]
    told = story.class_findings(found, lines.assign(record=range(len(lines))))
    assert all("No module that was left out surely brings it back." in line for line in told[1:]) and len(told) == 3


class Known:
    """Of a record what the sentences on classes read where no class is lost: IoU by class."""

    def __init__(self, **iou: float) -> None:
        self.metrics, self.iou = self, iou


def test_the_worst_of_many_classes_is_corrected_for_all_of_them() -> None:
    """An interval of one class leaves zero out; the same class as the worst of fifteen decides nothing."""
    change = [-5.0, -6.0, -8.0]
    assert 0.01 < estimate(change).p_value() < 0.05
    rows = [report.ADAPTER, report.BY_GRADIENT, f"{report.BY_GRADIENT}, no iirc"]
    lines = pd.DataFrame([line for row in rows for line in scores(row, 1.0, 2.0, 3.0)])
    lines = lines.assign(record=range(len(lines)))
    others = {f"class {number}": 50.0 for number in range(14)}
    found: Any = [
        Known(door=50.0 + (change[seed] if row == report.BY_GRADIENT else 0.0), **others)
        for row in rows
        for seed in range(3)
    ]
    told = story.class_findings(found, lines)
    assert len(told) == 1 and "least door (-6.3)" in told[0]
