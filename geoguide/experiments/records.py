"""The store: one JSON file per run under results/, read as typed records; many of them as one frame."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoguide.errors import ConfigError, DataError
from geoguide.experiments.facts import Facts, Row, agrees
from geoguide.frozen import check_types, config_hash, from_dict
from geoguide.labels import load_label_set
from geoguide.paths import results_root
from geoguide.pipeline.config import ExperimentConfig

SCORE, KEPT = "score", "kept"  # what the lines of a frame measure: a score, or the share of another line's score


ROUNDED = 0.002  # of %: files round the classes' IoU to 0.001
_SCORES = ("miou", "macc", "miou_skip")


@dataclass(frozen=True)
class Scores:
    """What was scored on one label set; shares in %.

    Attributes:
        miou: Over the classes, absent ones as the protocol says.
        macc: Likewise.
        miou_skip: Over the classes that the scenes hold.
        iou: By class name; None where the class is absent.
        acc: Likewise.
        scene_miou: `miou` of each scene, by its name.
        confusion: Points [C, C], rows ground truth; None for a further label set, of which it is not kept.
    """

    miou: float
    macc: float
    miou_skip: float
    iou: dict[str, float | None]
    acc: dict[str, float | None]
    scene_miou: dict[str, float]
    confusion: list[list[int]] | None = None


@dataclass(frozen=True)
class _Data:
    """What tables read of `Record.data`."""

    seen_share: float
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """One run: what was done, and what came of it.

    Attributes:
        id: Hash of the config.
        name: What the config calls itself, for people; nothing reads it.
        config: The experiment.
        facts: Of the experiment.
        provenance: Whether the scored scenes are "mini" or "real".
        metrics: Scores on the label set of `facts`.
        by_label_set: Scores on further label sets.
        validation: `miou` and `macc` on the validation scenes, in %; None without such scenes.
        history: The training curve: rows of step, val_miou (%, with validation scenes) and loss terms; empty where
            nothing is trained.
        converged: Whether the training had; None where nothing is trained, or without validation scenes.
        regions: Quality of superpoints and masks (see `run.region_quality`).
        data: Fingerprint, scenes of each split, points, share of points with a 2D feature.
        environment: Versions, device, commit, date.
        wall_seconds: How long the run took.
        raw: The whole file.
    """

    id: str
    name: str
    config: ExperimentConfig
    facts: Facts
    provenance: str
    metrics: Scores
    by_label_set: dict[str, Scores]
    validation: dict[str, float] | None
    history: list[dict[str, float]]
    converged: bool | None
    regions: dict[str, float]
    data: dict[str, Any]
    environment: dict[str, Any]
    wall_seconds: float
    raw: dict[str, Any] = field(repr=False)

    @classmethod
    def of(cls, raw: dict[str, Any]) -> "Record":
        """A record from what its file holds.

        Args:
            raw: The parsed JSON.

        Returns:
            The record.

        Raises:
            KeyError: A field is missing.
            ConfigError: The config holds a field that is not known, a value is of another type, or the id is not that
                of the config.
        """
        config = from_dict(ExperimentConfig, raw["config"])
        training: dict[str, Any] = raw["training"] or {"history": [], "converged": None}
        same = ("id", "name", "validation", "regions", "data", "environment", "wall_seconds")
        further = raw.get("by_label_set", {})
        if not isinstance(further, dict):
            raise ConfigError(f"by_label_set must hold scores by label set, found {further!r:.60}")
        values: dict[str, Any] = {name: raw[name] for name in same} | {
            "config": config,
            "facts": _facts(config, raw["source"]),
            "metrics": from_dict(Scores, raw["metrics"], "metrics"),
            "by_label_set": {name: from_dict(Scores, held, f"by_label_set.{name}") for name, held in further.items()},
            "history": training["history"],
            "converged": training["converged"],
            "provenance": raw["source"],
            "raw": raw,
        }
        check_types(cls, values, "record")
        check_types(_Data, values["data"], "data")
        if values["id"] != config_hash(config):
            raise ConfigError(f"id {values['id']} is not that of the config, {config_hash(config)}: edited by hand?")
        return cls(**values)

    def scores(self, label_set: str | None = None) -> Scores:
        """The scores on one of the label sets.

        Args:
            label_set: Its name; None for that of `facts`.

        Returns:
            The scores.

        Raises:
            DataError: It was not scored on this label set.
        """
        if label_set in (None, self.facts.label_set):
            return self.metrics
        if label_set not in self.by_label_set:
            raise DataError(f"record {self.id}: not scored on {label_set}")
        return self.by_label_set[label_set]


def _facts(config: ExperimentConfig, source: str) -> Facts:
    """The facts of an experiment; generated scenes stay "mini", in whatever folder of real data they lie."""
    facts = Facts.of(config)
    return replace(facts, data="mini") if source == "mini" else facts


def record_path(config: ExperimentConfig, folder: Path | None = None) -> Path:
    """Where the record of a config lies.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        <folder>/<dataset>/<name>-s<seed>-<hash>.json; only the hash matters when it is looked for.
    """
    stem = re.sub(r"[^a-z0-9.]+", "-", config.name.lower()).strip("-")
    return (folder or results_root()) / config.data.dataset / f"{stem}-s{config.seed}-{config_hash(config)}.json"


def read(path: Path) -> Record:
    """A record from disk.

    Args:
        path: Of the file.

    Returns:
        The record.

    Raises:
        DataError: The file cannot be read, lacks a field, its config has an unknown one, or its scores contradict one
            another; the message says which.
    """
    try:
        record = Record.of(json.loads(Path(path).read_text(encoding="utf-8")))
        check_scores(record)
        return record
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:  # a ConfigError is a ValueError
        raise DataError(f"{path}: unreadable record ({error})") from None
    except KeyError as error:
        raise DataError(f"{path}: record has no field {error}") from None


def check_scores(record: Record) -> None:
    """Refuse a record whose means do not follow from what they are means of: someone has typed a number.

    The mean over the classes must follow from the classes' IoU, these from the confusion matrix, where it is kept.
    IoU may be lower than by the matrix where points without a 2D feature count as wrong: it leaves them out.

    Args:
        record: The record.

    Raises:
        ConfigError: They do not; the message says both numbers.
    """
    protocol = record.config.protocol
    scored = {"metrics": record.metrics} | {f"by_label_set.{name}": held for name, held in record.by_label_set.items()}
    for where, held in scored.items():
        there = [value for value in held.iou.values() if value is not None]
        if not there:
            continue
        _same(f"{where}.miou_skip", held.miou_skip, sum(there) / len(there))
        if protocol.absent_class != "union":
            count = len(held.iou) if protocol.absent_class == "zero" else len(there)
            _same(f"{where}.miou", held.miou, sum(there) / count)
        if held.confusion:
            label_set = record.facts.label_set if where == "metrics" else where.split(".", 1)[1]
            names = [name for name in load_label_set(label_set).names if name in held.iou]  # json has no order
            _check_classes(where, held, names, whole=protocol.no_feature != "wrong")


def _check_classes(where: str, held: Scores, names: Sequence[str], *, whole: bool) -> None:
    """Refuse IoU that does not follow from the confusion matrix; `whole`: the matrix has all that counts."""
    matrix = np.array(held.confusion, dtype=np.float64)  # [C, C]
    if matrix.shape != (len(names), len(names)):
        raise ConfigError(f"{where}.confusion must be {[len(names)] * 2}, found {list(matrix.shape)}")
    hits, rows, columns = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    for number, name in enumerate(names):
        value = held.iou[name]
        if value is None:
            continue
        most = 100 * hits[number] / max(rows[number] + columns[number] - hits[number], 1)
        if whole or value > most:
            _same(f"{where}.iou.{name}", value, most)


def _same(field: str, found: float, expected: float) -> None:
    if not abs(found - expected) <= ROUNDED:
        raise ConfigError(f"{field} is {found:.7g}, {expected:.7g} by the classes' points: edited by hand?")


def read_all(folder: Path | None = None) -> list[Record]:
    """Every record of a folder.

    Args:
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The records, in the order of their files' names.
    """
    return [read(path) for path in sorted((folder or results_root()).glob("*/*-s*-*.json"))]


def find(config: ExperimentConfig, folder: Path | None = None) -> Record | None:
    """The record of a config, whatever its row was called.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The record, or None when there is none.
    """
    matches = sorted((folder or results_root()).glob(f"{config.data.dataset}/*-{config_hash(config)}.json"))
    return read(matches[0]) if matches else None


def find_all(configs: Iterable[ExperimentConfig], folder: Path | None = None) -> list[Record]:
    """The records of those configs that have one.

    Args:
        configs: Experiments.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        Their records, in the order of the configs.
    """
    return [record for config in configs if (record := find(config, folder)) is not None]


def dumps(raw: dict[str, Any]) -> str:
    """JSON with one line per top-level field: small files, readable diffs.

    Args:
        raw: What the file is to hold.

    Returns:
        The file's text.
    """
    body = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in raw.items())
    return "{\n" + body + "\n}\n"


def frame(found: Sequence[Record], label_set: str | None = None) -> pd.DataFrame:
    """Records as a table with a column for every fact and every score, to be filtered by `only`.

    Args:
        found: The records.
        label_set: Whose scores; None for each record's own.

    Returns:
        A line per record, in their order: `id`; the facts (see `Facts`, `dropped` among them); `measure` ("score");
        `miou`, `macc`, `miou_skip`, `val_miou`, `val_macc` in %; `converged` (False also where that
        is not known for want of validation scenes, so that nothing is concluded from it); `seen_share`; `classes` of
        the label set, and how many of them `occur` in the scenes.

    Raises:
        DataError: There is no record, or one was not scored on the label set.
    """
    if not found:
        raise DataError(f"{results_root()}: no records; run `geoguide replicate`")
    lines = []
    for record in found:
        scores = record.scores(label_set)
        line = {"id": record.id} | record.facts.columns() | {"label_set": label_set or record.facts.label_set}
        line |= {"measure": SCORE} | {name: getattr(scores, name) for name in _SCORES}
        watched = record.validation or dict.fromkeys(("miou", "macc"), float("nan"))
        line |= {f"val_{name}": value for name, value in watched.items()}
        unknown = record.converged is None and bool(record.history)
        line |= {"converged": False if unknown else record.converged, "seen_share": record.data["seen_share"]}
        line |= {"classes": len(scores.iou), "occur": sum(value is not None for value in scores.iou.values())}
        lines.append(line)
    table = pd.DataFrame(lines, dtype=object)  # None stays None
    numbers = [*_SCORES, "val_miou", "val_macc", "seen_share"]
    return table.astype(dict.fromkeys(numbers, float) | dict.fromkeys(("seed", "classes", "occur"), int))


def only(lines: pd.DataFrame, row: Row) -> pd.DataFrame:
    """The lines of a frame that have the facts of a row.

    Args:
        lines: See `frame`.
        row: Columns, and the value (or frozenset of values) that each must have.

    Returns:
        Those lines, in their order.
    """
    for fact, wanted in row.items():
        lines = lines[lines[fact].apply(agrees, args=(wanted,)).astype(bool)]
    return lines


def pick(found: Sequence[Record], row: Row) -> list[Record]:
    """The records that have the facts of a row.

    Args:
        found: Records.
        row: See `Facts.fit`.

    Returns:
        Those records, in their order.
    """
    return [record for record in found if record.facts.fit(row)]
