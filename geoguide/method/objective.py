"""L_final = λ1 L_sp + λ2 L_mask + λ3 L_sim, and what remains of it when a module is dropped."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from geoguide.errors import ConfigError
from geoguide.method.batch import Supervised
from geoguide.method.mask_reconstruction import IMRConfig, MaskReconstruction
from geoguide.method.relation_consistency import IIRCConfig, RelationConsistency
from geoguide.method.superpoint_distillation import SuperpointDistillation, USDConfig, masked_mean
from geoguide.ops.cosine import cosine_distance

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


class Objective(nn.Module):
    """The training loss (paper, Total); W's MLP and IMR's linear layer are discarded after training.

    Every module in use is called alike, with F_3d^sem, the batch and a random generator, and gives its terms by name.
    """

    def __init__(self, geometry_width: int, feature_width: int, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        used = config.modules
        self.usd = SuperpointDistillation(geometry_width, feature_width, config.usd) if "usd" in used else None
        self.imr = MaskReconstruction(feature_width, config.imr) if "imr" in used else None
        self.iirc = RelationConsistency(config.iirc) if "iirc" in used else None

    def forward(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
        """L_final and its terms, each times its λ.

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The points' 2D features; with any module in use also geometry and regions (a `Batch`).
            generator: CPU; draws what the modules draw.

        Returns:
            Scalars by name, among them their sum `total`.
        """
        weighted = (
            (self.config.lambda_sp, self.usd or plain_distillation),
            (self.config.lambda_mask, self.imr),
            (self.config.lambda_sim, self.iirc),
        )
        terms = {
            name: weight * value
            for weight, module in weighted
            if module is not None
            for name, value in module(semantic, batch, generator).items()
        }
        return terms | {"total": torch.stack(list(terms.values())).sum()}


def plain_distillation(semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
    """L_sp without USD: the mean cosine distance of the seen points to F_2d (paper, Preliminary).

    Args:
        semantic: F_3d^sem, [P, C].
        batch: The points' 2D features.
        generator: Not drawn from; called as the modules are.

    Returns:
        The scalar `point`.
    """
    return {"point": masked_mean(cosine_distance(semantic, batch.lifted), batch.seen)}
