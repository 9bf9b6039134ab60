"""The claims ledger: every claim's tests with their verdicts (chapter 08).

A verdict is about a claim, and is given here alone: other chapters show differences, and quote the ledger
(`ledger_page.story`).
"""

import functools
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from geoguide.benchmarks import NAMES, benchmark
from geoguide.datasets.config import Edition
from geoguide.errors import check_known
from geoguide.experiments import profiles, regime
from geoguide.experiments.records import SCORE, Record, frame, only, pick, planned, read_all
from geoguide.frozen import config_hash
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import cross_domain as transfer
from geoguide.report import evidence, long_tail
from geoguide.report.claim_tests import HERE, PAIRS, SEEDS, TOGETHER, WORLDS, ClaimTest, claim_tests, own_models
from geoguide.report.claims import CLAIMS
from geoguide.report.evidence import CONTRADICTED, SUPPORTED, UNDECIDED, Estimate, Side
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
        found: Records, of which those that no profile has are left out; None for all that there are.

    Returns:
        As `records.frame`: plain rows trained and tested in one place, those between places, and of houses the scores
        by number of classes, with the share of the score that is kept; on the large edition the controls, GGSD by
        another rate, and few rooms with regions of other quality or faults of the 2D model; on the small one works-best
        in whole rooms. `over` says what is drawn anew from line to line: with "worlds" the `seed` is that of rooms, 2D
        model and training.
    """
    found = planned(read_all() if found is None else found)
    at_home = pick(found, {"plain": True, "data": "mini", "edition": edition})
    usual = pick(at_home, {"teacher": frozenset(own_models(edition).values())})
    parts = [frame(at_home, edition=edition)]
    more = (regime.ablation, regime.longer, regime.systems, profiles.quality, profiles.dose_response)
    asked = map(_hashes, more if edition == "large" else (profiles.whole_rooms,))
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


def together(
    lines: pd.DataFrame, edition: Edition, held: Mapping[str, Record] | None = None, confidence: float = 0.95
) -> dict[str, Any] | None:
    """Whether, of two trained rows of the ablation, the one with more mIoU has less mAcc: what would refute C6.

    A pair is decided where both of its differences are: its p-value is the greater of the two (an intersection-union
    test; Berger, 1982, Technometrics 24), and `evidence.holm` corrects it for the number of pairs. The pairs are a
    family of their own. The rows are fixed: trainings and scenes are samples, and of other rows nothing is said.

    Args:
        lines: See `ledger_lines`.
        edition: Of the generated scenes.
        held: Records by id; where those of a pair keep the counts of their scenes, it is judged over scenes too.
        confidence: Below a p-value of 1 less this a pair is decided.

    Returns:
        A line of `COLUMNS`, over the rows that had converged and have three seeds or more: 'contradicted' where a pair
        is decided with opposite signs, 'supported' where all are decided with the same, else 'undecided'. It counts the
        pairs; Kendall's tau, the mean over the seeds that all rows have, describes them and decides nothing. None
        without two such rows.
    """
    rooms = HERE | {"teacher": own_models(edition)["scannet"]}
    rows = [(row | rooms, only(lines, row | rooms)) for row in ABLATION]
    rows = [(row, part) for row, part in rows if part["converged"].notna().any() and evidence.has_settled(part)]
    rows = [(row, part) for row, part in rows if len(part) >= evidence.LEAST_SEEDS]
    pairs: list[tuple[str, Estimate, Estimate]] = []
    for (row, part), (other, theirs) in itertools.combinations(rows, 2):
        test = ClaimTest("C6", row, other, TOGETHER)
        miou, macc = (_difference(test, part, theirs, metric, held or {}) for metric in METRICS.values())
        if min(miou.seeds, macc.seeds) >= evidence.LEAST_SEEDS:
            pairs.append((f"{row_label(row)} less {row_label(other)}", miou, macc))
    if not pairs:
        return None
    p = evidence.holm([max(miou.p_value(), macc.p_value()) for _, miou, macc in pairs])
    opposite = np.array([miou.mean * macc.mean < 0 for _, miou, macc in pairs])
    decided = p < 1 - confidence
    against = decided & opposite
    verdict = CONTRADICTED if against.any() else SUPPORTED if decided.all() else UNDECIDED
    one = int(np.where(against, p, np.inf).argmin()) if against.any() else int(p.argmax())  # that it hangs on
    told = f"{int((decided & ~opposite).sum())} of {len(pairs)} pairs alike, {int(against.sum())} opposite"
    seeds = set.intersection(*({*part["seed"]} for _, part in rows))
    tables = [pd.concat([part[part["seed"] == seed] for _, part in rows]) for seed in sorted(seeds)]
    if tables:
        tau = np.mean([stats.kendalltau(table["miou"], table["macc"]).statistic for table in tables])
        told += f", the others undecided; tau {tau:+z.2f}"
    counts = sorted({found.seeds for _, *both in pairs for found in both})
    over = f"{' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))} seeds"
    return {
        "claim": "C6", "verdict": verdict, "test": TOGETHER, "difference": told, "metric": "both", "over": over,
        "p": float(p[one]), "edition": edition, "of": pairs[one][0] if against.any() else PAIRS,
        "says": "the same sign in every pair", "aside": False,
    }  # fmt: skip


def ledger(
    lines: pd.DataFrame,
    edition: Edition,
    found: Sequence[Record] = (),
    confidence: float = 0.95,
    claims: Collection[str] = NAMED,
) -> pd.DataFrame:
    """The tests whose rows were run, with their verdicts.

    Of one claim and edition the tests that decide on it are one family, and those aside another: `evidence.holm`
    corrects the p-values within each. The pairs of rows of C6 are a family too (`together`).

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
    if "C6" in claims and (pairs := together(lines, edition, held, confidence)) is not None:
        rows.append(pairs)
    return by_claim(pd.DataFrame(rows, columns=list(COLUMNS)))


def _over(test: ClaimTest, found: Estimate) -> str:
    """What an interval is over: '5 seeds', '5 seeds x 100 rooms', '3 worlds'."""
    drawn = f"{found.seeds} {'worlds' if test.first.get('over') == WORLDS else 'seeds'}"
    if found.seeds == 1:
        return drawn.removesuffix("s")
    unit = benchmark(test.first.get("tested_on", NAMES[0])).world.unit
    return f"{drawn} x {found.scenes} {unit}" if found.scenes else drawn


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

    Raises:
        ConfigError: Another edition.
        InputError: A confidence that is none.
    """
    evidence.check_confidence(confidence)
    for edition in editions:
        check_known("edition", edition, EDITIONS)
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
