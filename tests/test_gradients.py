"""The table of gradients, from histories whose means are known."""

from dataclasses import replace

import pytest
from fake_records import fake_record

from geoguide.experiments.presets import adapter_only, preset
from geoguide.experiments.records import read_all
from geoguide.report.gradients import gradient_table, loss_terms, term_name
from geoguide.report.rows import ADAPTER, FULL, FUSION


def history(*lengths: float) -> list[dict[str, float]]:
    """The mask term pulls half as much as the point term."""
    return [
        {
            "step": step,
            "val_miou": 1.0,
            "grad_point": 2 * x,
            "grad_mask": x,
            "lambda_mask": 1.0,
            "point": 0.5,
            "total": 0.5,
        }
        for step, x in enumerate(lengths)
    ]


def test_early_and_late_means_over_steps_and_seeds() -> None:
    """Two of eight rows are a quarter; old records and rows without records say nothing."""
    records = [
        replace(fake_record(preset(seed=0)), history=history(1, 3, 9, 9, 9, 9, 0.5, 0.5)),
        replace(fake_record(preset(seed=1)), history=history(4, 4, 9, 9, 9, 9, 0.1, 0.3)),
        replace(fake_record(preset(seed=2)), history=[{"step": 1, "val_miou": 1.0, "point": 0.5, "total": 0.5}]),
        replace(fake_record(adapter_only(0)), history=[{"step": 1, "grad_point": 7.0, "point": 1.0, "total": 1.0}]),
    ]
    table = gradient_table(records, [FULL, ADAPTER, FUSION])
    assert table.loc[("works-best/full", "first quarter"), "mask"] == pytest.approx(3000)
    assert table.loc[("works-best/full", "first quarter"), "point"] == pytest.approx(6000)
    assert table.loc[("works-best/full", "last quarter"), "mask"] == pytest.approx(350)
    assert table.loc[("adapter only", "last quarter"), "point"] == pytest.approx(7000)
    assert table.loc["adapter only", "mask"].isna().all() and len(table) == 4
    assert gradient_table(records[2:3], [FULL]).empty and gradient_table([], [FULL]).empty


def test_what_is_a_loss_term() -> None:
    assert loss_terms(history(1.0)) == ["point", "total"]
    assert loss_terms([row | {"train_miou": 60.0} for row in history(1.0)]) == ["point", "total"]
    assert loss_terms([]) == []


def test_every_term_of_the_objective_is_named_after_its_module():
    (record,) = [r for r in read_all() if r.name == "works-best/full" and r.facts.edition == "small"][:1]
    named = {term_name(term) for term in loss_terms(record.history)}
    assert {name.split(",")[0] for name in named} == {"distillation of points", "USD", "IMR", "IIRC", "sum"}
    assert term_name("lambda") == "lambda"
