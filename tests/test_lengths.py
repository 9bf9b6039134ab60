"""Whether a training was long enough: records of twice the steps beside those of the steps themselves."""

import json

import pytest
from fake_records import fake_record

from geoguide.experiments import placing
from geoguide.experiments.presets import adapter_only, for_longer
from geoguide.experiments.records import frame, read_all, record_path
from geoguide.report.evidence import converged, settled
from geoguide.report.lengths import doubled, length_table


def write(folder, config, validation: float, *, rising: bool) -> None:
    path = record_path(config, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fake_record(config, validation=validation, converged=not rising).raw))


def test_twice_the_steps_count_for_more_than_the_curve(tmp_path) -> None:
    """Seed 0 was measured to gain, seed 1 to lose; of seed 2 there is the curve alone, which still rises."""
    for seed, rising in enumerate((False, True, True)):
        write(tmp_path, adapter_only(seed), 40.0, rising=rising)
    for seed, validation in ((0, 41.5), (1, 39.0)):
        write(tmp_path, for_longer(adapter_only(seed)), validation, rising=False)
    found = [record for record in read_all(tmp_path) if record.config.train.steps == adapter_only().train.steps]
    assert [record.gained_by_longer for record in found] == [1.5, -1.0, None]
    assert [record.converged for record in found] == [False, True, False]
    lines = frame(found)
    assert list(lines["measured"]) == [True, True, False] and converged(lines) == "1 of 2" and not settled(lines, {})
    line = length_table(doubled(found)).iloc[0]
    assert (line["row"], line["edition"]) == ("adapter only", "small") and line["measured"].startswith("+0.25 ± ")
    assert line["seeds foretold rightly"] == "0 of 2"


def test_what_is_scored_elsewhere_shares_its_training(tmp_path) -> None:
    moved = placing.tested_on(adapter_only(), "nuscenes")
    write(tmp_path, moved, 40.0, rising=True)
    write(tmp_path, adapter_only(), 40.0, rising=True)
    write(tmp_path, for_longer(adapter_only()), 40.2, rising=False)
    strict = adapter_only().replace(protocol__absent_class="skip")  # scored otherwise: its own score says nothing
    write(tmp_path, strict, 10.0, rising=True)
    short = [record for record in read_all(tmp_path) if record.config.train.steps == adapter_only().train.steps]
    assert [record.gained_by_longer for record in short] == pytest.approx([0.2] * 3)
    assert all(record.converged for record in short) and len(doubled(short)) == 1
