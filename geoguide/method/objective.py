"""The training loss L_final = λ1 L_sp + λ2 L_mask + λ3 L_sim, with any of its modules left out."""

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
    """The modules in use and their weights. The paper states no λ.

    Attributes:
        modules: Names from `MODULES`. Without usd, L_sp is plain point-level distillation (the adapter-only baseline's
            loss).
        lambda_sp: λ1, times the terms of usd, or of plain distillation.
        lambda_mask: λ2, times imr's.
        lambda_sim: λ3, times iirc's.
        usd: Options of USD.
        imr: Options of IMR.
        iirc: Options of IIRC.

    Raises:
        ConfigError: A module that is not in `MODULES`.
    """

    modules: tuple[str, ...] = MODULES
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
    """Read which modules an ablation drops.

    Args:
        drop: 'none' (or empty), one module such as 'iirc', or several as in 'usd+imr'; case and spaces do not matter.

    Returns:
        The modules that remain, in the order of `MODULES`.

    Raises:
        ConfigError: A name that is no module.
    """
    dropped = [] if drop.strip().lower() in ("none", "") else [part.strip().lower() for part in drop.split("+")]
    unknown = [part for part in dropped if part not in MODULES]
    if unknown:
        expected = f"none, {', '.join(MODULES)} or several joined by +"
        raise ConfigError(f"drop: unknown module {unknown[0]!r}, expected {expected}")
    return tuple(module for module in MODULES if module not in dropped)


class Objective(nn.Module):
    """The training loss (paper, Total); W's MLP and IMR's linear layer are discarded after training.

    Every module in use is called alike, `module(semantic, batch, generator)`, and returns its loss terms by name.

    Args:
        geometry_width: C1, width of the frozen 3D features.
        feature_width: C, width of the 2D features.
        config: Which modules, their weights and their options.

    Example:
        Plain distillation of two points, of which a camera sees one:

        >>> import torch
        >>> from geoguide.method.batch import Batch
        >>> from geoguide.ops.groups import Groups
        >>> batch = Batch(
        ...     points=torch.zeros(2, 3),
        ...     geometry=torch.zeros(2, 4),
        ...     lifted=torch.tensor([[1.0, 0.0], [0.0, 0.0]]),
        ...     seen=torch.tensor([True, False]),
        ...     superpoints=Groups.partition(torch.tensor([0, 0])),
        ...     masks=Groups.partition(torch.tensor([0, 0])),
        ... )
        >>> objective = Objective(4, 2, ObjectiveConfig(modules=(), lambda_sp=2.0))
        >>> terms = objective(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), batch, torch.Generator())
        >>> {name: value.item() for name, value in terms.items()}
        {'point': 2.0, 'total': 2.0}
    """

    def __init__(self, geometry_width: int, feature_width: int, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        used = config.modules
        self.usd = SuperpointDistillation(geometry_width, feature_width, config.usd) if "usd" in used else None
        self.imr = MaskReconstruction(feature_width, config.imr) if "imr" in used else None
        self.iirc = RelationConsistency(config.iirc) if "iirc" in used else None

    def forward(self, semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute L_final and its terms, each times its λ (paper, Total).

        Args:
            semantic: F_3d^sem, [P, C].
            batch: The 2D features of the P points (or voxels); a `Batch` where any module is in use.
            generator: CPU generator for all that the modules draw at random.

        Returns:
            Scalars by name, and their sum `total`.
        """
        weights = (self.config.lambda_sp, self.config.lambda_mask, self.config.lambda_sim)
        terms: dict[str, Tensor] = {}
        for weight, module in zip(weights, (self.usd or plain_distillation, self.imr, self.iirc), strict=True):
            if module is not None:
                terms |= {name: weight * value for name, value in module(semantic, batch, generator).items()}
        return terms | {"total": torch.stack(list(terms.values())).sum()}


def plain_distillation(semantic: Tensor, batch: Supervised, generator: torch.Generator) -> dict[str, Tensor]:
    """L_sp without USD: the mean cosine distance to F_2d over the seen points (paper, Preliminary).

    Args:
        semantic: F_3d^sem, [P, C].
        batch: The 2D features of the P points.
        generator: Unused; it is here because every module is called with one.

    Returns:
        The scalar `point`; 0 where no point is seen.
    """
    return {"point": masked_mean(cosine_distance(semantic, batch.lifted), batch.seen)}
