"""fit and evaluate on generated rooms: learns, repeats exactly, resumes after a kill, refuses bad checkpoints."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from regions import dense_of

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments.presets import preset
from geoguide.instances.masks import InstanceMasks
from geoguide.pipeline.class_text import ClassText
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate, predict
from geoguide.pipeline.student import new_student
from geoguide.pipeline.train import Fit, checkpoint_name, fit, forget
from geoguide.prepared import PreparedScene
from geoguide.scene import VOID
from geoguide.students.frozen_backbone import FrozenBackboneStudent

Scenes = dict[str, list[PreparedScene]]


@pytest.fixture(scope="module")
def full(tiny: ExperimentConfig) -> ExperimentConfig:
    return preset("works-best").replace(data=tiny.data, train=tiny.train)


def train(config: ExperimentConfig, scenes: Scenes, **options) -> Fit:
    """On the CPU unless told, where the same seed gives the same bits: a GPU adds in any order."""
    return fit(config, train=scenes["train"], val=scenes["val"], **{"device": "cpu", "progress": False} | options)


def same(a: Fit, b: Fit) -> bool:
    pairs = zip(a.student.network.state_dict().values(), b.student.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs) and a.history == b.history


def test_loss_falls_and_labels_beat_chance(tiny: ExperimentConfig, tiny_scenes: Scenes, device: torch.device) -> None:
    config = tiny.replace(objective__modules=())
    fitted = train(config, tiny_scenes, device=str(device))
    assert fitted.history[-1]["point"] < 0.8 * fitted.history[0]["point"]
    scored = evaluate(config, fitted.student, scenes=tiny_scenes["train"])
    assert scored.confusion.accuracy() > 0.4


def test_the_seed_decides_everything(full: ExperimentConfig, tiny_scenes: Scenes) -> None:
    first = train(full, tiny_scenes)
    assert same(first, train(full, tiny_scenes))
    assert not same(first, train(full.replace(seed=1), tiny_scenes))


def test_the_bar_says_what_the_loader_took(tiny: ExperimentConfig, tiny_scenes: Scenes, capsys, monkeypatch) -> None:
    """Also where no command prints it at the end."""
    from geoguide.pipeline import train as module

    monkeypatch.setattr(module._State, "waited", property(lambda self: 1.0, lambda *_: None))
    monkeypatch.setattr(module._State, "elapsed", property(lambda self: 8.0, lambda *_: None))
    short = tiny.replace(train__steps=2, train__evaluate_every=2)
    assert train(short, tiny_scenes, progress=True).waited == 0.125
    assert "waited=12.5%" in capsys.readouterr().err


def test_resumes_after_a_kill_with_the_same_result(
    full: ExperimentConfig, tiny_scenes: Scenes, tmp_path, killed, resumed_at
) -> None:
    """Killed between two checkpoints: the second run goes on from the last one and ends where an unbroken run ends."""
    from geoguide.pipeline import train as module

    killed(module._State, 30, lambda: train(full, tiny_scenes, run_dir=tmp_path))
    steps = resumed_at(module._State)
    resumed = train(full, tiny_scenes, run_dir=tmp_path)
    assert steps[0] == 20
    assert same(resumed, train(full, tiny_scenes))


def test_options_with_a_state_of_their_own_resume_too(
    full: ExperimentConfig, tiny_scenes: Scenes, tmp_path, killed
) -> None:
    """λ by gradient and the scales of USD's input are part of the checkpoint; λ2 and λ3 stand in the history."""
    from geoguide.pipeline import train as module

    full = full.replace(objective__lambda_by="gradient", objective__usd__standardise=True, train__steps=40)
    killed(module._State, 30, lambda: train(full, tiny_scenes, run_dir=tmp_path))
    resumed = train(full, tiny_scenes, run_dir=tmp_path)
    assert same(resumed, train(full, tiny_scenes))
    assert {"lambda_mask", "lambda_sim"} <= set(resumed.history[-1])
    scales = resumed.objective.usd.scales
    assert (scales > 0).all() and scales[0] > 5 * scales[1]  # why they are asked for


def test_watching_gradients_changes_nothing(full: ExperimentConfig, tiny_scenes: Scenes, monkeypatch) -> None:
    """The weights are the same to the bit whether gradients of terms are watched or not."""
    from geoguide.pipeline import train as module

    full = full.replace(train__steps=10, train__evaluate_every=3)
    watched = train(full, tiny_scenes)
    assert {"grad_point", "grad_superpoint", "grad_mask", "grad_sim_masks", "grad_total"} <= set(watched.history[0])
    monkeypatch.setattr(module, "gradient_norms", lambda terms, semantic: {})
    blind = train(full, tiny_scenes)
    pairs = zip(watched.student.network.parameters(), blind.student.network.parameters(), strict=True)
    assert all(torch.equal(x, y) for x, y in pairs)
    unwatched = [{k: v for k, v in row.items() if not k.startswith("grad_")} for row in watched.history]
    assert unwatched == blind.history


def test_truncated_checkpoint_is_named(full: ExperimentConfig, tiny_scenes: Scenes, tmp_path) -> None:
    path = tmp_path / checkpoint_name(full, tiny_scenes["train"], tiny_scenes["val"])
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(DataError, match=path.name):
        train(full, tiny_scenes, run_dir=tmp_path)


@pytest.mark.parametrize("change", ["scene", "features", "val"])
def test_other_data_under_one_config_is_another_training(
    full: ExperimentConfig, tiny_scenes: Scenes, tmp_path, change: str
) -> None:
    """Another folder, repaired poses, another 2D model in its place: a config says nothing of these."""
    short = full.replace(train__steps=4, train__evaluate_every=4)
    first = train(short, tiny_scenes, run_dir=tmp_path)
    assert same(train(short, tiny_scenes, run_dir=tmp_path), first) and len(list(tmp_path.iterdir())) == 1
    one, *others = tiny_scenes["train"]
    lifted = one.lifted[::-1].copy()
    other = {
        "scene": {"train": [replace(one, lifted=lifted, fingerprint="0" * 12), *others]},
        "features": {"train": [replace(one, lifted=lifted, made_by="0" * 10), *others]},
        "val": {"val": tiny_scenes["train"]},
    }[change]
    found = train(short, tiny_scenes | other, run_dir=tmp_path)
    assert not same(found, first) and same(found, train(short, tiny_scenes | other))
    assert same(train(short, tiny_scenes, run_dir=tmp_path), first)  # whose checkpoint is still there
    (tmp_path / "another.pt").touch()
    forget(short, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["another.pt"]


@pytest.mark.parametrize("model", ["openscene", "point_transformer"])
def test_an_entire_network_in_float64_is_validated_too(tiny: ExperimentConfig, tiny_scenes: Scenes, model: str) -> None:
    """Of whole scenes it is given float64 as well; after one step it says what the network in float32 says."""
    small = {"openscene__width": 0.1, "openscene__voxel": 0.2, "train__steps": 1, "train__evaluate_every": 1}
    config = tiny.replace(train__model=model, objective__modules=(), **small)
    (double,), (single,) = (train(config, tiny_scenes, precision=kind).history for kind in ("float64", "float32"))
    assert double["total"] == pytest.approx(single["total"], rel=1e-4)
    assert double["val_miou"] == pytest.approx(single["val_miou"], abs=1)


@pytest.mark.parametrize("drop", ["usd", "imr", "iirc"])
def test_every_module_can_be_dropped(full: ExperimentConfig, tiny_scenes: Scenes, drop: str) -> None:
    config = preset("as-written", drop=drop).replace(
        data=full.data, train=full.train, train__steps=3, train__evaluate_every=3
    )
    assert np.isfinite(train(config, tiny_scenes).history[-1]["total"])


def test_modes(tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """fusion needs no student and knows nothing of unseen points; ensemble takes the more confident source."""
    config = tiny.replace(objective__modules=(), train__steps=5, train__evaluate_every=5)
    student = train(config, tiny_scenes).student
    scene = tiny_scenes["val"][0]
    text = torch.randn(20, 384, generator=torch.Generator().manual_seed(0))
    text = ClassText(torch.nn.functional.normalize(text, dim=1))
    ids_3d, best_3d = predict(scene, text, "distill", student)
    ids_2d, best_2d = predict(scene, text, "fusion")
    ids, best = predict(scene, text, "ensemble", student)
    unseen = scene.seen_by == 0
    assert unseen.any() and (ids_2d[unseen] == VOID).all() and (ids_2d[~unseen] != VOID).all()
    take = ~unseen & (best_2d > best_3d)
    np.testing.assert_array_equal(ids, np.where(take, ids_2d, ids_3d))
    np.testing.assert_array_equal(best, np.where(take, best_2d, best_3d))
    with pytest.raises(InputError, match="distill, fusion or ensemble"):
        predict(scene, text, "both", student)
    with pytest.raises(InputError, match="needs a trained student"):
        evaluate(config, None, scenes=[scene])
    with pytest.raises(InputError, match="needs a trained student"):
        predict(scene, text, "ensemble")


def test_the_curve_needs_labels(full: ExperimentConfig, tiny_scenes: Scenes) -> None:
    bare = replace(tiny_scenes["val"][0], labels=None)
    with pytest.raises(DataError, match=f"no validation scene has labels .{bare.name}., so nothing can be scored"):
        fit(full, train=tiny_scenes["train"], val=[bare], progress=False)


def test_batches_are_consistent_with_the_scene(tiny_scenes: Scenes) -> None:
    """Points of one superpoint stay together, masks keep exactly their sampled points, unseen points carry zeros."""
    scene = tiny_scenes["train"][0]
    chosen = np.sort(np.random.default_rng(0).permutation(len(scene))[:700])
    batch = scene.batch(chosen, torch.device("cpu"))
    np.testing.assert_array_equal(batch.points.numpy(), scene.points[chosen])
    pairs = np.unique(np.stack([scene.superpoints[chosen], batch.superpoints.group.numpy()]), axis=1)
    assert pairs.shape[1] == batch.superpoints.count == len(np.unique(scene.superpoints[chosen]))
    assert batch.superpoints.point is None and batch.superpoints.points == len(batch) == 700
    dense = scene.masks.dense()[:, chosen]
    np.testing.assert_array_equal(dense_of(batch.masks).numpy(), dense[dense.any(1)])
    assert (batch.lifted[~batch.seen] == 0).all()
    np.testing.assert_array_equal(batch.geometry.numpy(), np.float32(scene.geometry[chosen]))


def test_a_step_takes_the_points_asked_for(tiny_scenes: Scenes) -> None:
    """Drawn without repeats and in the scene's order; all points of a scene that has fewer, or where none are said."""
    scene, cpu = tiny_scenes["train"][0], torch.device("cpu")
    student = new_student(ExperimentConfig(), [scene])
    for asked, taken in ((700, 700), (10**9, len(scene)), (None, len(scene))):
        some = FrozenBackboneStudent(student.network, student.config, student.backbone, asked)
        batch = some.sample(scene, [0], cpu)
        assert len(batch) == taken
        if taken == len(scene):
            np.testing.assert_array_equal(batch.points.numpy(), scene.points)
    chosen = np.sort(np.random.default_rng([5]).choice(len(scene), 700, replace=False, shuffle=False))
    drawn = FrozenBackboneStudent(student.network, student.config, student.backbone, 700).sample(scene, [5], cpu)
    np.testing.assert_array_equal(drawn.points.numpy(), scene.points[chosen])


def test_an_unknown_precision_is_refused(tiny: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """It was float32, without a word."""
    with pytest.raises(ConfigError, match="unknown precision 'fp16': known are auto, float32, bf16, float64"):
        train(tiny, tiny_scenes, precision="fp16")


def test_no_instance_mask_in_any_training_scene_is_said(full: ExperimentConfig, tiny_scenes: Scenes) -> None:
    """IMR alone reads masks; one scene that has some is enough."""
    none = InstanceMasks.from_dense(np.zeros((0, len(tiny_scenes["train"][0])), bool))
    bare = replace(tiny_scenes["train"][0], masks=none, means=None)
    short = full.replace(train__steps=1, train__evaluate_every=1)
    told = r"none of the 1 training scenes has an instance mask \(masks.source 'geometry'\): IMR has nothing"
    with pytest.warns(UserWarning, match=told):
        fit(short, train=[bare], val=[], device="cpu", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(short.replace(objective__modules=("usd",)), train=[bare], val=[], device="cpu", progress=False)
        fit(short, train=tiny_scenes["train"], val=[], device="cpu", progress=False)
