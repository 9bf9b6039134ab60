"""One fault at a time: the profile's rows and facts, and what is made of records, by hand."""

from dataclasses import fields

import numpy as np
import pytest
from fake_records import fake_record

from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.config import DataConfig
from geoguide.errors import ConfigError, InputError
from geoguide.experiments.facts import Facts
from geoguide.experiments.presets import CLEAN, DOSED, DOSES, LONG_SEEDS
from geoguide.experiments.profiles import (
    DOSE_ROOMS,
    LAMBDA_WITHOUT_FAULT,
    USD_FAULT,
    USD_PARTS,
    dose_response,
    fixed_weight,
    usd_parts,
)
from geoguide.experiments.records import frame, pick, read_all
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report import figures
from geoguide.report.claim_tests import SEEDS
from geoguide.report.dose_response import (
    MODULES,
    NO_RECORD,
    OWN_MODULE,
    doses,
    effect_table,
    effects,
    not_run,
    own_and_other,
    parts_table,
    row_of,
    weight_table,
    with_records,
)
from geoguide.report.evidence import CONTRADICTED, NO_VERDICT, estimate
from geoguide.report.ledger import ledger


def test_each_dose_has_one_fault_and_more_of_it_where_heavy() -> None:
    assert set(OWN_MODULE) == set(DOSED) and set(OWN_MODULE.values()) < set(MODULES)
    for name, config in DOSES.items():
        on = [field.name for field in fields(config) if getattr(config, field.name) != getattr(CLEAN, field.name)]
        assert on == [] if name == "no fault" else on == [name.split(",")[0]]
    for fault in DOSED:
        assert 0 < getattr(DOSES[f"{fault}, medium"], fault) < getattr(DOSES[f"{fault}, heavy"], fault)


def test_rows_are_told_apart_by_facts_alone() -> None:
    found = [Facts.of(config) for config in dose_response()]
    assert len(set(found)) == len(found) == len(DOSES) * len(LONG_SEEDS) * (1 + len(MODULES))
    assert {facts.teacher for facts in found} == set(DOSES)
    assert {facts.changed for facts in found} == {
        (("data.first", DOSE_ROOMS), ("train.evaluate_every", 200), ("train.steps", 4000))
    }
    assert not any(facts.plain for facts in found)


def test_heavy_faults_come_first() -> None:
    order = list(dict.fromkeys(Facts.of(config).teacher for config in dose_response()))
    levels = [dose.split(", ")[-1] for dose in order]
    assert levels == ["no fault", *["heavy"] * len(DOSED), *["medium"] * len(DOSED)]


def records(dose: str, gains: dict[str, list[float]], converged: bool = True) -> list:
    """The adapter at 40, 41, 42 by seed, and modules that much above it."""
    made = []
    for config in dose_response():
        facts = Facts.of(config)
        if facts.teacher == dose:
            base = 40.0 + config.seed
            title = next((name for name, row in MODULES.items() if facts.fit(row)), None)
            if title is None:
                made.append(fake_record(config, base))
            elif title in gains:
                made.append(fake_record(config, base + gains[title][config.seed], converged=converged))
    return made


def test_effects_by_hand() -> None:
    gains = {"USD": [1.0, 1.2, 1.1], "IMR": [-1.0, 1.0, 0.0], "IIRC": [-2.0, -2.1, -2.2]}
    lines = frame(records("pixel_noise, heavy", gains), edition="large")
    found = {(e.dose, e.module): e for e in effects(lines)}
    assert len(found) == len(DOSES) * len(MODULES)
    for module, gap in gains.items():
        np.testing.assert_allclose(found["pixel_noise, heavy", module].gap, gap)
    assert [found["pixel_noise, heavy", module].settled for module in MODULES] == [False, True, True, True]
    assert found["pixel_noise, heavy", "USD"].own and not found["pixel_noise, heavy", "IMR"].own
    table = effect_table(list(found.values())).set_index("fault")
    assert list(table.index) == doses()
    row = table.loc["pixel_noise, heavy"]
    assert (row["adapter"], row["belongs to"], row["all modules"]) == ("41.0", "USD", NO_RECORD)
    assert row["USD"] == estimate(gains["USD"]).text()
    assert set(table.loc["drift, medium", ["adapter", *MODULES]]) == {NO_RECORD}
    text = own_and_other(list(found.values()))
    usd, imr, iirc = (estimate(gap).text() for gap in gains.values())
    assert f"**USD** adds {usd} under its own faults (1); **IMR** adds {imr} under those of the others (1)" in text
    assert f"**IIRC** adds {iirc} under those of the others (1):" in text
    assert {e.dose for e in with_records([*found.values()])} == {"pixel_noise, heavy"}
    assert not_run([*found.values()]).startswith("Not run yet: no fault; ") and not_run(list(found.values())[:0]) == ""


def test_how_much_more_a_module_adds_under_its_own_faults_by_hand() -> None:
    """Means over doses seed by seed, so that the interval is of seeds."""
    made = records("confusion, heavy", {"IIRC": [1.0, 2.0, 3.0]}) + records(
        "background, heavy", {"IIRC": [3.0, 2.0, 1.5]}
    )
    made += records("drift, heavy", {"IIRC": [-1.0, 0.0, -1.0]})
    text = own_and_other(effects(frame(made, edition="large")))
    own, others = np.array([2.0, 2.0, 2.25]), np.array([-1.0, 0.0, -1.0])
    assert f"adds {estimate(own).text()} under its own faults (2) and {estimate(others).text()} under those" in text
    assert f"of the others (1), {estimate(own - others).text()} more under its own" in text


def test_gaps_of_other_seeds_are_not_paired() -> None:
    """The first seed of one dose was not run, and another one of the other's: by place, every gap met a stranger."""
    gains = {
        "confusion, heavy": [1.0, 2.0, 4.0],
        "background, heavy": [3.0, 2.0, 1.5],
        "drift, heavy": [-1.0, 0.0, 5.0],
    }
    lacking = {"confusion, heavy": 0, "drift, heavy": 1}
    made = [
        record
        for dose, gain in gains.items()
        for record in records(dose, {"IIRC": gain})
        if record.config.seed != lacking.get(dose)
    ]
    text = own_and_other(effects(frame(made, edition="large")))
    own, others = np.array([2.0, 2.75]), np.array([-1.0, 5.0])  # of seeds 1, 2; and 0, 2
    assert f"adds {estimate(own).text()} under its own faults (2) and {estimate(others).text()} under those" in text
    assert f"of the others (1), {estimate([-2.25]).text()} more under its own" in text


def test_no_records_and_no_convergence_are_said() -> None:
    nothing = effects(None)
    assert not any(e.settled for e in nothing) and "no record that converged" in own_and_other(nothing)
    assert effect_table(nothing[:1])["all modules"][0] == NO_RECORD
    made = records("confusion, heavy", {"IIRC": [1.0, 1.2, 1.1]}, converged=False)
    cell = next(e for e in effects(frame(made, edition="large")) if (e.dose, e.module) == ("confusion, heavy", "IIRC"))
    assert not cell.settled
    assert effect_table([cell])["IIRC"][0].endswith(" *")


def test_the_ledger_judges_each_module_under_its_own_faults() -> None:
    made = records("pixel_noise, heavy", {"USD": [-1.0, -1.2, -1.1], "IMR": [9.0, 9.2, 9.1]})
    made += records("confusion, heavy", {"IIRC": [1.0, 1.2, 1.1]}, converged=False)
    made += records("no fault", {"all modules": [-3.0, -3.0, -3.0]})
    table = ledger(frame(made, edition="large").assign(over=SEEDS), "large").set_index("test")
    assert set(table["claim"]) == {"C4"} and len(table) == 3
    own = "alone beats the adapter under {}, a fault of its own (heavy, few rooms)"
    assert table.loc[f"USD {own.format('pixel_noise')}", "verdict"] == CONTRADICTED
    assert table.loc[f"IIRC {own.format('confusion')}", "verdict"] == NO_VERDICT
    none = table.loc["all three beat the adapter under a 2D model without faults (few rooms)"]
    assert none["aside"] and none["difference"].startswith("-3.00")


def test_heat_map_writes_intervals_and_empty_cells() -> None:
    cells = {("a", "x"): [1.0, 1.1, 1.2], ("a", "y"): [-1.0, 1.0], ("b", "x"): [], ("b", "y"): [2.0]}
    figure = figures.effect_heatmap(
        cells, title="t", x_title="m", y_title="f", marked=[("a", "x")], settled=[("a", "x")]
    )
    np.testing.assert_allclose(figure.data[0].z, [[1.1, 0.0], [np.nan, 2.0]])
    texts = [note.text for note in figure.layout.annotations]
    assert texts[0].startswith("<b>+1.10 ± 0.25") and texts[1].startswith("+0.00 ± ")
    assert texts[2:] == ["no record", "+2.00"] and len(figure.layout.shapes) == 1
    with pytest.raises(InputError, match="at least one cell"):
        figures.effect_heatmap({}, title="t", x_title="m", y_title="f")
    with pytest.raises(InputError, match="must be finite"):
        figures.effect_heatmap({("a", "x"): [np.nan]}, title="t", x_title="m", y_title="f")


def test_dots_lie_in_widths_of_the_range() -> None:
    models, spans = {"m": {"r": 3.0, "s": 100.0}}, {"r": (1.0, 5.0), "s": (1.0, 2.0), "t": (0.0, 1.0)}
    figure = figures.range_dots(models, spans, title="t")
    assert list(figure.data[0].x) == [0.5, 5.0] and list(figure.data[0].y) == ["r", "s"]
    with pytest.raises(InputError, match="finite"):
        figures.range_dots(models, {"r": (-np.inf, 3.0)}, title="t")


def test_the_first_scenes_of_each_split(tiny: ExperimentConfig) -> None:
    every = {split: list_sources(tiny.data, split) for split in ("train", "val", "test")}
    few = tiny.replace(data__first=(1, 1, 1)).data
    for split, sources in every.items():
        assert [source.name for source in list_sources(few, split)] == [sources[0].name]
    with pytest.raises(ConfigError, match=r"data\.first must hold three counts from 1"):
        DataConfig(first=(0, 1, 1))


def test_the_fixed_weight_is_that_of_the_trainings_without_a_fault() -> None:
    alone = pick(read_all(), row_of("no fault", "IIRC"))
    assert len(alone) == len(LONG_SEEDS)
    ends = [record.history[-1]["lambda_sim"] for record in alone]
    assert np.mean(ends) == pytest.approx(LAMBDA_WITHOUT_FAULT, abs=5e-5)
    fixed = [Facts.of(config).changed for config in fixed_weight()]
    assert {dict(changed)["objective.lambda_sim"] for changed in fixed} == {LAMBDA_WITHOUT_FAULT}
    assert len(fixed) == len(DOSED) * len(LONG_SEEDS)


def test_weights_by_hand() -> None:
    dose = "drift, heavy"
    made = records(dose, {"IIRC": [-2.0, -1.0, -3.0]})
    for record in pick(made, row_of(dose, "IIRC")):
        record.history[-1]["lambda_sim"] = 2.0 + record.config.seed
    made += [
        fake_record(config, 40.0 + config.seed + 0.5, converged=False)
        for config in fixed_weight()
        if Facts.of(config).teacher == dose
    ]
    table = weight_table(made).set_index("fault")
    assert list(table.index) == [f"{fault}, heavy" for fault in DOSED]
    line = table.loc[dose]
    assert line["λ3 by gradient"] == "3.00" and line["IIRC by gradient"] == estimate([-2.0, -1.0, -3.0]).text()
    assert line["at a fixed λ3"] == f"{estimate([0.5, 0.5, 0.5]).text()} *"
    assert line["fixed minus by gradient"] == f"{estimate([2.5, 1.5, 3.5]).text()} *"
    assert set(table.loc["confusion, heavy"]) == {NO_RECORD} == set(weight_table([]).set_index("fault").to_numpy().flat)


def test_parts_of_usd_by_hand() -> None:
    assert {Facts.of(config).teacher for config in usd_parts()} == {USD_FAULT}
    made = records(USD_FAULT, {"USD": [-1.0, -1.2, -1.1]})
    per_part = [usd_parts()[start : start + 3] for start in range(0, 3 * len(USD_PARTS), 3)]
    for config, gain in zip(per_part[1], [0.5, 0.3, 0.1], strict=True):
        made.append(fake_record(config, 40.0 + config.seed + gain))
    table = parts_table(made).set_index("USD")
    first, part, *_ = USD_PARTS
    assert list(table.index) == ["as it is", *USD_PARTS]
    assert table.loc["as it is"].tolist() == [estimate([-1.0, -1.2, -1.1]).text(), ""]
    assert table.loc[part].tolist() == [estimate([0.5, 0.3, 0.1]).text(), estimate([1.5, 1.5, 1.2]).text()]
    assert set(table.loc[first]) == {NO_RECORD} and NO_RECORD in parts_table([])["over the adapter"][0]
