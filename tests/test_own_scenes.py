"""Own scenes by the package's own route: any split by name, with or without images and labels, and what is said."""

import dataclasses
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_records import fake_record

import geoguide
from geoguide import cli
from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.config import DataConfig, Splits
from geoguide.datasets.formats.fused_features import StreamedFeatures, write_fused
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments import run
from geoguide.experiments.facts import Facts
from geoguide.experiments.records import frame, read
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.model import from_fit
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate, predict
from geoguide.pipeline.export import export_features
from geoguide.pipeline.own_features import own_features
from geoguide.pipeline.prepare import prepare_split, scene_sources
from geoguide.pipeline.stages import Stages
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.text.encoders import TextConfig

Scenes = dict[str, list[PreparedScene]]


def bare(scene: PreparedScene, name: str = "imageless") -> PreparedScene:
    """The scene as one without any image."""
    return dataclasses.replace(scene, name=name, lifted=None, seen_by=None)


@pytest.fixture(scope="module")
def short(tiny: ExperimentConfig) -> ExperimentConfig:
    return tiny.replace(objective__modules=(), train__steps=4, train__evaluate_every=2, backbone__name="descriptors")


@pytest.fixture(scope="module")
def scenes(short: ExperimentConfig) -> Scenes:
    return {split: list(prepare_split(short, split, progress=False)) for split in ("train", "val", "test")}


@pytest.fixture
def scannet(tmp_path: Path) -> Callable[..., DataConfig]:
    """scannet(train=..., ...): a folder with empty scans of four rooms, and the config of its named splits."""
    for name in ("scene0000_00", "scene0000_01", "scene0001_00", "scene0002_00"):
        (tmp_path / "scans" / name).mkdir(parents=True, exist_ok=True)
    return lambda **splits: DataConfig("scannet", root=str(tmp_path), splits=Splits(**splits))


def names(data: DataConfig, split: str) -> list[str]:
    return [source.name for source in list_sources(data, split)]


def test_splits_by_name(scannet: Callable[..., DataConfig]) -> None:
    """In the order of the names, with no scene held out and no list file; a split without names is empty."""
    data = scannet(train=("scene0002_00", "scene0000_00"), test=("scene0001_00",))
    assert names(data, "train") == ["scene0002_00", "scene0000_00"]
    assert names(data, "val") == [] and names(data, "test") == ["scene0001_00"]
    watched = scannet(train=("scene0000_00",), val=("scene0000_00",))  # nothing is learned from labels
    assert names(watched, "val") == names(watched, "train")


def test_another_scan_of_a_room_is_allowed_and_said(scannet: Callable[..., DataConfig]) -> None:
    data = scannet(train=("scene0000_00",), test=("scene0000_01",))
    with pytest.warns(UserWarning, match="train and test hold scans of the same rooms: scene0000"):
        assert names(data, "test") == ["scene0000_01"]


def test_bad_splits_are_named(scannet: Callable[..., DataConfig], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'a' stands in train and in test"):
        Splits(train=("b", "a"), test=("a",))
    with pytest.raises(ConfigError, match="'a' stands there twice"):
        Splits(val=("a", "a"))
    for wrong, found in (("scene0000_00", "must be a tuple of names, found 'scene0000_00'"), (("a", 3), "found 3")):
        with pytest.raises(ConfigError, match=f"data.splits.train .*{found}"):
            scannet(train=wrong)
    with pytest.raises(ConfigError, match="data.splits.test must hold names without blanks around them, found ' a'"):
        scannet(train=("a",), test=(" a",))  # else the same scene would be learned from and scored
    assert Splits(train=["a", "b"]) == Splits(train=("a", "b"))
    with pytest.raises(ConfigError, match="train holds an empty name"):
        Splits(train=(" ",))
    with pytest.raises(
        DataError, match=r"splits\.test: no scene 'scene9999_00'; the data hold scene0000_00, scene0000_01"
    ):
        names(scannet(test=("scene9999_00",)), "test")
    (tmp_path / "scannetv2_train.txt").write_text("scene0000_00\nscene0001_00\nscene0002_00\n")
    for split in ("train", "val"):  # one of three rooms is not silently lost
        with pytest.raises(ConfigError, match=r"too few rooms .* found 3 .* --train, --val \(or none\) and --test"):
            names(DataConfig("scannet", root=str(tmp_path)), split)


def test_splits_are_part_of_the_identity_only_where_given(short: ExperimentConfig) -> None:
    named = short.replace(data__splits=Splits(train=("a",), test=("b",)))
    assert config_hash(short) != config_hash(named) and "splits" not in to_dict(short, hashed_only=True)["data"]
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(named)))) == named


def test_a_house_or_drive_stands_for_its_scenes(data_home: Path) -> None:
    from geoguide.experiments.placing import on

    for dataset in ("matterport3d", "nuscenes"):
        data = on(ExperimentConfig(), dataset).replace(data__rooms=(0, 0, 1)).data
        every = scene_sources(data, "test")
        home = every[0].listed_as
        whole = dataclasses.replace(data, splits=Splits(test=(home,)))
        assert names(whole, "test") == [source.name for source in every if source.listed_as == home]
        one = dataclasses.replace(data, splits=Splits(test=(every[1].name,)))
        assert names(one, "test") == [every[1].name]
        with pytest.raises(ConfigError, match="stands in train and in test"):
            names(dataclasses.replace(data, splits=Splits(train=(home,), test=(every[1].name,))), "test")


def test_a_scene_without_images_has_no_2d_features(short: ExperimentConfig) -> None:
    """Neither has a real one that no 2D model knows; everything else of it is there."""
    whole = list_sources(short.data, "val")[0].load()
    for scene in (dataclasses.replace(whole, views=()), dataclasses.replace(whole, provenance="real")):
        prepared = Stages(scene, short).prepared()
        assert prepared.lifted is None and not prepared.seen.any() and prepared.geometry_width > 0
        with pytest.raises(InputError, match=f"scene {scene.name}: has no 2D features"):
            prepared.features(np.arange(3))
        with pytest.raises(InputError, match="has no 2D features"):
            prepared.batch(np.arange(3), torch.device("cpu"))


def test_a_student_scores_scenes_without_images(short: ExperimentConfig, scenes: Scenes) -> None:
    """Exactly as if they had images; they teach nothing, and that is said."""
    alone = fit(short, train=scenes["train"], val=[], progress=False)
    with pytest.warns(UserWarning, match="1 of 3 training scenes have no 2D features and are left out: imageless"):
        both = fit(short, train=[*scenes["train"], bare(scenes["val"][0])], val=[], progress=False)
    for name, value in alone.student.network.state_dict().items():
        assert torch.equal(value, both.student.network.state_dict()[name]), name
    seen, unseen = (
        evaluate(short, alone.student, scenes=[scene]) for scene in (scenes["test"][0], bare(scenes["test"][0]))
    )
    np.testing.assert_array_equal(seen.confusion.matrix, unseen.confusion.matrix)
    with pytest.raises(DataError, match="none of the 1 training scenes has 2D features, so nothing can be learned"):
        fit(short, train=[bare(scenes["train"][0])], val=[], progress=False)


def test_modes_that_compare_2d_features_say_which_scenes_have_none(short: ExperimentConfig, scenes: Scenes) -> None:
    """Their points count as points without a feature: wrong in fusion, the student's answer in ensemble."""
    scene, imageless = scenes["test"][0], bare(scenes["test"][0])
    student = fit(short, train=scenes["train"], val=[], progress=False).student
    fusion, ensemble = (short.replace(protocol__mode=mode) for mode in ("fusion", "ensemble"))
    with pytest.warns(UserWarning, match="mode fusion: 1 of 2 scenes have no 2D features.*: imageless"):
        scored = evaluate(fusion, scenes=[scene, imageless])
    assert scored.without_features == ("imageless",)
    assert np.diag(scored.per_scene["imageless"].matrix).sum() == 0
    rows = scored.per_scene["imageless"].matrix.sum() + scored.per_scene["imageless"].unpredicted.sum()
    assert rows == (scene.labels != VOID).sum()
    with pytest.warns(UserWarning, match="mode ensemble: 1 of 2"):
        scored = evaluate(ensemble, student, scenes=[scene, imageless])
    alone = evaluate(short, student, scenes=[scene])
    np.testing.assert_array_equal(scored.per_scene["imageless"].matrix, alone.confusion.matrix)
    for config in (fusion, ensemble):
        with pytest.raises(DataError, match=r"none of the 1 scenes has 2D features, first imageless"):
            evaluate(config, student, scenes=[imageless])


def test_passes_of_an_ensemble_do_without_images(short: ExperimentConfig, scenes: Scenes) -> None:
    from geoguide.pipeline.class_text import class_text
    from geoguide.pipeline.config import Protocol

    student = fit(short, train=scenes["train"], val=[], progress=False).student
    text, imageless = class_text("scannet20", Protocol()), bare(scenes["test"][0])
    both, _ = predict(imageless, text, "ensemble", student, repeats=2)
    np.testing.assert_array_equal(both, predict(imageless, text, "distill", student, repeats=2)[0])


def test_no_validation_scenes(short: ExperimentConfig, scenes: Scenes) -> None:
    """No curve, and no word on convergence; the network is the same."""
    without = fit(short, train=scenes["train"], val=[], progress=False)
    assert without.converged is None and [row["step"] for row in without.history] == [2, 4]
    assert all("val_miou" not in row and np.isfinite(row["total"]) for row in without.history)
    watched = fit(short, train=scenes["train"], val=scenes["val"], progress=False)
    for name, value in without.student.network.state_dict().items():
        assert torch.equal(value, watched.student.network.state_dict()[name]), name


def test_validation_scenes_without_labels(short: ExperimentConfig, scenes: Scenes) -> None:
    unlabelled = dataclasses.replace(scenes["test"][0], labels=None, name="unlabelled")
    with pytest.warns(UserWarning, match="1 validation scenes have no labels and are left out: unlabelled"):
        some = fit(short, train=scenes["train"], val=[*scenes["val"], unlabelled], progress=False)
    whole = fit(short, train=scenes["train"], val=scenes["val"], progress=False)
    assert some.history == whole.history
    with pytest.raises(DataError, match=r"no validation scene has labels \(unlabelled\)"):
        fit(short, train=scenes["train"], val=[unlabelled], progress=False)


def test_training_scenes_of_which_no_point_is_seen(short: ExperimentConfig, scenes: Scenes) -> None:
    """One error before the first step; a single seen point is enough, wherever it lies."""
    scene = scenes["train"][0]
    blind = dataclasses.replace(scene, seen_by=np.zeros(len(scene), np.int32), lifted=np.zeros_like(scene.lifted))
    with pytest.raises(
        DataError, match=f"{scene.name}: no point has a 2D feature.*poses, the depth images and the unit"
    ):
        fit(short, train=[blind], val=[], progress=False)
    one = np.zeros(len(scene), np.int32)
    one[np.flatnonzero(np.asarray(scene.seen_by) > 0)[1]] = 1
    fitted = fit(short, train=[dataclasses.replace(scene, seen_by=one)], val=[], progress=False)
    assert all(np.isfinite(row["total"]) for row in fitted.history)


def test_features_of_two_widths_or_of_another_than_the_text(short: ExperimentConfig, scenes: Scenes) -> None:
    """Said before the first step, and not by the matrix product of the step or validation that meets them first."""
    first, second = scenes["train"]
    lifted = np.concatenate([second.lifted, second.lifted[:, :128]], axis=1)
    wide = dataclasses.replace(second, name="wide", lifted=lifted)
    widths = f"{first.name} 384 and {first.geometry_width}, wide 512 and {first.geometry_width}"
    with pytest.raises(DataError, match=f"2D and 3D features of the same widths, found {widths}"):
        fit(short, train=[first, wide], val=[], progress=False)
    with pytest.raises(ConfigError, match="minilm has 384; scene wide has 2D features of 512"):
        fit(short.replace(train__steps=10**9), train=[wide], val=scenes["val"], progress=False)
    alone = fit(short, train=[wide], val=[], progress=False)  # compared with no text
    assert alone.history and not any("val_miou" in line for line in alone.history)


def test_counts_that_are_none_are_counted() -> None:
    features, seen = np.zeros((4, 384), np.float32), np.array([1, -1, np.nan, 2])
    with pytest.raises(
        InputError, match=r"scene a: seen must be \[4\], each at least 0, found 2 that are negative or nan"
    ):
        own_features("a", features, seen, 4, ExperimentConfig())


def test_scenes_without_labels_are_left_out_of_the_score(short: ExperimentConfig, scenes: Scenes) -> None:
    fusion, unlabelled = short.replace(protocol__mode="fusion"), dataclasses.replace(scenes["val"][0], labels=None)
    with pytest.warns(
        UserWarning, match=f"1 of 2 scenes have no labels of scannet20 and are left out: {unlabelled.name}"
    ):
        scored = evaluate(fusion, scenes=[scenes["test"][0], unlabelled])
    assert scored.unlabelled == (unlabelled.name,) and list(scored.per_scene) == [scenes["test"][0].name]
    alone = evaluate(fusion, scenes=scenes["test"])
    np.testing.assert_array_equal(scored.confusion.matrix, alone.confusion.matrix)
    with pytest.raises(DataError, match=r"none of the 1 scenes has labels of scannet20"):
        evaluate(fusion, scenes=[unlabelled])
    with pytest.raises(DataError, match="no scene to score"):
        evaluate(fusion, scenes=[])


def test_exported_features_train_the_same_network(short: ExperimentConfig, scenes: Scenes, tmp_path: Path) -> None:
    """Lifted once, written in OpenScene's format, read as fused features: bit by bit the same training."""
    root = scene_sources(short.data, "train")[0].data.folder
    written = export_features(scene_sources(short.data, "train"), short, root / "exported", tmp_path, workers=2)
    assert [path.name for path in written] == [f"{scene.name}_0.pt" for scene in scenes["train"]]
    fused = short.replace(data__features="exported")
    names = tuple(scene.name for scene in scenes["train"])
    train = prepare_split(fused.replace(data__splits=Splits(train=names)), "train", progress=False)
    assert isinstance(train[0].lifted, StreamedFeatures)
    np.testing.assert_array_equal(train[0].seen, scenes["train"][0].seen)
    first, again = (fit(fused, train=some, val=[], progress=False) for some in (scenes["train"], train))
    for name, value in first.student.network.state_dict().items():
        assert torch.equal(value, again.student.network.state_dict()[name]), name
    assert export_features([dataclasses.replace(train[0].load(), views=())], short, tmp_path) == ()


@pytest.mark.parametrize("whose", ["own", "another's"])
def test_features_of_another_scene_are_told(short: ExperimentConfig, scenes: Scenes, whose: str) -> None:
    """As many points and a like order: neighbours have like features even so, but those next in the file liker ones."""
    one, other = scenes["train"]
    config = short.replace(data__features=f"of {whose} room", data__splits=Splits(train=(one.name,)))
    features, seen = (one if whose == "own" else other).features(np.arange(len(one if whose == "own" else other)))
    path = config.data.features_folder / f"{one.name}_0.pt"
    path.parent.mkdir()
    write_fused(path, np.resize(features, (len(one), features.shape[1])), np.resize(seen, len(one)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prepare_split(config, "train", progress=False)
    found = f"{path}: features of neighbouring points are less alike than of points that follow one another"
    assert any(str(warning.message).startswith(found) for warning in caught) == (whose != "own")


def test_records_and_models_say_which_scenes(short: ExperimentConfig, scenes: Scenes, tmp_path: Path) -> None:
    train, test = scenes["train"][0], scenes["test"][0]
    config = short.replace(data__splits=Splits(train=(train.name,), test=(test.name,)))
    record = run.run(config, folder=tmp_path, progress=False)
    assert record.validation is None and record.converged is None and record.provenance == record.facts.data == "mini"
    assert record.data["provenance"] == {"train": "mini", "val": None, "test": "mini"}
    assert record.data["scenes"] == {"train": 1, "val": 0, "test": 1}
    contents = {"train": {train.name: train.fingerprint}, "val": {}, "test": {test.name: test.fingerprint}}
    assert record.data["contents"] == contents and record.raw["unlabelled"] == []
    (line,) = frame([record]).to_dict("records")  # nothing is concluded where convergence is not known
    assert line["converged"] is False and np.isnan(line["val_miou"])


def test_a_model_never_calls_real_scenes_generated(short: ExperimentConfig, scenes: Scenes, tmp_path: Path) -> None:
    real = [dataclasses.replace(scene, provenance="real", name="office") for scene in scenes["train"][:1]]
    own = from_fit(fit(short, train=real, val=[], progress=False), short)
    assert own.trained_on == "real scenes office, 2D features made elsewhere, tiny, seed 0"
    placed = short.replace(data=DataConfig("scannet", root="/there", features="openseg"))
    assert from_fit(fit(placed, train=real, val=[], progress=False), placed).trained_on.startswith(
        "real scannet scenes office, openseg, "
    )
    mini = from_fit(fit(short, train=scenes["train"], val=[], progress=False), short)
    assert mini.trained_on == "mini-scannet, simulated teacher, tiny, seed 0"
    again = geoguide.load(own.save(tmp_path / "own.safetensors"))
    assert (again.trained_on, again.scenes) == (own.trained_on, {"office": real[0].fingerprint})
    assert geoguide.load("mini").scenes == {}  # of an older version


def test_an_assumed_text_space_is_said_by_records_and_models(
    short: ExperimentConfig, scenes: Scenes, tmp_path: Path
) -> None:
    """It is the same experiment as one whose text space was named; only what it leaves behind says so."""
    train, test = scenes["train"][0], scenes["test"][0]
    named = short.replace(data__splits=Splits(train=(train.name,), test=(test.name,)))
    assumed = named.replace(text=TextConfig(assumed=True))
    assert assumed == named and config_hash(assumed) == config_hash(named)
    larger = named.replace(text=TextConfig("clip-vit-b32"))
    assert config_hash(larger) == config_hash(larger.replace(text__assumed=True)) != config_hash(named)
    told, file = "minilm, assumed by the width of the features", tmp_path / "model.safetensors"
    for config in (assumed, named):
        record = run.run(config, folder=tmp_path, progress=False)
        written = json.loads(record.file.read_text())["config"]["text"]
        assert written == {"encoder": "minilm", "weights": None, "assumed": config is assumed}
        again = read(record.file)
        assert again.config.text.assumed == (told in again._repr_html_()) == (config is assumed)
        model = geoguide.load(from_fit(fit(config, train=[train], val=[], progress=False), config).save(file))
        assert ("(text space minilm assumed by their width), tiny" in model.trained_on) == (config is assumed)


def test_generated_scenes_among_real_ones_stay_generated(short: ExperimentConfig) -> None:
    real = short.replace(data=DataConfig("scannet", root="/there", features="openseg"))
    assert Facts.of(real).data == "real" and fake_record(real).facts.data == "mini"


def test_the_command_names_scenes(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# the scored ones\nscene0001_00\nscene0002_00\n")
    options = cli.Train(train="scene0000_00, scene0113_00", val="none", test=str(tmp_path / "list.txt")).options
    splits = Splits(("scene0000_00", "scene0113_00"), (), ("scene0001_00", "scene0002_00"))
    assert options["splits"] == splits and cli.Train().options["splits"] is None
    assert cli.Train(train="a", test="b").place(ExperimentConfig()).data.splits == Splits(("a",), (), ("b",))


def test_a_model_is_scored_on_labelled_scenes_without_any_2d_model(short: ExperimentConfig, capsys) -> None:
    """Points and text are all that a student needs; a simulated 2D model knows nothing of real scenes."""
    name, root = list_sources(short.data, "test")[0].name, short.data.folder
    chosen = ["--data", str(root), "--test", name, "--protocol", "strict"]

    def told(*arguments: str) -> str:
        with pytest.raises(SystemExit) as stop:
            cli.main([*arguments])
        said = capsys.readouterr()
        return f"{stop.value.code} {said.out}{said.err}"

    assert re.match(r"0 [^$]*mIoU \d", told("evaluate", *chosen))
    simulated = re.compile(r"2 .*OpenSeg-like is simulated, of mini data")
    assert simulated.match(told("train", *chosen[:2], "--train", name))
    assert simulated.match(told("evaluate", *chosen, "--mode", "fusion"))
    other = re.compile(r"2 .*--text must be minilm, the text space of mini, found clip-vit-b32")
    assert other.match(told("evaluate", *chosen, "--text", "clip-vit-b32"))
    write_fused(root / "wide" / f"{name}_0.pt", np.ones((9, 512), np.float32), np.ones(9, bool))
    wide = re.compile(r"2 .*data.features: wide has 512 channels, text minilm has 384")
    assert wide.match(told("evaluate", *chosen, "--features", "wide", "--mode", "fusion"))
