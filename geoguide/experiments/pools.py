"""Many experiments: those without a record are run, side by side where there are several workers."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Queue, get_context
from pathlib import Path

import torch
from tqdm import tqdm

from geoguide.errors import require
from geoguide.experiments.records import Record, find, find_all, record_path
from geoguide.experiments.run import data_key, run
from geoguide.paths import check_writable, checkpoints_root, results_root, sweep
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import begin_worker, prepare_split
from geoguide.pipeline.train import checkpoint_name


def run_all(
    configs: list[ExperimentConfig], *, folder: Path | None = None, workers: int = 1, force: bool = False
) -> list[Record]:
    """Run the experiments that have no record yet.

    Workers share the memory-mapped scenes and train on one thread each: two runs side by side beat one on two threads.
    Where there are several GPUs, each worker has one of them: a training fits one GPU, and rows need no other's result.

    Args:
        configs: The experiments.
        folder: Of the records; None for `paths.results_root()`.
        workers: How many runs at a time.
        force: Run all of them, and train from the start.

    Returns:
        The records, in the order of the configs.

    Raises:
        InputError: `workers` is below 1.
        WriteError: Records or checkpoints cannot be written.
    """
    require(workers >= 1, f"workers must be at least 1, found {workers}")
    for place in {record_path(config, folder).parent for config in configs}:
        sweep(place)
    todo = [c for c in configs if force or find(c, folder) is None]
    for place in (folder or results_root(), checkpoints_root()) if todo else ():
        check_writable(place)
    if force:  # a finished checkpoint would be read, not trained again
        for config in todo:
            (checkpoints_root() / checkpoint_name(config)).unlink(missing_ok=True)
    alone = workers == 1 or len(todo) < 2
    for config in [] if alone else {data_key(config): config for config in todo}.values():
        prepare_data(config, workers)
    if alone:  # every run prepares what it lacks, so that the first records are there soon
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
    return find_all(configs, folder)


def _begin_worker(turns: Queue) -> None:
    """One thread, and of several GPUs the one whose turn it is."""
    begin_worker()
    number, gpus = turns.get(), torch.cuda.device_count()
    if gpus > 1:
        torch.cuda.set_device(number % gpus)


def prepare_data(config: ExperimentConfig, workers: int, device: str = "auto") -> None:
    """Generate and prepare every split of an experiment, before workers start reading it.

    Args:
        config: The experiment.
        workers: How many processes prepare scenes.
        device: Where the backbone's network runs.
    """
    for split in ("train", "val"):
        prepare_split(config, split, workers=workers, device=device)
    prepare_split(config.tested(), "test", workers=workers, device=device)
