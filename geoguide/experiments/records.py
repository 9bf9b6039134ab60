"""The store: one JSON file per run under results/, read as typed records; many of them as one frame."""

import functools
import json
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd

from geoguide.datasets.config import Edition
from geoguide.datasets.formats.files import is_junk, need_folder
from geoguide.errors import ConfigError, DataError, first_line
from geoguide.experiments.confusions import (
    check_matrices,
    check_packed_sums,
    unpack_counts,
    unpack_sums,
)
from geoguide.experiments.facts import Facts, Row, agrees
from geoguide.experiments.profiles import PROFILES, ids
from geoguide.experiments.scores import ROUNDED, Scores, check_scores
from geoguide.frozen import check_types, config_hash, from_dict, to_dict
from geoguide.metrics import ClassSums
from geoguide.paths import clone, named_folder, records_advice, results_root
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.convergence import LONGER, has_converged
from geoguide.scene import facts_html
from geoguide.text_files import parse_json, read_text

SCORE, KEPT = "score", "kept"  # what the lines of a frame measure: a score, or the share of another line's score


_SCORES = ("miou", "macc", "miou_skip")
LARGEST = 2**63  # of a count; nothing that is counted or measured here comes near
MANY = 4096  # records that a process keeps; those that are committed take 60 kB each
SETTLED = 2_000_000_000  # ns; a disk's clock may tick so rarely that two versions within have the same time


@dataclass(frozen=True)
class _Data:
    """What tables read of `Record.data`."""

    seen_share: float
    fingerprint: str


@dataclass(frozen=True)
class Record:
    """One run: what was done, and what came of it.

    All who ask for a record's file get the same object, so nothing that it holds is to be changed.

    Attributes:
        id: Hash of the config.
        name: What the config calls itself, for people; nothing reads it.
        config: The experiment.
        facts: Of the experiment.
        provenance: Whether the scored scenes are "mini" or "real".
        metrics: Scores on the label set of `facts`.
        by_label_set: Scores on further label sets.
        confusions: The confusion matrix of each scored scene, packed (see `confusions`); empty in older files.
        class_sums: What scores on further label sets are made of, likewise, by label set and scene.
        validation: `miou` and `macc` on the validation scenes, in %; None without such scenes.
        history: The training curve: rows of step, val_miou (%, with validation scenes) and loss terms; empty where
            nothing is trained.
        regions: Quality of superpoints and masks (see `run.region_quality`).
        data: Fingerprint, and of real scenes by which `reading` (see `identity.of_all`), scenes of each split, points,
            share of points with a 2D feature.
        environment: Versions, device, commit, date.
        wall_seconds: How long the run took, with what earlier runs that it went on from spent on the training.
        raw: The whole file.
        file: Where it lies; None for a record that comes from no file.
    """

    id: str
    name: str
    config: ExperimentConfig
    facts: Facts
    provenance: str
    metrics: Scores
    by_label_set: Mapping[str, Scores]
    confusions: Mapping[str, str]
    class_sums: Mapping[str, Mapping[str, str]]
    validation: Mapping[str, float] | None
    history: Sequence[Mapping[str, float]]
    regions: Mapping[str, float]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    wall_seconds: float
    raw: Mapping[str, Any]
    file: Path | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        facts, scored = self.facts, self.config.tested().data.dataset
        return f"Record({self.id}: {self.name!r}, seed {facts.seed}, mIoU {self.metrics.miou:.1f} % on {scored})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        facts: dict[str, object] = {"id": self.id}
        facts |= {part.name.replace("_", " "): getattr(self.facts, part.name) for part in fields(self.facts)}
        facts["modules"] = ", ".join(self.facts.modules) or "none"
        if self.config.text.assumed:
            facts["text space"] = f"{self.config.text.encoder}, assumed by the width of the features"
        facts["changed"] = ", ".join(f"{name} = {value}" for name, value in self.facts.changed) or None
        for name, title in (("miou", "mIoU"), ("macc", "mAcc")):
            watched = "" if self.validation is None else f", {self.validation[name]:.2f} % on the validation scenes"
            facts[title] = f"{getattr(self.metrics, name):.2f} % on the test scenes{watched}"
        facts["converged"] = {True: "yes", False: "no", None: None}[self.converged]
        facts |= {"wall time": f"{self.wall_seconds:,.0f} s", "file": self.file or "none"}
        return facts_html("Record", self.name, facts)

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
        training = {"history": []} if raw["training"] is None else raw["training"]
        named = {"training": training, "by_label_set": raw.get("by_label_set", {}), "protocol": raw.get("protocol", {})}
        for field_name, value in named.items():
            if not isinstance(value, dict):
                raise ConfigError(f"{field_name} must hold values by name, found {value!r:.60}")
        if raw["source"] not in ("mini", "real"):
            raise ConfigError(f"source must be mini or real, found {raw['source']!r:.60}")
        same = ("id", "name", "validation", "regions", "data", "environment", "wall_seconds")
        further = named["by_label_set"]
        values: dict[str, Any] = {name: raw[name] for name in same} | {
            "config": config,
            "facts": _facts(config, raw["source"]),
            "metrics": from_dict(Scores, raw["metrics"], "metrics"),
            "by_label_set": {name: from_dict(Scores, held, f"by_label_set.{name}") for name, held in further.items()},
            "confusions": raw.get("confusions", {}),
            "class_sums": raw.get("class_sums", {}),
            "history": training["history"],
            "provenance": raw["source"],
            "raw": raw,
        }
        check_types(cls, values, "record")
        check_types(_Data, values["data"], "data")
        if values["id"] != config_hash(config):
            found = f"id {values['id']} is not that of the config, {config_hash(config)}"
            raise ConfigError(f"{found}: edited by hand, or of a version that took 1 and 1.0 for two experiments?")
        return cls(**values)

    @property
    def converged(self) -> bool | None:
        """Whether the training was long enough, by the rule of today whatever version wrote the record.

        Measured where a record of `LONGER` times the steps lies beside its file, else foretold (see `has_converged`).
        None where nothing is trained, or without validation scenes. Looked up whenever it is asked for, since a longer
        run may be recorded meanwhile.
        """
        if not self.history:
            return None
        return has_converged(self.history, self.config.train, self.gained_by_longer)

    @property
    def gained_by_longer(self) -> float | None:
        """What the same training with `LONGER` times the steps has more on validation, points of mIoU; None: no record.

        One of other scenes, which were corrected since for example, is none of the same training.
        Experiments that differ in scoring alone share a training: what is measured on one of them holds for all.
        """
        if self.file is None or not self.history:
            return None
        folder = self.file.parent.parent
        for short_id, longer_id in _of_same_training(self.config):
            longer = _find(self.config.data.dataset, longer_id, folder)
            if longer is None or not longer.validation:
                continue
            short = self if short_id is None else _find(self.config.data.dataset, short_id, folder)
            if short is not None and short.validation and same_scenes(short.data, longer.data) is not False:
                return longer.validation["miou"] - short.validation["miou"]
        return None

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

    def scene_sums(self, label_set: str | None = None) -> tuple[tuple[str, ...], ClassSums]:
        """What the scores of each scene are made of.

        Args:
            label_set: Its name; None for that of `facts`.

        Returns:
            The names of the S scenes, and their sums [S, C].

        Raises:
            DataError: The record does not keep them.
        """
        name = label_set or self.facts.label_set
        own = name == self.facts.label_set
        held = self.confusions if own else self.class_sums.get(name, {})
        if not held:
            raise DataError(f"record {self.id}: keeps no counts of its scenes on {name}")
        if name not in self._sums:
            rule = self.config.protocol.no_feature
            self._sums[name] = ClassSums.of(unpack_counts(held, name), rule) if own else unpack_sums(held, name)
        return tuple(held), self._sums[name]

    @functools.cached_property
    def _sums(self) -> dict[str, ClassSums]:
        """What `scene_sums` has unpacked, by label set."""
        return {}


@functools.lru_cache(maxsize=MANY)
def _of_same_training(config: ExperimentConfig) -> tuple[tuple[str | None, str], ...]:
    """Ids of experiments of one training, each with that of `LONGER` times the steps; the first is `config`: None."""
    home, longer = config.training(), {"train__steps": LONGER * config.train.steps}
    own = (None, config_hash(config.replace(**longer)))
    return (own,) if config == home else (own, (config_hash(home), config_hash(home.replace(**longer))))


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
    """A record from disk. A file that this process has read is not read again until it changes.

    Args:
        path: Of the file.

    Returns:
        The record, the same object for the same unchanged file.

    Raises:
        DataError: The file cannot be read, lacks a field, its config has an unknown one, or its scores contradict one
            another; the message says which.
    """
    stamp = _stamp(path)
    return _read(path) if stamp is None else _read_once(path, stamp)


@functools.lru_cache(maxsize=MANY)
def _read_once(path: Path, _stamp: tuple[int, ...]) -> Record:
    return _read(path)


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What tells the states of a file or folder apart; None where it is missing, or may change under the same stamp."""
    try:
        found = path.stat()
    except OSError:
        return None
    if time.time_ns() - found.st_mtime_ns < SETTLED:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path) -> Record:
    raw = parse_json(read_text(path, "record"), path)
    try:
        if not isinstance(raw, dict):
            raise ConfigError(f"record must hold values by name, found {raw!r:.60}")
        _check_numbers(raw, "")
        record = replace(Record.of(raw), file=path)
        check_record(record)
        return record
    except (ValueError, TypeError, AttributeError) as error:  # a ConfigError is a ValueError
        raise DataError(f"{path}: unreadable record ({first_line(error)})") from None
    except KeyError as error:
        raise DataError(f"{path}: record has no field {error}") from None


def check_record(record: Record) -> None:
    """Refuse a record that contradicts itself: somebody has typed into it, or put parts of two together.

    Args:
        record: The record.

    Raises:
        ConfigError: It does; the message names the field, what it holds and what follows from the others.
    """
    protocol, training = record.config.protocol, record.raw["training"]
    scored = {record.facts.label_set: ("metrics", record.metrics)}
    scored |= {name: (f"by_label_set.{name}", held) for name, held in record.by_label_set.items()}
    for label_set, (where, held) in scored.items():
        check_scores(where, held, label_set, protocol)
    _check_counts(record)
    expected = {"name": record.config.name, "seed": record.config.seed}
    expected |= {f"protocol.{name}": value for name, value in to_dict(protocol).items()}
    found = {**record.raw} | {f"protocol.{name}": value for name, value in record.raw.get("protocol", {}).items()}
    for name, value in expected.items():
        if found.get(name, value) != value:
            raise ConfigError(f"{name} is {found[name]!r:.60}, {value!r:.60} in the config: edited by hand?")
    if (training is None) != (protocol.mode == "fusion"):
        raise ConfigError(f"training must be null in the mode fusion and nowhere else, found {training!r:.60}")
    _check_curve(record)
    generated = record.config.tested().data.generated
    if record.provenance not in (("mini",) if generated else ("mini", "real")):
        raise ConfigError(f"source is {record.provenance!r}, of {'generated' if generated else 'real'} scenes")
    if not 0 <= record.data["seen_share"] <= 1:
        raise ConfigError(f"data.seen_share must be 0 to 1, found {record.data['seen_share']}")
    if not record.wall_seconds >= 0:
        raise ConfigError(f"wall_seconds must be at least 0, found {record.wall_seconds}")


def _check_curve(record: Record) -> None:
    """Refuse a curve without what convergence, and with it a verdict, is told from: every step, and mIoU at each."""
    before, watched = 0, record.validation
    if watched is not None:
        _check_share("validation.miou", watched.get("miou"))
        _check_share("validation.macc", watched.get("macc"))
    for number, row in enumerate(record.history):
        where, step = f"training.history[{number}]", row.get("step")
        if not isinstance(step, int) or step <= before:
            raise ConfigError(f"{where}.step must be a whole number above {before}, found {step}")
        if watched is not None:
            _check_share(f"{where}.val_miou", row.get("val_miou"))
        elif "val_miou" in row:
            raise ConfigError(f"validation is null, but {where} has val_miou: edited by hand?")
        before = step
    if record.raw["training"] is not None and before != record.config.train.steps:
        found = f"{before}, where the config trains {record.config.train.steps}"
        raise ConfigError(f"training.history ends at step {found}: edited by hand?")


def _check_share(field_name: str, found: float | None) -> None:
    """Refuse what is no share in %; a share that is missing is None."""
    if found is None or not -ROUNDED <= found <= 100 + ROUNDED:
        raise ConfigError(f"{field_name} must be a share in %, found {found}")


def _check_counts(record: Record) -> None:
    """Refuse scores that do not follow from the counts of the scenes, where these are kept; `scene_sums` has them."""
    protocol = record.config.protocol
    if record.confusions:
        name = record.facts.label_set
        record._sums[name] = check_matrices(record.confusions, record.metrics, name, protocol)
    for label_set, sums in record.class_sums.items():
        if label_set not in record.by_label_set:
            raise ConfigError(f"class_sums.{label_set} has no scores in by_label_set")
        record._sums[label_set] = check_packed_sums(sums, record.by_label_set[label_set], label_set, protocol)


def _check_numbers(value: dict[str, Any] | list[Any], where: str) -> None:
    """Refuse numbers that nothing can be computed with, wherever they stand. NaN is allowed: a mean over nothing."""
    named = isinstance(value, dict)
    for name, part in value.items() if named else enumerate(value):
        if isinstance(part, (dict, list)):
            _check_numbers(part, _place(where, name))
        elif isinstance(part, (int, float)) and abs(part) > LARGEST:
            found = part if isinstance(part, float) else "a whole number"
            raise ConfigError(f"{_place(where, name)} is {found} beyond 64 bits")


def _place(where: str, name: str | int) -> str:
    """What an error calls a field, or a number's place in a list."""
    return f"{where}[{name}]" if isinstance(name, int) else f"{where}.{name}" if where else name


def read_all(folder: Path | None = None) -> list[Record]:
    """Every record of a folder.

    Args:
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The records, in the order of their files' names.

    Raises:
        DataError: As `read`, or a file is not the record that its name says, or two are of the same experiment.
    """
    paths, first = record_files(folder), dict[str, Path]()
    for path in paths:
        _refuse_two([first.setdefault(path.stem.rsplit("-", 1)[1], path), path])
    return [_read_named(path) for path in paths]


def record_files(folder: Path | None = None) -> list[Path]:
    """The files of a folder that are named as records are.

    Args:
        folder: Of the records; None for `paths.results_root()`. It need not be there.

    Returns:
        The files, in the order of their folders and names.

    Raises:
        DataError: The folder, or one in it, cannot be read.
    """
    places = [path for path in _inside(folder or results_root(), "*") if path.is_dir()]
    return [path for place in places for path in _inside(place, "*-s*-*.json")]


def _inside(folder: Path, pattern: str) -> list[Path]:
    """What a folder holds, sorted by name, without what file managers leave there; the folder need not be there."""
    _need(folder)
    return sorted(path for path in folder.glob(pattern) if not is_junk(path.name))


def _need(folder: Path) -> None:
    """Refuse a folder that is there and cannot be read: every table would lack its records without a word."""
    if os.path.lexists(folder):
        need_folder(folder, "folder of records")


def planned(found: Iterable[Record]) -> list[Record]:
    """Those records that the book's tables may be made of, for tables that pick their rows by facts.

    Facts do not say everything: an experiment of one's own, on another 2D model of a known name for example, or with a
    further seed, would stand in a row of the book.

    Args:
        found: Records.

    Returns:
        Of generated scenes those that a profile has; of real ones all, since no profile knows where these lie.
    """
    known = frozenset[str]().union(*map(ids, PROFILES))
    return [record for record in found if record.id in known or record.facts.data == "real"]


def need_place_for_records() -> None:
    """Refuse to begin a replication where it would have nothing to repeat, and go where nobody looks.

    Raises:
        DataError: The package is installed, has no record, and `$GEOGUIDE_RESULTS` names no folder for them.
    """
    asked = clone() is not None or named_folder("GEOGUIDE_RESULTS") is not None
    if not asked and not record_files():
        raise DataError(f"{results_root()}: no records; {records_advice()}")


def find(config: ExperimentConfig, folder: Path | None = None) -> Record | None:
    """The record of a config, whatever its row was called.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The record, or None when there is none.

    Raises:
        DataError: As `read_all`, of this experiment's files.
    """
    return _find(config.data.dataset, config_hash(config), folder or results_root())


def _find(dataset: str, name: str, folder: Path) -> Record | None:
    """The record of an experiment's hash."""
    matches = _files_of(dataset, name, folder)
    _refuse_two(matches)
    return _read_named(matches[0]) if matches else None


def stored(config: ExperimentConfig, folder: Path | None = None) -> list[Path]:
    """The files that hold the record of a config, by their names; more than one where its row was renamed, or copied.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        The files, in the order of their names.
    """
    return _files_of(config.data.dataset, config_hash(config), folder or results_root())


def _files_of(dataset: str, name: str, folder: Path) -> list[Path]:
    """The files of an experiment's hash, in the order of their names."""
    place = folder / dataset
    stamp = _stamp(place)
    names = _by_hash(place) if stamp is None else _by_hash_once(place, stamp)
    return [place / file for file in names.get(name, ())]


@functools.lru_cache(maxsize=32)
def _by_hash_once(folder: Path, _stamp: tuple[int, ...]) -> dict[str, list[str]]:
    return _by_hash(folder)


def _by_hash(folder: Path) -> dict[str, list[str]]:
    """The names of a folder's records by the hash in them: a page asks for hundreds, and to list the folder is slow."""
    found: dict[str, list[str]] = {}
    _need(folder.parent)  # else nothing is known of `folder`
    for path in _inside(folder, "*-*.json"):
        found.setdefault(path.stem.rpartition("-")[2], []).append(path.name)
    return found


def _read_named(path: Path) -> Record:
    """A record that is the one its file's name says: a copy under another's name would stand for that one."""
    record = read(path)
    if not path.stem.endswith(f"-{record.id}"):
        raise DataError(f"{path}: holds the record {record.id} ({record.name}), its name says another: copied?")
    return record


def _refuse_two(paths: Sequence[Path]) -> None:
    """Refuse two files that hold the same experiment: which of them counts cannot be known, and tables count both."""
    if len({*paths}) > 1:
        raise DataError(f"{paths[0]}: {paths[1].name} beside it is of the same experiment; delete one of them")


def same_scenes(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool | None:
    """Tell whether two experiments had the same scenes.

    Args:
        one: What a record has as `data`.
        other: What another one has, or `identity.of_all` of scenes.

    Returns:
        Whether they had; None where that is not known, because versions differ in how they name real scenes.
    """
    if one["fingerprint"] == other["fingerprint"]:
        return True
    return False if one.get("reading") == other.get("reading") else None


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


def frame(found: Sequence[Record], label_set: str | None = None, edition: Edition = "small") -> pd.DataFrame:
    """Records as a table with a column for every fact and every score, to be filtered by `only`.

    Args:
        found: The records.
        label_set: Whose scores; None for each record's own.
        edition: Of generated scenes those of this edition alone, so that no table mixes two; real ones stay.

    Returns:
        A line per record, in their order: `id`; the facts (see `Facts`, `dropped` among them); `measure` ("score");
        `miou`, `macc`, `miou_skip`, `val_miou`, `val_macc` in %; `converged` (False also where that
        is not known for want of validation scenes, so that nothing is concluded from it), and whether it was `measured`
        by twice the steps; `seen_share`; `classes` of the label set, and how many of them `occur` in the scenes.

    Raises:
        DataError: There is no record, or one was not scored on the label set.
    """
    found = [record for record in found if record.facts.edition in (None, edition)]
    if not found:
        raise DataError(f"{results_root()}: no records; {records_advice()}")
    lines = []
    for record in found:
        scores = record.scores(label_set)
        line = {"id": record.id} | record.facts.columns() | {"label_set": label_set or record.facts.label_set}
        line |= {"measure": SCORE} | {name: getattr(scores, name) for name in _SCORES}
        watched = record.validation or dict.fromkeys(("miou", "macc"), float("nan"))
        line |= {f"val_{name}": value for name, value in watched.items()}
        unknown = record.converged is None and bool(record.history)
        line |= {"converged": False if unknown else record.converged, "measured": record.gained_by_longer is not None}
        line |= {"seen_share": record.data["seen_share"]}
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
    if not row:
        return lines
    kept: Sequence[int] = range(len(lines))
    for fact, wanted in row.items():
        values = lines[fact].tolist()  # of Python's own types: pandas takes ten times as long to hand out each
        kept = [number for number in kept if agrees(values[number], wanted)]
    return lines.iloc[kept]


def pick(found: Sequence[Record], row: Row) -> list[Record]:
    """The records that have the facts of a row.

    Args:
        found: Records.
        row: See `Facts.fit`.

    Returns:
        Those records, in their order.
    """
    return [record for record in found if record.facts.fit(row)]
