"""Records of experiments that nobody ran, for tests of what is made from records."""

from typing import Any

from geoguide.experiments.records import Record
from geoguide.frozen import config_hash, to_dict
from geoguide.pipeline.config import ExperimentConfig


def scores(miou: float = 50.0, macc: float | None = None, **fields: Any) -> dict[str, Any]:
    """The metrics of a file; mAcc is mIoU and 10 unless given."""
    given = {"miou": miou, "macc": miou + 10 if macc is None else macc, "miou_skip": miou}
    return given | {"iou": {}, "acc": {}, "confusion": [], "scene_miou": {}} | fields


def _history(config: ExperimentConfig, converged: bool) -> list[dict[str, float]]:
    """A curve that is level, or that rises as steeply at its end as before."""
    ends = range(1, 9)
    return [{"step": config.train.steps * end // 8, "val_miou": 20.0 if converged else 5.0 * end} for end in ends]


def fake_record(
    config: ExperimentConfig,
    miou: float = 50.0,
    *,
    converged: bool = True,
    by_label_set: dict[str, dict[str, Any]] | None = None,
    seen_share: float = 1.0,
    validation: float = 0.0,
    **fields: Any,
) -> Record:
    """A record of an experiment with the scores that are given (see `scores`); 2D fusion has no training."""
    trained = config.protocol.mode != "fusion"
    return Record.of(
        {
            "id": config_hash(config),
            "name": config.name,
            "source": "mini",
            "config": to_dict(config),
            "protocol": to_dict(config.protocol),
            "seed": config.seed,
            "metrics": scores(miou, **fields),
            "by_label_set": by_label_set or {},
            "validation": {"miou": validation, "macc": validation},
            "training": {"history": _history(config, converged)} if trained else None,
            "regions": {},
            "data": {"seen_share": seen_share, "fingerprint": ""},
            "environment": {},
            "wall_seconds": 0.0,
        }
    )
