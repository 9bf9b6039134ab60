"""A scan that answers words: as `geoguide segment` does, encoded once, and every colouring against a plain rule."""

import copy
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import geoguide
from geoguide import own_scan
from geoguide.errors import ConfigError, InputError
from geoguide.lifting import LiftingConfig, PixelFeatures, lift
from geoguide.model import GeoGuideModel
from geoguide.own_scan import Scan
from geoguide.own_scan.explore import HEAT, NOTHING, Exploration, heat, marked
from geoguide.own_scan.scan import palette
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.encoded import EncodedScan
from geoguide.pipeline.prepare import scene_sources
from geoguide.pipeline.stages import Stages
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import identified, open_image_model, parse_spec

WORDS = ("chair", "wall", "whiteboard")


@pytest.fixture(scope="module")
def room(tiny: ExperimentConfig) -> Scan:
    scene = scene_sources(tiny.data, "test")[0].load()
    return Scan(replace(scene, views=scene.views[::10]))


@pytest.fixture(scope="module")
def model() -> GeoGuideModel:
    return geoguide.load("mini")


@pytest.fixture(scope="module")
def encoded(room: Scan, model: GeoGuideModel) -> Exploration:
    return Exploration(room, model, WORDS)


@pytest.fixture
def found(encoded: Exploration) -> Exploration:
    """With words of its own."""
    return copy.copy(encoded)


def test_labels_are_those_of_segment(found: Exploration, room: Scan, model: GeoGuideModel) -> None:
    result = own_scan.segment_scan(room, model, WORDS)
    ids, scores = found.labels()
    np.testing.assert_array_equal(ids, result.ids)
    np.testing.assert_allclose(scores, result.scores, atol=1e-6)
    np.testing.assert_array_equal(found.colors("labels"), palette(3)[ids])  # the colours of the ply


def test_features_are_encoded_once(room: Scan, model: GeoGuideModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded, encode = [], GeoGuideModel.encode
    monkeypatch.setattr(GeoGuideModel, "encode", lambda self, *given: encoded.append(1) or encode(self, *given))
    found = Exploration(room, model, WORDS)
    first = found.cosines("chair")
    found.set_words("chair, a place to sit")
    found.labels()
    monkeypatch.setattr(EncodedScan, "score_rows", lambda *_: pytest.fail("compared again"))
    np.testing.assert_array_equal(found.cosines("chair"), first)
    assert len(encoded) == 1 and found.words == ("chair", "a place to sit")


def test_many_words_of_a_large_scan_take_no_table_of_points_and_words(found: Exploration) -> None:
    """A million points of few voxels, and a dozen words: such a table would be 48 MB."""
    rng = np.random.default_rng(0)
    scan = found._encoded
    rows, index = scan.rows[:500], rng.integers(0, 500, 1_000_000, np.int32)
    found._encoded, found._cosines = EncodedScan(rows, index, scan.prompt, scan.text), {}
    found.words = (
        "chair",
        "wall",
        "table",
        "bed",
        "lamp",
        "door",
        "sofa",
        "sink",
        "desk",
        "window",
        "curtain",
        "mirror",
    )
    expected = np.stack([found._encoded.score_rows(word) for word in found.words])  # [W, R]
    tracemalloc.start()
    ids, scores = found.labels()
    found.top_words(5)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(ids, expected.argmax(0)[index])
    np.testing.assert_array_equal(scores, expected.max(0)[index])
    assert most < 20e6


@pytest.mark.parametrize(("words", "said"), [("", "words separated"), ("chair, Chair", "the same"), ((), "non-empty")])
def test_words_that_cannot_be_used_change_nothing(found: Exploration, words: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        found.set_words(words)
    assert found.words == WORDS


def test_top_words(found: Exploration) -> None:
    ids, scores = found.labels()
    told = found.top_words(5)
    assert told[0] == (WORDS[ids[5]], pytest.approx(float(scores[5])))
    assert [cosine for _, cosine in told] == sorted((float(found.cosines(word)[5]) for word in WORDS), reverse=True)
    assert len(found.top_words(5, 2)) == 2


def test_heat_is_monotone_between_its_ends() -> None:
    values = np.linspace(-0.2, 0.7, 1001).astype(np.float32)
    colors = heat(values)
    np.testing.assert_array_equal(colors[[0, 5]], HEAT[[0, 0]])
    np.testing.assert_array_equal(colors[[-1, -5]], HEAT[[2, 2]])
    np.testing.assert_array_equal(colors[500], HEAT[1])
    assert (np.diff(colors[:, 1].astype(int)) >= 0).all()
    np.testing.assert_array_equal(heat(np.zeros(4)), HEAT[[0] * 4])


def test_heat_map_of_a_word(found: Exploration) -> None:
    np.testing.assert_array_equal(found.colors("heat map", "wall"), heat(found.cosines("wall")))
    np.testing.assert_array_equal(found.colors("heat map"), heat(found.cosines("chair")))


def test_superpoints_and_masks_are_those_of_the_stages(found: Exploration, room: Scan) -> None:
    stages = Stages(room.scene, ExperimentConfig())
    np.testing.assert_array_equal(found.superpoints, stages.superpoints)
    for coloring, groups in (("superpoints", stages.superpoints), ("masks", stages.masks.best_of_points())):
        colors = found.colors(coloring)
        for group in np.unique(groups)[:20]:
            one = np.unique(colors[groups == group], axis=0)
            assert len(one) == 1 and (group >= 0 or (one[0] == NOTHING).all())


def test_images_give_their_own_colours(found: Exploration, room: Scan) -> None:
    """Rendered from the same colours: where an image sees a point, it has nearly the point's; elsewhere grey."""
    colors = found.colors("images")
    seen = (colors != NOTHING).any(1)
    assert 0.2 < seen.mean() < 1
    assert np.median(np.abs(colors[seen].astype(float) - 255 * room.scene.colors[seen])) < 12
    bare = Exploration(Scan(replace(room.scene, views=())), found.model, WORDS)
    assert "images" in found.colorings and "images" not in bare.colorings and bare.evidence(0) == []
    with pytest.raises(InputError, match="no image with a pose"):
        bare.colors("images")
    with pytest.raises(ConfigError, match="unknown colouring 'blue'"):
        bare.colors("blue")


def test_evidence_shows_the_point(found: Exploration, room: Scan) -> None:
    """Against a pinhole by hand: the pixel is where the point projects, and its depth is the point's."""
    point = int(np.flatnonzero((found.colors("images") != NOTHING).any(1))[0])
    told = found.evidence(point, 3)
    assert 1 <= len(told) <= 3
    views = {view.name: view for view in room.scene.views}
    distances = [np.linalg.norm(views[e.view].cam_to_world[:3, 3] - room.scene.points[point]) for e in told]
    assert distances == sorted(distances)
    for one in told:
        view = views[one.view]
        x, y, z, _ = np.linalg.inv(view.cam_to_world) @ [*room.scene.points[point], 1]
        row, col = (
            view.intrinsics[1, 1] * y / z + view.intrinsics[1, 2],
            view.intrinsics[0, 0] * x / z + view.intrinsics[0, 2],
        )
        assert abs(row - one.pixel[0]) <= 1 and abs(col - one.pixel[1]) <= 1
        assert view.depth()[one.pixel] == pytest.approx(z, rel=0.06)
        changed = (one.image != view.color()).any(2)
        assert changed[one.pixel] and changed.sum() <= 25


@pytest.fixture(scope="module")
def asked(room: Scan, model: GeoGuideModel) -> Exploration:
    """With a 2D model, of a few images."""
    few = Scan(replace(room.scene, views=room.scene.views[:3]))
    teacher = ImageTeacher(open_image_model(identified(parse_spec("mini:lseg-mini"))))
    return Exploration(few, model, WORDS, teacher)


def test_2d_heat_map_is_of_the_lifted_features(asked: Exploration, found: Exploration) -> None:
    """Against lifting and a cosine as they read."""
    scene, text = asked.scan.scene, asked.teacher.model.text(("wall",))[0]
    lifted, count = lift(scene, asked.teacher.features(scene), LiftingConfig())
    cosines, seen = asked.cosines_2d("wall"), np.asarray(count) > 0
    np.testing.assert_array_equal(np.isnan(cosines), ~seen)
    expected = (lifted @ text)[seen] / np.linalg.norm(lifted[seen], axis=1)
    np.testing.assert_allclose(cosines[seen], expected, atol=1e-6)
    colors = asked.colors("2D heat map", "wall")
    np.testing.assert_array_equal(colors[seen], heat(cosines[seen]))
    assert 0 < seen.mean() < 1 and (colors[~seen] == NOTHING).all()
    assert asked.colorings[-1] == "2D heat map" and found.colorings[-1] == "images"
    with pytest.raises(InputError, match="without a 2D model"):
        found.colors("2D heat map")


def test_evidence_under_the_2d_models_heat_map(asked: Exploration) -> None:
    """Where the model is surest of the word the image turns yellow, where least, dark blue."""
    point = int(np.flatnonzero((asked.colors("images") != NOTHING).any(1))[0])
    (plain, *_), (glowing, *_) = asked.evidence(point), asked.evidence(point, word="wall")
    (view,) = (view for view in asked.scan.scene.views if view.name == plain.view)
    (said,) = asked.teacher.features(replace(asked.scan.scene, views=(view,)))
    features = said.features if isinstance(said, PixelFeatures) else said
    cosine = features @ asked.teacher.model.text(("wall",))[0] / np.linalg.norm(features, axis=-1)
    toward = glowing.image.astype(float) - 0.4 * plain.image
    for at, end in ((cosine >= np.percentile(cosine, 99.5), HEAT[2]), (cosine <= np.percentile(cosine, 0.5), HEAT[0])):
        assert np.abs(np.median(toward[at], 0) - 0.6 * end).max() < 2
    assert glowing.pixel == plain.pixel and (glowing.image[plain.pixel] == (255, 0, 255)).all()


def test_marks_at_the_edge() -> None:
    image = np.zeros((8, 9, 3), np.uint8)
    for pixel in ((0, 0), (7, 8)):
        assert (marked(image, pixel)[pixel] == (255, 0, 255)).all()
    assert not image.any()


def test_a_ray_meets_the_point_in_front(found: Exploration, room: Scan) -> None:
    points = room.scene.points.astype(np.float64)
    eye = points.mean(0) + np.array(
        [0, 0, 20]
    )  # from far above: what is hit is near the line, and nothing lies well before it
    for target in np.random.default_rng(0).choice(len(points), 10):
        hit = found.nearest(eye, 3 * (points[target] - eye))
        assert hit is not None
        way = (points[target] - eye) / np.linalg.norm(points[target] - eye)
        offset = points[hit] - eye
        along = offset @ way
        assert np.linalg.norm(offset - along * way) <= 0.02 * along + 1e-6
        assert along <= np.linalg.norm(points[target] - eye) + 1e-6
    assert found.nearest(eye, [0, 0, 1]) is None
    for ray in ((eye, [0, 0, 0]), (eye[:2], [0, 0, 1]), (eye, [np.nan, 0, 0])):
        with pytest.raises(InputError, match="a ray is two vectors"):
            found.nearest(*ray)
