"""Very many points in a step: blocks give what all points at once give, in the loss and in every gradient."""

import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from regions import dense_of, random_batch
from torch import Tensor

from geoguide.errors import InputError
from geoguide.experiments.presets import LARGE_PRESETS, PRESETS
from geoguide.method import relation_consistency
from geoguide.method.batch import Batch
from geoguide.method.distillation import word_loss
from geoguide.method.mask_reconstruction import IMRConfig
from geoguide.method.objective import Objective, ObjectiveConfig
from geoguide.method.relation_consistency import IIRCConfig
from geoguide.method.self_distillation import SelfDistillationConfig, pseudo_label_loss
from geoguide.method.superpoint_distillation import USDConfig
from geoguide.ops import blocks
from geoguide.ops.cosine import cosine_distance, unit
from geoguide.ops.directions import distance_to_group, unit_sums
from geoguide.ops.groups import Groups
from geoguide.ops.shared_rows import read_together, shared
from geoguide.students.adapter import Adapter, AdapterConfig

P, S, M, C1, C = 60, 9, 5, 3, 4

CONFIGS = PRESETS | {
    "works-best, large": LARGE_PRESETS["works-best"],
    "adapter only": ObjectiveConfig(modules=()),
    "refined where unseen": ObjectiveConfig(usd=USDConfig(unseen="refined"), iirc=IIRCConfig("l2", diagonal=False)),
    "weighed": ObjectiveConfig(usd=USDConfig("raw", "held_out", student_pooling="weighted")),
    "standardised": ObjectiveConfig(usd=USDConfig("softmax", standardise=True)),
    "balanced": ObjectiveConfig(imr=IMRConfig(balance="balanced", negatives="unalike", masks_per_step=3)),
}


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and a few points are many: blocks of seven, so that the last one is shorter."""

    def small() -> None:
        monkeypatch.setattr(blocks, "LARGE", 10)
        monkeypatch.setattr(blocks, "VERY_LARGE", 10)
        monkeypatch.setattr(blocks, "ROWS", {"cpu": 7, "cuda": 7})
        monkeypatch.setattr(relation_consistency, "MANY_REGIONS", 3)

    return small


def moved(batch: Batch, device: torch.device) -> Batch:
    return replace(
        batch, **{name: getattr(batch, name).to(device) for name in ("points", "geometry", "lifted", "seen")}
    )


@pytest.fixture
def batch(device: torch.device) -> Batch:
    found = moved(random_batch(P, S, M, (C1, C), dtype=torch.float64), device)
    return replace(found, superpoints=found.superpoints.to(device), masks=found.masks.to(device))


def step(config: ObjectiveConfig, batch: Batch, shape: AdapterConfig | None = None) -> tuple[dict, list[Tensor | None]]:
    """The terms of one step, and the gradient of each parameter."""
    torch.manual_seed(0)
    adapter, objective = Adapter(C1, C, shape).double(), Objective(C1, C, config).double()
    if objective.usd is not None and objective.usd.reliability is not None:
        torch.nn.init.normal_(objective.usd.reliability.layers[-1].weight)  # at 0 no gradient would pass
    objective.calibrate([batch])
    device = batch.points.device
    adapter, objective = adapter.to(device), objective.to(device)
    terms = objective(adapter(batch.geometry), batch, torch.Generator().manual_seed(0))
    terms["total"].backward()
    return terms, [parameter.grad for parameter in (*adapter.parameters(), *objective.parameters())]


def agree(first: tuple[dict, list], second: tuple[dict, list]) -> None:
    torch.testing.assert_close(dict(first[0]), dict(second[0]), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first[1], second[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_blocks_change_nothing(name: str, batch: Batch, in_blocks: Callable[[], None]) -> None:
    """Every path of the loss: one point in no mask, an empty mask, unseen points, masks that overlap."""
    points = batch.masks.point
    assert points is not None and len(set(points.tolist())) < len(points)
    group = torch.where(batch.masks.group >= 2, batch.masks.group + 1, batch.masks.group)
    batch = replace(batch, masks=Groups(group, M + 1, P, points))
    whole = step(CONFIGS[name], batch)
    in_blocks()
    agree(whole, step(CONFIGS[name], batch))


@pytest.mark.parametrize("shape", [AdapterConfig(()), AdapterConfig((5,), "none", "relu"), AdapterConfig((6, 5))])
def test_adapters_of_any_shape(shape: AdapterConfig, batch: Batch, in_blocks: Callable[[], None]) -> None:
    whole = step(ObjectiveConfig(modules=()), batch, shape)
    in_blocks()
    agree(whole, step(ObjectiveConfig(modules=()), batch, shape))


def test_no_block_below_the_size(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Committed experiments have fewer points in a step; there no block may be made."""
    monkeypatch.setattr(blocks, "ROWS", {})
    for config in CONFIGS.values():
        step(config, batch)


def test_under_autocast_as_without_blocks(batch: Batch, in_blocks: Callable[[], None]) -> None:
    """Hidden layers are computed again in the precision of the way there, as on a GPU."""
    kind = batch.points.device.type
    geometry = batch.geometry.float()

    def gradients() -> tuple[Tensor, list[Tensor | None]]:
        torch.manual_seed(0)
        adapter = Adapter(C1, C).to(batch.points.device)
        with torch.autocast(kind, torch.bfloat16):
            semantic = adapter(geometry)
        semantic.float().square().sum().backward()
        return semantic, [parameter.grad for parameter in adapter.parameters()]

    whole = gradients()
    in_blocks()
    own = gradients()
    assert own[0].dtype == whole[0].dtype == torch.bfloat16
    torch.testing.assert_close(own, whole, rtol=0.05, atol=0.05)


def test_weights_that_change_before_the_way_back_are_noticed(batch: Batch, in_blocks: Callable[[], None]) -> None:
    in_blocks()
    adapter = Adapter(C1, C).double().to(batch.points.device)
    loss = adapter(batch.geometry).sum()
    with torch.no_grad():
        adapter.last.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_gradients_of_the_parts(batch: Batch, in_blocks: Callable[[], None]) -> None:
    in_blocks()
    g = torch.Generator().manual_seed(1)
    rows, pooled = (torch.randn(n, C, generator=g, dtype=torch.float64).requires_grad_() for n in (P, S))
    superpoints, masks = batch.superpoints.to("cpu"), batch.masks.to("cpu")
    slow = cosine_distance(rows, pooled[superpoints.group])
    torch.testing.assert_close(distance_to_group(rows, pooled, superpoints), slow)
    assert torch.autograd.gradcheck(lambda a, b: distance_to_group(a, b, superpoints), (rows, pooled))
    total = distance_to_group(rows, pooled, superpoints).sum()
    expected = torch.autograd.grad(slow.sum(), (rows, pooled))
    for wanted in ((pooled,), (rows, pooled)):  # the first does not get as far as the rows
        found = torch.autograd.grad(total, wanted, retain_graph=True)
    torch.testing.assert_close(found, expected)
    sums, total = unit_sums(rows, masks)
    torch.testing.assert_close(sums, dense_of(masks).double() @ unit(rows))
    torch.testing.assert_close(total, unit(rows).sum(0))
    for groups in (masks, superpoints):
        assert torch.autograd.gradcheck(lambda x, groups=groups: unit_sums(x, groups), (rows,))


def some_rows() -> Tensor:
    return torch.randn(P, C, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def test_readers_of_shared_rows(batch: Batch, in_blocks: Callable[[], None]) -> None:
    """Readers that leave their part, beside readers that return a gradient as usual: against rows that are not shared.

    The graph can be gone back several times, from some of the losses or to other tensors alone.
    """
    in_blocks()
    rows, superpoints, masks = some_rows(), batch.superpoints.to("cpu"), batch.masks.to("cpu")
    other, weights = torch.randn(P, C, dtype=torch.float64), torch.rand(P, dtype=torch.float64).requires_grad_()

    def read(x: Tensor) -> list[dict[str, Tensor]]:
        means = {str(i): groups.mean(x).pow(3).sum() for i, groups in enumerate((superpoints, masks, superpoints))}
        weighed = superpoints.sum(x, weights).pow(2).sum() + masks.sum(x, weights).pow(2).sum()
        distance = cosine_distance(x, other).pow(2).sum() + distance_to_group(x, other[:S], superpoints).sum()
        return [means, {"weighed": weighed, "distance": distance}, {"cubes": x.pow(3).sum()}]

    def losses(found: list[dict[str, Tensor]]) -> list[Tensor]:
        return [loss for own in found for loss in own.values()]

    slow, own = losses(read(rows)), losses(read_together(rows, read))
    expected = torch.autograd.grad(sum(slow, torch.tensor(0.0)), (rows, weights), retain_graph=True)
    total = sum(own, torch.tensor(0.0))
    for _ in range(2):
        torch.testing.assert_close(torch.autograd.grad(total, weights, retain_graph=True), expected[1:])
        for one, two in zip(own, slow, strict=True):
            found = (torch.autograd.grad(loss, rows, retain_graph=True) for loss in (one, two))
            torch.testing.assert_close(next(found), next(found))
        torch.testing.assert_close(torch.autograd.grad(total, (rows, weights), retain_graph=True), expected)
    with pytest.raises(InputError, match="once differentiable, found a pass back with create_graph"):
        torch.autograd.grad(total, rows, create_graph=True)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_gradient_of_each_term(name: str, batch: Batch, in_blocks: Callable[[], None]) -> None:
    """As a training watches it, after a pass to the parameters alone; what one leaves is not found by the next."""

    def gradients() -> list[Tensor]:
        torch.manual_seed(0)
        objective = Objective(C1, C, CONFIGS[name]).double().to(batch.points.device)
        semantic = some_rows().to(batch.points.device)
        terms = objective(semantic, batch, torch.Generator().manual_seed(0))
        found = []
        for wanted in ([*objective.parameters()], [semantic]):
            for value in terms.values():
                if value.requires_grad and wanted:
                    found += torch.autograd.grad(value, wanted, retain_graph=True, materialize_grads=True)
        return found

    whole = gradients()
    in_blocks()
    torch.testing.assert_close(gradients(), whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("points", [5, 7, 14, 15])
def test_blocks_of_any_size(
    points: int, device: torch.device, in_blocks: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block that is not full, full ones, and a last one of one point; regions of one point."""
    found = moved(random_batch(points, points - 1, 2, (C1, C), dtype=torch.float64), device)
    batch = replace(found, superpoints=found.superpoints.to(device), masks=found.masks.to(device))
    whole = {name: step(config, batch) for name, config in CONFIGS.items()}
    in_blocks()
    monkeypatch.setattr(blocks, "LARGE", 0)
    for name, config in CONFIGS.items():
        agree(whole[name], step(config, batch))


def test_means_of_shared_rows_are_taken_once(in_blocks: Callable[[], None]) -> None:
    """Until all losses have read them; and what was taken is not kept, as its graph would keep the rows."""
    in_blocks()
    groups, kept = Groups.partition(torch.arange(P) % S), []

    def read(rows: Tensor) -> list[dict[str, Tensor]]:
        with torch.no_grad():
            assert not groups.mean(rows).requires_grad
        mean = groups.mean(rows)
        assert groups.mean(rows) is mean and mean.requires_grad
        assert groups.mean(rows, torch.ones(P, dtype=torch.float64)) is not mean
        assert Groups.partition(torch.arange(P) % 2).mean(rows).shape == (2, C)
        kept.append(weakref.ref(mean))
        return [{"size": rows.sum()}]

    losses = read_together(some_rows(), read)
    assert losses[0]["size"].requires_grad and kept[0]() is None
    still = torch.zeros(P, C)
    read_together(still, lambda rows: [{"same": torch.tensor(rows is still)}])


def test_the_graph_of_a_step_is_freed(batch: Batch, in_blocks: Callable[[], None]) -> None:
    """With its last loss: what it knows of its readers holds none of them."""
    in_blocks()
    objective = Objective(C1, C, PRESETS["works-best"]).double().to(batch.points.device)
    semantic = some_rows().to(batch.points.device) * 1
    freed, terms = weakref.ref(semantic), objective(semantic, batch, torch.Generator().manual_seed(0))
    torch.autograd.grad(terms["total"], [*objective.parameters()], retain_graph=True, allow_unused=True)
    del semantic, terms
    assert freed() is None


def test_zero_rows_stay_zero(in_blocks: Callable[[], None]) -> None:
    """At distance 1 from everything, and without a gradient that is not finite."""
    in_blocks()
    rows = torch.zeros(12, C, dtype=torch.float64, requires_grad=True)
    groups = Groups.partition(torch.arange(12) % 2)
    ones = torch.ones(12, C, dtype=torch.float64)
    for distance in (distance_to_group(rows, ones[:2], groups), cosine_distance(shared(rows), ones)):
        assert torch.equal(distance, torch.ones(12, dtype=torch.float64))
        rows.grad = None
        distance.sum().backward()
        assert rows.grad is not None and torch.isfinite(rows.grad).all()


def test_entries_of_successive_points(batch: Batch) -> None:
    """Against the dense masks; also of points in no mask, and of a partition."""
    for groups in (batch.masks.to("cpu"), batch.superpoints.to("cpu")):
        dense = dense_of(groups)
        pooled = torch.randn(groups.count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        for part in (slice(0, 7), slice(7, 8), slice(40, P)):
            group, point = groups.entries_of(part)
            found = torch.zeros_like(dense)
            found[group, point] = True
            expected = dense.clone()
            expected[:, : part.start] = expected[:, part.stop :] = False
            assert torch.equal(found, expected)
            torch.testing.assert_close(groups.spread(pooled, part), dense[:, part].T.double() @ pooled)


def test_bad_input(batch: Batch) -> None:
    with pytest.raises(InputError, match="distance_to_group takes 60 rows and 9 vectors of a partition, found 3 and 9"):
        distance_to_group(torch.zeros(3, C), torch.zeros(S, C), batch.superpoints)
    with pytest.raises(InputError, match="must be as many, found 3"):
        unit_sums(torch.zeros(3, C), batch.masks)


@pytest.mark.parametrize("loss", ["words", "pseudo labels"])
def test_losses_of_words_hold_no_matrix_of_points_and_words(loss: str, in_blocks: Callable[[], None]) -> None:
    g, words = torch.Generator().manual_seed(0), 24
    rows = torch.randn(P, C, generator=g, dtype=torch.float64, requires_grad=True)
    text = unit(torch.randn(words, C, generator=g, dtype=torch.float64))
    label = torch.randint(-1, words, (P,), generator=g)
    config = SelfDistillationConfig("mean_teacher", similarity="cosine", superpoints=False)
    one_group, held = Groups.partition(torch.zeros(P, dtype=torch.int64)), []

    def value() -> Tensor:
        if loss == "words":
            return word_loss(rows, label, text, config.temperature)
        return pseudo_label_loss(rows, label, one_group, text, config)["total"]

    def kept(tensor: Tensor) -> Tensor:
        held.append(tensor.numel())
        return tensor

    expected = value()
    (slope,) = torch.autograd.grad(expected, rows)
    in_blocks()
    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        found = value()
    assert max(held, default=0) < P * words
    torch.testing.assert_close(found, expected)
    for _ in range(2):  # the lengths of gradients are measured on the way
        torch.testing.assert_close(torch.autograd.grad(found, rows, retain_graph=True)[0], slope)
