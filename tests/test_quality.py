"""Quality of regions against gain: the profile's rows and facts, what is measured of a room, and records by hand."""

from dataclasses import replace

import numpy as np
import pytest
from fake_records import fake_record

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.experiments.facts import Facts
from geoguide.experiments.presets import LONG_SEEDS
from geoguide.experiments.profiles import ALONE, ALONE_QUALITY, QUALITY, profile, quality, with_quality
from geoguide.experiments.records import frame
from geoguide.frozen import config_hash
from geoguide.instances.scene_masks import MaskConfig, scene_masks
from geoguide.pipeline.config import ExperimentConfig
from geoguide.prepared import PreparedScene
from geoguide.report import figures
from geoguide.report import quality as report
from geoguide.report.claim_tests import SEEDS
from geoguide.report.evidence import estimate, interval
from geoguide.report.ledger import ledger
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints, superpoint_purity

WORSE = ("ours, half spoiled", "ours, all spoiled")  # than our masks: results/quality.json may not have them yet


def test_rows_are_told_apart_by_facts_alone() -> None:
    rows = quality()
    found = [Facts.of(config) for config in rows]
    alone = sum(map(len, ALONE_QUALITY.values()))
    assert len(set(found)) == len(found) == len(LONG_SEEDS) * (1 + len(QUALITY) + alone)
    assert {*ALONE_QUALITY} == {*ALONE} and all({*taken} <= {*QUALITY} for taken in ALONE_QUALITY.values())
    assert len({config_hash(config) for config in rows}) == len(rows) == len(profile("quality"))
    few = {"data.first", "train.steps", "train.evaluate_every"}
    for variant in QUALITY:
        changed = {name for name, _ in Facts.of(with_quality(variant)).changed} - few
        assert bool(changed) == (variant != "ours")
        assert all(name.startswith(("superpoints.", "masks.")) for name in changed)
    assert not any(facts.plain for facts in found)
    with pytest.raises(ConfigError, match="unknown quality 'perfect': known are ours"):
        with_quality("perfect")


def test_masks_stay_where_superpoints_change(room: Scene) -> None:
    """Masks of named superpoints do not hang on those of the experiment; and hashes of old configs stay."""
    ours, fine = (scene_superpoints(room, config) for config in (SuperpointConfig(), SuperpointConfig(k=1e-4)))
    masks = [scene_masks(room, superpoints, MaskConfig(superpoints=SuperpointConfig())) for superpoints in (ours, fine)]
    np.testing.assert_array_equal(masks[0].dense(), masks[1].dense())
    np.testing.assert_array_equal(masks[0].dense(), scene_masks(room, ours, MaskConfig()).dense())
    assert masks[0].dense().shape != scene_masks(room, fine, MaskConfig()).dense().shape
    plain = ExperimentConfig()
    assert config_hash(plain.replace(masks__superpoints=None)) == config_hash(plain)
    assert config_hash(plain.replace(masks__superpoints=SuperpointConfig())) != config_hash(plain)


@pytest.fixture(scope="module")
def room(tiny_scenes: dict[str, list[PreparedScene]]) -> Scene:
    return tiny_scenes["test"][0].load()


def test_measured_by_hand(room: Scene, tmp_path) -> None:
    chosen = ("ours", "superpoints far too coarse", "superpoints by VCCS", "true masks", "true masks, 1 spoiled")
    chosen = (*chosen, *WORSE)
    found = report.measure([room, room], chosen)
    assert list(found) == list(chosen) and {one.rooms for one in found.values()} == {2}
    superpoints = scene_superpoints(room, SuperpointConfig())
    assert found["ours"].purity == pytest.approx(superpoint_purity(superpoints, room.labels), abs=1e-4)
    assert found["ours"].superpoints == len(np.unique(superpoints))
    assert found["ours"].median_size == np.median(np.unique(superpoints, return_counts=True)[1])
    assert found["superpoints far too coarse"].median_size > 3 * found["ours"].median_size
    assert found["superpoints far too coarse"].masks == found["ours"].masks
    assert found["true masks"].mean_best_iou == 1 > found["true masks, 1 spoiled"].mean_best_iou
    falling = [found[name].mean_best_iou for name in ("ours", *WORSE)]
    assert falling == sorted(falling, reverse=True) and falling[-1] < falling[0] - 0.1
    report.write_qualities(found, tmp_path / "quality.json")
    assert report.read_qualities(tmp_path / "quality.json") == found
    with pytest.raises(DataError, match="no room"):
        report.measure([])
    with pytest.raises(DataError, match="labels and instances are needed"):
        report.measure([replace(room, instances=None)], chosen)
    (tmp_path / "quality.json").write_text('{"variants": {"ours": {"rooms": "many"}}}')
    with pytest.raises(DataError, match="must hold qualities by variant"):
        report.read_qualities(tmp_path / "quality.json")


def test_the_committed_file_has_the_variants_in_order_and_spans_both_sides() -> None:
    found = report.read_qualities()
    assert list(found) == [name for name in QUALITY if name in found] and {*QUALITY} - {*found} <= {*WORSE}
    order = ["superpoints far too fine", "superpoints finer", "ours", "superpoints of SAS", "superpoints coarser"]
    order.append("superpoints far too coarse")
    sizes, purities = ([getattr(found[name], part) for name in order] for part in ("median_size", "purity"))
    assert sizes == sorted(sizes) and sizes[-1] > 100 * sizes[0] and purities == sorted(purities, reverse=True)
    assert len({one.mean_best_iou for name, one in found.items() if not name.startswith(("true", "ours,"))}) == 1
    worse = [found[name].mean_best_iou for name in ("ours", *WORSE) if name in found]
    assert worse == sorted(worse, reverse=True)
    spoiled = [one.mean_best_iou for name, one in found.items() if name.startswith("true masks")]
    assert spoiled[0] == 1.0 and spoiled == sorted(spoiled, reverse=True)


def records(gained: dict[str, list[float]], converged: bool = True) -> list:
    """The adapter at 40, 41, 42 by seed, and variants that much above it."""
    made = []
    names = {with_quality(variant, seed): variant for variant in QUALITY for seed in LONG_SEEDS}
    for config in quality():
        base, variant = 40.0 + config.seed, names.get(config)
        if not config.objective.modules:
            made.append(fake_record(config, base))
        elif variant in gained:
            made.append(fake_record(config, base + gained[variant][config.seed], converged=converged))
    return made


def test_gains_by_hand() -> None:
    gained = {"ours": [1.0, 1.2, 1.1], "superpoints far too coarse": [-1.0, -1.2, -1.4], "true masks": [2.0, 2.2, 2.1]}
    made = records(gained)
    told = report.gains(made, report.read_qualities())
    by_variant = {gain.variant: gain for gain in told}
    assert list(by_variant) == list(report.read_qualities())
    for variant, gap in gained.items():
        np.testing.assert_allclose(by_variant[variant].gap, gap)
    assert all(gain.settled for gain in told)
    table = report.quality_table(told).set_index("works-best with")["gain over the adapter"]
    assert table["ours"] == estimate(gained["ours"]).text() and table["superpoints finer"] == report.NO_RECORD
    made += [fake_record(with_quality("ours", seed, ALONE["usd"]), 40.0 + seed) for seed in LONG_SEEDS]
    made += [fake_record(with_quality(ALONE_QUALITY["usd"][2], seed, ALONE["usd"]), 38.0 + seed) for seed in LONG_SEEDS]
    for module, base in (("imr", 41.0), ("iirc", 43.0)):
        for variant, more in (("ours", 0.0), ("ours, all spoiled", -1.0), ("superpoints far too coarse", -1.5)):
            if variant in ALONE_QUALITY[module]:
                configs = [with_quality(variant, seed, ALONE[module]) for seed in LONG_SEEDS]
                made += [fake_record(config, base + more + config.seed) for config in configs]
    tests = ledger(frame(made, edition="large").assign(over=SEEDS), "large").set_index("test")
    coarse = tests.loc["ours beat superpoints far too coarse (few rooms)"]
    gap = np.subtract(gained["ours"], gained["superpoints far too coarse"])
    assert (coarse["difference"], coarse["verdict"]) == (estimate(gap).text(), "supported")
    assert tests.loc["true masks beat ours (few rooms)", "difference"] == "+1.00 [+1.00, +1.00]"
    assert tests.loc["USD alone: ours beat superpoints far too coarse (few rooms)", "verdict"] == "supported"
    for module in ("IMR", "IIRC"):  # what the claim says of it decides: masks, not superpoints
        masks = tests.loc[f"{module} alone: ours beat ours, all spoiled (few rooms)"]
        assert masks["difference"] == "+1.00 [+1.00, +1.00]" and not masks["aside"]
    assert tests.loc["IIRC alone: ours beat superpoints far too coarse (few rooms)", "aside"]
    assert "IMR alone: ours beat superpoints far too coarse (few rooms)" not in tests.index
    assert not tests.index.str.contains("far too fine").any()
    shown = report.panels(told)
    assert set(shown[report.PURITY]) & set(shown[report.IOU]) == {"ours"}
    assert len(shown[report.PURITY]) + len(shown[report.IOU]) == len(told) + 1


def test_no_records_and_no_convergence_are_said() -> None:
    qualities = report.read_qualities()
    nothing = report.gains([], qualities)
    assert [len(gain.gap) for gain in nothing] == [0] * len(qualities)
    assert set(report.quality_table(nothing)["gain over the adapter"]) == {report.NO_RECORD}
    unfinished = report.gains(records({"ours": [1.0, 1.1, 1.2]}, converged=False), qualities)
    assert report.quality_table(unfinished)["gain over the adapter"][0].endswith(" *")


def test_scatter_draws_means_intervals_and_what_has_no_record() -> None:
    panels = {"q": {"a": (0.5, [1.0, 2.0, 3.0]), "b": (0.7, [])}, "size": {"a": (100.0, [1.0, 2.0, 3.0])}}
    figure = figures.quality_scatter(panels, title="t", unit="u", log=["size"])
    first, second, third = figure.data
    assert (first.x, first.y, first.error_y.array) == ((0.5,), (2.0,), (interval([1.0, 2.0, 3.0]),))
    assert second.y == (0.0,) and second.marker.symbol == "circle-open" and "no record" in second.hovertemplate
    assert third.x == (100.0,) and not third.showlegend and figure.layout.xaxis2.type == "log"
    with pytest.raises(InputError, match="at least one quality"):
        figures.quality_scatter({}, title="t", unit="u")
    with pytest.raises(InputError, match="must be finite"):
        figures.quality_scatter({"q": {"a": (np.nan, [])}}, title="t", unit="u")
