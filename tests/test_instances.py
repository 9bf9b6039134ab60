"""Instance masks: a hand-made room, slow twins of the sparse formulas, bad input."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import vstack

from geoguide.errors import ConfigError, InputError
from geoguide.instances.geometry import InstanceConfig, segment_instances, suppress
from geoguide.instances.masks import InstanceMasks, iou_matrix
from geoguide.instances.quality import instance_ap50, mask_quality
from geoguide.instances.regions import CLEARANCE, Regions
from geoguide.instances.spoiling import first_guesses

STEP = 0.03


def sheet(origin: tuple, u: tuple, v: tuple, normal: tuple) -> tuple[np.ndarray, np.ndarray]:
    """Points every 3 cm on a parallelogram, and its normal."""
    u, v = np.array(u, float), np.array(v, float)
    a = np.arange(0, 1, STEP / np.linalg.norm(u))
    b = np.arange(0, 1, STEP / np.linalg.norm(v))
    points = np.array(origin) + (a[:, None, None] * u + b[None, :, None] * v).reshape(-1, 3)
    return points, np.broadcast_to(np.array(normal, float), points.shape)


def box(low: tuple, size: tuple) -> list[tuple[np.ndarray, np.ndarray]]:
    """Top and four sides of a box."""
    (x, y, z), (a, b, c) = low, size
    return [
        sheet((x, y, z + c), (a, 0, 0), (0, b, 0), (0, 0, 1)),
        sheet((x, y, z), (a, 0, 0), (0, 0, c), (0, -1, 0)),
        sheet((x, y + b, z), (a, 0, 0), (0, 0, c), (0, 1, 0)),
        sheet((x, y, z), (0, b, 0), (0, 0, c), (-1, 0, 0)),
        sheet((x + a, y, z), (0, b, 0), (0, 0, c), (1, 0, 0)),
    ]


@pytest.fixture(scope="module")
def room() -> tuple[np.ndarray, ...]:
    """Points, normals, superpoints (one per face) and instances of a floor, four walls and three boxes on the floor."""
    shell = [[sheet((0, 0, 0), (4, 0, 0), (0, 3, 0), (0, 0, 1))]]
    shell += [
        [sheet((0, 0, 0.03), (4, 0, 0), (0, 0, 2.4), (0, 1, 0))],
        [sheet((0, 3, 0.03), (4, 0, 0), (0, 0, 2.4), (0, -1, 0))],
    ]
    shell += [
        [sheet((0, 0, 0.03), (0, 3, 0), (0, 0, 2.4), (1, 0, 0))],
        [sheet((4, 0, 0.03), (0, 3, 0), (0, 0, 2.4), (-1, 0, 0))],
    ]
    boxes = [
        box((0.8, 0.8, 0), (0.5, 0.5, 0.5)),
        box((2, 1.5, 0), (0.8, 0.5, 0.7)),
        box((1.2, 2.2, 0), (0.4, 0.4, 1.0)),
    ]
    faces = [(face, i) for i, faces in enumerate(shell + boxes) for face in faces]
    points = np.concatenate([face[0] for face, _ in faces])
    normals = np.concatenate([face[1] for face, _ in faces])
    superpoints = np.repeat(np.arange(len(faces)), [len(face[0]) for face, _ in faces])
    instances = np.repeat([i for _, i in faces], [len(face[0]) for face, _ in faces])
    return points, normals, superpoints, instances


@pytest.fixture
def random_masks(rng: np.random.Generator) -> np.ndarray:
    return rng.random((7, 50)) < 0.3


def test_a_simple_room_is_found_exactly(room: tuple[np.ndarray, ...]) -> None:
    points, normals, superpoints, instances = room
    quality = mask_quality(segment_instances(points, normals, superpoints), instances)
    assert quality["mean_best_iou"] > 0.99 and quality["ap50"] == pytest.approx(1.0)


def test_without_planes_only_objects_remain_and_come_first(room: tuple[np.ndarray, ...]) -> None:
    points, normals, superpoints, instances = room
    masks = segment_instances(points, normals, superpoints, InstanceConfig(include_planes=False))
    objects = np.where(instances < 5, -1, instances)
    assert mask_quality(masks.take(np.arange(3)), objects)["ap50"] == pytest.approx(1.0)
    assert not masks.dense()[:, instances < 5].any()


def test_order_of_points_and_superpoint_ids_do_not_matter(
    room: tuple[np.ndarray, ...], rng: np.random.Generator
) -> None:
    points, normals, superpoints, _ = room
    first = segment_instances(points, normals, superpoints).dense()
    order, names = rng.permutation(len(points)), 7 + 3 * rng.permutation(superpoints.max() + 1)
    second = segment_instances(points[order], normals[order], names[superpoints][order]).dense()
    assert {mask.tobytes() for mask in first[:, order]} == {mask.tobytes() for mask in second}


def test_region_measures_equal_a_slow_loop(room: tuple[np.ndarray, ...]) -> None:
    points, normals, superpoints, _ = room
    regions = Regions.measure(points, normals, superpoints, reach=0.05)
    for region in range(regions.count):
        inside = superpoints == region
        np.testing.assert_allclose(regions.centers[region], points[inside].mean(axis=0))
        np.testing.assert_allclose(regions.high[region], points[inside].max(axis=0))
        np.testing.assert_allclose(regions.normals[region], normals[inside][0], atol=1e-9)
    assert regions.areas[0] == pytest.approx(12.0, rel=0.1)


def test_contacts_convex_edges_are_smoother_than_concave_ones() -> None:
    top, side = box((0, 0, 0), (0.5, 0.5, 0.5))[:2]
    floor = sheet((-1, -1, 0), (2, 0, 0), (0, 1, 0), (0, 0, 1))  # ends where the side begins
    points = np.concatenate([top[0], side[0], floor[0]])
    normals = np.concatenate([top[1], side[1], floor[1]])
    labels = np.repeat([0, 1, 2], [len(top[0]), len(side[0]), len(floor[0])])
    first, second, roughness = Regions.measure(points, normals, labels, reach=0.05).contacts
    found = {(a, b): r for a, b, r in zip(first, second, roughness, strict=True)}
    assert set(found) == {(0, 1), (1, 2)}
    assert found[0, 1] < 0.5 < found[1, 2]


def test_dense_sparse_and_labels_agree(random_masks: np.ndarray) -> None:
    masks = InstanceMasks.from_dense(random_masks)
    np.testing.assert_array_equal(masks.dense(), random_masks)
    np.testing.assert_array_equal(masks.sizes(), random_masks.sum(axis=1))
    np.testing.assert_array_equal(masks.take(np.array([3, 1])).dense(), random_masks[[3, 1]])
    ids = np.array([4, -1, 2, 4, 9, -1])
    by_label = InstanceMasks.from_labels(ids)
    np.testing.assert_array_equal(by_label.dense(), ids[None] == np.array([2, 4, 9])[:, None])
    assert len(InstanceMasks.from_labels(np.array([-1, -1]))) == 0
    assert InstanceMasks.from_dense(np.zeros((0, 5), bool)).dense().shape == (0, 5)


def test_iou_equals_a_slow_loop(random_masks: np.ndarray) -> None:
    masks, others = InstanceMasks.from_dense(random_masks[:4]), InstanceMasks.from_dense(random_masks[4:])
    slow = [[(a & b).sum() / (a | b).sum() for b in random_masks[4:]] for a in random_masks[:4]]
    np.testing.assert_allclose(iou_matrix(masks, others).toarray(), slow)


@pytest.mark.parametrize("most", [0.2, 0.5, 0.7])
def test_masks_that_overlap_a_better_one_are_dropped_as_by_a_slow_loop(rng: np.random.Generator, most: float) -> None:
    dense = rng.random((40, 30)) < rng.choice([0.1, 0.5, 0.9], (40, 1))
    dense[5:10] = dense[:5] ^ (rng.random((5, 30)) < 0.1)
    scores = rng.choice([0.2, 0.5, 0.8], 40)
    kept: list[int] = []
    for mask in np.lexsort((-dense.sum(1), -scores)):
        if all((dense[mask] & dense[o]).sum() <= most * (dense[mask] | dense[o]).sum() for o in kept):
            kept.append(int(mask))
    found = suppress(InstanceMasks.from_dense(dense, scores), most)
    np.testing.assert_array_equal(found.dense(), dense[kept])
    assert 1 < len(kept) < 40


def test_masks_of_a_large_scan_take_no_table_of_all_pairs() -> None:
    """10,000 masks, each twice: of 400 million pairs 40,000 share a point."""
    masks = InstanceMasks.from_labels(np.repeat(np.arange(10_000), 3))
    twice = InstanceMasks.from_sparse(vstack([masks.sparse(), masks.sparse()]).tocsr())
    tracemalloc.start()
    found, guesses = suppress(twice), first_guesses(twice)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == len(masks) and most < 50e6
    np.testing.assert_array_equal(guesses, np.tile(np.arange(10_000), 2))


def test_quality_by_hand() -> None:
    instances = np.repeat([0, 1, -1], [4, 4, 2])
    dense = np.zeros((3, 10), bool)
    dense[0, :4] = True  # exact
    dense[1, [0, 1, 2, 8]] = True  # a second mask of the same object: a false positive ranked before the next hit
    dense[2, 4:7] = True  # three quarters of the second object
    masks = InstanceMasks.from_dense(dense, np.array([0.9, 0.8, 0.7]))
    quality = mask_quality(masks, instances, min_points=1)
    assert quality["ap50"] == instance_ap50(masks, instances, np.array([0.9, 0.8, 0.7]), min_points=1)
    assert 0.5 < quality["ap50"] < 1
    assert quality["mean_best_iou"] == pytest.approx(0.875)
    assert (quality["masks"], quality["instances"], quality["recall50"]) == (3, 2, 1.0)
    assert mask_quality(masks, instances, min_points=5)["instances"] == 0
    oracle = mask_quality(InstanceMasks.from_labels(instances), instances, min_points=1)
    assert oracle["ap50"] == oracle["mean_best_iou"] == 1.0
    assert mask_quality(InstanceMasks.from_dense(np.zeros((0, 10), bool)), instances, min_points=1)["ap50"] == 0.0


def test_few_points() -> None:
    for count in (1, 2, 5):
        points = np.arange(3.0 * count).reshape(-1, 3)
        masks = segment_instances(points, np.ones((count, 3)), np.zeros(count, int))
        assert masks.num_points == count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((0, 3))}, "points must be"),
        ({"points": np.full((4, 3), np.nan)}, "points must be finite"),
        ({"normals": np.zeros((3, 3))}, r"normals must be \[4, 3\], found \[3, 3\]"),
        ({"superpoints": np.zeros(3, int)}, r"superpoints must be integers \[4\]"),
        ({"superpoints": np.zeros(4)}, "superpoints must be integers"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    arguments = {"points": np.zeros((4, 3)), "normals": np.zeros((4, 3)), "superpoints": np.zeros(4, int)} | change
    with pytest.raises(InputError, match=message):
        segment_instances(**arguments)


def test_bad_masks() -> None:
    with pytest.raises(InputError, match=r"masks must be bool \[M, P\]"):
        InstanceMasks.from_dense(np.zeros((2, 3)))
    with pytest.raises(InputError, match="instances must be integers"):
        InstanceMasks.from_labels(np.zeros(3))
    with pytest.raises(InputError, match=r"outside 0\.\.1"):
        InstanceMasks(np.array([5]), np.array([0, 1]), 2)
    with pytest.raises(InputError, match="offsets must rise"):
        InstanceMasks(np.array([1]), np.array([0, 2]), 2)
    for scores in (np.zeros(3, np.float32), np.zeros(1, np.uint8), np.array([np.nan])):  # the last two sorted as best
        with pytest.raises(InputError, match=r"scores must be (floats \[1\]|numbers), found"):
            InstanceMasks(np.array([1]), np.array([0, 1]), 2, scores)
    with pytest.raises(InputError, match="masks must be of 2 points, found 3"):
        iou_matrix(InstanceMasks(np.array([1]), np.array([0, 1]), 2), InstanceMasks.from_labels(np.zeros(3, int)))


@pytest.mark.parametrize("options", [{"reach": 0}, {"tolerances": ()}, {"tolerances": (2.0,)}, {"max_overlap": 0}])
def test_impossible_config(options: dict) -> None:
    with pytest.raises(ConfigError, match="instances:"):
        InstanceConfig(**options)


def test_what_is_surely_behind_a_plane_is_behind_it(room: tuple[np.ndarray, ...]) -> None:
    """The boxes of regions never tell more than the points do, and of a plane amid many regions tell nearly all."""
    points, normals, superpoints, _ = room
    regions = Regions.measure(points, normals, superpoints, 0.1)
    rng = np.random.default_rng(0)
    for angle, share in zip(rng.uniform(0, 2 * np.pi, 200), rng.uniform(size=200), strict=True):
        normal = np.array([np.cos(angle), np.sin(angle), 0.0])
        along = points @ normal
        side = along - np.quantile(along, share)
        exact = min((side > CLEARANCE).mean(), (side < -CLEARANCE).mean())
        assert regions.surely_behind(normal, float(np.quantile(along, share))) <= exact
    split = np.arange(len(points)) // 10  # regions of ten points
    fine = Regions.measure(points, normals, split, 0.1)
    side = points[:, 0] - 2.0
    exact = min((side > CLEARANCE).mean(), (side < -CLEARANCE).mean())
    assert 0.8 * exact < fine.surely_behind(np.array([1.0, 0.0, 0.0]), 2.0) <= exact
