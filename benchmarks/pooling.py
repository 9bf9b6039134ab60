"""Sums over regions and their gradient: where the rows lie, against rows that are gathered first, as autograd does.

    python benchmarks/pooling.py

A batch of the size that a training step on a large edition has: 1000 points, superpoints that part them, and masks from
geometry that overlap; features of width 384.
"""

import torch
from _measure import compare, report

from geoguide.ops.groups import Groups
from geoguide.ops.segment import segment_sum

POINTS, WIDTH = 1000, 384
REGIONS = {"superpoints": (300, 1000), "masks": (300, 4000)}  # name: groups, entries


def regions(name: str) -> Groups:
    generator = torch.Generator().manual_seed(0)
    count, entries = REGIONS[name]
    group = torch.randint(0, count, (entries,), generator=generator)
    if name == "superpoints":
        return Groups.partition(group, count)
    return Groups(group, count, POINTS, torch.randint(0, POINTS, (entries,), generator=generator))


def ours(values: torch.Tensor, groups: Groups) -> torch.Tensor:
    return groups.sum(values)


def gathered(values: torch.Tensor, groups: Groups) -> torch.Tensor:
    rows = values if groups.point is None else values[groups.point]
    return segment_sum(rows, groups.group, groups.count)


def main() -> None:
    torch.set_num_threads(1)  # as each training of a pool has
    rows = []
    values = torch.randn(POINTS, WIDTH, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for name in REGIONS:
        groups = regions(name)
        assert torch.equal(groups.sum(values), gathered(values, groups))

        def forth(how, groups=groups):
            with torch.no_grad():
                return how(values, groups)

        def both(how, groups=groups):
            return torch.autograd.grad(how(values, groups).square().sum(), values)

        for part, run in (("sum", forth), ("sum and gradient", both)):
            seconds = compare({"ours": lambda run=run: run(ours), "gathered": lambda run=run: run(gathered)}, 50)
            ratio = seconds["gathered"] / seconds["ours"]
            rows.append({"regions": name, "part": part, **seconds, "ratio": ratio})
    report("pooling", rows)


if __name__ == "__main__":
    main()
