"""The streets behind mini-nuScenes: what stands in them, and the sensors on the car."""

import numpy as np
import pytest
from streets import CLASS_OF, distance_to_triangles, job, street_of

from geoguide.errors import InputError
from geoguide.labels import load_label_set
from geoguide.scene import VOID
from geoguide.worlds.car import mount_sensors, through_ego
from geoguide.worlds.streets.contents import STREETS
from geoguide.worlds.streets.make import STREET_COUNTS, StreetConfig
from geoguide.worlds.streets.official import category_ids
from geoguide.worlds.streets.scan import DriveConfig, StreetCaster, take_sweep
from geoguide.worlds.streets.world import generate_street


def test_the_default_set_has_every_class_in_every_split():
    """One coarse turn of the LiDAR in each street; shares fall from the road to the bicycle as in the real data."""
    counts = {split: np.zeros(VOID + 1, dtype=int) for split in ("train", "val", "test")}
    config = DriveConfig(turns=480)
    for (split, count), number in zip(counts.items(), STREET_COUNTS, strict=True):
        for k in range(number):
            if k >= 10 and (count[:16] > 0).all():  # scenes beyond the tenth only add to a class that is absent so far
                break
            street, (_, seed) = street_of(split, k, StreetConfig()), job(split, k, StreetConfig()).seeds(2)
            rng = np.random.default_rng(seed)
            lidar, _ = mount_sensors(rng)
            turn = take_sweep(street, StreetCaster(street), lidar, 0.0, config, rng)
            count += np.bincount(CLASS_OF[category_ids(street)[turn.object]], minlength=VOID + 1)
        assert (count[:16] > 0).all(), (split, count[:16])
    names = load_label_set("nuscenes16").names
    share = dict(zip(names, sum(counts.values())[:16] / sum(counts.values())[:16].sum(), strict=True))
    assert share["drivable surface"] > 0.25 and share["manmade"] > 0.15
    assert all(share[name] < 0.01 for name in ("bicycle", "motorcycle", "traffic cone", "person"))
    assert share["car"] > 2 * max(share[name] for name in ("truck", "bus", "trailer", "construction vehicle"))


def test_a_street_depends_on_its_arguments_alone():
    first, again, other = generate_street(5, "works"), generate_street(5, "works"), generate_street(6, "works")
    for a, b in zip(first.objects, again.objects, strict=True):
        assert np.array_equal(a.mesh.vertices, b.mesh.vertices) and np.array_equal(a.start, b.start)
    assert [item.start.tolist() for item in first.objects] != [item.start.tolist() for item in other.objects]
    with pytest.raises(InputError, match=r"kind must be one of avenue"):
        generate_street(5, "motorway")
    with pytest.raises(InputError, match=r"seed must be an integer >= 0, found -1"):
        generate_street(-1, "works")


@pytest.mark.parametrize("kind", STREETS)
def test_nothing_that_is_annotated_overlaps(kind: str):
    """Boxes of things are apart at every time that is recorded; so is the car's way."""
    street = generate_street(11, kind)
    things = [item for item in street.objects if item.size is not None]
    for time in (-1.75, 0.0, 1.75):
        middles = np.array([item.pose(time)[:2, 3] for item in things])
        gap = np.linalg.norm(middles[:, None] - middles[None], axis=-1)
        halves = np.array([min(item.size[:2]) / 2 for item in things])  # a circle that lies in the box
        np.fill_diagonal(gap, np.inf)
        assert (gap > halves[:, None] + halves[None] - 0.05).all()
        for ahead in (-0.2, 1.0, 2.2):  # circles as wide as the car
            ego = (street.ego_pose(time) @ [ahead, 0, 0, 1])[:2]
            assert (np.linalg.norm(middles - ego, axis=1) > halves + 0.87).all()


def test_the_car_hides_what_is_below_it():
    rays = np.array([[0.0, 0, -1], [0, 0, 1], [1, 0, 0], [1, 0, -0.1], [1, 0, -0.6], [0, 1, -0.2], [0, 1, -0.6]])
    hidden = [True, False, False, False, True, False, True]
    assert through_ego(np.array([0.944, 0.0, 1.84]), rays).tolist() == hidden


def test_distance_to_triangles_by_hand():
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    points = np.array([[0.2, 0.2, 0.5], [-3, 0, 4], [1, 1, 0], [2, 0, 0]], dtype=np.float64)
    np.testing.assert_allclose(distance_to_triangles(points, triangle), [0.5, 5, np.sqrt(0.5), 1])
