"""The claims ledger: every claim's tests with their verdicts (chapter 08).

A verdict is about a claim, and is given here alone: other chapters show differences, and quote the ledger
(`ledger_page.story`).
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pandas as pd
from scipy import stats

from geoguide.datasets.config import Edition
from geoguide.experiments import profiles, regime
from geoguide.experiments.records import SCORE, Record, frame, only, pick, read_all
from geoguide.frozen import config_hash
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import cross_domain as transfer
from geoguide.report import evidence, long_tail
from geoguide.report.claim_tests import HERE, SEEDS, TOGETHER, WORLDS, ClaimTest, claim_tests, own_models
from geoguide.report.claims import CLAIMS
from geoguide.report.evidence import Estimate, Side
from geoguide.report.labels import row_label
from geoguide.report.rows import ABLATION
from geoguide.report.scene_bootstrap import keeps_scenes, two_level
from geoguide.report.tables import METRICS
from geoguide.report.worlds import world_lines

EDITIONS: tuple[Edition, ...] = ("large", "small")
COLUMNS = ("claim", "verdict", "test", "difference", "metric", "over", "p", "edition", "of", "says", "aside")
NAMED = tuple(claim.name for claim in CLAIMS)
DRAWS = 2000  # of scenes, for a standard error: it then varies by 2 % from seed to seed


def ledger_lines(edition: Edition, found: Sequence[Record] | None = None) -> pd.DataFrame:
    """All scores that a claim may be tested by.

    Args:
        edition: Of the generated scenes.
        found: Records; None for all that there are.

    Returns:
        As `records.frame`: plain rows trained and tested in one place, those between places, and of houses the scores
        by number of classes, with the share of the score that is kept; on the large edition the controls, and few rooms
        with regions of other quality or faults of the 2D model; on the small one works-best in whole rooms. `over` says
        what is drawn anew from line to line: with "worlds" the `seed` is that of rooms, 2D model and training.
    """
    found = read_all() if found is None else found
    at_home = pick(found, {"plain": True, "data": "mini", "edition": edition})
    usual = pick(at_home, {"teacher": frozenset(own_models(edition).values())})
    parts = [frame(at_home, edition=edition)]
    few = (regime.ablation, regime.longer, profiles.quality, profiles.dose_response)
    asked = map(_hashes, few if edition == "large" else (profiles.whole_rooms,))
    if controls := pick(_among(found, *asked), {"plain": False}):
        parts.append(frame(controls, edition=edition))
    if moved := [*_among(found, _hashes(profiles.cross_domain, edition)), *usual]:
        parts.append(transfer.claim_lines(moved, edition))
    if houses := pick(usual, {"tested_on": "matterport3d"}):
        sizes = long_tail.by_size(houses, edition)
        parts += [sizes, long_tail.share_kept(sizes)]
    lines = pd.concat(parts, ignore_index=True)
    lines = lines.drop_duplicates(["id", "tested_on", "label_set", "measure"]).assign(over=SEEDS)
    if edition == "large":
        return lines
    anew = world_lines(_among(found, _hashes(profiles.ablation), _hashes(profiles.worlds))).assign(over=WORLDS)
    return pd.concat([lines, anew], ignore_index=True)


def _among(found: Sequence[Record], *asked: Sequence[str]) -> list[Record]:
    """Those of the records that have some ids, in the order of these."""
    held = {record.id: record for record in found}
    return [held[name] for names in asked for name in names if name in held]


@functools.cache
def _hashes(profile: Callable[..., list[ExperimentConfig]], *of: Edition) -> tuple[str, ...]:
    """The ids that the records of a profile have; kept, since it takes longer to make than to look through them."""
    return tuple(map(config_hash, profile(*of)))


def _difference(
    test: ClaimTest, first: pd.DataFrame, second: pd.DataFrame, metric: str, held: Mapping[str, Record]
) -> Estimate:
    """The difference of a test's rows, over seeds and, where both keep the counts of their scenes, over scenes too.

    `first` and `second` are the lines of its rows, `held` records by id; without any the interval is over seeds alone.
    """
    gap = evidence.gap_of(first, second, metric)
    mine, theirs = (  # by seed; those without a record (the floor) are left out
        {seed: held[name] for seed, name in zip(lines["seed"], lines["id"], strict=True) if name in held}
        for lines in (first, second)
    )
    still = evidence.trains_nothing(second)
    seeds = sorted(mine if still else mine.keys() & theirs.keys())
    scored = test.first.get("measure") == SCORE == test.second.get("measure") and test.first.get("over") == SEEDS
    label_set = test.first.get("label_set")
    pairs = [mine[seed] for seed in seeds], [*theirs.values()] if still else [theirs[seed] for seed in seeds]
    if not scored or len(seeds) != len(gap) or not all(pairs) or not keeps_scenes([*pairs[0], *pairs[1]], label_set):
        return evidence.estimate(gap)
    drawn = two_level(*pairs, label_set, "miou" if metric == "miou" else "macc", draws=DRAWS)
    return evidence.estimate(gap, drawn.scene_error, drawn.scenes)


def together(lines: pd.DataFrame, edition: Edition) -> Estimate:
    """How alike mIoU and mAcc rank the trained rows of the ablation (C6).

    Args:
        lines: See `ledger_lines`.
        edition: Of the generated scenes.

    Returns:
        Kendall's tau between the two, over the rows that had converged and have three seeds or more; a value for each
        seed that all of them have. Without three such rows nothing: no seed.
    """
    rooms = only(lines, HERE | {"teacher": own_models(edition)["scannet"]})
    parts = [only(rooms, row) for row in ABLATION if evidence.settled(rooms, row)]
    parts = [part for part in parts if part["converged"].notna().any() and len(part) >= evidence.LEAST_SEEDS]
    seeds = set.intersection(*({*part["seed"]} for part in parts)) if len(parts) > 2 else set()
    tables = [pd.concat([part[part["seed"] == seed] for part in parts]) for seed in sorted(seeds)]
    return evidence.estimate([stats.kendalltau(table["miou"], table["macc"]).statistic for table in tables])


def ledger(
    lines: pd.DataFrame,
    edition: Edition,
    found: Sequence[Record] = (),
    confidence: float = 0.95,
    claims: Collection[str] = NAMED,
) -> pd.DataFrame:
    """The tests whose rows were run, with their verdicts.

    Of one claim and edition the tests that decide on it are one family, and those aside another: `evidence.holm`
    corrects the p-values within each.

    Args:
        lines: Of `ledger_lines`.
        edition: Of the generated scenes.
        found: Records; where those of a test keep the counts of their scenes, its interval is over scenes too.
        confidence: Of the intervals.
        claims: Whose tests; those of the others change nothing in theirs, as they are of other families.

    Returns:
        A line per test and metric, by claim: `COLUMNS`. `difference` has the bounds of the interval, which are not
        corrected; `p` is.
    """
    held, parts = {record.id: record for record in found}, []
    lines = lines.copy()  # which puts columns of a type together: lines are then picked several times as fast

    @functools.cache  # tests share their rows
    def picked(row: frozenset[tuple[str, Any]]) -> tuple[pd.DataFrame, bool]:
        mine = only(lines, dict(row))
        return mine, evidence.has_settled(mine)

    for test in (test for test in claim_tests(edition) if test.claim in claims):
        (first, ready), (second, also) = (picked(frozenset(row.items())) for row in (test.first, test.second))
        if first.empty or second.empty:
            continue
        done = ready and also
        of = f"{row_label(test.first)} less {row_label(test.second)}"
        for metric in test.metrics:
            told = _difference(test, first, second, METRICS[metric], held)
            if told.seeds:
                parts.append((test, metric, of, told, done))
    if "C6" in claims and (ranks := together(lines, edition)).seeds:
        parts.append((ClaimTest("C6", {}, {}, TOGETHER), "both", "tau", ranks, True))
    rows = []
    for family in dict.fromkeys((test.claim, test.aside) for test, *_ in parts):
        mine = [part for part in parts if (part[0].claim, part[0].aside) == family]
        sides: list[Side] = [test.says for test, *_ in mine]
        nulls = [test.least for test, *_ in mine]
        told, corrected = evidence.verdicts(
            [part[3] for part in mine], sides, nulls, [part[4] for part in mine], confidence
        )
        for (test, metric, of, value, _), said, p in zip(mine, told, corrected, strict=True):
            rows.append({
                "claim": test.claim, "verdict": said, "test": test.what, "difference": value.text(confidence),
                "metric": metric, "over": _over(test, value), "p": p, "edition": edition, "of": of,
                "says": f"{test.says} than {test.least:g}", "aside": test.aside,
            })  # fmt: skip
    return by_claim(pd.DataFrame(rows, columns=list(COLUMNS)))


def _over(test: ClaimTest, found: Estimate) -> str:
    """What an interval is over: '5 seeds', '5 seeds x 100 scenes', '3 worlds'."""
    drawn = f"{found.seeds} {'worlds' if test.first.get('over') == WORLDS else 'seeds'}"
    if found.seeds == 1:
        return drawn.removesuffix("s")
    return f"{drawn} x {found.scenes} scenes" if found.scenes else drawn


def verdicts(
    editions: Sequence[Edition] = EDITIONS, confidence: float = 0.95, claims: Collection[str] = NAMED
) -> pd.DataFrame:
    """The ledger of all committed records.

    Args:
        editions: Of the generated scenes.
        confidence: Of the intervals.
        claims: See `ledger`.

    Returns:
        See `ledger`; the editions' lines stand below each other within a claim.
    """
    found = read_all()
    parts = [ledger(ledger_lines(edition, found), edition, found, confidence, claims) for edition in editions]
    parts = [part for part in parts if len(part)] or parts[:1]  # an empty one would take the columns' types away
    return by_claim(pd.concat(parts, ignore_index=True))


def by_claim(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of ledgers in the order of the claims.

    Args:
        table: One or more ledgers below each other.

    Returns:
        The same lines; within a claim in the order that they had.
    """
    return table.sort_values("claim", key=lambda names: names.str[1:].astype(int), kind="stable", ignore_index=True)
