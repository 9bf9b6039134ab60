"""One step of self-distillation: batches of views, both networks' features at the loss's level, matches, loss terms."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoguide.backbones.point_transformer import upcast
from geoguide.ops.segment import segment_mean
from geoguide.pretraining.config import NetworkConfig, PretrainConfig
from geoguide.pretraining.distillation import distillation_loss, effective_rank, match, sinkhorn, spread, usage
from geoguide.pretraining.views import PointView, RoomViews


@dataclass(frozen=True, eq=False)
class LevelFeatures:
    """Features of a batch of views at the loss's level, of V voxels.

    Attributes:
        feat: Float [V, C1].
        place: Mean place in the untouched room, float32 [V, 3] metres.
        view: Which view of the batch, int64 [V].
        hidden: Share of masked voxels among those pooled, float32 [V].
        descriptors: Mean of what the untouched room's descriptors say there, float32 [V, D].
    """

    feat: Tensor
    place: np.ndarray
    view: np.ndarray
    hidden: np.ndarray
    descriptors: Tensor


class Networks(NamedTuple):
    """The two networks of self-distillation, see `loop.build`.

    Attributes:
        student: The one that learns.
        teacher: Its running average.
    """

    student: nn.ModuleDict
    teacher: nn.ModuleDict


Pairs = dict[str, tuple[np.ndarray, np.ndarray]]  # by term: rows of the student and of the teacher, int64 [M] each


def step_terms(
    networks: Networks, views: list[RoomViews], config: PretrainConfig, ramp: float, rng: np.random.Generator
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The loss of one step.

    Views of the batches are numbered: global view g of room r is 2 r + g, masked or not; local views follow, by room.

    Args:
        networks: The student and its teacher, on one device.
        views: The views of each room.
        config: Everything that decides the weights.
        ramp: How far the teacher's temperature has grown, 0 to 1.
        rng: Source of the curves' order and of which voxels count.

    Returns:
        The terms total, mask, roll, local and, where it has a weight, describe, all scalars; and what the teacher looks
        like: usage, effective_rank, spread, matched (see `Pretraining.history`).
    """
    seed = int(rng.integers(2**31))
    whole = [v for room in views for v in room.globals]
    with torch.no_grad():
        target = encode_views(networks.teacher["encoder"], whole, config.network, seed)
    shown = [v for room in views for v in room.masked] + [v for room in views for v in room.locals]
    seen = encode_views(networks.student["encoder"], shown, config.network, seed + 1)
    is_local = seen.view >= len(whole)
    room = np.where(is_local, (seen.view - len(whole)) // max(1, config.views.local_views), seen.view // 2)
    pools = {  # rows of the student, and the teacher's view that each is compared with
        "mask": (np.flatnonzero(~is_local & (seen.hidden > 0.5)), seen.view),
        "roll": (np.flatnonzero(~is_local), seen.view ^ 1),
        "local": (np.flatnonzero(is_local), 2 * room),
    }
    d = config.distillation
    pairs: Pairs = {}
    asked = 0
    for name, (rows, goal) in pools.items():
        rows = np.sort(rng.permutation(rows)[: d.matches])
        found, column = match(seen.place[rows], goal[rows], target.place, target.view, d.radius)
        pairs[name] = (rows[found], column)
        asked += len(rows)
    terms, look = _losses(networks, seen, target, pairs, config, ramp)
    return terms, look | {"matched": sum(len(rows) for rows, _ in pairs.values()) / max(asked, 1)}


def _losses(
    networks: Networks, seen: LevelFeatures, target: LevelFeatures, pairs: Pairs, config: PretrainConfig, ramp: float
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Cross-entropies with the teacher's assignments, which are centred over all rows that a head's terms need."""
    d = config.distillation
    temperature = d.teacher_temperature[0] + (d.teacher_temperature[1] - d.teacher_temperature[0]) * ramp
    terms, uses = {}, []
    for head, names in (("mask_head", ("mask", "roll")), ("local_head", ("local",))):
        columns, place = np.unique(np.concatenate([pairs[name][1] for name in names]), return_inverse=True)
        rows = torch.from_numpy(np.concatenate([pairs[name][0] for name in names])).to(seen.feat.device)
        if len(rows) == 0:
            terms |= {name: seen.feat.sum() * 0 for name in names}
            continue
        with torch.no_grad():
            scores = networks.teacher[head](target.feat[torch.from_numpy(columns).to(seen.feat.device)])
            uses.append(usage(scores, temperature))
            assigned = sinkhorn(scores, temperature, d.sinkhorn_iterations)[torch.from_numpy(place).to(scores.device)]
        predicted = networks.student[head](seen.feat[rows])  # [M, K]
        sizes = [len(pairs[name][0]) for name in names]
        for name, p, a in zip(names, predicted.split(sizes), assigned.split(sizes), strict=True):
            terms[name] = distillation_loss(p, a, d.student_temperature)
    terms["total"] = d.mask_weight * terms["mask"] + d.roll_weight * terms["roll"] + d.local_weight * terms["local"]
    if d.describe_weight:
        terms["describe"] = F.smooth_l1_loss(networks.student["describe_head"](seen.feat), seen.descriptors)
        terms["total"] = terms["total"] + d.describe_weight * terms["describe"]
    few = target.feat[:: max(1, len(target.feat) // 2048)]
    used = float(np.mean(uses)) if uses else 0.0
    return terms, {"usage": used, "effective_rank": effective_rank(few), "spread": spread(few)}


def batch_views(views: list[PointView], device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Join views to one batch, as the encoder takes it.

    Args:
        views: The views, with V voxels in all.
        device: Where the batch goes.

    Returns:
        coord float32 [V, 3], grid_coord int64 [V, 3], feat float32 [V, 9], and the end of each view, int64.
    """
    coord, grid_coord, feat = (_joined(views, name, device) for name in ("coord", "grid_coord", "feat"))
    return coord, grid_coord, feat, torch.tensor([len(v) for v in views], device=device).cumsum(0)


def _joined(views: list[PointView], name: str, device: torch.device | str) -> Tensor:
    """One field of all views, [V, ...]."""
    return torch.from_numpy(np.concatenate([getattr(view, name) for view in views])).to(device)


def encode_views(encoder: nn.Module, views: list[PointView], network: NetworkConfig, seed: int) -> LevelFeatures:
    """Encode views as one batch and bring the coarser stages' features to the loss's level (Sonata's up-casting).

    Args:
        encoder: A Point Transformer V3.
        views: The views.
        network: Its config, which says at what level the loss acts.
        seed: Source of the curves' order.

    Returns:
        Features of the level's voxels, with the mean of what the views know of each.
    """
    device = next(encoder.parameters()).device
    mask, place, descriptors = (_joined(views, name, device) for name in ("mask", "place", "descriptors"))
    stages = encoder(*batch_views(views, device), mask=mask, shuffle_seed=seed)
    carried = torch.cat([place, mask[:, None].float(), descriptors.float()], dim=1)  # [V0, 4 + D]
    for stage in stages[1 : network.level + 1]:
        carried = segment_mean(carried, stage.pooling_inverse, len(stage.feat))
    known = carried[:, :4].cpu().numpy()
    view = stages[network.level].batch.cpu().numpy()
    feat = upcast(stages[network.level :], network.concat)  # [V, C1]
    return LevelFeatures(feat, known[:, :3], view, known[:, 3], carried[:, 4:])
