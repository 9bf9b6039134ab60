"""The chapter on real scenes in sentences: what is decided, whether training was long enough, which class loses why."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from geoguide.datasets.config import Edition
from geoguide.experiments import real_rooms
from geoguide.experiments.records import Record
from geoguide.method.objective import MODULES
from geoguide.report.claim_tests import SHORT
from geoguide.report.evidence import CONTRADICTED, DECIDED, LEAST_SEEDS, SUPPORTED, UNDECIDED, estimate, holm
from geoguide.report.real_rooms import (
    ADAPTER,
    AUGMENTED,
    BY_GRADIENT,
    FULL,
    HIGHER,
    LEARNED,
    ORACLES,
    POOLED,
    STILL_FALLS,
    UNCHANGED,
    differences,
    fall_of,
    has_settled,
    iou_by_seed,
)

SAME, OPPOSITE = "same sign", "opposite sign"
LEVEL = 0.05  # of a corrected p-value: below it a class surely loses, and a module surely brings it back
# Whose settings a row has: the losses' weights of the small edition, or by gradient, of the large one.
GENERATED: dict[Edition, str] = {
    "small": "generated rooms, small edition, simulated 2D model",
    "large": "generated rooms, large edition, trained 2D model",
}
_OF_EDITION: dict[Edition, str] = {"small": FULL, "large": BY_GRADIENT}


def findings(lines: pd.DataFrame, scored: Sequence[str]) -> list[str]:
    """What the trained rows say, in sentences of a list.

    Args:
        lines: See `real_rooms.plain`.
        scored: The scenes.

    Returns:
        Lines of Markdown: one per difference that is decided, of the tables to the adapter and to the full method and
        of what by gradient has left out; then what is not decided of the questions asked first, by scene and reason.
    """
    without = {name: [f"{name}, no {module}" for module in MODULES] for name in (FULL, BY_GRADIENT)}
    asked = {
        ADAPTER: [FULL, "as-written", BY_GRADIENT],
        FULL: [*without[FULL], LEARNED, *ORACLES.values()],
        BY_GRADIENT: without[BY_GRADIENT],
    }
    decided: list[str] = []
    open_: dict[tuple[str, str], list[str]] = {}  # by verdict and scene
    for reference, rows in asked.items():
        table = differences(lines, reference)
        for line in table[table["scored"].isin(scored)].to_dict("records") if len(table) else ():
            row, scene, said, gap = (line[name] for name in ("row", "scored", HIGHER, f"mIoU less {reference}"))
            mirrored = reference in asked.get(row, ())  # the same pair, told from the other side
            if said in (SUPPORTED, CONTRADICTED) and (row in rows or (reference != BY_GRADIENT and not mirrored)):
                told = f"on {scene}, *{row}* scores higher than *{reference}*"
                decided.append(f"- **{said}**: {told} ({gap} points of mIoU, {line['seeds']} seeds).")
            elif row in rows and said not in (SUPPORTED, CONTRADICTED):
                open_.setdefault((said, scene), []).append(f"*{row}* than *{reference}* ({gap})")
    return decided + [
        f"- **{said}** on {scene}, whether one scores higher: {'; '.join(pairs)}."
        for (said, scene), pairs in open_.items()
    ]


def pooled_findings(lines: pd.DataFrame, teacher: str) -> list[str]:
    """What means over regions change without training, in a sentence.

    Args:
        lines: See `real_rooms.frame`; of the rows that train nothing.
        teacher: The 2D model, as `real_rooms.short` calls it.

    Returns:
        One line of Markdown.
    """
    means = lines[lines["teacher"] == teacher].groupby("row")["miou"].mean()
    plain_, superpoints, objects = (f"{means[name]:.1f}" for name in POOLED.values())
    return [
        f"- Without training, means over superpoints change 2D fusion from {plain_} to {superpoints}, means over true "
        f"objects to {objects}; part of both is that points which no camera sees get an answer."
    ]


def longer_findings(lines: pd.DataFrame) -> list[str]:
    """What twice the steps changed, for each row that was trained for both.

    Args:
        lines: See `real_rooms.frame`.

    Returns:
        A line of Markdown per scored scene.
    """
    keys = ["row", "teacher", "backbone", "learned from", "scored", "seed"]
    steps = real_rooms.STEPS, real_rooms.LONG * real_rooms.STEPS
    usual, longer = (lines[lines["steps"] == count].set_index(keys)["miou"] for count in steps)
    both = pd.DataFrame({"usual": usual, "longer": longer}).dropna().reset_index()
    told = []
    for scene, mine in both.groupby("scored"):
        means = mine.groupby("row")[["usual", "longer"]].mean()
        rows = [f"*{row}* from {one['usual']:.1f} to {one['longer']:.1f}" for row, one in means.iterrows()]
        count = mine["seed"].nunique()
        told.append(
            f"- {real_rooms.LONG} times the steps on {scene}, {count} seed{'s' * (count > 1)}: {', '.join(rows)}"
        )
        if {ADAPTER, FULL} <= set(means.index):
            gap = means.loc[FULL] - means.loc[ADAPTER]
            told[-1] += f"; *{FULL}* less *{ADAPTER}* from {gap['usual']:+.2f} to {gap['longer']:+.2f}"
        told[-1] += " points of mIoU."
    if told and both["seed"].nunique() < LEAST_SEEDS:
        told.append("- So few seeds decide nothing, and do not show that the usual number of steps was enough.")
    return told or ["- No row was trained for longer."]


def augmented_findings(lines: pd.DataFrame) -> list[str]:
    """What it changed that the network read the room augmented, in every step, for each row that has both.

    Args:
        lines: See `real_rooms.frame`.

    Returns:
        A line of Markdown per scored scene.
    """
    plain_of = {anew: row for row, anew in AUGMENTED.items()}
    keys = ["row", "teacher", "backbone", "learned from", "steps", "scored", "seed"]
    anew = lines[lines["row"].isin(plain_of)].assign(row=lambda found: found["row"].map(plain_of))
    usual, fresh = (some.set_index(keys)["miou"] for some in (lines[lines["row"].isin(AUGMENTED)], anew))
    both = pd.DataFrame({"usual": usual, "fresh": fresh}).dropna().reset_index()
    told = []
    for scene, mine in both.groupby("scored"):
        rows = []
        for row, here in mine.groupby("row"):
            gap = estimate(here["fresh"] - here["usual"])
            rows.append(f"*{row}* from {here['usual'].mean():.1f} to {here['fresh'].mean():.1f} ({gap.text()})")
        told.append(f"- The room augmented and read anew in every step, scored on {scene}: {', '.join(rows)}.")
        fresh_of = mine.pivot_table(index="seed", columns="row", values="fresh")
        if {ADAPTER, FULL} <= set(fresh_of):
            gap = estimate((fresh_of[FULL] - fresh_of[ADAPTER]).dropna())
            told[-1] += f" *{FULL}* less *{ADAPTER}*, both so: {gap.text()}."
    return told or ["- No row was run whose network reads the room augmented."]


def unchanged_findings(lines: pd.DataFrame, confidence: float = 0.95) -> list[str]:
    """What the better preset is worth with all that the large edition's validation rooms chose, run here as it is.

    Args:
        lines: See `real_rooms.frame`.
        confidence: Of the intervals.

    Returns:
        A line of Markdown per scored scene: less the adapter in the same settings, with the verdict.
    """
    there = differences(lines[lines["settings"] == UNCHANGED], ADAPTER, confidence)
    return [
        f"- **{line[HIGHER]}**: in all settings of the large edition, scored on {line['scored']}, *{line['row']}* "
        f"scores higher than *{ADAPTER}* ({line[f'mIoU less {ADAPTER}']} points of mIoU, {line['seeds']} seeds)."
        for line in there.to_dict("records")
    ] or ["- No row was run in all settings of the large edition."]


def rule_findings(lines: pd.DataFrame, records: Sequence[Record]) -> list[str]:
    """How the trainings ended by the loss, and how much that tells where validation scenes can be asked.

    Args:
        lines: See `real_rooms.frame`.
        records: All records; those with validation scenes are looked at.

    Returns:
        Lines of Markdown.
    """
    trained = lines[lines["backbone"] != ""]
    keys = ["row", "teacher", "backbone", "learned from", "steps"]
    falls = trained.groupby(keys, sort=False)["fall"]
    done = falls.agg(has_settled)
    means, left = 100 * falls.mean(), sorted({f"*{name}*" for name, *_ in done.index[~done]})
    told = [f"- Without verdicts, since most of their trainings had not settled: {'; '.join(left) or 'no row'}."]
    if done.any():
        low, high = means[done].min(), means[done].max()
        told.append(f"- In the other rows these terms still fell by {low:.1f} to {high:.1f} % (mean over seeds).")
    watched = [(record.converged, fall_of(record.history)) for record in records if record.converged is not None]
    known = pd.DataFrame(watched, columns=["converged", "fall"]).dropna()
    if known["converged"].nunique() == 2:
        passed = 100 * known["fall"].between(0, STILL_FALLS).groupby(known["converged"].astype(bool)).mean()
        told.append(
            f"- The rule is weak: of {len(known)} trainings on generated scenes, {passed[True]:.0f} % of those that "
            f"validation scenes call converged pass it, and {passed[False]:.0f} % of the others. Who fails it has no "
            f"verdict; who passes need not have converged."
        )
    return told


class Beside(NamedTuple):
    """A difference here beside the same on generated rooms.

    Attributes:
        difference: The rows.
        edition: Of the generated rooms that have these settings.
        here: By scored scene: the difference with its interval, and whether the first row scores higher.
        generated: The difference there, as the ledger has it.
        higher: Whether the first row scores higher there: a verdict.
    """

    difference: str
    edition: Edition
    here: dict[str, tuple[str, str]]
    generated: str
    higher: str


def beside_generated(lines: pd.DataFrame, judged: pd.DataFrame, confidence: float = 0.95) -> list[Beside]:
    """What the full method and its modules add here, beside what the ledger says that they add on generated rooms.

    Each setting stands beside the edition that it is of: the weights of the losses differ between the two.

    Args:
        lines: As in `real_rooms.differences`.
        judged: See `ledger.verdicts`.
        confidence: Of the intervals.

    Returns:
        Those that were run in both places.
    """
    found = []
    for edition, full in _OF_EDITION.items():
        tests = judged[(judged["edition"] == edition) & (judged["metric"] == "mIoU")].set_index("test")
        asked = [(full, ADAPTER, SHORT)]
        asked += [(f"{full}, no {name}", full, f"removing {name.upper()} lowers the scores (works-best)")
                  for name in MODULES]  # fmt: skip
        for row, reference, test in asked:
            told = differences(lines, reference, confidence)
            told = told[told["row"] == row] if len(told) else told
            if len(told) and test in tests.index:
                here = {line["scored"]: (line[f"mIoU less {reference}"], line[HIGHER])
                        for line in told.to_dict("records")}  # fmt: skip
                there = tests.loc[test]
                found.append(
                    Beside(f"*{row}* less *{reference}*", edition, here, there["difference"], _is_higher(there))
                )
    return found


def _is_higher(test: pd.Series) -> str:
    """A verdict of the ledger as one on "the first row scores higher", whichever side its statement names."""
    turned = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}
    said = str(test["verdict"])
    return said if str(test["says"]).startswith("higher") else turned.get(said, said)


def beside_table(found: Sequence[Beside]) -> pd.DataFrame:
    """The same as a table.

    Args:
        found: See `beside_generated`.

    Returns:
        A line each: the difference on every scored scene, and in the column of the edition whose settings it has; the
        other edition's stays empty.
    """
    return pd.DataFrame([
        {"difference": one.difference.replace("*", "")} | {scene: gap for scene, (gap, _) in one.here.items()}
        | {name: one.generated if edition == one.edition else "" for edition, name in GENERATED.items()}
        for one in found
    ])  # fmt: skip


def beside_findings(found: Sequence[Beside]) -> list[str]:
    """Whether the signs agree, a sentence for each difference.

    Args:
        found: See `beside_generated`.

    Returns:
        Lines of Markdown; "same sign" or "opposite sign" where both sides are decided, else "undecided".
    """
    return [
        f"- {one.difference}: {one.generated} on generated rooms ({one.edition} edition; {_word(one.higher)}); "
        + "; ".join(
            f"on {scene} {gap} ({_word(said)}): **{agreement(said, one.higher)}**"
            for scene, (gap, said) in one.here.items()
        )
        + "."
        for one in found
    ]


def _word(said: str) -> str:
    return {SUPPORTED: "higher", CONTRADICTED: "lower"}.get(said, said)


def agreement(here: str, there: str) -> str:
    """Whether two verdicts on the same statement agree.

    Args:
        here: A verdict.
        there: A verdict.

    Returns:
        `SAME`, `OPPOSITE`, or "undecided" where one of the two is not decided or not given.

    Example:
        >>> agreement("supported", "contradicted"), agreement("supported", "no verdict: not converged")
        ('opposite sign', 'undecided')
    """
    if not {here, there} <= {*DECIDED} - {UNDECIDED}:
        return UNDECIDED
    return SAME if here == there else OPPOSITE


def class_findings(found: Sequence[Record], lines: pd.DataFrame) -> list[str]:
    """Which classes both settings of the full method gain and lose most on, against the adapter; and why they lose.

    Args:
        found: The records that `lines` were made of.
        lines: See `real_rooms.plain`; of one scored scene.

    Returns:
        Lines of Markdown; none of rows that were not run.
    """
    told, scene = [], lines["scored"].iat[0]
    for row in (FULL, BY_GRADIENT):
        change = (iou_by_seed(found, lines, row) - iou_by_seed(found, lines, ADAPTER)).mean().dropna().sort_values()
        if change.empty:
            continue
        least, most = (", ".join(f"{n} ({v:+.1f})" for n, v in part.items()) for part in
                       (change.head(2), change.tail(2)))  # fmt: skip
        told.append(f"- By class on {scene}, *{row}* less *{ADAPTER}*: least {least}; most {most} points of IoU.")
    return told + list(_causes(found, lines, scene))


WORST = 2  # classes that lose most, whose causes are looked for


def _causes(found: Sequence[Record], lines: pd.DataFrame, scene: str) -> Iterator[str]:
    """Of the classes that surely lose most by gradient: which module it is, found by leaving each out.

    Surely: after Holm's correction for all classes, since the runs that choose the class are those that judge it.
    """
    adapter, plain_, full = (iou_by_seed(found, lines, row) for row in (ADAPTER, FULL, BY_GRADIENT))
    without = {module: iou_by_seed(found, lines, f"{BY_GRADIENT}, no {module}") for module in MODULES}
    without = {module: scores for module, scores in without.items() if len(scores)}
    every = {str(name): estimate(change.dropna()) for name, change in (full - adapter).items()}
    every = {name: change for name, change in every.items() if change.seeds >= LEAST_SEEDS}
    p = dict(zip(every, holm([change.p_value() for change in every.values()]), strict=True))
    lost = sorted(every, key=lambda name: every[name].mean)[:WORST] if without else []
    caused: dict[str, list[str]] = {}
    for name in [name for name in lost if every[name].mean < 0 and p[name] < LEVEL]:
        loss, back = every[name], {m: estimate((scores - full)[name].dropna()) for m, scores in without.items()}
        told = f"- On {scene} *{BY_GRADIENT}* changes the IoU of **{name}** by {loss.text()} against *{ADAPTER}*"
        told += f" (*{FULL}* by {(plain_ - adapter)[name].mean():+.1f})" if len(plain_) else ""
        told += f", chosen by these same runs (p {p[name]:.2g}, corrected for all {len(every)} classes)"
        told += "; back comes " + ", ".join(f"{gap.text()} without {m.upper()}" for m, gap in back.items()) + ". "
        judged = {m: gap for m, gap in back.items() if gap.seeds >= LEAST_SEEDS}
        sure = dict(zip(judged, holm([gap.p_value() for gap in judged.values()]), strict=True))
        cause = max(judged, key=lambda module: judged[module].mean, default="")
        if cause and sure[cause] < LEVEL and judged[cause].mean >= -loss.mean / 2:
            caused.setdefault(cause, []).append(name)
            yield told + _mistaken(found, lines, name, f"{BY_GRADIENT}, no {cause}")
        else:
            yield told + "No module that was left out surely brings it back."
    for cause, names in caused.items():
        costs = (without[cause] - full).mean().dropna().nsmallest(2)
        scores = lines.pivot_table(index="seed", columns="row", values="miou")
        gap = estimate((scores[f"{BY_GRADIENT}, no {cause}"] - scores[BY_GRADIENT]).dropna())
        rows = (ADAPTER, BY_GRADIENT, f"{BY_GRADIENT}, no {cause}")
        moving = [f"*{row}*" for row in rows if not has_settled(lines.loc[lines["row"] == row, "fall"])]
        said = f"{cause.upper()} at matched gradient is the cause for {' and '.join(names)}"
        if moving:  # a longer training might take the loss, or what comes back, away
            said = f"{' and '.join(names)} came back without {cause.upper()}; no cause is named, since most trainings "
            said += f"of {' and of '.join(moving)} had not settled"
        paid = ", ".join(f"{name} ({change:+.1f})" for name, change in costs.items())
        yield f"- So on {scene} {said}. Leaving {cause.upper()} out costs {paid}; mIoU changes by {gap.text()}."


def _mistaken(found: Sequence[Record], lines: pd.DataFrame, name: str, without: str) -> str:
    """In which way a class loses: points of it that are missed, or others that are taken for it."""
    recalls, others, source = [], [], ""
    for row in (ADAPTER, without, BY_GRADIENT):
        records = [found[number] for number in lines.loc[lines["row"] == row, "record"]]
        classes = list(records[0].metrics.iou)
        counts, here = np.sum([record.metrics.confusion for record in records], axis=0), classes.index(name)
        own, taken = counts[here].sum(), np.delete(counts[:, here], here)
        recalls.append(f"{100 * counts[here, here] / own:.0f} % (*{row}*)")
        others.append(f"{100 * taken.sum() / own:.0f}")
        source = [other for other in classes if other != name][int(taken.argmax())]
    return (
        f"Of its points are found {', '.join(recalls)}; points of other classes that are taken for it, in % of its own "
        f"and in the same order: {', '.join(others)}, at last most of them {source}."
    )
