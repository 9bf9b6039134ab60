"""IMR against dense torch code, float64 gradient checks and hand cases."""

import pytest
import torch
import torch.nn.functional as F
from regions import groups_of, random_batch

from geoguide.errors import ConfigError, InputError
from geoguide.method.batch import Batch
from geoguide.method.mask_reconstruction import IMRConfig, MaskReconstruction, alike_superpoints, mask_bce, occlude
from geoguide.ops.groups import Groups

M, P, C = 5, 40, 6


@pytest.fixture
def masks() -> torch.Tensor:
    dense = torch.rand(M, P, generator=torch.Generator().manual_seed(0)) < 0.3
    dense[2] = False
    dense[2, 7] = True  # a one-point mask
    return dense


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_occlusion_hides_the_share_of_every_mask(masks: torch.Tensor, share: float) -> None:
    groups = groups_of(masks)
    keys = torch.rand(len(groups.group), generator=torch.Generator().manual_seed(1))
    visible = occlude(groups, "points", share, keys)
    for m in range(M):
        inside = groups.group == m
        assert (~visible[inside]).sum() == min(int(inside.sum() * share), int(inside.sum()) - 1)
        if (~visible[inside]).any():
            assert keys[inside][~visible[inside]].max() <= keys[inside][visible[inside]].min()


def test_superpoint_occlusion_keeps_superpoints_whole(masks: torch.Tensor) -> None:
    groups = groups_of(masks)
    superpoints = torch.randint(0, 6, (P,), generator=torch.Generator().manual_seed(1))
    own = groups.of_entries(superpoints)
    keys = torch.rand(6, generator=torch.Generator().manual_seed(2))[own]
    visible = occlude(groups, "superpoints", 0.5, keys)
    for m in range(M):
        for s in range(6):
            part = visible[(groups.group == m) & (own == s)]
            assert part.all() or not part.any()
        assert visible[groups.group == m].any()


def test_occluding_an_empty_mask_and_an_unknown_pattern() -> None:
    groups = Groups(torch.tensor([0, 0, 2]), 3, 4, torch.tensor([0, 1, 3]))
    empty = groups.where(torch.zeros(3, dtype=torch.bool))
    for pattern in ("points", "superpoints", "halfspace"):
        assert occlude(groups, pattern, 0.5, torch.tensor([0.1, 0.2, 0.3])).tolist() == [False, True, True]
        assert occlude(empty, pattern, 0.5, torch.zeros(0)).tolist() == []
    with pytest.raises(ConfigError, match="imr.pattern must be points, superpoints or halfspace, found 'stripes'"):
        occlude(groups, "stripes", 0.5, torch.zeros(3))


def dense_loss(queries, features, target, scale, offset, weight):
    cosine = F.normalize(queries, dim=-1) @ F.normalize(features, dim=-1).T
    bce = F.binary_cross_entropy_with_logits(cosine * scale + offset, target, reduction="none")
    return ((bce * weight).sum(1) / weight.sum(1)).mean()


@pytest.mark.parametrize("chunk", [1, 2, 16])
def test_chunked_bce_equals_dense(masks: torch.Tensor, device: torch.device, chunk: int) -> None:
    g = torch.Generator().manual_seed(3)
    queries = torch.randn(M, C, generator=g, dtype=torch.float64).to(device).requires_grad_()
    features = torch.randn(P, C, generator=g, dtype=torch.float64).to(device).requires_grad_()
    scale = torch.tensor(3.0, dtype=torch.float64, device=device, requires_grad=True)
    offset = torch.tensor(-0.5, dtype=torch.float64, device=device, requires_grad=True)
    target = masks.double().to(device)
    inputs = (queries, features, scale, offset)
    ours = mask_bce(queries, features, groups_of(masks).to(device), scale=scale, offset=offset, chunk=chunk)
    dense = dense_loss(queries, features, target, scale, offset, torch.ones_like(target))
    torch.testing.assert_close(ours, dense)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(dense, inputs), strict=True):
        torch.testing.assert_close(a, b)


def test_entry_order_does_not_matter(masks: torch.Tensor) -> None:
    g = torch.Generator().manual_seed(3)
    queries, features = torch.randn(M, C, generator=g), torch.randn(P, C, generator=g)
    groups = groups_of(masks)
    order = torch.randperm(len(groups.group), generator=g)
    shuffled = Groups(groups.group[order], M, P, groups.point[order])
    one = torch.tensor(1.0)
    a = mask_bce(queries, features, groups, scale=one, offset=one * 0)
    b = mask_bce(queries, features, shuffled, scale=one, offset=one * 0)
    torch.testing.assert_close(a, b)


def test_balance_and_ignored_cells(masks: torch.Tensor) -> None:
    g = torch.Generator().manual_seed(4)
    queries, features = torch.randn(M, C, generator=g), torch.randn(P, C, generator=g)
    superpoints = torch.randint(0, 6, (P,), generator=g)
    ignore = torch.rand(M, 6, generator=g) < 0.4
    groups, partition = groups_of(masks), Groups.partition(superpoints, 6)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    valid = (~(ignore[:, superpoints] & ~masks)).float()
    found = mask_bce(queries, features, groups, scale=one, offset=zero, ignore=ignore, superpoints=partition)
    torch.testing.assert_close(found, dense_loss(queries, features, masks.float(), one, zero, valid))
    with pytest.raises(InputError, match="`ignore` needs `superpoints`"):
        mask_bce(queries, features, groups, scale=one, offset=zero, ignore=ignore)
    found = mask_bce(queries, features, groups, scale=one, offset=zero, balance="balanced")
    inside, outside = masks.float(), (~masks).float()
    weight = inside / inside.sum(1, keepdim=True) + outside / outside.sum(1, keepdim=True)
    torch.testing.assert_close(found, dense_loss(queries, features, masks.float(), one, zero, weight))


def test_as_written_the_loss_has_a_floor() -> None:
    """sigmoid(cos) lies in [0.27, 0.73]: even perfect features cost 0.313 a cell (no temperature in the paper)."""
    features = torch.eye(2).repeat_interleave(5, 0) * 2 - 1  # two opposite directions after normalisation
    features = torch.stack([features[:, 0], torch.zeros(10)], 1)
    groups = groups_of(torch.tensor([[True] * 5 + [False] * 5]))
    loss = mask_bce(features[:1], features, groups, scale=torch.tensor(1.0), offset=torch.tensor(0.0))
    assert loss.item() == pytest.approx(torch.log1p(torch.exp(torch.tensor(-1.0))).item())
    sharp = mask_bce(features[:1], features, groups, scale=torch.tensor(20.0), offset=torch.tensor(0.0))
    assert sharp < 1e-6


def test_gradcheck(masks: torch.Tensor) -> None:
    g = torch.Generator().manual_seed(5)
    groups = groups_of(masks)
    queries = torch.randn(M, C, generator=g, dtype=torch.float64, requires_grad=True)
    features = torch.randn(P, C, generator=g, dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    offset = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def loss(q, f, s, o):
        return mask_bce(q, f, groups, scale=s, offset=o, balance="balanced", chunk=2)

    assert torch.autograd.gradcheck(loss, (queries, features, scale, offset))


def test_alike_superpoints_finds_the_second_chair() -> None:
    """Two chairs and a table: the other chair looks like the first in 2D, the table does not."""
    chair, table = torch.tensor([5.0, 1, 0]), torch.tensor([5.0, -1, 0])  # a large common direction
    mask = Groups(torch.tensor([0, 0]), 1, 8, torch.tensor([0, 1]))
    scene = Batch(
        points=torch.zeros(8, 3),
        geometry=torch.zeros(8, 1),
        lifted=torch.stack([chair] * 4 + [table] * 4),
        seen=torch.ones(8, dtype=torch.bool),
        superpoints=Groups.partition(torch.tensor([0, 0, 1, 1, 2, 2, 2, 2])),
        masks=mask,
    )
    assert alike_superpoints(scene, mask, 0.5).tolist() == [[True, True, False]]


def test_module_starts_as_identity(masks: torch.Tensor) -> None:
    imr = MaskReconstruction(C, IMRConfig())
    semantic = torch.randn(P, C, generator=torch.Generator().manual_seed(0))
    queries = imr.queries(semantic, groups_of(masks))
    torch.testing.assert_close(queries[0], semantic[masks[0]].mean(0))


@pytest.mark.parametrize("pattern", ["points", "superpoints", "halfspace"])
def test_module_is_its_parts_drawn_in_order(pattern: str) -> None:
    """From the same generator: first the masks of the step, then the keys of the occlusion, of the kind asked for."""
    batch = random_batch(points=P, superpoints=6, masks=9, widths=(3, C))
    semantic = torch.randn(P, C, generator=torch.Generator().manual_seed(1))
    imr = MaskReconstruction(C, IMRConfig(pattern=pattern, masks_per_step=4))
    found = imr(semantic, batch, torch.Generator().manual_seed(2))
    g = torch.Generator().manual_seed(2)
    masks = batch.masks.take(torch.randperm(9, generator=g)[:4])
    owner, superpoint = masks.group, batch.superpoints.group[masks.point]
    keys = {
        "points": lambda: torch.rand(len(owner), generator=g),
        "superpoints": lambda: torch.rand(6, generator=g)[superpoint],
        "halfspace": lambda: (batch.points[masks.point] * torch.randn(4, 3, generator=g)[owner]).sum(-1),
    }[pattern]()
    visible = occlude(masks, pattern, 0.5, keys)
    queries = torch.stack([semantic[masks.point[visible & (owner == m)]].mean(0) for m in range(4)])
    expected = mask_bce(queries, semantic, masks, scale=torch.tensor(1.0), offset=torch.tensor(0.0))
    assert set(found) == {"mask"}
    torch.testing.assert_close(found["mask"], expected)


def test_module_leaves_out_points_that_look_alike() -> None:
    batch = random_batch(points=P, superpoints=6, masks=3, widths=(3, C))
    semantic = torch.randn(P, C, generator=torch.Generator().manual_seed(1))
    config = IMRConfig(negatives="unalike", alike=0.0)
    found = MaskReconstruction(C, config)(semantic, batch, torch.Generator().manual_seed(2))["mask"]
    plain = MaskReconstruction(C, IMRConfig())(semantic, batch, torch.Generator().manual_seed(2))["mask"]
    keys = torch.rand(len(batch.masks.group), generator=torch.Generator().manual_seed(2))
    queries = batch.masks.where(occlude(batch.masks, "points", 0.5, keys)).mean(semantic)
    ignore = alike_superpoints(batch, batch.masks, 0.0)
    target = torch.zeros(3, P).index_put_((batch.masks.group, batch.masks.point), torch.tensor(1.0))
    weight = 1 - ignore[:, batch.superpoints.group].float() * (1 - target)
    torch.testing.assert_close(
        found, dense_loss(queries, semantic, target, torch.tensor(1.0), torch.tensor(0.0), weight)
    )
    assert found != plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "stripes"}, "imr.pattern"),
        ({"share": 1.0}, "imr.share"),
        ({"temperature": 0.0}, "positive"),
        ({"negatives": "some"}, "imr.negatives"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IMRConfig(**options)


def test_centring_removes_the_common_direction(masks: torch.Tensor) -> None:
    """Adding one large vector to every feature changes cosines, but not centred ones."""
    g = torch.Generator().manual_seed(0)
    semantic = F.normalize(torch.randn(P, C, generator=g), dim=1)
    imr = MaskReconstruction(C, IMRConfig(centre=True))
    compared = imr.compared(semantic)
    torch.testing.assert_close(compared.mean(0), torch.zeros(C), atol=1e-6, rtol=0)
    cosine = F.normalize(compared, dim=1) @ F.normalize(compared, dim=1).T
    shifted = semantic + torch.ones(C)
    raw = F.normalize(shifted, dim=1) @ F.normalize(shifted, dim=1).T
    assert raw.mean() > 0.5 > cosine.mean().abs()
    assert MaskReconstruction(C, IMRConfig()).compared(semantic) is semantic
