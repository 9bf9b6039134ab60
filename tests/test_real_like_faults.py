"""The faults that real 2D models were seen to make: falls to the background, class pairs, parts, and lasting ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_teachers import LABELS, OFF, features, make_scene, predicted, with_close_up

from geoguide.errors import ConfigError
from geoguide.experiments.presets import CHAPTER_TEACHERS, TEACHERS
from geoguide.frozen import config_hash
from geoguide.labels import load_label_set
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages
from geoguide.teachers.faults import PART, background_table, hashed, part_image
from geoguide.teachers.simulated import SimulatedTeacher, SimulatedTeacherConfig

WALL, CHAIR = LABELS.names.index("wall"), LABELS.names.index("chair")


@pytest.fixture
def text() -> np.ndarray:
    """Fixed class embeddings, so that figures of an earlier version can be compared with."""
    raw = np.cos(np.outer(np.arange(1, 21), np.arange(1, 13))) + 1.2
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def test_the_2d_models_of_the_chapters_are_what_they_were(tmp_path: Path, text: np.ndarray) -> None:
    """Hashes and features as the code gave them before there were these faults."""
    hashes = [config_hash(TEACHERS[name]) for name in CHAPTER_TEACHERS]
    assert hashes == ["eba23d239b", "bb56aa407d"]
    images = features(with_close_up(make_scene(tmp_path), tmp_path), text, SimulatedTeacherConfig())
    chair = [[0.24892, 0.04832, -0.03694], [0.27628, 0.16315, 0.02242], [0.12117, -0.26011, 0.10391],
             [0.20146, 0.13491, 0.53257]]  # fmt: skip
    wall = [[0.27629, 0.30291, 0.10199], [0.11821, 0.14958, 0.17604], [0.23976, 0.17552, 0.07955],
            [0.00968, 0.04126, 0.49645]]  # fmt: skip
    np.testing.assert_allclose(images[:, 14, 15, :3], chair, atol=2e-5)
    np.testing.assert_allclose(images[:, 5, 3, :3], wall, atol=2e-5)


@pytest.mark.parametrize("fault", ["background", "pairs", "lasting", "parts", "steady"])
def test_the_hash_and_the_cache_name_a_new_fault_only_where_it_is_on(fault: str) -> None:
    plain, changed = SimulatedTeacherConfig(), SimulatedTeacherConfig(**{fault: 0.2})
    assert config_hash(changed) != config_hash(plain)
    with pytest.raises(ConfigError, match=f"{fault} must lie in"):
        SimulatedTeacherConfig(**{fault: 1.2})


def test_objects_before_a_wall_fall_to_it_and_others_do_not(tmp_path: Path, text: np.ndarray) -> None:
    ease, behind = background_table(LABELS.names)
    assert behind == WALL and ease[WALL] == ease[CHAIR] == 0 and ease[LABELS.names.index("desk")] == 1
    nowhere, _ = background_table(load_label_set("nuscenes16").names)
    assert (nowhere == 0).all()
    scene, config = make_scene(tmp_path), replace(OFF, background=1.0)
    np.testing.assert_array_equal(features(scene, text, config), features(scene, text, OFF))  # no such object
    desk = SimulatedTeacher(config, text, LABELS, to_class=_as_desk)
    answers = predicted(np.stack(list(desk.features(scene))), text)
    assert (answers[:, 10, 12] == WALL).all() and (answers[:, 5, 3] == WALL).all()


def _as_desk(raw: np.ndarray) -> np.ndarray:
    """The toy scene's chair, whose raw id is not the wall's, as a desk."""
    classes = np.where(raw == raw[5, 3], WALL, LABELS.names.index("desk"))
    return np.where(raw == 0, 255, classes)


def test_a_fault_that_is_off_draws_nothing(tmp_path: Path, text: np.ndarray) -> None:
    """Faults have generators of their own: one more leaves the draws of the others as they were."""
    scene, config = make_scene(tmp_path), SimulatedTeacherConfig(confusion=0.6)
    before = features(scene, text, config)
    np.testing.assert_array_equal(before, features(scene, text, replace(config, background=1e-12)))
    np.testing.assert_array_equal(before, features(scene, text, replace(config, parts=1e-12)))


def test_lasting_mistakes_about_little_seen_objects_are_the_same_in_equal_views(
    tmp_path: Path, text: np.ndarray
) -> None:
    scene = with_close_up(make_scene(tmp_path), tmp_path)
    twins = [replace(scene.views[3], name=f"close {number}") for number in range(6)]
    scene = replace(scene, views=(*scene.views, *twins))
    found = {}
    for lasting in (0.0, 1.0):
        config = replace(OFF, partial_view=1.0, persistence=1.0, lasting=lasting)
        runs = [predicted(features(scene, text, replace(config, seed=seed)), text)[3:, 4, 2] for seed in range(10)]
        found[lasting] = [len(np.unique(run)) for run in runs]
    assert max(found[1.0]) == 1 < max(found[0.0])


def test_steady_spares_walls(tmp_path: Path, text: np.ndarray) -> None:
    scene = with_close_up(make_scene(tmp_path), tmp_path)
    wrong = {}
    for steady in (0.0, 1.0):
        runs = [features(scene, text, replace(OFF, partial_view=1.0, steady=steady, seed=seed)) for seed in range(60)]
        wrong[steady] = np.mean([predicted(run, text)[3, 4, 2] != WALL for run in runs])
    assert wrong[1.0] < 0.5 * wrong[0.0]  # the ease of walls is 0.3


def test_pairs_give_all_objects_of_a_class_the_same_wrong_class(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    others = {0.0: set(), 1.0: set()}
    for pairs in others:
        for name in map(str, range(40)):  # scenes of other names are other rooms
            config = replace(OFF, confusion=1.0, persistence=1.0, pairs=pairs)
            answer = predicted(features(replace(scene, name=name), text, config)[0, 10, 12], text)
            others[pairs] |= {int(answer)} - {CHAIR}
    assert len(others[1.0]) == 1 < len(others[0.0])


def test_parts_lie_in_the_world_as_a_loop_finds_them(tmp_path: Path) -> None:
    view = make_scene(tmp_path).views[1]
    codes, depth = part_image(view), view.depth()
    by_cube: dict[tuple, set] = {}
    for row in range(0, depth.shape[0], 3):
        for col in range(0, depth.shape[1], 3):
            z = float(depth[row, col])
            if z == 0:
                assert codes[row, col] == -1
                continue
            ray = np.linalg.inv(view.intrinsics) @ [col, row, 1.0] * z
            place = view.cam_to_world[:3, :3] @ ray + view.cam_to_world[:3, 3]
            by_cube.setdefault(tuple(np.floor(place / PART).astype(int)), set()).add(int(codes[row, col]))
    found = [code for codes in by_cube.values() for code in codes]
    assert all(len(codes) == 1 for codes in by_cube.values()) and len(set(found)) == len(by_cube)
    lost = replace(view, cam_to_world=np.full((4, 4), np.nan))
    assert (part_image(lost) == -1).all()


def test_lasting_parts_are_wrong_in_every_view(tmp_path: Path, text: np.ndarray) -> None:
    scene = make_scene(tmp_path)
    same = replace(scene, views=tuple(replace(scene.views[0], name=str(number)) for number in range(4)))
    some = 0
    for seed in range(6):
        answers = predicted(features(same, text, replace(OFF, parts=0.6, lasting=1.0, seed=seed)), text)
        assert (answers == answers[0]).all()
        some += int(len(np.unique(answers[0])) > 2)
    assert some >= 2
    varied = predicted(features(same, text, replace(OFF, parts=0.6, lasting=0.0)), text)
    assert (varied != varied[0]).any()


def test_hashed_numbers_are_uniform_and_belong_to_their_code() -> None:
    codes = np.arange(100_000)
    first = hashed(codes, np.random.default_rng(0))
    np.testing.assert_array_equal(first[[5, 70, 9]], hashed(np.array([5, 70, 9]), np.random.default_rng(0)))
    assert np.abs(np.histogram(first, 20, (0, 1))[0] / 5000 - 1).max() < 0.06  # four standard deviations
    other = hashed(codes, np.random.default_rng(1))
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.02 and abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.02


def test_the_cache_of_the_chapters_features_keeps_its_name(tmp_path: Path) -> None:
    """A field that was added later stands in the name of a cached stage only where it is used."""
    config = ExperimentConfig()
    names = []
    for teacher in (config.teacher, replace(config.teacher, background=0.1)):
        stages = Stages(make_scene(tmp_path), config.replace(teacher=teacher))
        stages.arrays = {"frames": np.array([1, 0])}
        stages._stage = lambda kind, settings, compute, **_: names.append(settings) or {"lifted": 0, "views": 0}
        _ = stages.lifted
    assert "background" not in names[0][0] and names[1][0]["background"] == 0.1
