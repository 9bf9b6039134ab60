"""The regime table on scores whose figures are known."""

import pandas as pd

from geoguide.experiments import facts, presets
from geoguide.experiments.regime import BACKBONES
from geoguide.report.regime import TARGETS, consequences, regime_table

ONE = {"plain": True, "converged": True, "val_miou": 0.0, "backbone": BACKBONES["scannet"]}


def lines() -> pd.DataFrame:
    """A world that misses one target, and has not been asked about the last."""
    fusion = {"method": facts.FUSION, "teacher": "t", "seed": 0, "miou": 45.0, "val_miou": 44.0, "converged": None}
    found = [ONE | fusion, ONE | fusion | {"plain": False, "miou": 60.0}]
    for seed, (adapter, probe, labels) in enumerate([(46.0, 58.0, 60.0), (48.0, 60.0, 62.0)]):
        found.append(ONE | {"method": facts.ADAPTER, "teacher": "t", "seed": seed, "miou": adapter})
        found.append(ONE | {"method": facts.PROBE, "teacher": "t", "seed": seed, "miou": 0.0, "val_miou": probe})
        on_labels = facts.ADAPTER + presets.ON_LABELS
        found.append(ONE | {"method": on_labels, "teacher": "t", "seed": seed, "miou": labels})
        found.append(ONE | {"method": facts.ADAPTER, "teacher": "another", "seed": seed, "miou": 99.0})
        found.append(found[-1] | {"teacher": "t", "backbone": "descriptors"})
    return pd.DataFrame(found, dtype=object)


def test_targets_against_scores_by_hand() -> None:
    table = regime_table(lines(), "t")
    assert len(table) == len(TARGETS)
    assert list(table["reached"]) == ["45.0", "2.0 ± 12.7", "15.0 ± 12.7", "14.0 ± 0.0", "not run"]
    assert list(table["met"]) == ["yes", "yes", "yes", "yes", ""]
    assert list(table["target"])[:2] == ["40 to 50", "at least 0"]
    poor = lines()
    poor.loc[poor["method"] == facts.FUSION, "miou"] = 52.0
    assert list(regime_table(poor, "t")["met"])[:2] == ["no", "no"]


def test_nothing_run() -> None:
    assert set(regime_table(None, "t")["reached"]) == {"not run"}
    assert set(regime_table(lines(), "unknown")["met"]) == {""}


def test_only_a_target_that_is_missed_says_what_that_means() -> None:
    assert consequences(regime_table(lines(), "t")) == consequences(regime_table(None, "t")) == []
    poor = lines()
    poor.loc[poor["method"] == facts.FUSION, "miou"] = 52.0
    said = consequences(regime_table(poor, "t"))
    assert [line.split("*")[1] for line in said] == ["2D fusion", "adapter only, more than 2D fusion"]
    assert "C9" in said[0] and "C2" in said[1]
