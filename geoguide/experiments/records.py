"""One JSON record per run: config, protocol, metrics, data, versions, device, time. Tables read only these."""

import json
import re
from pathlib import Path
from typing import Any

from geoguide.errors import DataError
from geoguide.frozen import config_hash
from geoguide.paths import results_root
from geoguide.pipeline.config import ExperimentConfig

Record = dict[str, Any]


def record_path(config: ExperimentConfig, folder: Path | None = None) -> Path:
    """Where a config's record lies: results/<dataset>/<row>-s<seed>-<hash>.json."""
    stem = re.sub(r"[^a-z0-9.]+", "-", config.name.lower()).strip("-")
    return (folder or results_root()) / config.data.dataset / f"{stem}-s{config.seed}-{config_hash(config)}.json"


def read(path: Path) -> Record:
    """A record from disk; unreadable or incomplete ones are a `DataError` naming file and field."""
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable record ({error})") from None
    for field in ("id", "config", "metrics", "protocol", "data"):
        if field not in record:
            raise DataError(f"{path}: record has no field {field!r}")
    return record


def read_all(folder: Path | None = None) -> list[Record]:
    """Every record under results/, in name order."""
    return [read(path) for path in sorted((folder or results_root()).glob("*/*-s*-*.json"))]


def find(config: ExperimentConfig, folder: Path | None = None) -> Record | None:
    """The record of a config, whatever its row was called; None when there is none."""
    matches = sorted((folder or results_root()).glob(f"{config.data.dataset}/*-{config_hash(config)}.json"))
    return read(matches[0]) if matches else None


def dumps(record: Record) -> str:
    """JSON with one line per top-level field: small files, readable diffs."""
    body = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in record.items())
    return "{\n" + body + "\n}\n"
