"""The tests that would refute the paper's claims: which row must score higher, or lower, than which (chapter 08)."""

from collections.abc import Iterator
from typing import NamedTuple

from geoguide.benchmarks import NAMES, benchmark
from geoguide.datasets.config import Edition
from geoguide.experiments import ladder, presets, profiles, regime
from geoguide.experiments.facts import Facts, Row
from geoguide.experiments.real_rooms import LEARNED
from geoguide.experiments.records import KEPT, SCORE
from geoguide.method.objective import MODULES
from geoguide.pipeline.convergence import LONGER
from geoguide.report import cross_domain as transfer
from geoguide.report import dose_response as doses
from geoguide.report import long_tail, quality
from geoguide.report.claims import gain as paper_gain
from geoguide.report.evidence import Side
from geoguide.report.labels import PLACES, row_label
from geoguide.report.rows import (
    ADAPTER,
    ENTIRE,
    FULL,
    FUSION,
    POOLED,
    SCRATCH,
    SLOW_GGSD,
    STILL,
    TUNED,
    geoguide,
    longer_rows,
    route,
    system,
)
from geoguide.report.tables import LIKE_OPENSEG, METRICS

SEEDS, WORLDS = "seeds", "worlds"  # what is drawn anew: the trainings in one world; or rooms and 2D model as well
HERE = route("scannet") | {"measure": SCORE, "changed": (), "over": SEEDS}
BOTH, MIOU = tuple(METRICS), ("mIoU",)
SHORT = "all three together beat the adapter alone"
LONG = f"{SHORT}, both trained for {LONGER} times as long"
LONG_WITHOUT = f"removing IIRC lowers the scores (works-best, both trained for {LONGER} times as long)"
FEW = f"{SHORT} (few rooms)"
ANEW = f"{SHORT}, both in whole rooms that are augmented"
EQUALLY = "the same network frozen {} it fine-tuned, by equal batches and steps"  # of C1: freezing and nothing else
SLOW = "beats GGSD's objective on the same frozen backbone, its teacher following slowly (scannet)"
TOGETHER = "of every two rows of the ablation, the one with more mIoU has more mAcc"  # of C6: see `ledger.together`
PAIRS = "pairs of rows"


class ClaimTest(NamedTuple):
    """One test of a claim: does the first row score higher than the second, or lower?

    Attributes:
        claim: C1 to C12.
        first: Facts of a row.
        second: Facts of the row that is subtracted from it.
        what: What the claim says of them, in words.
        says: On which side of `least` the claim has the difference.
        least: In points.
        metrics: Of which the claim speaks.
        aside: Whether it is shown beside the claim, because the paper does not say so, and does not decide on it.
    """

    claim: str
    first: Row
    second: Row
    what: str
    says: Side = "higher"
    least: float = 0.0
    metrics: tuple[str, ...] = MIOU
    aside: bool = False


def own_models(edition: Edition) -> dict[str, str]:
    """The 2D model of each benchmark's tables.

    Args:
        edition: Of the generated scenes.

    Returns:
        Its name, as `Facts.teacher` has it, by benchmark.
    """
    return {**dict.fromkeys(NAMES, presets.DEFAULT_TEACHER), **(regime.MODELS if edition == "large" else {})}


def _models(edition: Edition) -> tuple[str, ...]:
    """The 2D models of rooms under which claims are tested; on the large edition the tables' own comes first."""
    own = own_models(edition)["scannet"]
    return (own, *regime.OTHER_MODELS) if edition == "large" else presets.CHAPTER_TEACHERS


def _of_freezing(edition: Edition) -> Iterator[ClaimTest]:
    """C1 and C12; of SAS's features the paper's C1 says nothing."""
    for teacher in (name for name in _models(edition) if f"mini:{name}" != regime.SAS):
        like_openseg = teacher in LIKE_OPENSEG
        says: Side = "higher" if like_openseg else "lower"
        beats, metrics = "beats" if like_openseg else "does not beat", BOTH if like_openseg else MIOU
        for whole in (ENTIRE, SCRATCH):
            first, second = (row | HERE | {"teacher": teacher} for row in (ADAPTER, whole))
            what = f"the frozen backbone {beats} {row_label(whole)} ({teacher})"
            yield ClaimTest("C1", first, second, what, says, metrics=metrics, aside=whole != ENTIRE)
        # The adapter itself differs from the fine-tuned network in batches and augmentation too: that is no test of C1.
        first, second = (row | HERE | {"teacher": teacher} for row in (STILL, TUNED))
        yield ClaimTest("C1", first, second, f"{EQUALLY.format(beats)} ({teacher})", says, metrics=metrics, aside=True)
    rooms = HERE | {"teacher": own_models(edition)["scannet"]}
    for name in regime.OTHER_BACKBONES if edition == "large" else (*presets.OTHER_BACKBONES, ladder.TENTH):
        first, second = ADAPTER | rooms, ADAPTER | rooms | {"backbone": name}
        aside = name not in ladder.WEAKER  # of others the paper does not say which knows more
        yield ClaimTest("C12", first, second, f"the pretrained backbone beats {name}", aside=aside)


def _of_modules(edition: Edition) -> Iterator[ClaimTest]:
    """C3, C4 and C6."""
    rooms = HERE | {"teacher": own_models(edition)["scannet"]}
    full, adapter = FULL | rooms, ADAPTER | rooms
    for variant in reversed(presets.CHAPTER_PRESETS):
        for module in MODULES:
            first, second = (geoguide(variant, drop) | rooms for drop in (module, "none"))
            what = f"removing {module.upper()} lowers the scores ({variant})"
            yield ClaimTest("C3", first, second, what, "lower", metrics=BOTH, aside=variant != FULL["preset"])
    yield ClaimTest("C3", full, adapter, SHORT)
    if edition == "large":
        adapter_long, full_long, without_long = (rooms | row for row in longer_rows().values())
        yield ClaimTest("C3", full_long, adapter_long, LONG, metrics=BOTH, aside=True)
        yield ClaimTest("C3", without_long, full_long, LONG_WITHOUT, "lower", metrics=BOTH, aside=True)
    anew = {"over": WORLDS}
    for module in MODULES if edition == "small" else ():
        first, second = (geoguide("works-best", drop) | rooms | anew for drop in (module, "none"))
        yield ClaimTest(
            "C3", first, second, f"removing {module.upper()} lowers the scores (worlds drawn anew)", "lower"
        )
    if edition == "small":
        changed = Facts.of(presets.in_whole_rooms(presets.preset())).changed
        still = STILL | rooms
        yield ClaimTest("C3", still | {"changed": changed}, still, ANEW, metrics=BOTH, aside=True)
        yield ClaimTest("C3", full | anew, adapter | anew, "all three beat the adapter alone (worlds drawn anew)")
    yield ClaimTest("C3", full, POOLED | rooms, "all three together beat plain superpoint pooling", aside=True)
    alone = full | {"modules": ("usd",)}
    yield ClaimTest("C3", alone, POOLED | rooms, "USD's learned weights beat the plain superpoint mean", aside=True)
    for dataset, model in own_models(edition).items():
        at = HERE | route(dataset) | {"label_set": benchmark(dataset).label_set, "teacher": model}
        what = f"with all three the student beats 2D fusion, which it learns from ({dataset})"
        yield ClaimTest("C3", FULL | at, FUSION | at, what, aside=True)
        if dataset != NAMES[0]:
            yield ClaimTest("C3", FULL | at, ADAPTER | at, f"all three beat the adapter alone ({dataset})", aside=True)
    for module in MODULES:
        alone = full | {"modules": (module,)}
        yield ClaimTest("C4", alone, full, f"{module.upper()} alone scores lower than all three", "lower")
        yield ClaimTest("C4", alone, adapter, f"{module.upper()} alone beats the adapter alone", aside=True)
    yield ClaimTest("C6", full, adapter, "all three beat the adapter alone in mAcc too", metrics=("mAcc",))


def _of_regions_and_controls(edition: Edition) -> Iterator[ClaimTest]:
    """C11; beside C3 and C4, works-best without a part of its own, and few rooms; all on the large edition alone."""
    if edition != "large":
        return
    rooms = HERE | {"teacher": own_models(edition)["scannet"]}
    full = FULL | rooms
    for told, changes in regime.CONTROLS.items():
        changed = Facts.of(regime.in_regime(presets.preset(edition=edition).replace(**changes))).changed
        given = told.startswith("true ") or told in LEARNED  # what the method is given, and not what is taken from it
        what = f"{told}: {'higher' if given else 'lower'} scores"
        first, second = full | {"changed": changed}, full
        yield ClaimTest("C11" if given else "C3", first, second, what, "higher" if given else "lower", aside=not given)
    for better, worse in (*quality.CONTRASTS, quality.ALIKE):
        first, second = (rooms | quality.row_of(variant) for variant in (better, worse))
        aside = (better, worse) == quality.ALIKE
        yield ClaimTest("C11", first, second, f"{better} beat {worse} (few rooms)", aside=aside)
    adapter = rooms | quality.adapter_row()
    yield ClaimTest("C3", rooms | quality.row_of(quality.OURS), adapter, FEW, metrics=BOTH, aside=True)
    for module, taken in profiles.ALONE_QUALITY.items():
        for better, worse in (pair for pair in quality.CONTRASTS if {*pair} <= {*taken}):
            first, second = (rooms | quality.row_of(variant, module) for variant in (better, worse))
            what = f"{module.upper()} alone: {better} beat {worse} (few rooms)"
            of_superpoints = worse.startswith(
                "superpoints"
            )  # on which the claim has USD depend, and the others on masks
            yield ClaimTest("C11", first, second, what, aside=of_superpoints != (module == "usd"))
        what = f"{module.upper()} alone beats the adapter alone (few rooms)"
        yield ClaimTest("C4", rooms | quality.row_of(quality.OURS, module), adapter, what, aside=True)


def _of_faults(edition: Edition) -> Iterator[ClaimTest]:
    """C4: each module alone against faults of its own, which few rooms of the large edition have one at a time."""
    for dose in doses.doses() if edition == "large" else ():
        fault, _, level = dose.partition(", ")
        module = doses.OWN_MODULE.get(fault, "all modules")  # without any fault there is nothing to correct
        what = f"{module} alone beats the adapter under {fault}, a fault of its own ({level}, few rooms)"
        first, second = (HERE | doses.row_of(dose, row) for row in (module, None))
        none = "all three beat the adapter under a 2D model without faults (few rooms)"
        yield ClaimTest("C4", first, second, what if level else none, aside=not level)


def _of_others(edition: Edition) -> Iterator[ClaimTest]:
    """C2, C5, C9: against OpenScene's network and the other systems, under several 2D models."""
    own, models = own_models(edition), _models(edition)
    for dataset in NAMES:
        at = HERE | route(dataset) | {"label_set": benchmark(dataset).label_set, "teacher": own[dataset]}
        yield ClaimTest("C2", FULL | at, ENTIRE | at, f"beats OpenScene's network ({dataset})")
        for name in presets.SYSTEMS:
            asked = name.startswith("SAS")  # with GGSD and DMA the paper compares elsewhere
            yield ClaimTest("C2", FULL | at, system(name) | at, f"beats {name} ({dataset})", aside=not asked)
            what = f"beats {name}'s objective on the same frozen backbone ({dataset})"
            yield ClaimTest("C2", FULL | at, system(name, frozen=True) | at, what, aside=True)
    if edition == "large":
        at = HERE | {"label_set": benchmark("scannet").label_set, "teacher": own["scannet"]}
        yield ClaimTest("C2", FULL | at, at | SLOW_GGSD, SLOW, aside=True)
    for teacher in models:
        for other, what in ((ENTIRE, "OpenScene's network"), (ADAPTER, "the adapter alone")):
            first, second = (row | HERE | {"teacher": teacher} for row in (FULL, other))
            yield ClaimTest("C5", first, second, f"the gain over {what} holds ({teacher})")
    teacher = next(name for name in models if name in LIKE_OPENSEG)
    gain = paper_gain("scannet_openseg", "full", "entire network", "miou")
    first, second = (row | HERE | {"teacher": teacher} for row in (FULL, ENTIRE))
    what = f"gains at least the paper's {gain:+.1f} over OpenScene's network (its size; the sign is C2's test)"
    yield ClaimTest("C9", first, second, what, least=gain)


def _of_long_tail(edition: Edition) -> Iterator[ClaimTest]:
    """C7: by number of classes, on houses."""
    without = geoguide("works-best", "iirc")
    at = HERE | route("matterport3d") | {"teacher": own_models(edition)["matterport3d"]}
    for size, label_set in long_tail.SIZES.items():
        at = at | {"label_set": label_set}
        yield ClaimTest("C7", FULL | at, ENTIRE | at, f"leads OpenScene's network (K = {size})")
        yield ClaimTest("C7", FULL | at, system("DMA") | at, f"leads DMA (K = {size})")
        what = f"leads DMA's objective on the same frozen backbone (K = {size})"
        yield ClaimTest("C7", FULL | at, system("DMA", frozen=True) | at, what, aside=True)
        yield ClaimTest("C7", without | at, FULL | at, f"removing IIRC lowers the score (K = {size})", "lower")
    at = at | {"measure": KEPT}  # on the largest label set
    yield ClaimTest("C7", FULL | at, ENTIRE | at, "degrades less than OpenScene's network (share kept)")
    yield ClaimTest("C7", without | at, FULL | at, "without IIRC it degrades more (share kept)", "lower")


def _of_places() -> Iterator[ClaimTest]:
    """C10: facts of lines of `cross_domain.claim_lines`."""
    home, *away = PLACES  # trained in rooms; tested there, in houses and on streets
    houses, streets = ({"tested_on": dataset} for dataset in away)
    moved, kept = ({"trained_on": home, "measure": measure, "over": SEEDS} for measure in (SCORE, KEPT))
    there = route(away[1]) | {"measure": SCORE, "over": SEEDS}
    beaten, away_full = FULL | moved | streets, FULL | moved | houses
    yield ClaimTest("C10", away_full, transfer.FLOOR | houses, "from rooms to houses: beats the floor")
    yield ClaimTest("C10", FULL | there, beaten, "on streets, training there beats training in rooms")
    what = "more of the score is kept in houses than on streets"
    yield ClaimTest("C10", FULL | kept | houses, FULL | kept | streets, what)
    what = "from rooms to houses: works-best beats the adapter"
    yield ClaimTest("C10", away_full, ADAPTER | moved | houses, what, aside=True)
    yield ClaimTest("C10", beaten, transfer.FLOOR | streets, "from rooms to streets: beats the floor", aside=True)


def claim_tests(edition: Edition) -> list[ClaimTest]:
    """Every test of a claim by two rows, whether these were run or not.

    Args:
        edition: Of the generated scenes.

    Returns:
        The tests, those that decide on a claim before those aside.
    """
    parts = (_of_freezing, _of_modules, _of_regions_and_controls, _of_faults, _of_others, _of_long_tail)
    every = [*(test for part in parts for test in part(edition)), *_of_places()]
    return sorted(every, key=lambda test: test.aside)
