"""The claims ledger: every claim as differences of two rows, each with its verdict (chapter 08)."""

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from geoguide.benchmarks import NAMES, benchmark
from geoguide.datasets.config import Edition
from geoguide.experiments import presets, regime
from geoguide.experiments.facts import Row
from geoguide.experiments.profiles import cross_domain
from geoguide.experiments.records import KEPT, SCORE, find_all, frame, only, pick, read_all
from geoguide.method.objective import MODULES
from geoguide.report import cross_domain as transfer
from geoguide.report import long_tail, tables
from geoguide.report.labels import row_label
from geoguide.report.rows import ADAPTER, ENTIRE, FULL, POOLED, WHOLE, geoguide, route

HERE = route("scannet") | {"measure": SCORE}
COLUMNS = ("claim", "what", "edition", "metric", "seeds", "verdict", "difference")


class ClaimTest(NamedTuple):
    """One test of a claim: does the first row score higher than the second?

    Attributes:
        claim: C1 to C12.
        better: Facts of the row that should.
        worse: Facts of the other.
        what: The test in words.
    """

    claim: str
    better: Row
    worse: Row
    what: str


def own_models(edition: Edition) -> dict[str, str]:
    """The 2D model of each benchmark's tables.

    Args:
        edition: Of the generated scenes.

    Returns:
        Its name, as `Facts.teacher` has it, by benchmark.
    """
    return {**dict.fromkeys(NAMES, presets.DEFAULT_TEACHER), **(regime.MODELS if edition == "large" else {})}


def ledger_lines(edition: Edition) -> pd.DataFrame:
    """All scores that a claim may be tested by.

    Args:
        edition: Of the generated scenes.

    Returns:
        As `records.frame`: plain rows trained and tested in one place, those between places, and of houses the scores
        by number of classes, with the share of the score that is kept.
    """
    at_home = pick(read_all(), {"plain": True, "data": "mini", "edition": edition})
    usual = pick(at_home, {"teacher": frozenset(own_models(edition).values())})
    parts = [frame(at_home, edition=edition)]
    if moved := [*find_all(cross_domain(edition)), *usual]:
        parts.append(transfer.claim_lines(moved, edition))
    if houses := pick(usual, {"tested_on": "matterport3d"}):
        sizes = long_tail.by_size(houses, edition)
        parts += [sizes, long_tail.share_kept(sizes)]
    lines = pd.concat(parts, ignore_index=True)
    return lines.drop_duplicates(["id", "tested_on", "label_set", "measure"])


def _models(edition: Edition) -> tuple[str, ...]:
    """The 2D models of rooms under which claims are tested; on the large edition the tables' own comes first."""
    own = own_models(edition)["scannet"]
    return (own, *regime.OTHER_MODELS) if edition == "large" else presets.CHAPTER_TEACHERS


def _of_rooms(edition: Edition) -> Iterator[ClaimTest]:
    """C1, C3, C4 and C12."""
    rooms = HERE | {"teacher": own_models(edition)["scannet"]}
    for teacher in _models(edition):
        for whole in WHOLE:
            pair = [row | HERE | {"teacher": teacher} for row in (ADAPTER, whole)]
            yield ClaimTest(
                "C1", *pair, f"frozen backbone + adapter beats {row_label(whole)}, trained whole ({teacher})"
            )
    for name in regime.OTHER_BACKBONES if edition == "large" else presets.OTHER_BACKBONES:
        pair = [ADAPTER | rooms, ADAPTER | rooms | {"backbone": name}]
        yield ClaimTest("C12", *pair, f"the pretrained mini backbone beats {name}")
    for variant in presets.CHAPTER_PRESETS:
        for module in MODULES:
            pair = [geoguide(variant, drop) | rooms for drop in ("none", module)]
            yield ClaimTest("C3", *pair, f"removing {module.upper()} lowers the scores ({variant})")
    full, adapter = FULL | rooms, ADAPTER | rooms
    yield ClaimTest("C3", full, adapter, "all three together beat the adapter alone")
    for module in MODULES:
        alone = full | {"modules": (module,)}
        yield ClaimTest("C3", alone, adapter, f"{module.upper()} alone beats the adapter alone")
        yield ClaimTest("C4", full, alone, f"all three beat {module.upper()} alone")
    yield ClaimTest("C3", full, POOLED | rooms, "all three together beat plain superpoint pooling")


def _of_others(edition: Edition) -> Iterator[ClaimTest]:
    """C2, C5, C9: against OpenScene's network, under several 2D models."""
    own, models = own_models(edition), _models(edition)
    for dataset in NAMES:
        at = HERE | route(dataset) | {"label_set": benchmark(dataset).label_set, "teacher": own[dataset]}
        yield ClaimTest("C2", FULL | at, ENTIRE | at, f"beats OpenScene's network ({dataset})")
    for teacher in models:
        for other, what in ((ENTIRE, "OpenScene's network"), (ADAPTER, "the adapter alone")):
            pair = [row | HERE | {"teacher": teacher} for row in (FULL, other)]
            yield ClaimTest("C5", *pair, f"the gain over {what} holds ({teacher})")
    pair = [row | HERE | {"teacher": models[1] if edition == "large" else models[0]} for row in (FULL, ENTIRE)]
    yield ClaimTest("C9", *pair, "gains over OpenScene on ScanNet with OpenSeg features (the sign)")


def _of_long_tail(edition: Edition) -> Iterator[ClaimTest]:
    """C7: by number of classes, on houses."""
    without = geoguide("works-best", "iirc")
    at = HERE | route("matterport3d") | {"teacher": own_models(edition)["matterport3d"]}
    for size, label_set in long_tail.SIZES.items():
        at = at | {"label_set": label_set}
        yield ClaimTest("C7", FULL | at, ENTIRE | at, f"leads OpenScene's network (K = {size})")
        yield ClaimTest("C7", FULL | at, without | at, f"IIRC helps (K = {size})")
    at = at | {"measure": KEPT}  # on the largest label set
    yield ClaimTest("C7", FULL | at, ENTIRE | at, "degrades less than OpenScene's network (share kept)")
    yield ClaimTest("C7", FULL | at, without | at, "IIRC slows the degradation (share kept)")


def claim_tests(edition: Edition) -> list[ClaimTest]:
    """Every test of a claim, whether its rows were run or not.

    Args:
        edition: Of the generated scenes.

    Returns:
        The tests.
    """
    moved = [ClaimTest("C10", better, worse, what) for better, worse, what in transfer.CLAIMS]
    return [*_of_rooms(edition), *_of_others(edition), *_of_long_tail(edition), *moved]


def ledger(lines: pd.DataFrame, edition: Edition, confidence: float = 0.95) -> pd.DataFrame:
    """The tests whose rows were run, with their verdicts.

    Args:
        lines: Of `ledger_lines`.
        edition: Of the generated scenes.
        confidence: Of the intervals.

    Returns:
        Two lines (mIoU, mAcc) per test, by claim: `COLUMNS`.
    """
    rows = []
    for test in claim_tests(edition):
        if all(len(only(lines, row)) for row in (test.better, test.worse)):
            told = tables.differences(lines, test.better, [test.worse], confidence)
            told = told.rename(columns={"the row scores higher": "verdict"})
            rows.append(told.assign(claim=test.claim, what=test.what, edition=edition))
    if not rows:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(rows, ignore_index=True)[list(COLUMNS)]


def by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of ledgers in the order of the claims.

    Args:
        table: One or more ledgers below each other.

    Returns:
        The same lines; within a claim in the order that they had.
    """
    return table.sort_values("claim", key=lambda names: names.str[1:].astype(int), kind="stable")
