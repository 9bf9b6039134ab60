"""One experiment: prepare, train, score, and write its record."""

import json
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
from tqdm import tqdm

from geoguide import backbones
from geoguide.benchmarks import benchmark_of
from geoguide.benchmarks.named import shared_rooms
from geoguide.benchmarks.scenes import skipped
from geoguide.datasets.config import Edition
from geoguide.errors import DataError, check_known
from geoguide.experiments.at_hand import all_generated, find_here
from geoguide.experiments.confusions import pack_matrices, pack_sums
from geoguide.experiments.environment import environment
from geoguide.experiments.peak_memory import PeakMemory
from geoguide.experiments.records import Record, dumps, find_all, record_path, stored
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.instances.quality import mask_quality
from geoguide.labels import load_label_set
from geoguide.paths import check_writable, checkpoints_root, making_alone, records_advice, results_root, write_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import Evaluation, evaluate, evaluate_label_sets
from geoguide.pipeline.identity import of_all
from geoguide.pipeline.prepare import SPLITS, prepare_shared, prepare_split, scene_sources
from geoguide.pipeline.ranks import ALONE, Ranks
from geoguide.pipeline.student import student_kind
from geoguide.pipeline.train import fit
from geoguide.prepared import PreparedScene
from geoguide.superpoints import superpoint_purity


def get(config: ExperimentConfig, *, folder: Path | None = None, progress: bool = True) -> Record:
    """The record of a config: found, unless it is of other scenes than those at hand, or computed and written.

    Another process that computes it is waited for.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.
        progress: Whether to show progress bars.

    Returns:
        The record.
    """
    found = find_here(config, folder)
    if found is not None:
        return found
    with making_row(config, folder):
        return find_here(config, folder) or run(config, folder=folder, progress=progress)


def making_row(
    config: ExperimentConfig, folder: Path | None = None, *, wait: bool = True
) -> AbstractContextManager[bool]:
    """Hold an experiment while its record is made (see `paths.making_alone`), whatever its row is called.

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.
        wait: Whether to wait for another process that makes it.

    Returns:
        A context, which says whether the experiment is held.
    """
    return making_alone(record_path(config, folder).with_name(config_hash(config)), wait=wait)


def get_all(configs: Iterable[ExperimentConfig], edition: Edition = "small") -> list[Record]:
    """The records of a chapter's rows.

    Args:
        configs: The experiments.
        edition: Of the small one, what has no record is computed now; of the large one, where that would take hours, it
            is left out (`geoguide replicate --profile large` computes it).

    Returns:
        The records, in the order of the configs. A bar counts those that are computed.

    Raises:
        ConfigError: Another edition.
    """
    check_known("edition", edition, get_args(Edition))
    if edition == "large":
        return find_all(configs)
    configs = [*configs]
    found = [find_here(config) for config in configs]
    missing = [number for number, record in enumerate(found) if record is None]
    with tqdm(missing, "experiments without a record", disable=not missing) as bar:
        for number in bar:
            bar.set_postfix_str(f"{configs[number].name}, seed {configs[number].seed}")
            found[number] = get(configs[number], progress=False)
    return [record for record in found if record is not None]


def need(found: Sequence[Record], what: str, edition: Edition = "small") -> None:
    """Refuse to show a chapter without the rows that it compares; those of the large edition are not computed for it.

    Args:
        found: The records of such a row.
        what: The row and where it is tested, for the message.
        edition: Of the generated scenes.

    Raises:
        DataError: There is no record.
    """
    if not found:
        advice = "geoguide replicate --profile large" if edition == "large" else records_advice()
        raise DataError(f"{results_root()}: no record of the {edition} edition of {what}: {advice}")


def run(
    config: ExperimentConfig,
    *,
    folder: Path | None = None,
    device: str = "auto",
    progress: bool = True,
    ranks: Ranks = ALONE,
) -> Record:
    """Train and score one experiment and write its record (validation scenes for choosing, test scenes for reporting).

    Args:
        config: The experiment.
        folder: Of the records; None for `paths.results_root()`.
        device: auto, cpu or cuda.
        progress: Whether to show progress bars.
        ranks: The processes that train together (see `pipeline.ranks`). Each calls this alike; the first one scores and
            writes.

    Returns:
        The record as it was written, in every process.

    Raises:
        LostRankError: Another process is gone.
    """
    begin, path = time.perf_counter(), record_path(config, folder)
    check_writable(path.parent)
    with PeakMemory() as peak:
        raw = _run(config, device, progress and ranks.first, ranks)
    memory = None if peak.megabytes is None else round(peak.megabytes)
    if ranks.first:
        seconds = raw["wall_seconds"] + time.perf_counter() - begin
        raw |= {"wall_seconds": round(seconds, 1), "own_memory_mb": memory}
        write_text(path, dumps(raw))
        for older in stored(config, folder):
            if older != path:  # of the same experiment, when its row had another name
                older.unlink()
    raw = ranks.of_first(lambda: raw)
    return replace(Record.of(raw), file=path)


def _run(config: ExperimentConfig, device: str, progress: bool, ranks: Ranks) -> dict[str, Any]:
    """What the record holds but memory, and of time what earlier runs took; nothing in any process but the first."""
    tested = config.tested()
    if ranks.size > 1:
        for part, split in ((config, "train"), (config, "val"), (tested, "test")):
            prepare_shared(part, split, ranks, device=ranks.device or device, progress=progress)
    train, val = (_scenes(config, split, device) for split in ("train", "val"))
    test = _scenes(tested, "test", device)
    student, training, before = None, None, 0.0
    if config.protocol.mode != "fusion":
        place = checkpoints_root()
        fitted = fit(config, train=train, val=val, device=device, run_dir=place, progress=progress, ranks=ranks)
        history = [{k: _short(k, v) for k, v in row.items()} for row in fitted.history]
        student, training, before = fitted.student, {"history": history}, fitted.before
    if not ranks.first:
        return {}
    label_set, others = tested.data.label_set, config.evaluation.label_sets
    on_test = evaluate_label_sets(tested, student, test, (label_set, *others))
    on_val = evaluate(config, student, scenes=val) if len(val) else None
    by_label_set = {name: describe(on_test[name], name) for name in others}
    for metrics in by_label_set.values():
        del metrics["confusion"]  # 160 x 160 numbers for every run would outweigh all else
    return {
        "id": config_hash(config),
        "name": config.name,
        "source": _provenance(test),
        "teacher": (config.teacher_name or "simulated") if config.train.supervision == "2d" else "labels",
        "backbone": backbones.identity(config.backbone) if student_kind(config).names_backbone else None,
        "config": to_dict(portable(config)),
        "protocol": to_dict(config.protocol) | {"split": "test", "label_set": label_set, "voxel": None},
        "seed": config.seed,
        "unlabelled": list(on_test[label_set].unlabelled),
        "metrics": describe(on_test[label_set], label_set),
        "by_label_set": by_label_set,
        "confusions": pack_matrices(on_test[label_set].per_scene),
        "class_sums": {name: pack_sums(on_test[name].per_scene) for name in others},
        "validation": None if on_val is None else {"miou": on_val.miou, "macc": on_val.macc},
        "training": training,
        "regions": region_quality(test),
        "data": _data({"train": train, "val": val, "test": test}, config),
        "environment": environment(device),
        "wall_seconds": before,
    }


def _short(name: str, value: float) -> float:
    """A number of the history without digits that nobody reads; gradients and factors are small, so four of theirs."""
    return float(f"{value:.4g}") if name.startswith(("grad_", "lambda_")) else round(value, 5)


def portable(config: ExperimentConfig) -> ExperimentConfig:
    """The config as a record holds it: what says where files lie on this machine is left out.

    Args:
        config: The experiment.

    Returns:
        A copy with the same hash: folders and files by their last name, a 2D model by its own.
    """

    def here(place: str | None) -> str | None:
        return None if place is None else Path(os.path.abspath(place)).name  # `.` has no name

    model, other = config.image_model, config.evaluation.data
    if model is not None and model.name:
        model = replace(model, source=model.name, names=None, weights=None)
    if other is not None:
        other = replace(other, root=here(other.root))
    return replace(
        config,
        data=replace(config.data, root=here(config.data.root)),
        evaluation=replace(config.evaluation, data=other),
        backbone=replace(config.backbone, weights=here(config.backbone.weights)),
        text=replace(config.text, weights=here(config.text.weights)),
        image_model=model,
    )


def data_key(config: ExperimentConfig) -> str:
    """What names the prepared scenes of a config: those that differ only in training share one copy.

    Args:
        config: The experiment.

    Returns:
        The parts of the config that decide its scenes, as JSON.
    """
    plain = ExperimentConfig()
    parts = ("objective", "train", "adapter", "openscene", "point_transformer")
    training = {part: getattr(plain, part) for part in parts}
    return json.dumps(to_dict(config.training().replace(name="", seed=0, **training)), sort_keys=True)


def _scenes(config: ExperimentConfig, split: str, device: str) -> Sequence[PreparedScene]:
    """The scenes of a split; of the last few splits they stay open as long as their files do not change."""
    stamps = tuple(source.stamp() for source in scene_sources(config.data, split))
    return _scenes_once(data_key(config), split, device, stamps)


@lru_cache(maxsize=SPLITS)
def _scenes_once(key: str, split: str, device: str, _stamps: tuple[str, ...]) -> Sequence[PreparedScene]:
    return prepare_split(from_dict(ExperimentConfig, json.loads(key)), split, device=device, progress=False)


def describe(evaluation: Evaluation, label_set: str) -> dict[str, Any]:
    """The metrics of a record, as its file holds them.

    Args:
        evaluation: What was scored.
        label_set: Name of the label set that was scored.

    Returns:
        The fields of `records.Scores`: shares in %, by class name (None where absent), confusion with ground truth in
        rows, mIoU by scene.
    """
    names = load_label_set(label_set).names
    iou, matrix = evaluation.confusion.iou(), evaluation.confusion.matrix  # [C], [C, C]
    rows = matrix.sum(1)  # [C]
    recall = np.where(rows > 0, np.diag(matrix) / np.maximum(rows, 1), np.nan)  # [C]
    absent = evaluation.protocol.absent_class
    return {
        "miou": evaluation.miou,
        "macc": evaluation.macc,
        "miou_skip": 100 * evaluation.confusion.miou(absent="skip"),
        "iou": {n: None if np.isnan(v) else round(100 * float(v), 3) for n, v in zip(names, iou, strict=True)},
        "acc": {n: None if np.isnan(v) else round(100 * float(v), 3) for n, v in zip(names, recall, strict=True)},
        "confusion": matrix.tolist(),
        "scene_miou": {k: round(100 * m.miou(absent=absent), 3) for k, m in evaluation.per_scene.items()},
    }


def region_quality(scenes: Sequence[PreparedScene]) -> dict[str, float]:
    """Quality of the regions that the modules depend on, against the annotation (claim C11).

    Args:
        scenes: Prepared scenes, at least one with labels; others are left out.

    Returns:
        Means over the scenes: `superpoint_purity` (share of points whose class is that of most points of their
        superpoint), `superpoints`, and `mask_...` of `mask_quality`; nothing of masks where no instances are annotated
        (nuScenes).
    """
    rows = []
    for scene in (scene for scene in scenes if scene.labels is not None):
        superpoints = np.asarray(scene.superpoints)
        purity = superpoint_purity(superpoints, np.asarray(scene.labels))
        rows.append({"superpoint_purity": purity, "superpoints": float(superpoints.max() + 1)})
        if scene.instances is not None:
            quality = mask_quality(scene.masks, np.asarray(scene.instances))
            rows[-1] |= {f"mask_{name}": float(value) for name, value in quality.items()}
    keys = dict.fromkeys(key for row in rows for key in row)  # of masks: by the scenes whose instances are annotated
    return {key: float(np.mean([row[key] for row in rows if key in row])) for key in keys}


def _provenance(scenes: Sequence[PreparedScene]) -> str | None:
    """The kind of scenes: mini where any is generated, so that nothing generated passes for real; None without any."""
    return min((scene.provenance for scene in scenes), default=None)  # "mini" comes before "real"


def _data(splits: dict[str, Sequence[PreparedScene]], config: ExperimentConfig) -> dict[str, Any]:
    """Which scenes: how many by split, points, frames, what was skipped, and one fingerprint of all contents."""
    facts = [(s.fingerprint, len(s), *s.frames, float(s.seen.mean())) for scenes in splits.values() for s in scenes]
    prints, points, frames, lost_frames, seen = zip(*facts, strict=True)
    named = of_all(prints)
    if all_generated(config):
        del named["reading"]  # their fingerprints are the same by each
    lost_scenes = [skipped(config.data, "train"), skipped(config.data, "val"), skipped(config.tested().data, "test")]
    return {
        **named,
        "scenes": {split: len(scenes) for split, scenes in splits.items()},
        "points": sum(points),
        "seen_share": round(float(np.mean(seen)), 4),
        "frames": sum(frames),
        "skipped": {"frames": sum(lost_frames), "scenes": sum(lost_scenes)},
        "provenance": {split: _provenance(scenes) for split, scenes in splits.items()},
        "without_features": {split: [s.name for s in scenes if s.lifted is None] for split, scenes in splits.items()},
        **_named(splits, config),
    }


def _named(splits: dict[str, Sequence[PreparedScene]], config: ExperimentConfig) -> dict[str, Any]:
    """Fingerprints of scenes that the config names, and the rooms that are learned from and scored."""
    if config.data.splits is None:
        return {}
    contents = {split: {scene.name: scene.fingerprint for scene in scenes} for split, scenes in splits.items()}
    learned, scored = ([scene.source for scene in splits[split] if scene.source] for split in ("train", "test"))
    return {"contents": contents, "shared_rooms": list(shared_rooms(learned, scored, benchmark_of(config.data).room))}
