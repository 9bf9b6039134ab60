"""`geoguide verify`: run experiments again and compare them with the committed records."""

import json
from pathlib import Path
from typing import Any

from geoguide.errors import DataError
from geoguide.experiments import records
from geoguide.experiments.environment import environment
from geoguide.experiments.pools import run_all
from geoguide.experiments.profiles import profile
from geoguide.paths import records_advice, results_root, runs_root, working_folder, write_text

TOLERANCE = 1.0  # mIoU points; other processors round differently and training amplifies it


def verify(profile_name: str, *, workers: int | None = 1, report: Path | None = None) -> dict[str, Any]:
    """Run a profile again and compare mIoU and mAcc with the committed records, row by row.

    Args:
        profile_name: One of `profiles.PROFILES`.
        workers: How many runs at a time; None for as many as cores and memory allow.
        report: Where the comparison is written as JSON; None: nowhere.

    Returns:
        The comparison: `reproduced` (every row within `TOLERANCE` points), `identical`, `same_data`, `rows` (see
        `compare`), and where it was made.

    Raises:
        DataError: A row has no committed record.
    """
    configs = profile(profile_name)
    committed = {config: record for config in configs if (record := records.find(config)) is not None}
    missing = [config.name for config in configs if config not in committed]
    if missing:
        raise DataError(f"{results_root()}: no committed record of {missing[0]!r}; {records_advice()}")
    with working_folder(runs_root() / "verify") as folder:
        fresh = run_all(configs, folder=folder, workers=workers, force=True)
    rows = [compare(old, new) for old, new in zip(committed.values(), fresh, strict=True)]
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
        write_text(report, json.dumps(result, indent=1) + "\n")
    return result


def compare(old: records.Record, new: records.Record) -> dict[str, Any]:
    """One row of the comparison.

    Args:
        old: The committed record.
        new: The record of the same experiment that was run again.

    Returns:
        The benchmark that it was scored on, both mIoU, the differences (new minus old), whether they are `within` the
        tolerance, and whether both runs saw the `same_data`.
    """
    difference = {f"difference_{m}": getattr(new.metrics, m) - getattr(old.metrics, m) for m in ("miou", "macc")}
    return {
        "id": old.id,
        "dataset": old.facts.tested_on,
        "name": old.name,
        "seed": old.facts.seed,
        "committed_miou": old.metrics.miou,
        "fresh_miou": new.metrics.miou,
        **difference,
        "within": all(abs(value) <= TOLERANCE for value in difference.values()),
        "same_data": old.data["fingerprint"] == new.data["fingerprint"],
        "seconds": new.wall_seconds,
    }
