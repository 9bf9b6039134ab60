"""One JSON record per run: config, protocol, metrics, data, versions, device, time. Tables read only these."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import Queue, get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from geoguide import backbones
from geoguide.config import ExperimentConfig, config_hash, from_dict, to_dict
from geoguide.datasets.sources import skipped
from geoguide.errors import DataError
from geoguide.evaluate import Evaluation, evaluate, evaluate_label_sets
from geoguide.files import replacing
from geoguide.instances import mask_quality
from geoguide.labels import load_label_set
from geoguide.memory import PeakMemory
from geoguide.prepare import PreparedScene, data_root, prepare_split
from geoguide.superpoints import superpoint_purity
from geoguide.train import Fit, checkpoint_name, fit

RESULTS = Path(__file__).resolve().parent.parent / "results"
Record = dict[str, Any]
_PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "trimesh", "pgeof", "numba", "transformers")


def checkpoints() -> Path:
    """Where trainings leave their checkpoints: runs/checkpoints beside the data folder."""
    return data_root().parent / "runs" / "checkpoints"


def record_path(config: ExperimentConfig, folder: Path | None = None) -> Path:
    """Where a config's record lies: results/<dataset>/<row>-s<seed>-<hash>.json."""
    stem = re.sub(r"[^a-z0-9.]+", "-", config.name.lower()).strip("-")
    return (folder or RESULTS) / config.data.dataset / f"{stem}-s{config.seed}-{config_hash(config)}.json"


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
    return [read(path) for path in sorted((folder or RESULTS).glob("*/*-s*-*.json"))]


def find(config: ExperimentConfig, folder: Path | None = None) -> Record | None:
    """The record of a config, whatever its row was called; None when there is none."""
    matches = sorted((folder or RESULTS).glob(f"{config.data.dataset}/*-{config_hash(config)}.json"))
    return read(matches[0]) if matches else None


def get(config: ExperimentConfig, *, folder: Path | None = None, progress: bool = True) -> Record:
    """The record of a config: found, or computed and written."""
    return find(config, folder) or run(config, folder=folder, progress=progress)


def run(config: ExperimentConfig, *, folder: Path | None = None, device: str = "auto", progress: bool = True) -> Record:
    """Train and score one experiment and write its record (validation rooms for choosing, test rooms for reporting)."""
    begin = time.perf_counter()
    with PeakMemory() as peak:
        record = _run(config, device, progress)
    memory = None if peak.megabytes is None else round(peak.megabytes)
    record |= {"wall_seconds": round(time.perf_counter() - begin, 1), "own_memory_mb": memory}
    with replacing(record_path(config, folder)) as temporary:
        temporary.write_text(dumps(record))
    return record


def _run(config: ExperimentConfig, device: str, progress: bool) -> Record:
    tested = config.tested()
    train, val = (_scenes(_data_key(config), split) for split in ("train", "val"))
    test = _scenes(_data_key(tested), "test")
    fitted = None
    if config.protocol.mode != "fusion":
        fitted = fit(config, train=train, val=val, device=device, run_dir=checkpoints(), progress=progress)
    network = None if fitted is None else fitted.network
    label_set, others = tested.data.label_set, config.evaluation.label_sets
    on_test = evaluate_label_sets(tested, network, test, (label_set, *others))
    on_val = evaluate(config, network, scenes=val)
    by_label_set = {name: describe(on_test[name], name) for name in others}
    for metrics in by_label_set.values():
        del metrics["confusion"]  # 160 x 160 numbers for every run would outweigh all else
    return {
        "id": config_hash(config),
        "name": config.name,
        "source": test[0].source,
        "teacher": "simulated" if config.data.features is None else config.data.features,
        "backbone": None if config.train.model == "openscene" else backbones.identity(config.backbone),
        "config": to_dict(config),
        "protocol": to_dict(config.protocol) | {"split": "test", "label_set": label_set, "voxel": None},
        "seed": config.seed,
        "metrics": describe(on_test[label_set], label_set),
        "by_label_set": by_label_set,
        "validation": {"miou": on_val.miou, "macc": on_val.macc},
        "training": _training(fitted),
        "regions": region_quality(test),
        "data": _data({"train": train, "val": val, "test": test}, config),
        "environment": environment(device),
    }


def run_all(
    configs: list[ExperimentConfig], *, folder: Path | None = None, workers: int = 1, force: bool = False
) -> list[Record]:
    """Records of many configs; those found are kept unless `force`, which also trains from the start.

    Workers share the memory-mapped scenes and train on one thread each: two runs side by side beat one on two threads.
    Where there are several GPUs, each worker has one of them: a training fits one GPU, and rows need no other's result.
    """
    todo = [c for c in configs if force or find(c, folder) is None]
    if force:  # a finished checkpoint would be read, not trained again
        for config in todo:
            (checkpoints() / checkpoint_name(config)).unlink(missing_ok=True)
    for config in {_data_key(config): config for config in todo}.values():
        prepare_data(config, workers)
    if workers == 1 or len(todo) < 2:
        for config in tqdm(todo, "runs"):
            run(config, folder=folder, progress=False)
    else:
        spawn = get_context("spawn")
        turns = spawn.Queue()
        for number in range(workers):
            turns.put(number)
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_worker, initargs=(turns,)) as pool:
            jobs = [pool.submit(run, config, folder=folder, progress=False) for config in todo]
            for job in tqdm(jobs, "runs"):
                job.result()
    return [find(config, folder) for config in configs]


def _begin_worker(turns: Queue) -> None:
    """One thread, and of several GPUs the one whose turn it is."""
    torch.set_num_threads(1)
    number, gpus = turns.get(), torch.cuda.device_count()
    if gpus > 1:
        torch.cuda.set_device(number % gpus)


def prepare_data(config: ExperimentConfig, workers: int) -> None:
    """Generate and prepare every split once, before workers start reading it."""
    for split in ("train", "val"):
        prepare_split(config, split, workers=workers)
    prepare_split(config.tested(), "test", workers=workers)


def _data_key(config: ExperimentConfig) -> str:
    """Configs that differ only in training share one copy of the prepared scenes."""
    plain = ExperimentConfig()
    shared = config.training().replace(
        name="", objective=plain.objective, train=plain.train, adapter=plain.adapter, seed=0
    )
    return json.dumps(to_dict(shared), sort_keys=True)


@lru_cache(maxsize=6)
def _scenes(key: str, split: str) -> Sequence[PreparedScene]:
    return prepare_split(from_dict(ExperimentConfig, json.loads(key)), split, progress=False)


def describe(evaluation: Evaluation, label_set: str) -> dict[str, Any]:
    """Metrics in %, per class by name (None where absent), confusion (rows ground truth), mIoU per scene."""
    names = load_label_set(label_set).names
    iou = evaluation.confusion.iou()
    matrix = evaluation.confusion.matrix
    rows = matrix.sum(1)
    recall = np.where(rows > 0, np.diag(matrix) / np.maximum(rows, 1), np.nan)
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
    """Quality of the regions the modules depend on, against the ground truth (claim C11), averaged over scenes.

    Without annotated instances (nuScenes) nothing is said of the masks.
    """
    rows = [
        {
            "superpoint_purity": superpoint_purity(s.superpoints, s.labels),
            "superpoints": float(s.superpoints.max() + 1),
            **({} if s.instances is None else _mask_quality(s)),
        }
        for s in scenes
    ]
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def _mask_quality(scene: PreparedScene) -> dict[str, float]:
    return {f"mask_{name}": float(value) for name, value in mask_quality(scene.masks, scene.instances).items()}


def _training(fitted: Fit | None) -> dict[str, Any] | None:
    if fitted is None:
        return None
    history = [{k: round(v, 5) for k, v in row.items()} for row in fitted.history]
    return {"history": history, "converged": fitted.converged}


def _data(splits: dict[str, Sequence[PreparedScene]], config: ExperimentConfig) -> dict[str, Any]:
    """Which scenes: how many by split, points, frames, what was skipped, and one fingerprint of all contents."""
    prints, points, frames, lost, seen = [], 0, 0, 0, []
    for scenes in splits.values():
        for scene in scenes:
            prints.append(scene.fingerprint)
            points += len(scene)
            frames, lost = frames + scene.frames[0], lost + scene.frames[1]
            seen.append(float(scene.seen.mean()))
    return {
        "fingerprint": hashlib.sha256("".join(prints).encode()).hexdigest()[:12],
        "scenes": {split: len(scenes) for split, scenes in splits.items()},
        "points": points,
        "seen_share": round(float(np.mean(seen)), 4),
        "frames": frames,
        "skipped": {
            "frames": lost,
            "scenes": sum(skipped(config.data, split) for split in ("train", "val"))
            + skipped(config.tested().data, "test"),
        },
    }


def environment(device: str = "auto") -> dict[str, Any]:
    """Versions, device and git commit of this run."""
    from geoguide.train import resolve_device

    target = resolve_device(device)
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(target) if target.type == "cuda" else f"cpu ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "git_commit": git_commit(),
        "date": datetime.date.today().isoformat(),
    }


def git_commit() -> str | None:
    """Commit of the checkout this package runs from ('-dirty' with local changes), None outside one."""
    here = Path(__file__).parent
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def dumps(record: Record) -> str:
    """JSON with one line per top-level field: small files, readable diffs."""
    body = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in record.items())
    return "{\n" + body + "\n}\n"
