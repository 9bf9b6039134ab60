"""The controls of the large edition and the search behind works-best, as tables, from records made by hand."""

import pytest
from fake_records import fake_record

from geoguide.errors import DataError
from geoguide.experiments import records, regime
from geoguide.experiments.presets import adapter_only, on_labels, preset
from geoguide.experiments.regime import in_regime
from geoguide.experiments.run import get_all, need
from geoguide.paths import write_text
from geoguide.report.controls import DELTA, DELTA_MACC, control_table
from geoguide.report.search import AGAINST, OPTION, SCORE, adopted, search_table


def test_controls_stand_beside_the_full_preset() -> None:
    still = zip(regime.without_training(), (30.0, 30.5, 40.0), strict=True)
    found = [fake_record(config, miou) for config, miou in still]
    for seed in (0, 1, 2):
        full = in_regime(preset(seed=seed, edition="large"))
        found += [fake_record(in_regime(adapter_only(seed)), 31.0 + seed), fake_record(full, 33.0 + seed)]
        found.append(fake_record(full.replace(**regime.CONTROLS["permuted geometry"]), 32.5 + seed))
        found.append(fake_record(in_regime(adapter_only(seed), teacher=regime.PERFECT), 60.0 + seed))
        found.append(fake_record(in_regime(on_labels(adapter_only(seed))), 65.0 + seed))
    table = control_table([*found, found[0]]).set_index("control")  # a record in both lists counts once
    assert list(table.index) == [
        "2D fusion (no training)",
        "2D fusion, means over superpoints",
        "2D fusion, means over true instances (oracle)",
        "adapter only",
        "works-best",
        "works-best, permuted geometry",
        "adapter under a perfect 2D model (oracle)",
        "adapter taught by labels (oracle)",
    ]
    assert table[DELTA].tolist()[3:] == [
        "-2.00 ± 0.00", "", "-0.50 ± 0.00", "+27.00 ± 0.00", "+32.00 ± 0.00"]  # fmt: skip
    assert table[DELTA_MACC].iat[5] == "-0.50 ± 0.00" and table["converged"].tolist()[:4] == ["", "", "", "3 of 3"]
    assert table[DELTA].iat[0] == "-4.00 ± 2.48" and table["seeds"].tolist() == [1, 1, 1, 3, 3, 3, 3, 3]


def test_the_search_compares_validation_scores_with_the_row_that_is_changed(tmp_path) -> None:
    assert search_table(tmp_path).empty
    by_option = dict(zip(regime.SEARCH, regime.search(), strict=True))
    for option, score in (("as it was", 40.0), ("without IIRC", 38.5), ("no module, half the steps", 20.0)):
        made = fake_record(by_option[option]).raw | {"validation": {"miou": score, "macc": score}}
        write_text(records.record_path(by_option[option], tmp_path), records.dumps(made))
    table = search_table(tmp_path).set_index(OPTION)
    assert table[SCORE].to_dict() == {"as it was": "40.0", "without IIRC": "38.5", "no module, half the steps": "20.0"}
    assert table[AGAINST].to_dict() == {"as it was": "", "without IIRC": "-1.5", "no module, half the steps": ""}


def test_what_was_taken_of_the_search_is_told_from_what_scored_best(tmp_path) -> None:
    by_option, said = dict(zip(regime.SEARCH, regime.search(), strict=True)), []
    longest, taken = "no module, four times the steps", "no module, twice the steps, three times the rate"
    better = "gradients, 1, usd standardised"
    for option, score in ((longest, 33.0), (taken, 32.5), (longest, 32.0), ("gradients, 1", 31.0), (better, 31.5)):
        made = fake_record(by_option[option]).raw | {"validation": {"miou": score, "macc": score}}
        write_text(records.record_path(by_option[option], tmp_path), records.dumps(made))
        said.append(adopted(tmp_path))
    assert said[0] == []  # what was taken has no record yet
    assert f"*{longest}* scores best (33.0); all rows of the large edition have *{taken}* (32.5)" in said[1][0]
    assert "8,000 steps in place of 16,000" in said[1][0]
    assert f"*{taken}* scores best (32.5); which is also" in said[2][0]
    assert len(said[3]) == 2 and "*gradients, 1* (31.0)" in said[3][1] and "scores best" not in said[3][1]
    assert f"*{better}* scores best (31.5), and the tables do not have it" in said[4][1]


def test_of_the_large_edition_nothing_is_computed_for_a_page() -> None:
    assert get_all([in_regime(adapter_only(99))], "large") == []


def test_a_chapter_without_its_rows_ends_with_the_command_that_computes_them():
    need([fake_record(adapter_only())], "the adapter in rooms", "large")
    with pytest.raises(DataError, match="no record of the large edition of works-best in houses: .*--profile large$"):
        need([], "works-best in houses", "large")
    with pytest.raises(DataError, match="no record of the small edition of works-best in rooms: run `geoguide"):
        need([], "works-best in rooms")
