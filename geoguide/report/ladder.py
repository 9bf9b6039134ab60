"""Chapter 01: the ladder of frozen features (C12), each rung's linear probe beside what a student makes of it."""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from geoguide.experiments import ladder, presets
from geoguide.experiments.records import Record, find_all, frame
from geoguide.method.objective import MODULES
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report.evidence import estimate, has_settled, verdicts
from geoguide.report.tables import mean_of

NO_RECORD = "no record"  # of a row that was not run
BOUND = "taught by labels (oracle)"
COLUMNS = ("frozen features", "width", "linear probe mIoU", "adapter mIoU", "seeds", "works-best mIoU", "seeds ",
           "works-best less adapter")  # fmt: skip


def by_seed(configs: Sequence[ExperimentConfig], folder: Path | None = None) -> dict[int, float]:
    """The scores of one row, as far as it was run.

    Args:
        configs: One per seed.
        folder: Of the records; None for `paths.results_root()`.

    Returns:
        mIoU in % by seed.
    """
    return _by_seed(find_all(configs, folder))


def climbed(folder: Path | None = None) -> dict[str, dict[str, dict[int, float]]]:
    """The scores of every rung.

    Args:
        folder: See `by_seed`.

    Returns:
        By rung, then by "adapter" and "works-best": mIoU by seed; of `BOUND` the former alone.
    """
    told = {}
    for name in ladder.RUNGS:
        adapters = [ladder.rung(name, seed, ()) for seed in presets.SEEDS]
        fulls = [ladder.rung(name, seed) for seed in presets.LONG_SEEDS]
        told[name] = {"adapter": by_seed(adapters, folder), "works-best": by_seed(fulls, folder)}
    return told | {BOUND: {"adapter": by_seed([ladder.bound(seed) for seed in presets.LONG_SEEDS], folder)}}


def ladder_table(probes: Mapping[str, Mapping[str, Any]], folder: Path | None = None) -> pd.DataFrame:
    """The ladder as shown, from the weakest rung up.

    Args:
        probes: "rows" of results/backbones/probe.json.
        folder: See `by_seed`.

    Returns:
        A line per rung, and the upper bound: width, linear probe (of the bound: of the network trained on labels), mean
        mIoU and 95 % interval of the adapter and of works-best with their seeds, and the paired difference of both.
        `NO_RECORD` where nothing was run.
    """
    table = []
    for name, scores in climbed(folder).items():
        probe = probes.get(ladder.RUNGS.get(name, ladder.BOUND_PROBE))
        cells: list[object] = [name]
        cells += [NO_RECORD, NO_RECORD] if probe is None else [probe["width"], f"{probe['linear']['test_miou']:.1f}"]
        adapter, full = scores["adapter"], scores.get("works-best")
        cells += [_mean(adapter), len(adapter)]
        cells += ["", "", ""] if full is None else [_mean(full), len(full), _gap(full, adapter)]
        table.append(cells)
    return pd.DataFrame(table, columns=list(COLUMNS))


# What corrects the 2D features on every rung: works-best's modules, each of them alone, and all with other weights.
RAW, BY_GRADIENT = "all<br>three", "all,<br>by<br>gradient"  # columns of a heat map: short lines
CORRECTIONS: dict[str, Callable[[str, int], ExperimentConfig]] = {
    RAW: ladder.rung,
    **{f"{module.upper()}<br>alone": functools.partial(ladder.rung, modules=(module,)) for module in MODULES},
    BY_GRADIENT: ladder.balanced,
    "IIRC,<br>by<br>gradient": functools.partial(ladder.balanced, modules=("iirc",)),
}


def module_gaps(folder: Path | None = None) -> tuple[dict[tuple[str, str], np.ndarray], list[tuple[str, str]]]:
    """What the modules add to the adapter on every rung.

    Args:
        folder: See `by_seed`.

    Returns:
        By (rung, key of `CORRECTIONS`): points of mIoU, float [seeds that both have]; and the cells of which most
        trainings had converged, the adapter's too.
    """
    gaps, settled = {}, []
    for name in ladder.RUNGS:
        plain = find_all([ladder.rung(name, seed, ()) for seed in presets.LONG_SEEDS], folder)
        for title, row in CORRECTIONS.items():
            found = find_all([row(name, seed) for seed in presets.LONG_SEEDS], folder)
            gaps[name, title] = _paired(_by_seed(found), _by_seed(plain))
            if len(gaps[name, title]) and all(has_settled(frame(ran, edition="small")) for ran in (found, plain)):
                settled.append((name, title))
    return gaps, settled


def weights_story(gaps: Mapping[tuple[str, str], np.ndarray]) -> str:
    """Whether what the modules add hangs on the features or on the weights of the losses.

    Args:
        gaps: See `module_gaps`.

    Returns:
        Markdown: the least and the most that all three add on any rung, under both weights; empty where a rung was not
        run under one of them.
    """
    rows = {title: {rung: gaps[rung, title] for rung in ladder.RUNGS} for title in (RAW, BY_GRADIENT)}
    if not all(len(gap) for row in rows.values() for gap in row.values()):
        return ""
    ends = {}
    for title, row in rows.items():
        order = sorted(row, key=lambda rung: row[rung].mean())
        ends[title] = " to ".join(f"{estimate(row[rung]).text()} (on {rung})" for rung in (order[0], order[-1]))
    return (
        f"From rung to rung, all three add {ends[RAW]} points of mIoU with the raw λ, and {ends[BY_GRADIENT]} where "
        "each loss pulls as strongly as distillation does."
    )


def steps_up(folder: Path | None = None) -> pd.DataFrame:
    """What each step up the ladder is worth to the adapter.

    Args:
        folder: See `by_seed`.

    Returns:
        A line per two neighbouring rungs that were both run (a rung that was not is stepped over): `step`, the paired
        difference of `mIoU` with its interval, `seeds`, and whether the upper one is better.
    """
    told = {name: scores["adapter"] for name, scores in climbed(folder).items() if scores["adapter"]}
    found = [estimate(_paired(told[above], told[below])) for below, above in pairwise(told)]
    table = [
        (f"{above} minus {below}", gap.text(), gap.seeds, said)
        for (below, above), gap, said in zip(pairwise(told), found, verdicts(found)[0], strict=True)
    ]
    return pd.DataFrame(table, columns=["step", "mIoU", "seeds", "the upper rung is better"])


def freezing_rows() -> dict[str, list[ExperimentConfig]]:
    """What sets a fine-tuned network apart from the adapter on the frozen one: its schedule, and freezing (claim C1).

    Returns:
        The experiments of few seeds on the small edition by what they are, those of `cost_of_freezing` first.
    """
    seeds = presets.LONG_SEEDS
    adapter, full = [presets.adapter_only(seed) for seed in seeds], [presets.preset(seed=seed) for seed in seeds]
    return {
        "the adapter": adapter,
        "in whole rooms that are augmented, for as long as a network that is trained whole": _in_rooms(adapter),
        "that network fine-tuned": [presets.point_transformer(seed=seed) for seed in seeds],
        "the adapter in whole rooms for as long, not augmented": _in_rooms(adapter, augmented=False),
        "works-best": full,
        "works-best in whole rooms that are augmented": _in_rooms(full),
        "the adapter taught by labels": [ladder.bound(seed) for seed in seeds],
    }


def cost_of_freezing(folder: Path | None = None) -> str:
    """Tell the schedule from freezing.

    Args:
        folder: See `by_seed`.

    Returns:
        Markdown: a line for each of `freezing_rows` that was run, and the paired differences between the first three.
        Empty where one of these was not run.
    """
    scores = {name: by_seed(configs, folder) for name, configs in freezing_rows().items()}
    plain, still, tuned, _, full, full_still, _ = scores.values()
    if not (plain and still and tuned):
        return ""
    shown = [f"- {name}: {_mean(found)}, of {len(found)}" for name, found in scores.items() if found]
    schedule, freezing = (estimate(_paired(*pair)).text() for pair in ((still, plain), (tuned, still)))
    modules = ""
    if full and full_still:
        once, anew = (estimate(_paired(*pair)).text() for pair in ((full, plain), (full_still, still)))
        modules = (
            f"\nThe three modules add {once} to the adapter on features computed once, and {anew} in augmented rooms."
        )
    return "\n".join([
        "mIoU in %, small edition, OpenSeg-like, with 95 % intervals over the seeds, and of how many:", "", *shown, "",
        f"Whole, augmented rooms are worth {schedule} to the frozen network; freezing then costs it {freezing}. "
        "Where frozen features know far more than the 2D model tells, as in the paper's regime (chapter 15), this need "
        "not hold.",
        modules,
    ]).rstrip()  # fmt: skip


def _by_seed(found: Sequence[Record]) -> dict[int, float]:
    return {record.config.seed: record.scores().miou for record in found}


def _in_rooms(configs: Sequence[ExperimentConfig], *, augmented: bool = True) -> list[ExperimentConfig]:
    return [presets.in_whole_rooms(config, augmented=augmented) for config in configs]


def _paired(first: Mapping[int, float], second: Mapping[int, float]) -> np.ndarray:
    return np.array([first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())])


def _mean(scores: Mapping[int, float]) -> str:
    return mean_of(np.array(list(scores.values()))) or NO_RECORD


def _gap(first: Mapping[int, float], second: Mapping[int, float]) -> str:
    return mean_of(_paired(first, second), signed=True) or NO_RECORD
