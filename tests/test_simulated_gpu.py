"""No tensor of the CPU meets one of a GPU: trainings, scoring and labelling on a GPU that is simulated (see there)."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from simulated_gpu import CPU, GPU, OnGpu, Simulation, simulated_gpu

import geoguide
from geoguide.datasets.points import Cloud, cloud_scene
from geoguide.experiments.presets import PRESETS
from geoguide.method.self_distillation import SelfDistillationConfig
from geoguide.pipeline import train
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.student import new_student
from geoguide.pipeline.train import fit
from geoguide.students.point_transformer import PointTransformerStudent
from geoguide.students.student import Student

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: --device cuda")
PLAIN = {"objective__modules": ()}
TRAININGS = {
    **{name: {"objective": config} for name, config in PRESETS.items()},
    "several batches": {"train__batches_per_step": 2, "objective__lambda_by": "gradient"},
    "exact means": {"pooling__means": "exact", "pooling__batches": "superpoints"},
    "openscene": PLAIN | {"train__model": "openscene", "openscene__width": 0.1, "openscene__voxel": 0.2},
    "point_transformer": {"train__model": "point_transformer"},
    "history": PLAIN | {"train__self_distillation": SelfDistillationConfig("history", begins=0.5)},
    "mean teacher": PLAIN | {"train__self_distillation": SelfDistillationConfig("mean_teacher", begins=0.5)},
}


@pytest.fixture(autouse=True)
def reads_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    draw: Callable = train._State._draw

    def simulated(self: train._State, *given: object) -> object:
        if self.device.type == "cpu":
            return draw(self, *given)
        with Simulation():
            return draw(self, *given)

    monkeypatch.setattr(train._State, "_draw", simulated)


def test_what_a_gpu_refuses_is_refused() -> None:
    """Else the tests below would show nothing."""
    with simulated_gpu():
        one = torch.ones(3, 2, device=GPU, requires_grad=True)
        (one * torch.arange(2, device=GPU)).sum().backward()
        assert one.grad is not None and one.grad.is_cuda and one.grad.tolist() == [[0, 1]] * 3
        assert one.device == GPU and one.cpu().device.type == "cpu" and one.detach().sum().item() == 6
        assert one[torch.tensor([0, 2])].shape == (2, 2) and (one * torch.tensor(2.0)).is_cuda
        for wrong in (
            lambda: one + torch.ones(3, 2),
            lambda: torch.ones(3)[torch.tensor([0], device=GPU)],
            lambda: torch.rand(2, device=GPU, generator=torch.Generator()),
            lambda: torch.ones(3, 2).add_(one),
        ):
            with pytest.raises(RuntimeError):
                wrong()
        for wrong in (one.detach().numpy, lambda: np.asarray(one.detach())):
            with pytest.raises(TypeError, match="cuda"):
                wrong()
    assert not torch.cuda.is_available() and not isinstance(torch.ones(1), OnGpu)


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_and_its_scores(name: str, tiny: ExperimentConfig, tiny_scenes: dict) -> None:
    steps = {"train__steps": 2, "train__evaluate_every": 1, "train__points_per_step": 500}
    config = tiny.replace(**steps).replace(**TRAININGS[name])

    def trained(device: str) -> tuple[list[float], Student]:
        sets = {split: tiny_scenes[split] for split in ("train", "val")}
        if config.pooling.means == "exact":
            from geoguide.pipeline.prepare import prepare_split

            sets["train"] = prepare_split(config, "train", device="cpu", progress=False)
        fitted = fit(config, **sets, device=device, precision="float32", progress=False)
        return [row["total"] for row in fitted.history], fitted.student

    with simulated_gpu():
        found, student = trained("cuda")
        assert all(isinstance(weight, OnGpu) for weight in student.network.parameters())
        for mode, repeats in (("distill", 1), ("ensemble", 2)):
            scored = config.replace(protocol__mode=mode, protocol__repeats=repeats)
            assert evaluate(scored, student, scenes=tiny_scenes["val"]).miou >= 0
    assert found == pytest.approx(trained("cpu")[0], rel=3e-2)


def test_every_tensor_of_a_batch_comes_by_pinned_memory(tiny_scenes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy from other memory waits until the GPU has done all that it was told before."""
    pinned: list[torch.Tensor] = []
    with simulated_gpu(), monkeypatch.context() as patch:
        clone = torch.Tensor.clone
        patch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or clone(self))
        batch = tiny_scenes["train"][0].batch(np.arange(0, 900, 3), GPU)
        parts = [batch.points, batch.geometry, batch.lifted, batch.seen, batch.superpoints.group]
        parts += [batch.masks.group, batch.masks.point]
        assert all(isinstance(part, OnGpu) for part in parts) and len(pinned) == len(parts)
        assert batch.superpoints.to(GPU).group.is_cuda and len(pinned) == len(parts)  # it lies there already


def test_a_network_sees_its_first_scenes_where_it_is_trained(
    tiny: ExperimentConfig, tiny_scenes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU Sonata takes minutes for a real room, and a hundred are seen before the first step."""
    config = tiny.replace(train__model="point_transformer")
    places, geometry = [], PointTransformerStudent.geometry

    def noting(student: PointTransformerStudent, scene: object) -> torch.Tensor:
        places.append(student.device)
        return geometry(student, scene)

    monkeypatch.setattr(PointTransformerStudent, "geometry", noting)
    torch.manual_seed(0)
    expected = new_student(config, tiny_scenes["train"])
    torch.manual_seed(0)
    with simulated_gpu():
        found = new_student(config, tiny_scenes["train"], GPU)
    assert places == [CPU] * 2 + [GPU] * 2 and found.device == GPU
    for (name, one), other in zip(
        expected.network.state_dict().items(), found.network.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.filterwarnings("ignore:.*out of the model's domain")
def test_labels_of_a_scan_whole_and_in_tiles(rng: np.random.Generator) -> None:
    cloud = Cloud(rng.uniform(0, 3, (2000, 3)), rng.integers(0, 255, (2000, 3)))
    scene, words = cloud_scene("box", cloud), ["chair", "wall"]
    expected = geoguide.load("mini").segment_scene(scene, labels=words)[1]
    with simulated_gpu():
        model = geoguide.load("mini").to("cuda")
        for tile in (None, 1.5):
            found = model.segment_scene(scene, labels=words, tile=tile)[1]
            np.testing.assert_allclose(found, expected, atol=1e-3 if tile is None else 0.1)
        scan = model.encode(scene)
        assert scan.rows.is_cuda and scan.score("chair").shape == model.features(scene)[:, 0].shape
