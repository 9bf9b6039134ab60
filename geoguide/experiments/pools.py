"""Many experiments: those without a record of the scenes at hand are run, side by side where there are workers."""

from pathlib import Path

from tqdm import tqdm

from geoguide.errors import require
from geoguide.experiments.at_hand import find_here
from geoguide.experiments.needs import fitting_preparers, fitting_rows, measured
from geoguide.experiments.records import Record, find_all, record_path
from geoguide.experiments.run import data_key, making_row, run
from geoguide.ops.workers import worker_pool
from geoguide.paths import check_writable, checkpoints_root, results_root, sweep
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import prepare_by, prepare_split
from geoguide.pipeline.train import forget


def run_all(
    configs: list[ExperimentConfig], *, folder: Path | None = None, workers: int | None = 1, force: bool = False
) -> list[Record]:
    """Run the experiments that have no record yet, or one of other scenes than those at hand.

    Workers share the memory-mapped scenes and train on one thread each: two runs side by side beat one on two threads.
    The same processes prepare the scenes and then train, since each takes seconds to start.
    Rows that another process computes meanwhile (another `replicate`, on this machine) are left to it, and waited for
    in the end.
    Where there are several GPUs, each worker has one of them: a training fits one GPU, and rows need no other's result.

    Args:
        configs: The experiments.
        folder: Of the records; None for `paths.results_root()`.
        workers: How many runs at a time; None for as many as cores and memory allow.
        force: Run all of them, and train from the start.

    Returns:
        The records, in the order of the configs.

    Raises:
        InputError: `workers` is below 1.
        WriteError: Records or checkpoints cannot be written.
    """
    require(workers is None or workers >= 1, f"workers must be at least 1, found {workers}")
    for place in {record_path(config, folder).parent for config in configs}:
        sweep(place)
    todo = [c for c in configs if force or find_here(c, folder) is None]
    for place in (folder or results_root(), checkpoints_root()) if todo else ():
        check_writable(place)
    if force:  # a finished checkpoint would be read, not trained again
        for config in todo:
            forget(config, checkpoints_root())
    if workers is None and todo:
        workers = fitting_rows(todo, measured())
    if workers and workers > 1 and todo:
        with worker_pool(workers) as pool:
            different = {data_key(config): config for config in todo}.values()
            prepare_by(pool, [part for config in different for part in _splits(config)])
            side_by_side = todo if len(todo) > 1 else []
            jobs = [pool.submit(_make, config, folder, force, wait=False) for config in side_by_side]
            made = [job.result() for job in tqdm(jobs, "runs", disable=not jobs)]
        todo = [config for config, its in zip(todo, made, strict=True) if not its] if side_by_side else todo
    for wait in (False, True):  # one worker prepares for each row what that lacks, so that the first records are there
        rows = tqdm(todo, "runs", disable=not todo)  # soon; one row has all threads
        todo = [config for config in rows if not _make(config, folder, force, wait=wait)]
    return find_all(configs, folder)


def _make(config: ExperimentConfig, folder: Path | None, force: bool, *, wait: bool) -> bool:
    """Make the record of a row, unless it is there by now; False, without `wait`, where another process makes it."""
    with making_row(config, folder, wait=wait) as held:
        if held and (force or find_here(config, folder) is None):
            run(config, folder=folder, progress=False)
        return held


def prepare_data(config: ExperimentConfig, workers: int | None, device: str = "auto") -> None:
    """Generate and prepare every split of an experiment, before workers start reading it.

    Args:
        config: The experiment.
        workers: How many processes prepare scenes; None for as many as cores and memory allow.
        device: Where the backbone's network runs.
    """
    workers = workers or fitting_preparers(config, device)
    if workers > 1:
        with worker_pool(workers) as pool:
            prepare_by(pool, _splits(config), device=device)
        return
    for part, split in _splits(config):
        prepare_split(part, split, device=device)


def _splits(config: ExperimentConfig) -> list[tuple[ExperimentConfig, str]]:
    """The splits that an experiment reads, each with the config that lists its scenes."""
    return [(config, "train"), (config, "val"), (config.tested(), "test")]
