"""The claims ledger as it is read: one line a claim, its tests folded below, and sentences for other chapters."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from geoguide.benchmarks import NAMES
from geoguide.datasets.config import Edition
from geoguide.experiments.presets import SYSTEMS
from geoguide.experiments.profiles import DOSE_ROOMS
from geoguide.method.objective import MODULES
from geoguide.pipeline.convergence import LONGER
from geoguide.report.claim_tests import EQUALLY, FEW, LONG, LONG_WITHOUT, PAIRS, SHORT, SLOW, claim_tests
from geoguide.report.claims import CLAIMS, Claim, paper_says
from geoguide.report.evidence import CONTRADICTED, DECIDED, SUPPORTED, UNDECIDED
from geoguide.report.labels import PLACES
from geoguide.report.ledger import EDITIONS
from geoguide.report.tables import markdown

PENDING = "not tested yet: rows pending"
ELSEWHERE = "tested on the other edition alone"
FINDINGS: dict[str, dict[str, str]] = {  # what a reader asks first: the question, and the tests that answer it
    "Do the three modules beat the adapter alone?": {
        "equal steps": SHORT,
        f"{LONGER} times as many": LONG,
        f"{DOSE_ROOMS[0]} rooms": FEW,
    },
    "Does each of them help (do the scores fall without it)?": {
        **{name.upper(): f"removing {name.upper()} lowers the scores (works-best)" for name in MODULES},
        f"IIRC, {LONGER} times as many steps": LONG_WITHOUT,
    },
    "Does the student beat the 2D features that it learns from?": {
        place: f"with all three the student beats 2D fusion, which it learns from ({dataset})"
        for dataset, place in PLACES.items()
    },
    "Frozen backbone or entire network?": {
        "frozen beats OpenScene's, OpenSeg-like features": "the frozen backbone beats entire network (OpenSeg-like)",
        "not with LSeg-like ones": "the frozen backbone does not beat entire network (LSeg-like)",
        "frozen beats the same network fine-tuned": f"{EQUALLY.format('beats')} (OpenSeg-like)",
    },
    "Does it beat the other systems (in rooms)?": {
        "OpenScene's network": "beats OpenScene's network (scannet)",
        **{f"{name}'s objective on our backbone": f"beats {name}'s objective on the same frozen backbone (scannet)"
           for name in SYSTEMS},
        "GGSD's with a slow teacher": SLOW,
    },
    "Does it beat their objectives on our backbone elsewhere?": {
        f"{name}'s, {place}": f"beats {name}'s objective on the same frozen backbone ({dataset})"
        for dataset, place in PLACES.items() if dataset != NAMES[0] for name in SYSTEMS
    },
}  # fmt: skip
SHOWN = ("verdict", "test", "difference", "metric", "over", "p", "edition", "of", "says")  # of `ledger.COLUMNS`


def claim_verdict(tests: pd.DataFrame, complete: bool = True) -> str:
    """The verdict on a claim, which asserts all of its tests at once.

    Args:
        tests: Lines of `ledger.ledger` that decide on it, of one edition.
        complete: Whether every such test was run.

    Returns:
        'contradicted' where one of them is, 'supported' where all were run and are; 'undecided' where at least one has
        a verdict; else the reason why there is none, or `PENDING`.
    """
    if tests.empty:
        return PENDING
    said = set(tests["verdict"])
    if CONTRADICTED in said:
        return CONTRADICTED
    if said == {SUPPORTED} and complete:
        return SUPPORTED
    return UNDECIDED if said & set(DECIDED) else str(tests["verdict"].iat[0])


def claim_row(claim: Claim, table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS) -> dict[str, Any]:
    """One claim on one line.

    Args:
        claim: The claim.
        table: See `ledger.verdicts`.
        editions: In the order in which they count: the verdict is that of the first one that has any.

    Returns:
        `claim`, `verdict`, `edition` that it is of, `of` (the same in words), `by edition`, `effect` (the difference
        that the verdict hangs on: of the clearest contradiction, else of the weakest support, or of a test that has no
        verdict), `test` (what that is a test of) and `tests` (how many were judged, of how many that the claim
        asserts).
    """
    mine = table[(table["claim"] == claim.name) & ~table["aside"]]
    said: dict[Edition, str] = {}
    wanted: dict[Edition, int] = {}
    for edition in editions:
        every = [test for test in claim_tests(edition) if test.claim == claim.name and not test.aside]
        asserted = sum(len(test.metrics) for test in every) + (claim.name == "C6")
        there = mine[mine["edition"] == edition]
        wanted[edition] = asserted
        said[edition] = claim_verdict(there, len(there) == asserted) if asserted else _untested(claim)
    told = next((edition for edition in editions if said[edition] in DECIDED), None)
    told = told or next((edition for edition in editions if len(mine[mine["edition"] == edition])), None)
    told = told or next((edition for edition in editions if said[edition] == PENDING), editions[-1])
    there = mine[mine["edition"] == told]
    line: dict[str, Any] = {"claim": claim.name, "verdict": said[told], "edition": told, "by edition": said}
    part = "as far as it can be tested, " if claim.untested and said[told] == SUPPORTED else ""
    line["of"] = f" ({part}{told} edition)" if said[told] in DECIDED else ""
    judged = there[there["verdict"].isin(DECIDED)]
    counts = {name: int((judged["verdict"] == name).sum()) for name in DECIDED}
    counts |= {"without verdict": len(there) - len(judged)}
    counted = ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none run"
    line["tests"] = f"{counted}, of {wanted[told]}" if wanted[told] else "none"
    hinge = there[there["verdict"] == said[told]]
    hinge = there[~there["verdict"].isin(DECIDED)] if hinge.empty else hinge  # undecided for want of a verdict
    if hinge.empty:
        return line | {"effect": "", "test": ""}
    order = np.argsort(hinge["p"].fillna(1.0).to_numpy(float), kind="stable")
    one = hinge.iloc[order[0 if said[told] == CONTRADICTED else -1]]
    unit = "" if one["metric"] == "both" else f" {one['metric']}"
    why = "" if one["verdict"] in DECIDED else f": {one['verdict']}"
    return line | {"effect": f"{one['difference']}{unit}", "test": f"{one['test']}{why}"}


def _untested(claim: Claim) -> str:
    """What is said of a claim that an edition has no test of."""
    tested = any(test.claim == claim.name and not test.aside for edition in EDITIONS for test in claim_tests(edition))
    return ELSEWHERE if tested else claim.otherwise


def cost_effect(cost: Mapping[str, Any]) -> str:
    """What C8 hangs on, which no two rows differ in: what inference costs with the modules against without them.

    Args:
        cost: A row of `benchmarks/results/inference_cost.json`.

    Returns:
        Ratios of time and memory, each with the bounds of its interval, and whether the exported graphs are the same.
    """
    told = {"seconds": "the time", "processor_seconds": "the processor time", "peak_mb": "the memory"}
    parts = [
        f"{cost[key]['ratio']:.3f} [{cost[key]['low']:.3f}, {cost[key]['high']:.3f}] times {name}"
        for key, name in told.items()
    ]
    same = cost["same_graph"] and cost["same_tensors"]
    return f"{', '.join(parts)}; exported graphs {'identical' if same else 'NOT identical'}"


def claim_rows(table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS) -> list[dict[str, Any]]:
    """Every claim on one line.

    Args:
        table: See `ledger.verdicts`.
        editions: See `claim_row`.

    Returns:
        See `claim_row`; C1 to C12.
    """
    return [claim_row(claim, table, editions) for claim in CLAIMS]


def story(table: pd.DataFrame, *claims: str) -> list[str]:
    """What the ledger says of claims, as the lines of a list: other chapters quote it, so that no two differ.

    Args:
        table: See `ledger.verdicts`.
        claims: C1 to C12; none: all that the table has.

    Returns:
        A line of Markdown per test, the verdict first.
    """
    told = []
    for (claim, test, edition, of), lines in table[table["claim"].isin(claims or table["claim"])].groupby(
        ["claim", "test", "edition", "of"], sort=False
    ):
        said = "; ".join(f"**{x['verdict']}** in {x['metric']}: {x['difference']}" for x in lines.to_dict("records"))
        less = "" if of == PAIRS else f", *{of}*"
        told.append(f"- {claim}, {test}: {said} ({edition} edition{less}, {lines['over'].iat[0]}).")
    return told


def findings(table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS) -> str:
    """The answers to `FINDINGS` as a table, in Markdown.

    Args:
        table: See `ledger.verdicts`.
        editions: In the order in which they count: each test is told of those up to the first one that decides on it.

    Returns:
        A row per question and, below it, one per test with a column per edition; a test that was run nowhere is left
        out, and a question without any.
    """
    rows = []
    for question, tests in FINDINGS.items():
        answers = []
        for label, test in tests.items():
            told = dict(_telling(table, test, editions))
            if told:
                answers.append([label, *(_answer(told[edition]) if edition in told else "" for edition in editions)])
        if answers:
            rows += [[f"**{question}**", *("" for _ in editions)], *answers]
    return markdown(pd.DataFrame(rows, columns=["", *(f"{edition} edition" for edition in editions)]))


def _answer(lines: pd.DataFrame) -> str:
    """What one edition says of a test: a verdict and its difference for each metric."""
    return "<br>".join(f"**{x['verdict']}**, {x['difference']} {x['metric']}" for x in lines.to_dict("records"))


def _telling(table: pd.DataFrame, test: str, editions: Sequence[Edition]) -> list[tuple[Edition, pd.DataFrame]]:
    """The lines of a test by edition, up to the first edition that decides on it."""
    by_edition: list[tuple[Edition, pd.DataFrame]] = []
    for edition in editions:
        lines = table[(table["test"] == test) & (table["edition"] == edition)]
        if len(lines):
            by_edition.append((edition, lines))
        if set(lines["verdict"]) & set(DECIDED):
            break
    return by_edition


def against(table: pd.DataFrame, told: bool = True) -> list[str]:
    """What spoke against the paper, or against the method itself: every test whose verdict is *contradicted*.

    Args:
        table: See `ledger.verdicts`.
        told: Whether those that `findings` tells are listed again.

    Returns:
        A line of Markdown per test, those that decide on a claim first; a line that says so where there is none.
    """
    found = table[table["verdict"] == CONTRADICTED].sort_values("aside", kind="stable")
    if not told:
        every = (test for tests in FINDINGS.values() for test in tests.values())
        known = [row for test in every for _, lines in _telling(table, test, EDITIONS) for row in lines.index]
        found = found[~found.index.isin(known)]
    lines = [
        f"- {x['claim']}{', beside the claim' if x['aside'] else ''}: *{x['test']}* is **{CONTRADICTED}** "
        f"({x['difference']} {x['metric']}, {x['edition']} edition, {x['over']})."
        for x in found.to_dict("records")
    ]
    return lines or [f"- No {'' if told else 'other '}test was contradicted."]


def longer(table: pd.DataFrame) -> list[str]:
    """What is left of the modules' lead over the adapter alone where both train for longer (see `regime.longer`).

    Args:
        table: See `ledger.verdicts`.

    Returns:
        One line of Markdown; none where these trainings were not run.
    """
    told = {what: table[(table["test"] == what) & (table["edition"] == "large")] for what in (SHORT, LONG)}
    if told[LONG].empty or told[SHORT].empty:
        return []
    said = {
        what: ", ".join(f"{x['difference']} {x['metric']} ({x['verdict']})" for x in lines.to_dict("records"))
        for what, lines in told.items()
    }
    return [
        f"- C3, beside the claim: on the large edition *{SHORT}* by {said[SHORT]}; where both train for "
        f"{LONGER} times as long, by {said[LONG]}. A lead that a longer training takes away was one in time."
    ]


def overview(table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS) -> str:
    """One line a claim, in Markdown (for the README).

    Args:
        table: See `ledger.verdicts`.
        editions: See `claim_row`.

    Returns:
        The table: claim, verdict with its edition, sentence, and the difference that the verdict hangs on.
    """
    lines = []
    for claim, row in zip(CLAIMS, claim_rows(table, editions), strict=True):
        effect = f"{row['effect']} ({row['test']})" if row["effect"] else claim.untested
        lines.append([claim.name, f"**{row['verdict']}**{row['of']}", claim.sentence, effect])
    return markdown(pd.DataFrame(lines, columns=["claim", "verdict", "the paper claims", "the test it hangs on"]))


def page(table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS, measured: Mapping[str, str] | None = None) -> str:
    """The ledger's page: a table with one line a claim.

    Args:
        table: See `ledger.verdicts`.
        editions: See `claim_row`.
        measured: By claim, the effect that was measured where no two rows test it (see `cost_effect`).

    Returns:
        HTML; each claim is a link to its fold in `folds`. What has the class `printed` is for paper, where folds stay
        closed.
    """
    heads = ("", "verdict", "the paper claims", "the difference it hangs on", "tests", *editions, "ch.")
    lines = ["".join(f"<th>{name if name not in editions else name + ' edition'}</th>" for name in heads)]
    for claim, row in zip(CLAIMS, claim_rows(table, editions), strict=True):
        effect = f"{_text(row['effect'])}<br><small>{_text(row['test'])}</small>" if row["effect"] else ""
        effect = effect or _text((measured or {}).get(claim.name, ""))
        chapter = f'<a href="{claim.chapter}.html">{claim.chapter[:2]}</a>'
        printed = f"Refuted if: {_text(claim.refuted)} Hangs on: {_text(claim.hangs_on)}."
        says = f'{claim.sentence}<small class="printed"><br>{printed}</small>'
        cells = (f'<a href="#{claim.name}">{claim.name}</a>', f"<b>{row['verdict']}</b>{row['of']}", says)
        cells += (effect, row["tests"], *(row["by edition"][edition] for edition in editions), chapter)
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    return f'<table class="ledger">{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'


def folds(
    table: pd.DataFrame, editions: Sequence[Edition] = EDITIONS, measured: Mapping[str, str] | None = None
) -> str:
    """Every claim's tests, folded.

    Args:
        table: See `ledger.verdicts`.
        editions: See `claim_row`.
        measured: See `page`.

    Returns:
        HTML: a `details` for each claim, with what would refute it, what the paper states, what the verdict hangs on,
        what cannot be tested here, and a table of the tests that were run.
    """
    parts = []
    for claim, row in zip(CLAIMS, claim_rows(table, editions), strict=True):
        told = {
            "Would be refuted if": claim.refuted,
            "The paper's numbers": paper_says(claim.name),
            "The verdict hangs on": claim.hangs_on,
            "Not testable here": claim.untested,
        }
        items = "".join(f"<li><b>{name}:</b> {_text(text)}</li>" for name, text in told.items() if text)
        head = f"<b>{claim.name}: {row['verdict']}</b>{row['of']}. {_text(claim.sentence)}"
        tests = _tests(table[table["claim"] == claim.name], (measured or {}).get(claim.name))
        parts.append(
            f'<details class="claim" id="{claim.name}"><summary>{head}</summary><ul>{items}</ul>{tests}</details>'
        )
    return "\n".join(parts)


def _tests(lines: pd.DataFrame, measured: str | None) -> str:
    """The tests of a claim as a table, those that decide and those beside it; else what was measured, if anything."""
    if lines.empty:
        return f"<p>{_text(f'Measured: {measured}' if measured else 'No test of it was run')}.</p>"
    shown = lines.assign(p=["" if np.isnan(p) else f"{p:.2g}" for p in lines["p"].astype(float)])
    shown["test"] = shown["test"] + [" (beside the claim)" if aside else "" for aside in shown["aside"]]
    names = {"of": "difference of", "p": "p (Holm)", "says": "the claim says"}
    return shown[list(SHOWN)].rename(columns=names).to_html(index=False, border=0, classes="ledger")


def _text(text: str) -> str:
    return html.escape(text, quote=False)
