"""USD against slow loops, hand cases, and the claims its docstrings make."""

import pytest
import torch
import torch.nn.functional as F

from geoguide.errors import ConfigError, InputError
from geoguide.method.superpoint_distillation import (
    SuperpointDistillation,
    USDConfig,
    normalise_weights,
    refine,
    reliability_input,
)

P, S, C1, C = 60, 7, 5, 8


@pytest.fixture
def scene() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    seen = torch.rand(P, generator=g) < 0.7
    lifted = torch.randn(P, C, generator=g, dtype=torch.float64)
    lifted[~seen] = 0
    return {
        "semantic": torch.randn(P, C, generator=g, dtype=torch.float64),
        "geometry": torch.randn(P, C1, generator=g, dtype=torch.float64),
        "lifted": lifted,
        "superpoints": torch.randint(0, S, (P,), generator=g),
        "seen": seen,
    }


def test_reliability_input_matches_a_loop(scene: dict[str, torch.Tensor]) -> None:
    found = reliability_input(scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"])
    for p in range(P):
        own = scene["superpoints"] == scene["superpoints"][p]
        geometry = scene["geometry"][own].mean(0) - scene["geometry"][p]
        lifted = torch.zeros(C, dtype=torch.float64)
        if scene["seen"][p]:
            lifted = scene["lifted"][own & scene["seen"]].mean(0) - scene["lifted"][p]
        torch.testing.assert_close(found[p], torch.cat([geometry, lifted]))


def test_softmax_sums_to_one_over_seen_points(scene: dict[str, torch.Tensor]) -> None:
    scores = torch.randn(P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = normalise_weights(scores, scene["superpoints"], S, scene["seen"], "softmax")
    for s in range(S):
        inside = (scene["superpoints"] == s) & scene["seen"]
        torch.testing.assert_close(weights[inside], scores[inside].softmax(0), atol=1e-9, rtol=1e-9)
    assert (weights[~scene["seen"]] == 0).all()


def test_refine_hand_case() -> None:
    lifted = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    refined = refine(lifted, torch.tensor([3.0, 1, 2]), torch.tensor([0, 0, 2]), 3)
    torch.testing.assert_close(refined, torch.tensor([[0.75, 0.25], [0, 0], [1, 1]]))


def test_starts_from_mean_pooling(scene: dict[str, torch.Tensor]) -> None:
    """Every weighting begins as the plain mean over seen points, so a difference later was learned."""
    uniform = SuperpointDistillation(C1, C, USDConfig(weight="uniform", supervision="none")).double()
    arguments = (scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"])
    expected = uniform(scene["semantic"], *arguments)["superpoint"]
    for weight in ("sigmoid", "softmax", "raw"):
        torch.manual_seed(0)
        usd = SuperpointDistillation(C1, C, USDConfig(weight=weight)).double()
        torch.testing.assert_close(usd(scene["semantic"], *arguments)["superpoint"], expected)


def test_losses_match_a_loop(scene: dict[str, torch.Tensor]) -> None:
    usd = SuperpointDistillation(C1, C, USDConfig(weight="uniform", supervision="none", unseen="refined"))
    found = usd(scene["semantic"], scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"])
    distances, targets = [], {}
    for s in range(S):
        inside = scene["superpoints"] == s
        if (inside & scene["seen"]).any():
            targets[s] = scene["lifted"][inside & scene["seen"]].mean(0)
            distances.append(1 - F.cosine_similarity(scene["semantic"][inside].mean(0), targets[s], dim=0))
    points = [
        1 - F.cosine_similarity(scene["semantic"][p], scene["lifted"][p] if scene["seen"][p] else targets[s], dim=0)
        for p in range(P)
        if (s := int(scene["superpoints"][p])) in targets
    ]
    torch.testing.assert_close(found["superpoint"], torch.stack(distances).mean())
    torch.testing.assert_close(found["point"], torch.stack(points).mean())


@pytest.mark.parametrize("supervision", ["student", "held_out", "none"])
def test_who_trains_the_weights(scene: dict[str, torch.Tensor], supervision: str) -> None:
    """student: the superpoint term; held_out: its own term only; none: nothing."""
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(supervision=supervision)).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)
    half = torch.rand(P, generator=torch.Generator().manual_seed(2)) < 0.5
    semantic = scene["semantic"].clone().requires_grad_()
    terms = usd(semantic, scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"], half)
    for name, value in terms.items():
        gradient = torch.autograd.grad(
            value, list(usd.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        trained = any(g.abs().max() > 0 for g in gradient)
        assert trained == ((supervision, name) in {("student", "superpoint"), ("held_out", "reliability")})
    if supervision == "held_out":
        assert torch.autograd.grad(terms["reliability"], semantic, allow_unused=True)[0] is None


def test_held_out_learns_which_points_lie() -> None:
    """A tenth of each superpoint carries another feature, marked in the geometry: W must learn to distrust the mark."""
    g = torch.Generator().manual_seed(0)
    superpoints = torch.arange(20).repeat_interleave(40)
    truth = F.normalize(torch.randn(20, C, generator=g), dim=1)[superpoints]
    wrong = torch.rand(800, generator=g) < 0.2
    lifted = torch.where(wrong.unsqueeze(1), F.normalize(torch.randn(800, C, generator=g), dim=1), truth)
    geometry = torch.stack([wrong.float(), torch.randn(800, generator=g)], dim=1)
    seen = torch.ones(800, dtype=torch.bool)
    torch.manual_seed(0)
    usd = SuperpointDistillation(2, C, USDConfig(supervision="held_out"))
    optimizer = torch.optim.Adam(usd.parameters(), lr=0.01)
    for _ in range(150):
        half = torch.rand(800, generator=g) < 0.5
        loss = usd(lifted, geometry, lifted, superpoints, 20, seen, half)["reliability"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = usd.weights(geometry, lifted, superpoints, 20, seen)
    assert weights[wrong].mean() < 0.5 * weights[~wrong].mean()


def test_gradients_in_float64(scene: dict[str, torch.Tensor]) -> None:
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(weight="softmax", point_target="refined")).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)

    def total(semantic: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        usd.reliability.layers[-1]._parameters["weight"] = last
        terms = usd(semantic, scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"])
        return terms["superpoint"] + terms["point"]

    last = usd.reliability.layers[-1].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (scene["semantic"].clone().requires_grad_(), last))


def test_no_seen_point_gives_zero_loss(scene: dict[str, torch.Tensor]) -> None:
    usd = SuperpointDistillation(C1, C, USDConfig()).double()
    blind = torch.zeros(P, dtype=torch.bool)
    terms = usd(scene["semantic"], scene["geometry"], torch.zeros_like(scene["lifted"]), scene["superpoints"], S, blind)
    assert all(value.item() == 0 for value in terms.values())


def test_bad_input(scene: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ConfigError, match="usd.weight must be one of"):
        USDConfig(weight="tanh")
    with pytest.raises(InputError, match="must agree"):
        reliability_input(scene["geometry"][:5], scene["lifted"], scene["superpoints"], S, scene["seen"])
    usd = SuperpointDistillation(C1, C, USDConfig(supervision="held_out")).double()
    with pytest.raises(InputError, match="half"):
        usd(scene["semantic"], scene["geometry"], scene["lifted"], scene["superpoints"], S, scene["seen"])
