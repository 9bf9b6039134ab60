"""USD against slow loops, hand cases, and the claims its docstrings make."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from regions import random_batch

from geoguide.errors import ConfigError, InputError
from geoguide.method.batch import Batch
from geoguide.method.superpoint_distillation import (
    SuperpointDistillation,
    USDConfig,
    normalise_weights,
    refine,
    reliability_input,
)
from geoguide.ops.groups import Groups

P, S, C1, C = 60, 7, 5, 8


@pytest.fixture
def batch() -> Batch:
    return random_batch(P, S, widths=(C1, C), dtype=torch.float64)


@pytest.fixture
def semantic() -> torch.Tensor:
    return torch.randn(P, C, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def losses(config: USDConfig, semantic: torch.Tensor, batch: Batch, seed: int = 0) -> dict[str, torch.Tensor]:
    """Of a new module; the same weights every time."""
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, config).double()
    return usd(semantic, batch, torch.Generator().manual_seed(seed))


def test_reliability_input_matches_a_loop(batch: Batch) -> None:
    found, superpoints = reliability_input(batch), batch.superpoints.group
    for p in range(P):
        own = superpoints == superpoints[p]
        geometry = batch.geometry[own].mean(0) - batch.geometry[p]
        lifted = torch.zeros(C, dtype=torch.float64)
        if batch.seen[p]:
            lifted = batch.lifted[own & batch.seen].mean(0) - batch.lifted[p]
        torch.testing.assert_close(found[p], torch.cat([geometry, lifted]))


def test_softmax_sums_to_one_over_seen_points(batch: Batch) -> None:
    scores = torch.randn(P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = normalise_weights(scores, batch, "softmax")
    for s in range(S):
        inside = (batch.superpoints.group == s) & batch.seen
        torch.testing.assert_close(weights[inside], scores[inside].softmax(0), atol=1e-9, rtol=1e-9)
    assert (weights[~batch.seen] == 0).all()


def test_other_activations_by_hand(batch: Batch) -> None:
    scores = torch.randn(P, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = {"sigmoid": 1 / (1 + torch.exp(-scores)), "raw": scores, "uniform": torch.ones_like(scores)}
    for how, weights in expected.items():
        torch.testing.assert_close(normalise_weights(scores, batch, how), torch.where(batch.seen, weights, 0.0))


def test_refine_hand_case() -> None:
    lifted = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    refined = refine(lifted, torch.tensor([3.0, 1, 2]), Groups.partition(torch.tensor([0, 0, 2]), 3))
    torch.testing.assert_close(refined, torch.tensor([[0.75, 0.25], [0, 0], [1, 1]]))


def test_starts_from_mean_pooling(semantic: torch.Tensor, batch: Batch) -> None:
    """Every weighting begins as the plain mean over seen points, so a difference later was learned."""
    expected = losses(USDConfig(weight="uniform", supervision="none"), semantic, batch)["superpoint"]
    for weight in ("sigmoid", "softmax", "raw"):
        torch.testing.assert_close(losses(USDConfig(weight=weight), semantic, batch)["superpoint"], expected)


def test_losses_match_a_loop(semantic: torch.Tensor, batch: Batch) -> None:
    found = losses(USDConfig(weight="uniform", supervision="none", unseen="refined"), semantic, batch)
    distances, targets, superpoints = [], {}, batch.superpoints.group
    for s in range(S):
        inside = superpoints == s
        if (inside & batch.seen).any():
            targets[s] = batch.lifted[inside & batch.seen].mean(0)
            distances.append(1 - F.cosine_similarity(semantic[inside].mean(0), targets[s], dim=0))
    points = [
        1 - F.cosine_similarity(semantic[p], batch.lifted[p] if batch.seen[p] else targets[s], dim=0)
        for p in range(P)
        if (s := int(superpoints[p])) in targets
    ]
    torch.testing.assert_close(found["superpoint"], torch.stack(distances).mean())
    torch.testing.assert_close(found["point"], torch.stack(points).mean())


def test_weights_pool_target_and_student(semantic: torch.Tensor, batch: Batch) -> None:
    """With an MLP that says something: the target is weighed by W, the student by |W| where asked, as in a loop."""
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(weight="raw", student_pooling="weighted")).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)
    found, weights = usd(semantic, batch, torch.Generator())["superpoint"], usd.weights(batch).detach()
    distances = []
    for s in range(S):
        inside = batch.superpoints.group == s
        if (inside & batch.seen).any():
            target = (batch.lifted * weights[:, None])[inside].sum(0)
            pooled = (semantic * (weights.abs() + 1e-6)[:, None])[inside].sum(0)
            distances.append(1 - F.cosine_similarity(pooled, target, dim=0))
    torch.testing.assert_close(found.detach(), torch.stack(distances).mean())


@pytest.mark.parametrize("supervision", ["student", "held_out", "none"])
def test_who_trains_the_weights(semantic: torch.Tensor, batch: Batch, supervision: str) -> None:
    """student: the superpoint term; held_out: its own term only; none: nothing."""
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(supervision=supervision)).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)
    semantic = semantic.clone().requires_grad_()
    terms = usd(semantic, batch, torch.Generator().manual_seed(2))
    for name, value in terms.items():
        gradient = torch.autograd.grad(
            value, list(usd.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
        )
        trained = any(g.abs().max() > 0 for g in gradient)
        assert trained == ((supervision, name) in {("student", "superpoint"), ("held_out", "reliability")})
    if supervision == "held_out":
        assert torch.autograd.grad(terms["reliability"], semantic, allow_unused=True)[0] is None


def test_held_out_draws_the_half_itself(semantic: torch.Tensor, batch: Batch) -> None:
    """One half is pooled by W, the plain mean of the other is the target, as in a loop; others draw nothing."""
    found = losses(USDConfig(supervision="held_out"), semantic, batch, seed=4)["reliability"]
    half = torch.rand(P, generator=torch.Generator().manual_seed(4)) < 0.5
    distances = []
    for s in range(S):
        inside = (batch.superpoints.group == s) & batch.seen
        if (inside & half).any() and (inside & ~half).any():
            first = batch.lifted[inside & half].mean(0)  # W starts as equal weights
            second = F.normalize(batch.lifted[inside & ~half], dim=1).mean(0)
            distances.append(1 - F.cosine_similarity(first, second, dim=0))
    torch.testing.assert_close(found, torch.stack(distances).mean())
    assert found != losses(USDConfig(supervision="held_out"), semantic, batch, seed=5)["reliability"]
    untouched = torch.Generator().manual_seed(4)
    SuperpointDistillation(C1, C, USDConfig()).double()(semantic, batch, untouched)
    assert torch.equal(untouched.get_state(), torch.Generator().manual_seed(4).get_state())


def test_held_out_learns_which_points_lie() -> None:
    """A fifth of each superpoint carries another feature, marked in the geometry: W must learn to distrust the mark."""
    g = torch.Generator().manual_seed(0)
    superpoints = torch.arange(20).repeat_interleave(40)
    truth = F.normalize(torch.randn(20, C, generator=g), dim=1)[superpoints]
    wrong = torch.rand(800, generator=g) < 0.2
    lifted = torch.where(wrong.unsqueeze(1), F.normalize(torch.randn(800, C, generator=g), dim=1), truth)
    partition = Groups.partition(superpoints)
    batch = Batch(
        points=torch.zeros(800, 3),
        geometry=torch.stack([wrong.float(), torch.randn(800, generator=g)], dim=1),
        lifted=lifted,
        seen=torch.ones(800, dtype=torch.bool),
        superpoints=partition,
        masks=partition,
    )
    torch.manual_seed(0)
    usd = SuperpointDistillation(2, C, USDConfig(supervision="held_out"))
    optimizer = torch.optim.Adam(usd.parameters(), lr=0.01)
    for _ in range(150):
        loss = usd(lifted, batch, g)["reliability"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weights = usd.weights(batch)
    assert weights[wrong].mean() < 0.5 * weights[~wrong].mean()


def test_gradients_in_float64(semantic: torch.Tensor, batch: Batch) -> None:
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(weight="softmax", point_target="refined")).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)

    def total(semantic: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        usd.reliability.layers[-1]._parameters["weight"] = last
        terms = usd(semantic, batch, torch.Generator())
        return terms["superpoint"] + terms["point"]

    last = usd.reliability.layers[-1].weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(total, (semantic.clone().requires_grad_(), last))


def test_the_halves_of_the_input_can_be_made_equal(semantic: torch.Tensor, batch: Batch) -> None:
    """Divided by the root mean square of all that the batches hold; longer frozen features then change nothing."""
    torch.manual_seed(0)
    usd = SuperpointDistillation(C1, C, USDConfig(standardise=True)).double()
    torch.nn.init.normal_(usd.reliability.layers[-1].weight)
    long = replace(batch, geometry=100 * batch.geometry)
    usd.standardise([batch, batch])
    deviations = reliability_input(batch)
    expected = [deviations[:, :C1].square().mean().sqrt(), deviations[batch.seen, C1:].square().mean().sqrt()]
    torch.testing.assert_close(usd.scales, torch.stack(expected))
    weights = usd.weights(batch)
    scores = usd.reliability.layers(deviations / torch.repeat_interleave(usd.scales, torch.tensor([C1, C]))).squeeze(-1)
    torch.testing.assert_close(weights, normalise_weights(scores, batch, "sigmoid"))
    usd.standardise([long])
    torch.testing.assert_close(usd.weights(long), weights)
    assert "scales" in usd.state_dict()  # so that a checkpoint holds them
    plain = SuperpointDistillation(C1, C, USDConfig())
    assert "scales" not in plain.state_dict() and plain.scales is None
    usd.standardise([replace(batch, lifted=torch.zeros_like(batch.lifted), seen=torch.zeros(P, dtype=torch.bool))])
    assert usd.scales[1] == 1


def test_no_seen_point_gives_zero_loss(semantic: torch.Tensor, batch: Batch) -> None:
    blind = replace(batch, lifted=torch.zeros_like(batch.lifted), seen=torch.zeros(P, dtype=torch.bool))
    terms = losses(USDConfig(supervision="held_out"), semantic, blind)
    assert set(terms) == {"superpoint", "point", "reliability"}
    assert all(value.item() == 0 for value in terms.values())


def test_bad_input(batch: Batch) -> None:
    with pytest.raises(ConfigError, match="usd.weight must be one of"):
        USDConfig(weight="tanh")
    with pytest.raises(ConfigError, match="usd.weight must be sigmoid, softmax, raw or uniform, found 'tanh'"):
        normalise_weights(torch.zeros(P), batch, "tanh")
    for part in ("points", "geometry", "lifted", "seen"):
        with pytest.raises(InputError, match=r"must agree in their number of points, found \[.*5"):
            replace(batch, **{part: getattr(batch, part)[:5]})
    for part in ("superpoints", "masks"):
        with pytest.raises(InputError, match="must agree in their number of points"):
            replace(batch, **{part: Groups.partition(torch.zeros(5, dtype=torch.int64))})
