"""Figures: they draw what they were given, need no network, stay small, and refuse bad input in one line."""

import base64
import io
import json
import re

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest
from PIL import Image
from scipy import stats
from skimage.color import deltaE_ciede2000, rgb2lab

from geoguide.errors import InputError
from geoguide.labels import load_label_set
from geoguide.report import figures
from geoguide.report.figures.clouds import MAX_POINTS, _palette, _quantise, _round_step
from geoguide.report.figures.palette import APART, as_deuteranope, class_colors
from geoguide.report.figures.poster import draw_cloud
from geoguide.report.figures.render import OfflineRenderer

LABELS = load_label_set("scannet20")


@pytest.fixture
def cloud(rng):
    return rng.uniform(-3, 5, (500, 3))


def bundle(figure: go.Figure) -> dict:
    return OfflineRenderer().to_mimebundle(figure.to_dict())


# clouds


def test_quantised_coordinates_are_true_to_half_a_millimetre(cloud):
    grid, _ = _quantise(cloud)
    assert grid.dtype == np.uint16
    assert np.abs(grid * 0.001 + cloud.min(axis=0) - cloud).max() <= 0.0005 + 1e-9


def test_quantised_coordinates_of_a_street_fit_uint16(rng):
    street = rng.uniform(-400, 400, (200, 3))
    grid, _ = _quantise(street)
    step = np.ptp(street, axis=0).max() / 65_000
    assert np.abs(grid * step + street.min(axis=0) - street).max() <= step / 2 + 1e-9


def test_axis_ticks_read_metres(cloud):
    _, axes = _quantise(cloud)
    for number, name in enumerate("xyz"):
        values = np.array(axes[f"{name}axis"]["tickvals"]) * 0.001 + cloud[:, number].min()
        np.testing.assert_allclose(values, [float(text) for text in axes[f"{name}axis"]["ticktext"]], atol=1e-6)
        assert axes[f"{name}axis"]["title"]["text"] == f"{name} (m)"


@pytest.mark.parametrize(("rough", "step"), [(0.9, 0.5), (1.0, 1.0), (4.9, 2.0), (70, 50), (0, 1.0)])
def test_round_step(rough, step):
    assert _round_step(rough) == pytest.approx(step)


def test_palette_keeps_few_colours_exactly(rng):
    colors = np.array([[0, 0, 0], [1, 0, 0], [0, 0.2, 1]])[rng.integers(0, 3, 300)]
    indices, scale = _palette(colors)
    found = np.array([[int(v) for v in re.findall(r"\d+", scale[i][1])] for i in indices]) / 255
    np.testing.assert_allclose(found, colors, atol=1e-9)


def test_palette_of_a_single_colour_is_a_valid_scale():
    indices, scale = _palette(np.full((5, 3), 0.5))
    assert scale[0][0] == 0 and scale[-1][0] == 1 and set(indices.tolist()) == {0}


def test_class_traces_hold_every_point_once_and_share_one_legend(cloud, rng):
    labels = rng.integers(0, 20, 500)
    labels[:7] = 255
    panel = figures.Panel(cloud, "truth", labels=labels, label_set=LABELS)
    figure = figures.show_clouds([panel, panel], title="two")
    assert sum(len(trace.x) for trace in figure.data) == 1000
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert sorted(shown) == sorted({"void", *(LABELS.names[i] for i in np.unique(labels[7:]))})
    assert {trace.scene for trace in figure.data} == {"scene", "scene2"}
    void = next(trace for trace in figure.data if trace.name == "void")
    assert len(void.x) == 7


def test_heat_map_keeps_values_and_draws_nan_grey(cloud):
    scalar = np.linspace(0, 1, 500)
    scalar[::5] = np.nan
    figure = figures.show_cloud(cloud, title="heat", scalar=scalar, scalar_name="similarity", limits=(-1, 1))
    heat, grey = figure.data
    np.testing.assert_allclose(heat.marker.color, scalar[np.isfinite(scalar)], rtol=1e-6)
    assert (heat.marker.cmin, heat.marker.cmax) == (-1, 1)
    assert heat.marker.colorbar.title.text == "similarity"
    assert len(grey.x) == 100


def test_heat_map_without_any_finite_value(cloud):
    figure = figures.show_cloud(cloud, title="none", scalar=np.full(500, np.nan))
    assert len(figure.data[1].x) == 500


def test_instances_get_colours_without_names(cloud, rng):
    figure = figures.show_cloud(cloud, title="ids", labels=rng.integers(-1, 900, 500))
    (trace,) = figure.data
    assert trace.marker.color.dtype == np.uint8 and trace.marker.color.max() <= 254


def test_thinning_is_deterministic_and_bounded(cloud):
    colors = np.zeros((500, 3))
    first, second = (figures.show_cloud(cloud, title="t", colors=colors, max_points=100) for _ in range(2))
    assert len(first.data[0].x) == 100
    np.testing.assert_array_equal(first.data[0].x, second.data[0].x)


def test_hundred_thousand_points_take_about_a_megabyte(rng):
    points = rng.uniform(0, 6, (MAX_POINTS, 3))
    figure = figures.show_cloud(points, title="big", colors=rng.uniform(0, 1, points.shape), max_points=MAX_POINTS)
    assert len(bundle(figure)["text/html"]) < 1.2e6


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"points": np.zeros((0, 3)), "colors": np.zeros((0, 3))}, "P > 0"),
        ({"points": np.zeros((4, 2)), "colors": np.zeros((4, 3))}, r"\[4, 2\]"),
        ({"points": np.full((4, 3), np.nan), "colors": np.zeros((4, 3))}, "NaN"),
        ({"points": np.zeros((4, 3))}, "exactly one"),
        ({"points": np.zeros((4, 3)), "scalar": np.zeros(4), "labels": np.zeros(4, int)}, "exactly one"),
        ({"points": np.zeros((4, 3)), "colors": np.full((4, 3), 7.0)}, r"\[0, 1\]"),
        ({"points": np.zeros((4, 3)), "labels": np.zeros(5, int)}, r"\[5\]"),
        ({"points": np.zeros((4, 3)), "labels": np.zeros(4)}, "integers"),
        ({"points": np.zeros((4, 3)), "labels": np.full(4, 33), "label_set": LABELS}, "33"),
    ],
)
def test_bad_clouds_are_refused(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        figures.show_cloud(fields.pop("points"), title="bad", **fields)
    assert "\n" not in str(caught.value)


def test_bad_limits_are_refused(cloud):
    with pytest.raises(InputError, match="max_points"):
        figures.show_cloud(cloud, title="t", scalar=cloud[:, 0], max_points=MAX_POINTS + 1)
    with pytest.raises(InputError, match="1 to 4"):
        figures.show_clouds([], title="t")


# charts


@pytest.mark.parametrize("zoom", [False, True])
def test_seed_bars_show_mean_interval_and_every_seed(zoom):
    rows = {"full": [50.0, 52.0, 51.0], "without usd": [48.0, 48.5, 47.5]}
    figure = figures.seed_bars(rows, title="ablation", reference="full", zoom=zoom)
    mean, seeds = figure.data
    assert mean.type == ("scatter" if zoom else "bar")
    assert list(mean.y) == [51.0, 48.0]
    low, high = stats.t.interval(0.95, 2, loc=51.0, scale=stats.sem(rows["full"]))
    assert mean.error_y.array[0] == pytest.approx((high - low) / 2)
    assert sorted(seeds.y) == sorted([*rows["full"], *rows["without usd"]])
    assert figure.layout.yaxis.title.text == "mIoU (%)"


@pytest.mark.parametrize("joined", [True, False])
def test_interval_lines_hold_mean_and_interval_of_every_category(joined):
    rows = {"a": {21: [5.0, 7.0, 6.0], 40: [3.0, 4.0, 5.0]}, "b": {21: [1.0], 40: [2.0]}}
    figure = figures.interval_lines(rows, title="t", x_title="classes K", joined=joined)
    first, second = figure.data
    assert list(first.y) == [6.0, 4.0] and list(second.y) == [1.0, 2.0]
    low, high = stats.t.interval(0.95, 2, loc=6.0, scale=stats.sem([5.0, 7.0, 6.0]))
    assert first.error_y.array[0] == pytest.approx((high - low) / 2) and np.isnan(second.error_y.array[0])
    assert list(figure.layout.xaxis.ticktext) == ["21", "40"] and list(first.customdata) == [21, 40]
    assert (np.abs(np.array(first.x) - [0, 1]) < 0.5).all() and (first.x < second.x).all()
    assert ("lines" in first.mode) == joined


def test_curves_draw_each_seed_and_the_mean():
    figure = figures.curves({"a": [([0, 1], [1.0, 3.0]), ([0, 1], [3.0, 5.0])]}, title="c", y_title="loss")
    assert len(figure.data) == 3
    assert list(figure.data[-1].y) == [2.0, 4.0]


def test_similarity_matrices_keep_values_and_share_the_scale(rng):
    a, b = rng.normal(size=(2, 6, 6))
    figure = figures.show_matrices({"G": a, "sem": b}, title="s", names=list("uvwxyz"), shared_scale=True)
    np.testing.assert_allclose(figure.data[1].z, b, rtol=1e-6)
    assert figure.data[0].zmin == figure.data[1].zmin == pytest.approx(min(a.min(), b.min()))


def test_class_bars_leave_gaps_for_absent_classes():
    figure = figures.class_bars({"full": [1.0, np.nan]}, ["wall", "floor"], title="c")
    assert np.isnan(figure.data[0].y[1])


def test_images_survive_as_png(rng):
    import io

    from PIL import Image

    image = rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    figure = figures.show_images({"view": image}, title="i")
    raw = base64.b64decode(figure.data[0].source.split(",")[1])
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(raw))), image)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.seed_bars({}, title="t"), "at least one"),
        (lambda: figures.seed_bars({"a": []}, title="t"), "'a'"),
        (lambda: figures.seed_bars({"a": [1.0]}, title="t", reference="b"), "'b'"),
        (lambda: figures.interval_lines({}, title="t", x_title="x"), "1 to 8"),
        (lambda: figures.interval_lines({"a": {}}, title="t", x_title="x"), "'a'"),
        (lambda: figures.interval_lines({"a": {1: []}}, title="t", x_title="x"), "'a'"),
        (lambda: figures.interval_lines({"a": {1: [1]}, "b": {2: [1]}}, title="t", x_title="x"), "'b'"),
        (lambda: figures.curves({}, title="t", y_title="y"), "at least one"),
        (lambda: figures.curves({"a": []}, title="t", y_title="y"), "'a'"),
        (lambda: figures.curves({"a": [([0], [1.0, 2.0])]}, title="t", y_title="y"), "1 steps and 2 values"),
        (lambda: figures.curves({"a": [([0], [1]), ([1], [1])]}, title="t", y_title="y"), "same steps"),
        (lambda: figures.show_matrices({}, title="t"), "at least one"),
        (lambda: figures.show_matrices({"a": np.zeros((2, 3))}, title="t"), "'a'"),
        (lambda: figures.show_matrices({"a": np.zeros((2, 2))}, title="t", names=["x"]), "names"),
        (lambda: figures.class_bars({"a": [1.0]}, ["x", "y"], title="t"), "'a'"),
        (lambda: figures.class_bars({}, ["x"], title="t"), "1 to 8"),
        (lambda: figures.show_images({}, title="t"), "at least one"),
        (lambda: figures.show_images({"a": np.zeros((4, 4, 3))}, title="t"), "uint8"),
    ],
)
def test_bad_charts_are_refused(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# rendering


def test_html_needs_no_network_and_json_form_is_there_for_jupyterlab():
    parts = bundle(figures.seed_bars({"a": [1.0, 2.0]}, title="t"))
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", parts["text/html"])
    assert "https://" not in parts["text/html"]
    assert 'class="geoguide-figure"' in parts["text/html"]
    assert parts["application/vnd.plotly.v1+json"]["data"][0]["type"] == "bar"


def page_data(html: str) -> dict:
    """What `figure.js` draws from."""
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1])


def test_no_text_ends_the_elements_that_carry_a_figure():
    html = bundle(figures.seed_bars({"</script><b>": [1.0, 2.0]}, title="a <i>b</i> c"))["text/html"]
    assert page_data(html)["data"][0]["x"] == ["</script><b>"]
    assert 'aria-label="a b c"' in html and "<figcaption>a <i>b</i> c</figcaption>" in html


def test_a_cloud_comes_as_described_pictures_with_what_its_colours_mean(cloud, rng):
    labels = rng.integers(0, 3, len(cloud))
    panels = [
        figures.Panel(cloud, "classes & more", labels=labels, label_set=LABELS),
        figures.Panel(cloud, "heat", scalar=cloud[:, 0], scalar_name="cosine", limits=(0, 2)),
    ]
    parts = bundle(figures.show_clouds(panels, title="t"))
    pictures = re.findall(r'<img src="data:image/webp;base64,([^"]+)" alt="([^"]+)"', parts["text/html"])
    assert [told.split(":")[0] for _, told in pictures] == ["classes &amp; more", "heat"]
    for source, _ in pictures:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGBA"))
        drawn = pixels[pixels[..., 3] > 128]
        assert 0.01 < len(drawn) / pixels[..., 0].size < 1 and len(np.unique(drawn[:, :3], axis=0)) > 2
    keys = re.findall(r'<i style="background:[^"]+"></i>([^<]+)', parts["text/html"])
    assert set(keys) == set(LABELS.names[:3])
    assert page_data(parts["text/html"])["stack"]
    assert "meta" not in parts["application/vnd.plotly.v1+json"]["layout"]  # pictures travel once


def test_the_nearest_point_of_a_still_picture_is_in_front():
    eye = (1.0, -1.0, 1.0)
    points = np.array([[0, 0, 0], np.array(eye), [3, 3, 0], [-3, -3, 0]], dtype=float)  # the second hides the first
    image = draw_cloud(points, np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 255]]), eye)
    shown = {tuple(color) for color in image[image[..., 3] > 0][:, :3].tolist()}
    assert shown == {(0, 255, 0), (0, 0, 255)}


def test_a_deuteranope_tells_the_classes_of_the_book_apart():
    for name in ("scannet20", "matterport21", "nuscenes16"):
        labels = load_label_set(name)
        colors = class_colors(labels)
        for lab in (rgb2lab(colors / 255), rgb2lab(as_deuteranope(colors))):
            apart = deltaE_ciede2000(lab[:, None], lab[None])
            assert apart[~np.eye(len(labels), dtype=bool)].min() >= APART
        kept = np.linalg.norm(colors.astype(float) - labels.colors, axis=1) == 0
        assert kept[0] and kept.sum() >= 5  # familiar colours stay where they can
    assert len(class_colors(load_label_set("matterport160"))) == 160


def test_greys_look_grey_to_a_deuteranope_and_red_and_green_alike():
    greys = np.repeat(np.array([[0], [90], [255]], dtype=np.uint8), 3, axis=1)
    np.testing.assert_allclose(as_deuteranope(greys), greys / 255, atol=2e-3)
    pair = np.array([[170, 90, 40], [120, 120, 40]], dtype=np.uint8)
    normal, seen = rgb2lab(pair / 255), rgb2lab(as_deuteranope(pair))
    assert deltaE_ciede2000(seen[0][None], seen[1][None]) < 0.4 * deltaE_ciede2000(normal[0][None], normal[1][None])


def test_use_offline_renderer_becomes_the_default():
    before = pio.renderers.default
    try:
        figures.use_offline_renderer()
        assert pio.renderers.default == "geoguide"
        assert set(go.Figure()._repr_mimebundle_()) == {"text/html", "application/vnd.plotly.v1+json"}
    finally:
        pio.renderers.default = before


def test_every_figure_has_a_title_and_a_height(cloud):
    for figure in (
        figures.show_cloud(cloud, title="t", scalar=cloud[:, 0]),
        figures.seed_bars({"a": [1.0]}, title="t"),
        figures.class_bars({"a": [1.0]}, ["x"], title="t"),
    ):
        assert figure.layout.title.text == "t" and figure.layout.height > 300
