"""Scenes of every dataset and layout as one kind of list; training on fused features that stay on disk."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from tiny_nuscenes import edit_table, write_dataset

from geoguide.benchmarks import benchmark
from geoguide.benchmarks.scenes import list_sources, skipped
from geoguide.cli import Command
from geoguide.cli.arguments import read_arguments
from geoguide.datasets.config import DataConfig, Edition, Splits
from geoguide.datasets.formats.fused_features import StreamedFeatures
from geoguide.datasets.sources import fused_files
from geoguide.errors import ConfigError, DataError
from geoguide.experiments import placing, run
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on, placed, real
from geoguide.experiments.presets import adapter_only, openscene, preset, system
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.pooling import PoolingConfig
from geoguide.pipeline.prepare import prepare, prepare_split, scene_sources
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene

MODEL = """
from geoguide.teachers.image_model import ImageModel
from geoguide.text import TextConfig

class Brightness(ImageModel):
    name = identity = "brightness"
    space, width = TextConfig(), 384

    def encode(self, images):
        return [(image.mean(-1, keepdims=True) / 255).repeat(384, axis=2) for image in images]
"""
FEATURES = "scannet_multiview_simulated"
SPLITS = Splits(train=("scene0001_00",), val=("scene0000_00",), test=("scene0002_00", "scene0003_00"))


@pytest.fixture(scope="module")
def published(tiny_scenes: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny rooms as OpenScene would have published them: points, and fused features; the last has no features.

    Rooms for training: two, with two random subsets of the seen points each; rooms for test ("val" officially): two.
    """
    root = tmp_path_factory.mktemp("published")
    (root / FEATURES).mkdir()
    rooms = [*tiny_scenes["train"], *tiny_scenes["val"], *tiny_scenes["test"]]
    for number, room in enumerate(rooms):
        split = "train" if number < 2 else "val"
        name = f"scene{number:04d}_00"
        path = root / "scannet_3d" / split / f"{name}_vh_clean_2.pth"
        path.parent.mkdir(parents=True, exist_ok=True)
        value = (room.points.astype(np.float64), room.colors.astype(np.float64) * 2 - 1, room.labels.astype(np.float64))
        torch.save(value, path)
        if number == len(rooms) - 1:
            continue
        for part in range(2 if split == "train" else 1):
            mask = room.seen.copy()
            if split == "train":
                mask &= np.random.default_rng([number, part]).random(len(room)) < 0.6
            feat = torch.from_numpy(np.array(room.lifted[mask]))
            torch.save({"feat": feat, "mask_full": torch.from_numpy(mask)}, root / FEATURES / f"{name}_{part}.pt")
    return root


@pytest.fixture
def config(published: Path, tiny: ExperimentConfig) -> ExperimentConfig:
    """Adapter on descriptors, sixty steps, on the published rooms."""
    plain = real(adapter_only(), "scannet", published, FEATURES, protocol="strict", splits=SPLITS)
    return plain.replace(backbone=adapter_only(backbone="descriptors").backbone, train=tiny.train)


def test_text_backbone_and_steps_are_chosen(published: Path, tmp_path: Path):
    """Nothing of a real run is fixed, and nothing is guessed where it is said (EVIDENCE, friction 9)."""
    chosen = {"text": "minilm", "backbone": "descriptors", "steps": 4, "splits": SPLITS}
    config = placed(adapter_only(), "scannet", str(published), FEATURES, **chosen)
    assert (config.text.encoder, config.backbone.name, config.train.steps) == ("minilm", "descriptors", 4)
    assert config.train.evaluate_every == 1 and Facts.of(config).teacher == FEATURES
    config = config.replace(train__points_per_step=500)
    assert (fit(config, progress=False).history[-1]["step"], config.protocol.mode) == (4, "distill")
    with pytest.raises(ConfigError, match=f"data.features: {FEATURES} has 384 channels, text clip-vit-b32 has 512"):
        placed(adapter_only(), "scannet", str(published), FEATURES, text="clip-vit-b32", splits=SPLITS)
    with pytest.raises(ConfigError, match="backbone.weights must be None for descriptors"):
        placed(
            adapter_only(), "scannet", str(published), FEATURES, backbone="descriptors", weights="x.pth", splits=SPLITS
        )


def test_a_2d_model_on_real_data_is_named(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "brightness_model.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    config = placed(
        adapter_only(), "scannet", str(published), "own:brightness_model:Brightness", backbone="descriptors"
    )
    facts = Facts.of(config)
    assert (facts.teacher, facts.data, facts.changed, config.data.features) == ("brightness", "real", (), None)
    assert (config.data.frame_skip, config.text.encoder, config.train.steps) == (20, "minilm", 24020)


def test_means_of_regions_are_over_all_points_of_a_real_scene(published: Path):
    chosen = {"text": "minilm", "backbone": "descriptors", "steps": 4, "splits": SPLITS}
    config = placed(preset(), "scannet", str(published), FEATURES, **chosen)
    assert config.pooling == PoolingConfig(means="exact") and Facts.of(config).changed == ()
    (scene,) = prepare_split(config, "train", progress=False)
    few = np.arange(0, len(scene), 200)
    found = scene.batch(few, torch.device("cpu")).mean_geometry("superpoints")
    members = [np.flatnonzero(scene.superpoints == name) for name in np.unique(scene.superpoints[few])]
    expected = np.stack([np.asarray(scene.geometry[rows], np.float64).mean(0) for rows in members])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for other in (openscene(), system("SAS stage 1", frozen=True, dataset="nuscenes")):  # no regions; all of one point
        there = placing._with_real_training(other, benchmark("nuscenes"), None)
        assert there.pooling == PoolingConfig(means="sampled")


def test_a_real_benchmark_end_to_end(config: ExperimentConfig, tmp_path: Path):
    record = run.run(config, folder=tmp_path, progress=False)
    assert (record.provenance, record.facts.teacher, record.raw["teacher"]) == ("real", FEATURES, FEATURES)
    assert record.data["scenes"] == {"train": 1, "val": 1, "test": 2}  # one of them without 2D features
    assert record.data["skipped"] == {"frames": 0, "scenes": 0}
    assert record.raw["protocol"]["absent_class"] == "skip"
    assert record.metrics.miou > 0 and set(record.regions) == {"superpoint_purity", "superpoints"}


def test_streamed_features_train_the_same_network(config: ExperimentConfig, published: Path):
    """Equal to the same features held in memory, whichever of the two files a step draws."""
    train, val = (list(prepare_split(config, split, progress=False)) for split in ("train", "val"))
    assert isinstance(train[0].lifted, StreamedFeatures) and len(train[0].lifted.files) == 2
    streamed = fit(config, train=train, val=val, progress=False)
    held = fit(config, train=[_held(scene) for scene in train], val=val, progress=False)
    for name, value in streamed.student.network.state_dict().items():
        assert torch.equal(value, held.student.network.state_dict()[name]), name


class _InMemory:
    """What `StreamedFeatures` is, by plain indexing."""

    def __init__(self, streamed: StreamedFeatures) -> None:
        self.parts = []
        for file in streamed.files:
            value = torch.load(file, weights_only=True)
            mask = value["mask_full"].numpy()
            dense = np.zeros((len(mask), value["feat"].shape[1]), np.float16)
            dense[mask] = value["feat"].numpy()
            self.parts.append((dense, mask))

    def rows(self, index: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray]:
        dense, mask = self.parts[draw % len(self.parts)]
        return dense[index], mask[index]


def _held(scene: PreparedScene) -> PreparedScene:
    memory = _InMemory(scene.lifted)

    class Held(PreparedScene):
        feature_width = scene.feature_width

        def features(self, chosen, draw=0):
            return memory.rows(chosen, draw)

    return Held(**{name: getattr(scene, name) for name in PreparedScene.__dataclass_fields__})


def test_fusion_scores_the_features_on_disk(config: ExperimentConfig, tiny_scenes: dict, tiny: ExperimentConfig):
    official = config.replace(protocol__mode="fusion", data__splits=None)
    with pytest.warns(UserWarning, match="1 of 2 scenes have none, first scene0003_00"):
        streamed = evaluate(official, progress=False)
    assert skipped(official.data, "test") == 1
    plain = tiny.replace(protocol=config.protocol).replace(protocol__mode="fusion")
    held = evaluate(plain, scenes=tiny_scenes["val"])
    np.testing.assert_array_equal(streamed.confusion.matrix, held.confusion.matrix)


def test_features_of_a_split_in_a_folder_of_their_own(config: ExperimentConfig, published: Path, tmp_path: Path):
    """As OpenScene published Matterport3D's test split and nuScenes' validation split."""
    (tmp_path / "scannet_3d").symlink_to(published / "scannet_3d")
    for split, numbers in (("", (0, 1)), ("_val", (2,))):
        folder = tmp_path / f"{FEATURES}{split}"
        folder.mkdir()
        for path in (path for number in numbers for path in (published / FEATURES).glob(f"scene{number:04d}*")):
            (folder / path.name).symlink_to(path)
    data = config.replace(data__root=str(tmp_path), data__splits=None).data
    (named,) = list_sources(replace(data, splits=SPLITS), "train")
    assert [path.parent.name for path in fused_files(named)] == [FEATURES] * 2
    with pytest.warns(UserWarning, match="1 of 2 scenes have none"):
        (source,) = list_sources(data, "test")
    assert [path.parent.name for path in fused_files(source)] == [f"{FEATURES}_val"]


def test_held_out_rooms_are_whole_and_apart(tmp_path: Path):
    names = [f"scene{room:04d}_{scan:02d}" for room in range(60) for scan in range(1 + room % 3)]
    for name in names:
        (tmp_path / "scans" / name).mkdir(parents=True)
    (tmp_path / "scannetv2_train.txt").write_text("\n".join(names))
    data = DataConfig("scannet", root=str(tmp_path), frame_skip=20)
    train, val = ([source.name for source in list_sources(data, split)] for split in ("train", "val"))
    assert sorted(train + val) == sorted(names)
    rooms = [{name.split("_")[0] for name in part} for part in (train, val)]
    assert not rooms[0] & rooms[1] and len(rooms[1]) == 3


def test_generated_streets(data_home: Path):
    config = on(ExperimentConfig(), "nuscenes").replace(data__rooms=(0, 0, 1))
    sources = scene_sources(config.data, "test")
    assert len(sources) == 4  # key frames of one scene
    scene = sources[0].load()
    assert scene.name == sources[0].name and scene.views[0].image_size == config.data.image_size
    with pytest.raises(ConfigError, match="'nuscenes16', found 'scannet20'"):
        sources[0].load("scannet20")
    with pytest.raises(DataError, match="no scene|no split|empty"):
        list_sources(config.data, "train")


def test_tables_that_were_changed_are_read_again(tmp_path: Path, rng: np.random.Generator):
    root, chosen = write_dataset(tmp_path, rng), Splits(test=("scene-0103",))
    data = DataConfig("nuscenes", "nuscenes16", root=str(root), splits=chosen)
    (root / "v1.0-blobs").mkdir()  # no tables: what an archive was unpacked into
    assert len(list_sources(data, "test")) == 2
    edit_table(root, "sample", lambda rows: rows[0].update(next="nowhere"))
    with pytest.raises(DataError, match=r"sample.json: field next: expected sample 'nowhere' once, found no such"):
        list_sources(data, "test")


def test_generated_houses(data_home: Path):
    config = on(ExperimentConfig(), "matterport3d").replace(data__rooms=(0, 0, 1))
    source = scene_sources(config.data, "test")[0]
    coarse, fine = source.load().labels, source.load("matterport160").labels
    assert coarse[coarse != 255].max() < 21 <= fine[fine != 255].max()
    classes = source.label_image_classes("matterport160")
    assert classes is not None and (classes(np.zeros((2, 2), np.int64)) == 255).all()


def test_an_unchanged_scene_is_not_read_again(tiny: ExperimentConfig, tmp_path: Path, monkeypatch):
    source = list_sources(tiny.data, "val")[0]
    first = prepare(source, tiny, tmp_path)
    monkeypatch.setattr(type(source), "load", lambda self, label_set=None: pytest.fail("read again"))
    again = prepare(source, tiny, tmp_path)
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert first.frames == again.frames and again.frames[0] > 0
    monkeypatch.undo()
    index = next((tmp_path / "sources").glob("*.json"))
    index.write_text("{half")
    assert prepare(source, tiny, tmp_path).fingerprint == first.fingerprint


@pytest.mark.parametrize("edition", get_args(Edition))
def test_generated_data_that_are_not_there_name_what_makes_them(tmp_path: Path, monkeypatch, edition: Edition):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    data = DataConfig(edition=edition)
    with pytest.raises(DataError, match="data root, which .geoguide data make .* makes, not found") as caught:
        list_sources(data, "test")
    made = read_arguments(Command, str(caught.value).split("`")[1].split()[1:], "")
    assert (made.action, made.dataset, made.edition, made.seed) == ("make", data.dataset, edition, data.room_seed)


def test_bad_roots(tmp_path: Path, published: Path, config: ExperimentConfig):
    with pytest.raises(ConfigError, match="split must be train, val or test, found 'mini_val'"):
        list_sources(config.data, "mini_val")
    (tmp_path / "scannet_3d").mkdir()
    (tmp_path / "scans").mkdir()
    with pytest.raises(DataError, match="mixed layouts"):
        list_sources(DataConfig("scannet", root=str(tmp_path)), "train")
    with pytest.raises(DataError, match=r"data root without nuScenes"):
        list_sources(DataConfig("nuscenes", "nuscenes16", root=str(published)), "train")
    (published / "empty").mkdir(exist_ok=True)
    empty = config.replace(data__features="empty", data__splits=None).data
    with pytest.raises(DataError, match="holds features of none of the 2 test scenes"), pytest.warns(UserWarning):
        list_sources(empty, "test")
    assert skipped(empty, "test") == 2
    for split in ("train", "val"):
        with pytest.raises(ConfigError, match=r"too few rooms .* found 2 .* in the train split; name the scenes"):
            list_sources(empty, split)
    with pytest.raises(ConfigError, match="unknown protocol 'loose'"):
        real(adapter_only(), "scannet", published, FEATURES, protocol="loose")


def test_a_house_in_the_place_of_the_data_root_is_told_the_root_before_the_mapping(tmp_path: Path):
    house = tmp_path / "v1" / "scans" / "17DRP5sb8fy"
    (house / "region_segmentations").mkdir(parents=True)
    with pytest.raises(DataError, match=rf"^{house}: data root without Matterport3D.*; a folder above .*: {tmp_path}$"):
        list_sources(DataConfig(dataset="matterport3d", root=str(house), label_set="matterport21"), "train")
