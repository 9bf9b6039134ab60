"""One step of self-distillation: batches of views, features of both networks at the loss's level, matches, terms."""

from dataclasses import dataclass

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
    """V voxels of the loss's level: feat float [V, C]; origin float32 [V, 3], mean place in the untouched room; view
    int64 [V], which view of the batch; hidden float32 [V], the share of masked voxels among those pooled; descriptors
    float32 [V, D], mean of what the untouched room's descriptors say there.
    """

    feat: Tensor
    origin: np.ndarray
    view: np.ndarray
    hidden: np.ndarray
    descriptors: Tensor


def step_terms(
    student: nn.ModuleDict,
    teacher: nn.ModuleDict,
    views: list[RoomViews],
    config: PretrainConfig,
    ramp: float,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Loss terms (total, mask, roll, local, describe) and what the teacher looks like (see `Pretraining.history`).

    Views of the batches: global view g of room r is 2 r + g, masked or not; local views follow, by room.
    """
    seed = int(rng.integers(2**31))
    with torch.no_grad():
        target = encode_views(
            teacher["encoder"], [v for room in views for v in room.globals], config.network, seed, device
        )
    shown = [v for room in views for v in room.masked] + [v for room in views for v in room.locals]
    seen = encode_views(student["encoder"], shown, config.network, seed + 1, device)
    globals_ = 2 * len(views)
    is_local = seen.view >= globals_
    room = np.where(is_local, (seen.view - globals_) // max(1, config.views.local_views), seen.view // 2)
    pools = {  # rows of the student, and the teacher's view that each is compared with
        "mask": (np.flatnonzero(~is_local & (seen.hidden > 0.5)), seen.view),
        "roll": (np.flatnonzero(~is_local), seen.view ^ 1),
        "local": (np.flatnonzero(is_local), 2 * room),
    }
    d = config.distillation
    pairs, asked = {}, 0
    for name, (rows, goal) in pools.items():
        rows = np.sort(rng.permutation(rows)[: d.matches])
        found, column = match(seen.origin[rows], goal[rows], target.origin, target.view, d.radius)
        pairs[name] = (rows[found], column)
        asked += len(rows)
    terms, look = _losses(student, teacher, seen, target, pairs, config, ramp)
    look["matched"] = sum(len(rows) for rows, _ in pairs.values()) / max(asked, 1)
    return terms, look


def _losses(
    student: nn.ModuleDict,
    teacher: nn.ModuleDict,
    seen: LevelFeatures,
    target: LevelFeatures,
    pairs: dict[str, tuple[np.ndarray, np.ndarray]],
    config: PretrainConfig,
    ramp: float,
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
            scores = teacher[head](target.feat[torch.from_numpy(columns).to(seen.feat.device)])
            uses.append(usage(scores, temperature))
            assigned = sinkhorn(scores, temperature, d.sinkhorn_iterations)[torch.from_numpy(place).to(scores.device)]
        predicted = student[head](seen.feat[rows])  # [M, K]
        sizes = [len(pairs[name][0]) for name in names]
        for name, p, a in zip(names, predicted.split(sizes), assigned.split(sizes), strict=True):
            terms[name] = distillation_loss(p, a, d.student_temperature)
    terms["total"] = d.mask_weight * terms["mask"] + d.roll_weight * terms["roll"] + d.local_weight * terms["local"]
    if d.describe_weight:
        terms["describe"] = F.smooth_l1_loss(student["describe_head"](seen.feat), seen.descriptors)
        terms["total"] = terms["total"] + d.describe_weight * terms["describe"]
    few = target.feat[:: max(1, len(target.feat) // 2048)]
    look = {
        "usage": float(np.mean(uses)) if uses else 0.0,
        "effective_rank": effective_rank(few),
        "spread": spread(few),
    }
    return terms, look


def batch_views(views: list[PointView], device: torch.device | str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """coord, grid_coord, feat and offset of several views, as the encoder takes them."""
    parts = (np.concatenate([getattr(v, name) for v in views]) for name in ("coord", "grid_coord", "feat"))
    coord, grid_coord, feat = (torch.from_numpy(part).to(device) for part in parts)
    return coord, grid_coord, feat, torch.tensor([len(v) for v in views], device=device).cumsum(0)


def encode_views(
    encoder: nn.Module, views: list[PointView], network: NetworkConfig, shuffle_seed: int, device: torch.device
) -> LevelFeatures:
    """Encode views as one batch and bring the coarser stages' features to the loss's level (paper: up-casting)."""
    batch = batch_views(views, device)
    mask = torch.from_numpy(np.concatenate([v.mask for v in views])).to(device)
    stages = encoder(*batch, mask=mask, shuffle_seed=shuffle_seed)
    place = torch.from_numpy(np.concatenate([v.origin for v in views])).to(device)
    descriptors = torch.from_numpy(np.concatenate([v.descriptors for v in views])).to(device)
    carried = torch.cat([place, mask[:, None].float(), descriptors.float()], dim=1)  # [V0, 4 + D]
    for stage in stages[1 : network.level + 1]:
        carried = segment_mean(carried, stage.pooling_inverse, len(stage.feat))
    known = carried[:, :4].cpu().numpy()
    view = stages[network.level].batch.cpu().numpy()
    feat = upcast(stages[network.level :], network.concat)
    return LevelFeatures(feat, known[:, :3], view, known[:, 3], carried[:, 4:])
