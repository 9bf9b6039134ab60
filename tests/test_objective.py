"""The total: it is the weighted sum of its parts, and a dropped module leaves no trace."""

from dataclasses import replace

import pytest
import torch
from regions import random_batch

from geoguide.errors import ConfigError
from geoguide.method.batch import Batch
from geoguide.method.mask_reconstruction import IMRConfig
from geoguide.method.objective import MODULES, Objective, ObjectiveConfig, gradient_norms
from geoguide.method.superpoint_distillation import USDConfig
from geoguide.ops.cosine import cosine_distance
from geoguide.ops.groups import Groups

P, C1, C, S, M = 80, 6, 9, 10, 8


@pytest.fixture
def batch() -> Batch:
    return random_batch(P, S, M, (C1, C), seen=0.8)


@pytest.fixture
def semantic() -> torch.Tensor:
    return torch.randn(P, C, generator=torch.Generator().manual_seed(1))


def run(config: ObjectiveConfig, semantic: torch.Tensor, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Objective(C1, C, config)(semantic, batch, torch.Generator().manual_seed(seed))


def test_without_modules_it_is_plain_distillation(semantic: torch.Tensor, batch: Batch) -> None:
    terms = run(ObjectiveConfig(modules=()), semantic, batch)
    expected = torch.stack([cosine_distance(semantic[p], batch.lifted[p]) for p in range(P) if batch.seen[p]]).mean()
    torch.testing.assert_close(terms["total"], expected)
    assert set(terms) == {"point", "total"}


@pytest.mark.parametrize("module", MODULES)
def test_a_dropped_module_adds_no_term_and_no_parameter(module: str, semantic: torch.Tensor, batch: Batch) -> None:
    terms = run(ObjectiveConfig(modules=tuple(m for m in MODULES if m != module)), semantic, batch)
    own = {"usd": {"superpoint"}, "imr": {"mask"}, "iirc": {"sim_masks", "sim_superpoints"}}
    for name, keys in own.items():
        assert (keys <= set(terms)) == (name != module)
    alone = Objective(C1, C, ObjectiveConfig(modules=tuple(m for m in MODULES if m != module)))
    assert getattr(alone, module) is None


def test_lambdas_scale_their_terms(semantic: torch.Tensor, batch: Batch) -> None:
    one = run(ObjectiveConfig(lambda_sp=1, lambda_mask=1, lambda_sim=1), semantic, batch)
    other = run(ObjectiveConfig(lambda_sp=2, lambda_mask=3, lambda_sim=5), semantic, batch)
    factor = {"superpoint": 2, "point": 2, "mask": 3, "sim_masks": 5, "sim_superpoints": 5}
    for name, times in factor.items():
        torch.testing.assert_close(other[name], times * one[name])
    parts = torch.stack([value for name, value in other.items() if name != "total"])
    torch.testing.assert_close(other["total"], parts.sum())


@pytest.mark.parametrize("pattern", ["points", "superpoints", "halfspace"])
def test_the_generator_alone_decides_the_occlusion(pattern: str, semantic: torch.Tensor, batch: Batch) -> None:
    config = ObjectiveConfig(imr=IMRConfig(pattern=pattern, masks_per_step=3), usd=USDConfig(supervision="held_out"))
    first, same, other = (run(config, semantic, batch, seed)["mask"].item() for seed in (0, 0, 1))
    assert first == same != other


def test_a_scene_without_masks_trains_on_the_rest(semantic: torch.Tensor, batch: Batch) -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    bare = replace(batch, masks=Groups(empty, 0, P, empty))
    terms = run(ObjectiveConfig(), semantic.clone().requires_grad_(), bare)
    assert "mask" not in terms and torch.isfinite(terms["total"])
    terms["total"].backward()


def test_gradient_norms_are_those_of_each_term_alone(semantic: torch.Tensor, batch: Batch) -> None:
    """Each term differentiated in a graph of its own; asking changes neither the terms nor what is learned."""
    semantic.requires_grad_()
    config = ObjectiveConfig(usd=USDConfig(supervision="held_out"))
    torch.manual_seed(0)
    objective = Objective(C1, C, config)
    terms = objective(semantic, batch, torch.Generator().manual_seed(0))
    found = gradient_norms(terms, semantic)
    assert set(found) == set(terms) - {"reliability"} and semantic.grad is None  # W's own loss knows no student
    for name, value in found.items():
        alone = objective(semantic, batch, torch.Generator().manual_seed(0))[name]
        assert value == pytest.approx(torch.autograd.grad(alone, semantic)[0].square().sum().sqrt().item())
    terms["total"].backward()
    assert semantic.grad.norm().item() == pytest.approx(found["total"])


def test_lambda_by_gradient_is_a_ratio_of_lengths(semantic: torch.Tensor, batch: Batch) -> None:
    """At the first call exactly; then of running means, measured every tenth call; longer features change nothing."""
    semantic.requires_grad_()
    ratios = {"lambda_sp": 2.0, "lambda_mask": 0.5, "lambda_sim": 0.25}
    for scale in (1.0, 10.0):
        scene = replace(batch, geometry=scale * batch.geometry)
        objective = Objective(C1, C, ObjectiveConfig(lambda_by="gradient", **ratios))
        terms = objective(semantic, scene, torch.Generator().manual_seed(0))
        sums = {"sp": ("superpoint", "point"), "mask": ("mask",), "sim": ("sim_masks", "sim_superpoints")}
        sums = {part: torch.stack([terms[name] for name in names]).sum() for part, names in sums.items()}
        found = gradient_norms(sums, semantic)
        assert found["mask"] / found["sp"] == pytest.approx(0.5, rel=1e-4)
        assert found["sim"] / found["sp"] == pytest.approx(0.25, rel=1e-4)
    first = objective.lengths.clone()
    far = 3 * semantic.detach().clone().requires_grad_()  # a third of the gradient in L_sp
    for call in range(1, 11):
        objective(far, batch, torch.Generator().manual_seed(0))
        assert torch.equal(objective.lengths, first) == (call < 10)
    assert objective.lengths[0].item() == pytest.approx(first[0].item() * (1 / 3) ** 0.2, rel=1e-5)
    restored = Objective(C1, C, objective.config)
    restored.load_state_dict(objective.state_dict())
    assert restored.lambdas == objective.lambdas and restored.calls == 11
    with torch.no_grad():
        objective(far, batch, torch.Generator())
    assert objective.calls == 11  # only what is differentiated counts


def test_lambda_by_gradient_of_what_has_none(semantic: torch.Tensor, batch: Batch) -> None:
    """Without masks λ2 is 0 until a scene has some; a blind scene changes no mean; other configs have no state."""
    empty = torch.zeros(0, dtype=torch.int64)
    objective = Objective(C1, C, ObjectiveConfig(lambda_by="gradient"))
    semantic.requires_grad_()
    terms = objective(semantic, replace(batch, masks=Groups(empty, 0, P, empty)), torch.Generator())
    assert objective.lambdas[1] == 0 and torch.isfinite(terms["total"])
    objective(semantic, batch, torch.Generator())
    assert objective.lambdas[1] > 0
    before, blind = objective.lengths.clone(), replace(batch, seen=torch.zeros(P, dtype=torch.bool))
    for _ in range(10):
        objective(semantic, blind, torch.Generator())
    assert objective.lengths[0] == before[0]
    assert not {"calls", "lengths"} & set(Objective(C1, C, ObjectiveConfig()).state_dict())


def test_initial_weights_are_drawn_in_order() -> None:
    """First layer to last and USD before IMR: in another order a seed would no longer give the committed records."""
    torch.manual_seed(3)
    objective = Objective(C1, C, ObjectiveConfig())
    following = torch.rand(2)
    torch.manual_seed(3)
    first = torch.nn.Linear(C1 + C, 64)
    torch.nn.Linear(64, 1), torch.nn.Linear(C, C)  # set to zero and to the identity afterwards
    assert torch.equal(objective.usd.reliability.layers[0].weight, first.weight)
    assert torch.equal(objective.usd.reliability.layers[0].bias, first.bias)
    assert torch.equal(torch.rand(2), following)


def test_unknown_module() -> None:
    with pytest.raises(ConfigError, match="unknown module xyz"):
        ObjectiveConfig(modules=("usd", "xyz"))
