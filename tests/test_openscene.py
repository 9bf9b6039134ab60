"""The openscene baseline: voxels against a loop, batches by seed, and a training that learns, resumes and scores."""

import numpy as np
import pytest
import torch

from geoguide.errors import ConfigError, InputError
from geoguide.experiments.presets import adapter_only, openscene
from geoguide.frozen import config_hash
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate, student_output
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.students.openscene import OpenScene, OpenSceneConfig, voxelize

CPU = torch.device("cpu")
Scenes = dict[str, list[PreparedScene]]


@pytest.fixture(scope="module")
def config(tiny: ExperimentConfig) -> ExperimentConfig:
    steps = {"train__steps": 9, "train__evaluate_every": 3, "train__checkpoint_every": 4}
    return openscene().replace(data=tiny.data, openscene__width=0.1, openscene__voxel=0.2, **steps)


def test_voxels_equal_a_loop(rng):
    points = rng.uniform(-2, 2, (300, 3))
    grid, first, inverse = voxelize(points, 0.5)
    cells = {}
    for number, point in enumerate(points):
        cells.setdefault(tuple(int(np.floor(x / 0.5)) for x in point), []).append(number)
    low = np.min(list(cells), axis=0)
    assert {tuple(cell) for cell in grid + low} == set(cells) and len(grid) == len(cells)
    for cell, one in zip(grid + low, first, strict=True):
        assert cells[tuple(cell)][0] == one
    np.testing.assert_array_equal(grid[inverse] + low, np.floor(points / 0.5))


def test_voxelize_refuses():
    with pytest.raises(InputError, match="finite and not empty"):
        voxelize(np.zeros((0, 3)), 0.1)
    with pytest.raises(InputError, match="finite and not empty"):
        voxelize(np.full((4, 3), np.inf), 0.1)
    with pytest.raises(InputError, match="too far apart"):
        voxelize(np.array([[0.0, 0, 0], [1e9, 1e9, 1e9]]), 0.02)


def test_batch_holds_the_scenes_it_says(config, tiny_scenes: Scenes):
    scenes = tiny_scenes["train"]
    network = OpenScene(384, config.replace(openscene__augmented=False).openscene)
    batch = network.batch(scenes, [0, 2, 0], CPU)
    for item, scene in enumerate(scenes):
        grid, first, _ = voxelize(scene.points, 0.2)
        inside = batch.item == item
        np.testing.assert_array_equal(batch.grid_coord[inside], grid)
        np.testing.assert_allclose(batch.features[inside], scene.colors[first] * 2 - 1, atol=1e-6)
        np.testing.assert_array_equal(batch.lifted[inside], np.float32(scene.lifted[first]))
        np.testing.assert_array_equal(batch.seen[inside], scene.seen_by[first] > 0)
    augmented = OpenScene(384, config.openscene)
    one, again, other = (augmented.batch(scenes, [0, 2, step], CPU) for step in (5, 5, 6))
    assert torch.equal(one.features, again.features) and not torch.equal(one.features, other.features)


def test_encode_gives_points_of_one_voxel_one_feature(config, tiny_scenes: Scenes):
    scene = tiny_scenes["val"][0]
    network = OpenScene(16, config.openscene).eval()
    found = network.encode(scene.points, scene.colors)
    _, first, inverse = voxelize(scene.points, 0.2)
    assert found.shape == (len(scene), 16) and torch.equal(found, found[torch.from_numpy(first)][inverse])
    with pytest.raises(InputError, match="points and colors"):
        network.encode(scene.points, scene.colors[1:])
    blind = OpenScene(16, config.replace(openscene__input_color=False).openscene).eval()
    assert torch.equal(blind.encode(scene.points, scene.colors), blind.encode(scene.points, 1 - scene.colors))


def test_learns_resumes_and_scores(config, tiny_scenes: Scenes, tmp_path, killed):
    from geoguide.pipeline import train as module

    def train(**options):
        sets = {"train": tiny_scenes["train"], "val": tiny_scenes["val"]}
        return fit(config, **sets, device="cpu", progress=False, **options)  # bits repeat on a CPU alone

    unbroken = train()
    killed(module._State, 6, lambda: train(run_dir=tmp_path))
    resumed = train(run_dir=tmp_path)
    assert resumed.history == unbroken.history
    states = (fitted.student.network.state_dict().values() for fitted in (resumed, unbroken))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert unbroken.history[-1]["point"] < unbroken.history[0]["point"]
    scene = tiny_scenes["test"][0]
    torch.testing.assert_close(student_output(resumed.student, scene).norm(dim=1), torch.ones(len(scene)))
    assert evaluate(config, resumed.student, scenes=[scene]).confusion.matrix.sum() > 0


def test_needs_plain_distillation(config, tiny_scenes: Scenes):
    with pytest.raises(ConfigError, match="objective.modules must be empty"):
        fit(config.replace(objective__modules=("iirc",)), train=tiny_scenes["train"], val=tiny_scenes["val"])
    with pytest.raises(ConfigError, match="must be positive"):
        OpenSceneConfig(voxel=0)


def test_names_only_its_own_experiments():
    """Other experiments keep their hash, and so their records, whatever this baseline's settings are."""
    assert config_hash(adapter_only()) == config_hash(adapter_only().replace(openscene__voxel=0.5))
    assert config_hash(openscene()) != config_hash(openscene().replace(openscene__voxel=0.5))
