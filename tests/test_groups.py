"""Groups against slow loops over their entries: partitions and overlapping groups, empty ones, gradients."""

import pytest
import torch
from regions import dense_of, groups_of

from geoguide.errors import InputError
from geoguide.ops.groups import Groups

P, D = 30, 3


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["partition", "overlapping"])
def groups(request: pytest.FixtureRequest) -> Groups:
    """Six groups of thirty points; the fourth is empty."""
    g = torch.Generator().manual_seed(1)
    if request.param == "partition":
        return Groups.partition(torch.tensor([0, 1, 2, 4, 5])[torch.randint(0, 5, (P,), generator=g)], 6)
    dense = torch.rand(6, P, generator=g) < 0.3
    dense[3] = False
    return groups_of(dense)


def members(groups: Groups) -> list[list[int]]:
    """The entries' points of each group, one entry after another."""
    found: list[list[int]] = [[] for _ in range(groups.count)]
    points = range(groups.points) if groups.point is None else groups.point.tolist()
    for group, point in zip(groups.group.tolist(), points, strict=True):
        found[group].append(point)
    return found


def test_sizes(groups: Groups) -> None:
    assert groups.sizes.tolist() == [len(points) for points in members(groups)]
    assert groups.sizes[3] == 0 and len(groups) == groups.count == 6 and groups.points == P


def test_values_of_entries(groups: Groups) -> None:
    values, pooled = rand(P, D), rand(6, D)
    entries = [(g, p) for g, points in enumerate(members(groups)) for p in points]
    order = torch.argsort(groups.group, stable=True)  # the loop goes through groups one by one
    assert torch.equal(groups.of_entries(values)[order], values[[p for _, p in entries]])
    assert torch.equal(groups.to_entries(pooled)[order], pooled[[g for g, _ in entries]])


@pytest.mark.parametrize("shape", [(P,), (P, D), (P, D, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sum_and_mean(groups: Groups, shape: tuple[int, ...], weighted: bool, device: torch.device) -> None:
    values = rand(*shape)
    weights = torch.rand(P, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) if weighted else None
    moved = groups.to(device)
    own = None if weights is None else weights.to(device)
    total, mean = moved.sum(values.to(device), own).cpu(), moved.mean(values.to(device), own).cpu()
    for g, points in enumerate(members(groups)):
        weight = [1.0 if weights is None else weights[p].item() for p in points]
        expected = sum((w * values[p] for w, p in zip(weight, points, strict=True)), torch.zeros(shape[1:]).double())
        torch.testing.assert_close(total[g], expected)
        torch.testing.assert_close(mean[g], expected / max(sum(weight), 1e-300))


def test_weights_of_a_sum_may_be_negative_and_those_of_a_mean_may_vanish(groups: Groups) -> None:
    values = rand(P, D)
    torch.testing.assert_close(groups.sum(values, -torch.ones(P)), -groups.sum(values))
    assert (groups.mean(values, torch.zeros(P).double()) == 0).all()


def test_softmax(groups: Groups) -> None:
    scores = rand(P)
    found = groups.softmax(scores)
    for g, points in enumerate(members(groups)):
        torch.testing.assert_close(found[groups.group == g], scores[points].softmax(0))


def test_where_keeps_entries(groups: Groups) -> None:
    kept = torch.rand(len(groups.group), generator=torch.Generator().manual_seed(3)) < 0.5
    found = groups.where(kept)
    assert (found.count, found.points) == (6, P) and len(found.group) == kept.sum()
    pairs = list(zip(groups.group.tolist(), groups.of_entries(torch.arange(P)).tolist(), strict=True))
    expected = [pair for pair, keep in zip(pairs, kept.tolist(), strict=True) if keep]
    assert list(zip(found.group.tolist(), found.point.tolist(), strict=True)) == expected


def test_take_renumbers(groups: Groups) -> None:
    """In the order asked for, the empty group too; pooling over what is taken is pooling and taking."""
    chosen = torch.tensor([5, 3, 0])
    found = groups.take(chosen)
    assert members(found) == [members(groups)[g] for g in chosen]
    assert (found.count, found.points) == (3, P)
    values = rand(P, D)
    torch.testing.assert_close(found.mean(values), groups.mean(values)[chosen])
    nothing = groups.take(torch.zeros(0, dtype=torch.int64))
    assert nothing.count == 0 and nothing.sum(values).shape == (0, D)


def test_to_another_device(groups: Groups, device: torch.device) -> None:
    moved = groups.to(device)
    assert moved.group.device.type == device.type and (moved.point is None) == (groups.point is None)
    assert torch.equal(dense_of(moved.to("cpu")), dense_of(groups))
    assert (moved.count, moved.points) == (groups.count, groups.points)


def test_the_order_of_entries_does_not_matter(groups: Groups) -> None:
    order = torch.randperm(len(groups.group), generator=torch.Generator().manual_seed(4))
    point = groups.of_entries(torch.arange(P))
    shuffled = Groups(groups.group[order], groups.count, P, point[order])
    values, weights, scores = rand(P, D), rand(P, seed=1).abs(), rand(P, seed=2)
    torch.testing.assert_close(shuffled.sum(values, weights), groups.sum(values, weights))
    torch.testing.assert_close(shuffled.mean(values), groups.mean(values))
    torch.testing.assert_close(shuffled.softmax(scores), groups.softmax(scores)[order])
    assert torch.equal(shuffled.sizes, groups.sizes)


def test_gradients(groups: Groups) -> None:
    values, weights = rand(P, D).requires_grad_(), (rand(P, seed=1).abs() + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(groups.sum, (values, weights))
    assert torch.autograd.gradcheck(groups.mean, (values, weights))
    assert torch.autograd.gradcheck(groups.softmax, rand(P).requires_grad_())


def test_a_partition_counts_for_itself() -> None:
    assert Groups.partition(torch.tensor([0, 2, 2])).count == 3
    empty = Groups.partition(torch.zeros(0, dtype=torch.int64))
    assert (empty.count, empty.points) == (0, 0) and empty.mean(torch.zeros(0, D)).shape == (0, D)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"group must be int64 \[3\], found torch.int32 \[3\]"):
        Groups.partition(torch.zeros(3, dtype=torch.int32), 1)
    with pytest.raises(InputError, match=r"group must be int64 \[2\], found torch.int64 \[3\]"):
        Groups(torch.zeros(3, dtype=torch.int64), 1, 9, torch.tensor([0, 1]))
    with pytest.raises(InputError, match="values of groups of 3 points must have a row for each, found 4"):
        Groups.partition(torch.zeros(3, dtype=torch.int64)).sum(torch.zeros(4, D))
    for group, found in (([0, 5, 1], "0 to 5"), ([0, -1, 1], "-1 to 1")):  # the first gave six means of two groups
        with pytest.raises(InputError, match=rf"group must hold numbers 0\.\.1, found {found}"):
            Groups.partition(torch.tensor(group), 2).mean(torch.zeros(3, D))
