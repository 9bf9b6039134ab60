"""L_final = λ1 L_sp + λ2 L_mask + λ3 L_sim, and what remains of it when a module is dropped."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.mask_reconstruction import IMRConfig, MaskReconstruction, occlude
from geoguide.ops.cosine import cosine_distance
from geoguide.relation_consistency import IIRCConfig, RelationConsistency
from geoguide.superpoint_distillation import SuperpointDistillation, USDConfig, masked_mean

MODULES = ("usd", "imr", "iirc")


@dataclass(frozen=True)
class ObjectiveConfig:
    """The three modules and their weights. The paper states no λ."""

    modules: tuple[str, ...] = MODULES
    """Modules in use. Without USD, L_sp is plain point-level distillation (the adapter-only baseline's loss)."""
    lambda_sp: float = 1.0
    lambda_mask: float = 0.1
    lambda_sim: float = 0.05
    usd: USDConfig = field(default_factory=USDConfig)
    imr: IMRConfig = field(default_factory=IMRConfig)
    iirc: IIRCConfig = field(default_factory=IIRCConfig)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.modules) - set(MODULES))
        if unknown:
            raise ConfigError(f"unknown module {', '.join(unknown)}: known are {', '.join(MODULES)}")


def parse_drop(drop: str) -> tuple[str, ...]:
    """'none', 'iirc' or 'usd+imr' -> the modules that remain; anything else is a `ConfigError`."""
    dropped = [] if drop.strip().lower() in ("none", "") else [part.strip().lower() for part in drop.split("+")]
    unknown = [part for part in dropped if part not in MODULES]
    if unknown:
        raise ConfigError(
            f"drop: unknown module {unknown[0]!r}, expected none, {', '.join(MODULES)} or several joined by +"
        )
    return tuple(module for module in MODULES if module not in dropped)


@dataclass(frozen=True, eq=False)
class Batch:
    """Points of one scene on one device: what a training step takes.

    geometry [P, C1], lifted [P, C] (zero where unseen), seen bool [P], points [P, 3] metres, superpoints int64 [P]
    in 0..superpoint_count-1; instance masks as entries: mask_of, point_of int64 [E], mask_count.
    """

    geometry: Tensor
    lifted: Tensor
    seen: Tensor
    points: Tensor
    superpoints: Tensor
    superpoint_count: int
    mask_of: Tensor
    point_of: Tensor
    mask_count: int


class Objective(nn.Module):
    """The training loss (paper, Total); W's MLP and IMR's linear layer are discarded after training."""

    def __init__(self, geometry_width: int, feature_width: int, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        self.usd = (
            SuperpointDistillation(geometry_width, feature_width, config.usd) if "usd" in config.modules else None
        )
        self.imr = MaskReconstruction(feature_width, config.imr) if "imr" in config.modules else None
        self.iirc = RelationConsistency(config.iirc) if "iirc" in config.modules else None

    def forward(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """All weighted terms and their sum `total`. semantic = F_3d^sem [P, C]; `generator` (CPU) draws the rest."""
        terms = self._distillation(semantic, batch, generator)
        if self.imr is not None and batch.mask_count:
            mask_of, point_of, count = self._draw_masks(batch, generator)
            visible = self._occlusion(batch, mask_of, point_of, count, generator)
            terms["mask"] = self.config.lambda_mask * self.imr(
                semantic,
                batch.lifted,
                batch.seen,
                batch.superpoints,
                batch.superpoint_count,
                mask_of,
                point_of,
                count,
                visible,
            )
        if self.iirc is not None:
            levels = self.iirc(
                semantic,
                batch.geometry,
                batch.superpoints,
                batch.superpoint_count,
                batch.mask_of,
                batch.point_of,
                batch.mask_count,
            )
            for level, value in levels.items():
                terms[f"sim_{level}"] = self.config.lambda_sim * value
        terms["total"] = torch.stack(list(terms.values())).sum()
        return terms

    def _distillation(self, semantic: Tensor, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        if self.usd is None:
            point = masked_mean(cosine_distance(semantic, batch.lifted), batch.seen)
            return {"point": self.config.lambda_sp * point}
        half = None
        if self.config.usd.supervision == "held_out":
            half = (torch.rand(len(semantic), generator=generator) < 0.5).to(semantic.device)
        losses = self.usd(
            semantic, batch.geometry, batch.lifted, batch.superpoints, batch.superpoint_count, batch.seen, half
        )
        return {name: self.config.lambda_sp * value for name, value in losses.items()}

    def _draw_masks(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
        """A random subset of the scene's masks, renumbered from 0; all of them when there are few."""
        limit = self.config.imr.masks_per_step
        if batch.mask_count <= limit:
            return batch.mask_of, batch.point_of, batch.mask_count
        chosen = torch.randperm(batch.mask_count, generator=generator)[:limit].to(batch.mask_of.device)
        new_id = torch.full((batch.mask_count,), -1, device=chosen.device)
        new_id[chosen] = torch.arange(limit, device=chosen.device)
        mask_of = new_id[batch.mask_of]
        keep = mask_of >= 0
        return mask_of[keep], batch.point_of[keep], limit

    def _occlusion(
        self, batch: Batch, mask_of: Tensor, point_of: Tensor, count: int, generator: torch.Generator
    ) -> Tensor:
        pattern, device = self.config.imr.pattern, mask_of.device
        if pattern == "halfspace":
            direction = torch.randn(count, 3, generator=generator).to(device)
            keys = (batch.points[point_of] * direction[mask_of]).sum(-1)  # [E]
        elif pattern == "superpoints":
            draw = torch.rand(batch.superpoint_count, generator=generator).to(device)
            keys = draw[batch.superpoints[point_of]]
        else:
            keys = torch.rand(len(mask_of), generator=generator).to(device)
        return occlude(mask_of, count, pattern, self.config.imr.share, keys)
