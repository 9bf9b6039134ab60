"""Hours by profile and minutes by row, from records whose times are known."""

from dataclasses import replace

import pytest
from fake_records import fake_record

from geoguide.experiments.placing import on
from geoguide.experiments.presets import adapter_only, fusion, preset
from geoguide.experiments.profiles import PROFILES
from geoguide.report.wall_time import NO_PROFILE, hours_by_profile, minutes_by_method


def timed(config, seconds: float):
    return replace(fake_record(config), wall_seconds=seconds)


def test_a_record_counts_for_every_profile_that_has_it_and_for_none_where_no_profile_does():
    stray = adapter_only(77)
    found = [timed(adapter_only(0), 1800), timed(on(adapter_only(0), "nuscenes"), 3600), timed(stray, 5400)]
    table = hours_by_profile(found).set_index("profile")
    assert list(table.index) == [*PROFILES, NO_PROFILE]
    assert table["hours"].to_dict() | {"all": 1.5, "quick": 1.5, "full": 0.5, "nuscenes": 1.0, "large": 0.0} == (
        table["hours"].to_dict()
    )
    assert table.loc["quick", "experiments"] > table.loc["quick", "records"] == 2
    assert table.loc[NO_PROFILE, ["records", "hours"]].tolist() == [1, 1.5]


def test_minutes_are_of_one_method_preset_place_and_edition():
    times = {0: 60, 1: 120, 2: 600}
    found = [timed(adapter_only(seed), seconds) for seed, seconds in times.items()]
    found += [timed(preset(), 300), timed(preset("as-written"), 240), timed(on(fusion(), "matterport3d"), 30)]
    table = minutes_by_method(found).set_index(["method", "trained in"])
    adapter = table.loc[("adapter only", "rooms")]
    assert (adapter["runs"], adapter["minutes, median"], adapter["longest"]) == (3, 2.0, 10.0)
    assert table.loc[("GeoGuide, works-best", "rooms"), "minutes, median"] == 5.0
    assert table.loc[("GeoGuide, as-written", "rooms"), "runs"] == 1
    assert table.loc[("2D fusion", "houses"), "minutes, median"] == pytest.approx(0.5)
    assert set(table["edition"]) == {"small"}
