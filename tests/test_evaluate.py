"""What a protocol changes: words, passes, label sets; what it must not: the trained network."""

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments import placing, regime
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import on, placed
from geoguide.experiments.presets import SEEDS, adapter_only, fusion, preset
from geoguide.experiments.profiles import cross_domain, under_protocols
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import FinerNames, category_classes, load_finer_names
from geoguide.pipeline.class_text import ClassText, class_text, word_text
from geoguide.pipeline.config import ExperimentConfig, Protocol
from geoguide.pipeline.evaluate import evaluate, evaluate_label_sets, predict
from geoguide.pipeline.protocols import OPENSCENE, PROTOCOLS
from geoguide.pipeline.supervision import told_text
from geoguide.prepared import PreparedScene
from geoguide.pretraining.images.names import names_of
from geoguide.scene import Scene
from geoguide.students import frozen_backbone as module
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.frozen_backbone import FrozenBackboneStudent
from geoguide.text.encoders import TextConfig, text_encoder
from geoguide.text.minilm import MiniLMTextEncoder


def linear_student(scene: PreparedScene, config: ExperimentConfig) -> FrozenBackboneStudent:
    """Its network is one linear layer; the same weights every time."""
    torch.manual_seed(0)
    shape = AdapterConfig(hidden=())
    return FrozenBackboneStudent(Adapter(scene.geometry_width, 384, shape), shape, config.backbone)


def test_the_class_of_other_things_is_a_bare_word():
    bare = class_text("scannet20", OPENSCENE).vectors
    prompted = class_text("scannet20", Protocol(prompt=OPENSCENE.prompt)).vectors
    other = load_label_set("scannet20").names.index("otherfurniture")
    changed = [i for i in range(20) if not torch.equal(bare[i], prompted[i])]
    assert changed == [other]
    np.testing.assert_array_equal(bare[other], MiniLMTextEncoder().encode(["other"], prompt="{}")[0])


def test_a_class_is_the_mean_over_several_prompts():
    prompts = ["a photo of a {}", "a {} in a scene", "{}"]
    found = class_text("scannet20", Protocol(prompt="|".join(prompts))).vectors
    single = torch.stack([class_text("scannet20", Protocol(prompt=prompt)).vectors for prompt in prompts])
    torch.testing.assert_close(found, torch.nn.functional.normalize(single.mean(dim=0)))
    words = word_text(["sofa"], "|".join(prompts), TextConfig()).vectors
    torch.testing.assert_close(words[0], found[load_label_set("scannet20").names.index("sofa")])


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a photo", "protocol.prompt must hold '{}' where the name goes, found 'a photo'"),
        ("a {}|", "protocol.prompt must hold '{}' where the name goes, found 'a {}|'"),
        ("ensemble:all", "unknown prompt ensemble 'all': known are imagenet, short"),
    ],
)
def test_what_is_no_prompt(prompt, message):
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        Protocol(prompt=prompt)


def test_an_ensemble_by_name_is_open_clips(open_clip):
    found = class_text("scannet20", Protocol(prompt="ensemble:short")).vectors
    single = [
        class_text("scannet20", Protocol(prompt=template("{}"))).vectors
        for template in open_clip.SIMPLE_IMAGENET_TEMPLATES
    ]
    torch.testing.assert_close(found, torch.nn.functional.normalize(torch.stack(single).mean(dim=0)))


def test_a_prompt_of_an_experiment_is_a_fact_of_it():
    """It says what differs, and no hash moves without it."""
    plain, prompted = (placed(fusion(), "scannet", prompt=prompt) for prompt in (None, "a {}|{}"))
    assert config_hash(plain) == config_hash(fusion()) != config_hash(prompted)
    assert Facts.of(prompted).changed == (("protocol.prompt", "a {}|{}"),) and not Facts.of(plain).changed
    scored = placed(fusion(), "scannet", protocol="openscene", prompt="{}").protocol
    assert scored == replace(OPENSCENE, mode="fusion", prompt="{}")


def test_finer_names_stand_for_their_class():
    text = class_text("nuscenes16", OPENSCENE)
    finer = load_finer_names("nuscenes16")
    assert text.vectors.shape == (43, 384)
    ids, best = text.classify(text.vectors)  # each name is most similar to itself
    np.testing.assert_array_equal(ids, finer.owner)
    np.testing.assert_allclose(best, 1, atol=1e-5)
    assert class_text("scannet20", OPENSCENE).finer is None


def test_features_of_another_text_space_are_refused():
    with pytest.raises(InputError, match="features have 768 channels, the text has 384"):
        class_text("scannet20", Protocol()).similarity(torch.zeros(2, 768))


def test_passes_turn_and_scale_the_scene(tiny: ExperimentConfig, tiny_scenes: dict, monkeypatch):
    """A backbone that ignores the points gives the answer of one pass; what it was shown are turned, scaled copies."""
    scene, shown = tiny_scenes["val"][0], []

    class Blind:
        def encode(self, moved: Scene) -> np.ndarray:
            shown.append(moved)
            return np.asarray(scene.geometry, np.float32)

    monkeypatch.setattr(module, "open_backbone", lambda config, device="auto": Blind())
    student = linear_student(scene, tiny)
    text = class_text("scannet20", Protocol())
    one, _ = predict(scene, text, "distill", student)
    five, _ = predict(scene, text, "distill", student, repeats=5)
    assert (one == five).mean() > 0.999  # but for ties in rounding
    assert len(shown) == 5
    still = scene.source.load()
    edge = still.points[1:200] - still.points[:199]
    for moved in shown:
        turned = moved.points[1:200] - moved.points[:199]
        scale = np.linalg.norm(turned, axis=1) / np.linalg.norm(edge, axis=1)
        assert 0.9 <= scale.mean() <= 1.1 and scale.std() < 1e-3
        level = np.linalg.norm(edge, axis=1) * scale.mean() * 0.1  # tilted by less than 0.1, turned about z at will
        assert (np.abs(turned[:, 2] - edge[:, 2] * scale.mean()) <= level + 1e-4).all()
        np.testing.assert_allclose(
            (turned * moved.normals[:199]).sum(1), scale.mean() * (edge * still.normals[:199]).sum(1), atol=1e-4
        )
    assert len({float(moved.points[0, 0]) for moved in shown}) == 5


def test_passes_are_averaged_name_by_name():
    """OpenScene's rule: sum each name's dot products over the passes, take the best name, then its class."""
    finer = FinerNames(("tree", "bush", "road"), np.array([0, 0, 1]), 2)
    text = ClassText(torch.eye(3), finer)
    passes = torch.tensor([[[1.0, 0, 0.8]], [[0, 1.0, 0.8]]])  # [2, 1, 3] tree, then bush, but road each time
    student = SimpleNamespace(network=nn.Identity(), moved=lambda scene, motions: iter(passes[: len(motions)]))
    expected = finer.owner[passes.sum(dim=0).argmax(dim=1).numpy()]
    found, best = predict(cast(Any, None), text, "distill", cast(Any, student), repeats=2)
    assert found.tolist() == expected.tolist() == [1] and best.tolist() == pytest.approx([0.8])
    assert text.similarity(passes.mean(dim=0)).argmax(dim=1).tolist() == [1]
    assert text.similarity(passes[0]).tolist() == [[1.0, pytest.approx(0.8)]]


def test_ensemble_of_passes_takes_the_surer_source(tiny: ExperimentConfig, tiny_scenes: dict):
    """With a student that knows nothing, the features decide wherever there are any."""
    scene = tiny_scenes["val"][0]
    student = linear_student(scene, tiny)
    nn.init.zeros_(student.network.last.weight)
    nn.init.constant_(student.network.last.bias, 1e-3)
    text = class_text("scannet20", Protocol())
    both, _ = predict(scene, text, "ensemble", student, repeats=2)
    fused, _ = predict(scene, text, "fusion")
    np.testing.assert_array_equal(both[scene.seen], fused[scene.seen])
    assert len(np.unique(both[~scene.seen])) == 1


def test_another_label_set_of_the_same_scenes(tiny: ExperimentConfig, tiny_scenes: dict):
    with pytest.raises(ConfigError, match="unknown label set"):
        evaluate(tiny.replace(protocol__mode="fusion"), scenes=tiny_scenes["val"], label_set="scannet7")
    fine = evaluate(tiny.replace(protocol__mode="fusion"), scenes=tiny_scenes["val"], label_set="scannet200")
    assert len(fine.confusion.iou()) == 200 and fine.confusion.matrix.sum() > 0
    bare = replace(tiny_scenes["val"][0], source=None)
    with pytest.raises(InputError, match="was made in memory, so it cannot be read again"):
        evaluate(tiny.replace(protocol__mode="fusion"), scenes=[bare], label_set="scannet200")


def test_two_scenes_of_one_name_are_refused(tiny: ExperimentConfig, tiny_scenes: dict):
    """As arrays are called when nobody names them: only the last one was scored, without a word."""
    one, other = tiny_scenes["val"][0], replace(tiny_scenes["train"][0], name=tiny_scenes["val"][0].name)
    with pytest.raises(InputError, match=f"scenes must have different names, found '{one.name}' more than once"):
        evaluate(tiny.replace(protocol__mode="fusion"), scenes=[one, other])


def test_label_sets_share_one_output_of_the_student(tiny: ExperimentConfig, tiny_scenes: dict, monkeypatch):
    """Each label set scores as alone, and the student's features are computed once a scene."""
    scenes, asked = tiny_scenes["val"], []
    student = linear_student(scenes[0], tiny)
    alone = {name: evaluate(tiny, student, scenes=scenes, label_set=name) for name in ("scannet20", "scannet200")}
    own = student.features
    monkeypatch.setattr(student, "features", lambda scene: asked.append(scene.name) or own(scene))
    together = evaluate_label_sets(tiny, student, scenes, list(alone))
    assert asked == [scene.name for scene in scenes]
    for name, evaluation in alone.items():
        np.testing.assert_array_equal(together[name].confusion.matrix, evaluation.confusion.matrix)
    with pytest.raises(DataError, match=r"none of the 1 scenes has labels of scannet20.* so nothing can be scored"):
        evaluate(tiny, student, scenes=[replace(scenes[0], labels=None)])


def test_scoring_does_not_retrain():
    """Protocols, label sets and test domains share the training of the plain row."""
    plain = config_hash(adapter_only(0).training())
    assert plain == config_hash(adapter_only(0))
    trained = {config_hash(preset(seed=seed)) for seed in SEEDS}
    assert {config_hash(config.training()) for config in under_protocols()} <= trained
    moved = [c for c in cross_domain() if c.name.startswith("adapter only") and c.seed == 0]
    assert {config_hash(c.training()) for c in moved} == {plain}
    assert len({config_hash(c) for c in moved}) == 2
    assert set(PROTOCOLS) == {"strict", "openscene", "openscene-ensemble"}


def test_repeats_need_a_scene_to_encode(tiny: ExperimentConfig, tiny_scenes: dict):
    scene = tiny_scenes["val"][0]
    text = ClassText(torch.eye(384)[:5])
    with pytest.raises(InputError, match=f"scene {scene.name}: was made in memory, so it cannot be read again"):
        predict(replace(scene, source=None), text, "distill", linear_student(scene, tiny), repeats=2)
    with pytest.raises(ConfigError, match=r"protocol\.repeats"):
        Protocol(repeats=0)


def test_streets_are_asked_for_by_finer_names_where_a_2d_model_has_words_of_its_own():
    """By the classes' own names, a perfect pixel "road" was a traffic cone, and "building" a construction vehicle."""
    looks = regime.in_regime(adapter_only(0), "nuscenes")
    simulated = on(adapter_only(0), "nuscenes")
    assert looks.protocol.finer_names and Facts.of(looks).plain
    assert not simulated.protocol.finer_names and Facts.of(simulated).plain
    moved = placing.tested_on(regime.in_regime(adapter_only(0)), "nuscenes")
    assert moved.protocol.finer_names and Facts.of(moved).changed == ()
    assert config_hash(moved.training()) == config_hash(regime.in_regime(adapter_only(0)).training())
    names = names_of("streets")
    classes = [category_classes()[name.raw] for name in names]
    words = text_encoder(looks.text.encoder).encode([name.name for name in names], prompt=looks.protocol.prompt)
    ids, _ = class_text("nuscenes16", looks.protocol, looks.text).classify(torch.from_numpy(words))
    assert ids.tolist() == classes
    own, _ = class_text("nuscenes16", simulated.protocol, looks.text).classify(torch.from_numpy(words))
    assert {name.name for name, one, other in zip(names, own, classes, strict=True) if one != other} > {
        "road",
        "building",
    }
    assert len(told_text(looks)) == len(load_finer_names("nuscenes16").names)
    assert len(told_text(simulated)) == len(load_label_set("nuscenes16").names)
