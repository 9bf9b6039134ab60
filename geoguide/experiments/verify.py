"""`geoguide verify`: run experiments again and compare them with the committed records."""

import json
import tempfile
from pathlib import Path
from typing import Any

from geoguide.errors import DataError
from geoguide.experiments import records
from geoguide.experiments.environment import environment
from geoguide.experiments.pools import run_all
from geoguide.experiments.profiles import profile
from geoguide.paths import replacing, results_root

TOLERANCE = 1.0  # mIoU points; other processors round differently and training amplifies it


def verify(profile_name: str, *, workers: int = 1, report: Path | None = None) -> dict[str, Any]:
    """Recompute a profile and compare mIoU and mAcc with results/; every row must lie within `TOLERANCE` points."""
    configs = profile(profile_name)
    committed = [records.find(config) for config in configs]
    missing = [c.name for c, record in zip(configs, committed, strict=True) if record is None]
    if missing:
        raise DataError(f"{results_root()}: no committed record of {missing[0]!r}; run `geoguide replicate` first")
    with tempfile.TemporaryDirectory() as folder:
        fresh = run_all(configs, folder=Path(folder), workers=workers, force=True)
    rows = [compare(old, new) for old, new in zip(committed, fresh, strict=True)]
    result = {
        "profile": profile_name,
        "reproduced": all(row["within"] for row in rows),
        "identical": all(row["difference_miou"] == 0 and row["difference_macc"] == 0 for row in rows),
        "tolerance": TOLERANCE,
        "same_data": all(row["same_data"] for row in rows),
        "rows": rows,
        "environment": environment(),
    }
    if report is not None:
        with replacing(report) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n")
    return result


def compare(old: records.Record, new: records.Record) -> dict[str, Any]:
    """One row of the report: committed and fresh metrics, their difference, and whether it is within tolerance."""
    difference = {m: new["metrics"][m] - old["metrics"][m] for m in ("miou", "macc")}
    return {
        "id": old["id"],
        "name": old["name"],
        "seed": old["seed"],
        "committed_miou": old["metrics"]["miou"],
        "fresh_miou": new["metrics"]["miou"],
        "difference_miou": difference["miou"],
        "difference_macc": difference["macc"],
        "within": max(abs(value) for value in difference.values()) <= TOLERANCE,
        "same_data": old["data"]["fingerprint"] == new["data"]["fingerprint"],
        "seconds": new["wall_seconds"],
    }
