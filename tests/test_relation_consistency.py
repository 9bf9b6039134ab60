"""IIRC against the explicit R x R matrices."""

import pytest
import torch
import torch.nn.functional as F
from regions import random_batch

from geoguide.errors import ConfigError, InputError
from geoguide.method.relation_consistency import IIRCConfig, RelationConsistency, relation_loss, similarity_matrices


def explicit(a: torch.Tensor, b: torch.Tensor, config: IIRCConfig) -> torch.Tensor:
    """The definition: both matrices in full, centred and scaled as matrices, not through their factors."""
    matrices = []
    for x in (a, b):
        if config.normalise == "l2":
            x = F.normalize(x, dim=-1)
        sim = x @ x.T
        if config.scale == "norm":
            sim = sim / sim.diagonal().mean()
        elif config.scale != "none":  # centring the features is double centring of the matrix
            sim = sim - sim.mean(0, keepdim=True) - sim.mean(1, keepdim=True) + sim.mean()
        if config.scale == "standardise":
            sim = sim / sim.square().mean().sqrt()
        matrices.append(sim)
    squared = (matrices[0] - matrices[1]).square()
    if config.diagonal:
        return squared.mean()
    count = len(a)
    return (squared.sum() - squared.diagonal().sum()) / (count * (count - 1))


@pytest.mark.parametrize("regions", [2, 9, 64])
@pytest.mark.parametrize("normalise", ["none", "l2"])
@pytest.mark.parametrize("scale", ["none", "norm", "centre", "standardise"])
@pytest.mark.parametrize("diagonal", [True, False])
def test_equals_the_explicit_matrices(
    regions: int, normalise: str, scale: str, diagonal: bool, device: torch.device
) -> None:
    """Also beyond the feature width (64 regions of width 12), where the matrices are never formed."""
    g = torch.Generator().manual_seed(regions)
    a = torch.randn(regions, 12, generator=g, dtype=torch.float64).to(device).requires_grad_()
    b = torch.randn(regions, 7, generator=g, dtype=torch.float64).to(device)
    config = IIRCConfig(normalise=normalise, scale=scale, diagonal=diagonal)
    ours, slow = relation_loss(a, b, config), explicit(a, b, config)
    torch.testing.assert_close(ours, slow, atol=1e-9, rtol=1e-7)
    if regions > 2:
        ga, gb = torch.autograd.grad(ours, a)[0], torch.autograd.grad(slow, a)[0]
        torch.testing.assert_close(ga, gb, atol=1e-8, rtol=1e-6)


def test_permutation_and_zero() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 8, generator=g), torch.randn(30, 8, generator=g)
    order = torch.randperm(30, generator=g)
    config = IIRCConfig(normalise="l2", scale="standardise")
    torch.testing.assert_close(relation_loss(a, b, config), relation_loss(a[order], b[order], config))
    assert relation_loss(b, b, IIRCConfig()).item() == pytest.approx(0, abs=1e-5)
    assert relation_loss(a * 3, b * 5, config).item() == pytest.approx(relation_loss(a, b, config).item(), rel=1e-4)


def test_raw_matrices_live_on_different_scales() -> None:
    """As written, doubling the frozen features changes the loss sixteenfold: the two scales must be made comparable."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(30, 8, generator=g) * 0.01, torch.randn(30, 8, generator=g)
    raw = IIRCConfig()
    assert relation_loss(a, 2 * b, raw).item() == pytest.approx(16 * relation_loss(a, b, raw).item(), rel=0.01)


def test_divided_by_the_mean_square_length_and_width_do_not_matter() -> None:
    """Longer frozen features, or each channel three times: the same loss, the same gradient; raw, far from it."""
    g = torch.Generator().manual_seed(0)
    a = torch.randn(30, 8, generator=g, dtype=torch.float64, requires_grad=True)
    b = torch.randn(30, 8, generator=g, dtype=torch.float64)
    for scale, same in (("norm", True), ("none", False)):
        config = IIRCConfig(scale=scale)
        first = relation_loss(a, b, config)
        for other in (10 * b, b.repeat(1, 3)):
            found = relation_loss(a, other, config)
            gradients = [torch.autograd.grad(loss, a, retain_graph=True)[0] for loss in (first, found)]
            assert torch.allclose(first, found) == torch.allclose(*gradients) == same


def test_few_regions_of_many_are_drawn() -> None:
    """The generator decides which; with no more regions than the limit nothing is drawn and nothing changes."""
    batch = random_batch(points=60, superpoints=9, masks=3, widths=(4, 5))
    semantic = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    found = RelationConsistency(IIRCConfig(regions=4))(semantic, batch, torch.Generator().manual_seed(2))
    drawn = torch.randperm(9, generator=torch.Generator().manual_seed(2))[:4]
    pooled = [batch.superpoints.mean(x)[drawn] for x in (semantic, batch.geometry)]
    torch.testing.assert_close(found["sim_superpoints"], explicit(*pooled, IIRCConfig()))
    assert found["sim_masks"] == RelationConsistency(IIRCConfig())(semantic, batch, torch.Generator())["sim_masks"]
    generator = torch.Generator().manual_seed(2)
    RelationConsistency(IIRCConfig(regions=9))(semantic, batch, generator)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(2).get_state())


def test_permuted_geometry_says_nothing_of_which_regions_are_alike() -> None:
    """The control compares with the same regions in another order, a new one in every step; semantics stay in place."""
    batch = random_batch(points=60, superpoints=9, masks=3, widths=(4, 5))
    semantic = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    control = RelationConsistency(IIRCConfig(geometry="permuted", levels=("superpoints",)))
    generator = torch.Generator().manual_seed(2)
    orders = torch.Generator().manual_seed(2)
    pooled, geometric = (batch.superpoints.mean(x) for x in (semantic, batch.geometry))
    for _ in range(2):
        order = torch.randperm(9, generator=orders)
        found = control(semantic, batch, generator)["sim_superpoints"]
        torch.testing.assert_close(found, explicit(pooled, geometric[order], IIRCConfig()))
    assert sorted(order.tolist()) == list(range(9)) and order.tolist() != list(range(9))


@pytest.mark.parametrize("config", [IIRCConfig(normalise="l2", scale="centre"), IIRCConfig(scale="norm")])
def test_gradcheck_through_pooling(config: IIRCConfig) -> None:
    batch = random_batch(points=40, superpoints=9, masks=3, widths=(4, 5), dtype=torch.float64)
    iirc = RelationConsistency(config)
    semantic = torch.randn(40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)

    def total(x: torch.Tensor) -> torch.Tensor:
        return sum(iirc(x, batch, torch.Generator()).values())

    assert torch.autograd.gradcheck(total, semantic)


def test_levels() -> None:
    """Each level compares its own regions, pooled by a plain mean."""
    batch = random_batch(points=40, superpoints=9, masks=3, widths=(4, 5))
    semantic = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    both = RelationConsistency(IIRCConfig())(semantic, batch, torch.Generator())
    assert set(both) == {"sim_masks", "sim_superpoints"}
    inside = {
        "superpoints": [batch.superpoints.group == s for s in range(9)],
        "masks": [batch.masks.point[batch.masks.group == m] for m in range(3)],
    }
    for level, regions in inside.items():
        config = IIRCConfig(levels=(level,))
        alone = RelationConsistency(config)(semantic, batch, torch.Generator())
        assert alone == {f"sim_{level}": both[f"sim_{level}"]}
        pooled = [torch.stack([x[points].mean(0) for points in regions]) for x in (semantic, batch.geometry)]
        torch.testing.assert_close(alone[f"sim_{level}"], explicit(*pooled, config))


def test_similarity_matrices_are_what_the_loss_compares() -> None:
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(6, 8, generator=g), torch.randn(6, 8, generator=g)
    config = IIRCConfig(normalise="l2", scale="standardise")
    sem, geo = similarity_matrices(a, b, config)
    torch.testing.assert_close((sem - geo).square().mean(), relation_loss(a, b, config))


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="iirc.scale"):
        IIRCConfig(scale="log")
    with pytest.raises(ConfigError, match=r"iirc.regions must be at least 2, found 1"):
        IIRCConfig(regions=1)
    with pytest.raises(ConfigError, match="iirc.levels"):
        IIRCConfig(levels=("points",))
    with pytest.raises(InputError, match=r"\[3, 4\]"):
        relation_loss(torch.zeros(3, 4), torch.zeros(2, 4), IIRCConfig())
