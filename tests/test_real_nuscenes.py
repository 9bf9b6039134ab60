"""A real nuScenes key frame end to end: lifted colours, superpoints, segmentation, and a figure in the test output.

The packaged model knows generated rooms only. What it says about a street is printed (pytest -s), not judged.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from plyfile import PlyData

import geoguide
from geoguide import own_scan
from geoguide.cli import main
from geoguide.datasets.nuscenes import load_key_frame
from geoguide.labels import load_label_set
from geoguide.labels.nuscenes import load_finer_names
from geoguide.lifting import Fusion, fuse, project
from geoguide.scene import Scene
from geoguide.superpoints import segment_points, superpoint_purity
from geoguide.teachers.color import ColorTeacher
from geoguide.text.minilm import MiniLMTextEncoder

pytestmark = pytest.mark.usefixtures("data_home")  # embeddings of words are cached there
GROUND = -1.6  # metres below the LiDAR, which stands 1.84 m above the road; kerbs and verges are higher
RULES = {
    "openscene": {"use_depth": False, "rule": "openscene", "border": 5},
    "devkit": {"use_depth": False, "rule": "devkit"},
    "splat": {"use_depth": "splat", "depth_tolerance": 0.1, "rule": "devkit"},
}


@pytest.fixture(scope="module")
def folder(recordings: Path) -> Path:
    return recordings / "nuscenes_sample"


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    """As `geoguide segment` opens it, with lifted colours."""
    return own_scan.open_scan(folder).scene


@pytest.fixture(scope="module")
def lifted(scene: Scene) -> dict[str, Fusion]:
    """Mean colour and number of cameras by rule."""
    return {name: fuse(scene.points, scene.views, ColorTeacher().features(scene), **RULES[name]) for name in RULES}


@pytest.fixture(scope="module")
def superpoints(scene: Scene) -> np.ndarray:
    return segment_points(scene.points)


@pytest.fixture(scope="module")
def classes(scene: Scene) -> dict[str, np.ndarray]:
    """Class ids int64 [P] of the 16 names, and of the 43 finer names pooled; similarities [P, 43] of the latter."""
    model, finer = geoguide.load("mini"), load_finer_names()
    features = model.features(scene).numpy()  # [P, C]
    names = load_label_set("nuscenes16").names
    coarse, similarity = (
        features @ MiniLMTextEncoder().encode(text, prompt=model.prompt).T for text in (names, finer.names)
    )
    pooled = finer.pool(similarity)
    return {"16 names": coarse.argmax(axis=1), "43 names": pooled.argmax(axis=1), "similarity": similarity}


# ---------------------------------------------------------------- lifted colours


def test_the_rules_see_the_same_points_but_for_border_and_occlusion(lifted):
    seen = {name: found.count > 0 for name, found in lifted.items()}
    for name, points in seen.items():
        print(f"\n{name}: {points.sum()} of {len(points)} points seen ({points.mean():.1%})")
    assert (seen["devkit"] >= seen["splat"]).all()
    assert (seen["devkit"] != seen["openscene"]).mean() < 0.01
    assert all(found.count.max() == 2 for found in lifted.values())  # neighbouring cameras overlap, no three do


def test_six_cameras_close_the_circle(scene: Scene, lifted):
    """All but a few of the points beside the car are seen; its own roof and the road close by are below every image."""
    reach = np.linalg.norm(scene.points[:, :2], axis=1)
    elevation = np.degrees(np.arctan2(scene.points[:, 2], reach))
    seen = lifted["devkit"].count > 0
    print(f"\n{(reach < 1.5).mean():.1%} of the points are the car itself, within 1.5 m of the sensor")
    assert seen[(reach > 5) & (np.abs(elevation) < 10)].mean() > 0.98
    assert not seen[reach < 1.5].any() and not seen[elevation < -25].any()


def pixels(folder: Path, point: list[float]) -> dict[str, list[float]]:
    """Colour of a point [3] in each camera that sees it: calibration file and image, no reader and no lifting."""
    found = {}
    for name, camera in json.loads((folder / "calibration.json").read_text())["cameras"].items():
        rows = camera["lidar_to_camera"][:3]
        x, y, z = (sum(a * b for a, b in zip(row, [*point, 1.0], strict=True)) for row in rows)
        (fx, _, cx), (_, fy, cy), _ = camera["intrinsics"]
        u, v = x * fx / z + cx, y * fy / z + cy
        if z > 1 and 1 < u < 1599 and 1 < v < 899:
            with Image.open(folder / camera["file"]) as image:
                found[name] = [value / 255 for value in image.getpixel((round(u), round(v)))]
    return found


def test_colours_are_the_pixels_that_plain_arithmetic_finds(folder: Path, scene: Scene, lifted):
    """For one point that each camera sees alone, and one that two share."""
    mean, count = lifted["devkit"]
    chosen = [int(np.flatnonzero(count == 2)[700])]
    for view in scene.views:
        place = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit")
        chosen.append(int(np.flatnonzero(place.visible & (count == 1))[1000]))
    found = [pixels(folder, scene.points[point].tolist()) for point in chosen]
    assert [list(by_camera) for by_camera in found[1:]] == [[view.name] for view in scene.views] and len(found[0]) == 2
    for point, by_camera in zip(chosen, found, strict=True):
        np.testing.assert_allclose(mean[point], np.mean(list(by_camera.values()), axis=0), atol=1e-6)


def test_the_road_ahead_is_grey_asphalt(scene: Scene, lifted):
    mean, count = lifted["splat"]
    x, y, z = scene.points.T
    ahead = (np.abs(x) < 2) & (y > 5) & (y < 12)
    road = ahead & (z < GROUND) & (count > 0)
    print(f"\nroad ahead: {road.sum()} points of colour {np.round(255 * mean[road].mean(axis=0)).tolist()}")
    assert road[ahead].mean() > 0.8  # nothing stands there
    assert np.ptp(mean[road], axis=1).max() < 0.1  # a lane has no hue
    assert 0.2 < mean[road].mean() < 0.8


def test_lidar_does_not_hit_the_sky(scene: Scene):
    """Points project below the skyline: few upper pixels are as bright as clouds, many more 50 rows higher would be."""

    def bright(rise: int) -> float:
        found = []
        for view in scene.views:
            place = project(scene.points, view.intrinsics, view.cam_to_world, view.image_size, rule="devkit")
            upper = place.visible & (place.row >= 100) & (place.row < 400)
            found.append(view.color()[place.row[upper] - rise, place.col[upper]].min(axis=1) > 200)
        return float(np.concatenate(found).mean())

    print(f"\non bright sky: {bright(0):.1%} of the upper pixels, {bright(50):.1%} of those 50 rows above")
    assert bright(50) > 3 * bright(0)


# ---------------------------------------------------------------- superpoints


def test_superpoints_keep_the_ground_apart(
    scene: Scene, folder: Path, superpoints: np.ndarray, rng: np.random.Generator
):
    size, ground = np.bincount(superpoints), (scene.points[:, 2] < GROUND).astype(np.int64)
    purity = superpoint_purity(superpoints, ground)
    raw = np.fromfile(next(folder.glob("*.pcd.bin")), "<f4").reshape(-1, 5)
    rings = np.unique(np.stack([superpoints, raw[:, 4].astype(np.int64)]), axis=1)[0]  # a superpoint once for each ring
    flat = np.bincount(superpoints, ground) > size / 2
    lone = (np.bincount(rings)[flat] == 1).mean()
    print(
        f"\n{len(size)} superpoints of {size.min()} to {size.max()} points, median {np.median(size):.0f}; {purity:.1%} "
        f"of the points agree with theirs on ground or not; {lone:.0%} of the ground's are a piece of one laser ring"
    )
    assert superpoints.shape == (len(scene),) and superpoints.min() == 0 and (size > 0).all()
    assert 100 < len(size) < len(scene) / 20
    chance = superpoint_purity(rng.permutation(superpoints), ground)
    assert purity > 0.95 > 0.7 > chance


# ---------------------------------------------------------------- segmentation


def test_every_point_gets_a_class_of_either_vocabulary(scene: Scene, classes):
    names, finer = load_label_set("nuscenes16").names, load_finer_names()
    ground = scene.points[:, 2] < GROUND
    for kind in ("16 names", "43 names"):
        ids = classes[kind]
        assert ids.shape == (len(scene),) and ids.min() >= 0 and ids.max() < 16
        common = names[np.bincount(ids).argmax()]
        road = (ids[ground] == names.index("drivable surface")).mean()
        print(
            f"\n{kind}: {len(np.unique(ids))} classes, {(ids == names.index(common)).mean():.1%} {common}; of the "
            f"{ground.sum()} points at the height of the ground {road:.2%} drivable surface"
        )
    best = finer.owner[classes["similarity"].argmax(axis=1)]  # the best name's class is the pooled class
    assert np.array_equal(classes["43 names"], best)
    assert (np.abs(classes["similarity"]) <= 1 + 1e-5).all()


def test_colours_change_what_is_said(scene: Scene, folder: Path, classes):
    names = list(load_label_set("nuscenes16").names)
    plain = load_key_frame(folder)
    without, _ = geoguide.load("mini").segment(plain.points, plain.colors, labels=names)
    changed = classes["16 names"] != without
    print(f"\nlifted colours change the class of {changed.mean():.1%} of the points")
    assert 0 < changed.mean() < 1


def test_the_command_takes_the_folder(folder: Path, scene: Scene, lifted, tmp_path: Path, capsys):
    seen = lifted["splat"].count > 0
    np.testing.assert_array_equal(scene.colors, np.where(seen[:, None], lifted["splat"].mean, np.float32(0.5)))
    out = tmp_path / "street.ply"
    with pytest.raises(SystemExit) as stop:
        main(["segment", str(folder), "--labels", "car, road", "--out", str(out)])
    assert stop.value.code == 0 and "56.6 % of the points are seen by a camera" in capsys.readouterr().out
    assert len(PlyData.read(str(out))["vertex"]) == len(scene)
    summary = json.loads(out.with_suffix(".json").read_text())
    assert summary["seen_share"] == round(float(seen.mean()), 4) and "lifting_check" not in summary


# ---------------------------------------------------------------- the figure

REACH, SCALE, DOT = 25, 28, 6  # metres to either side, pixels a metre, pixels a point
SIDE, TITLE, LINE = 2 * REACH * SCALE, 60, 60
DARK, UNSEEN = (30, 30, 36), (50, 50, 120)


def birds_eye(points: np.ndarray, colors: np.ndarray) -> Image.Image:
    """Points [P, 3] from above, x to the right and y up, in colors uint8 [P, 3]; the highest point of a pixel shows."""
    order = np.argsort(points[:, 2])
    corner = np.floor((points[order, :2] * (1, -1) + REACH) * SCALE).astype(int)
    image = np.full((SIDE, SIDE, 3), DARK, np.uint8)
    for shift in np.ndindex(DOT, DOT):
        col, row = (corner + np.array(shift)).T
        inside = (col >= 0) & (row >= 0) & (col < SIDE) & (row < SIDE)
        image[row[inside], col[inside]] = colors[order][inside]
    return Image.fromarray(image)


def test_figure(scene: Scene, lifted, superpoints: np.ndarray, classes, output_folder: Path, rng: np.random.Generator):
    """Bird's-eye views and a legend with the points of each class; its path is printed."""
    labels, count = load_label_set("nuscenes16"), superpoints.max() + 1
    seen = lifted["splat"].count > 0
    panels = {
        "Lifted colours (blue: no camera sees it)": np.where(seen[:, None], 255 * scene.colors, UNSEEN).astype(
            np.uint8
        ),
        f"{count} superpoints": rng.integers(60, 256, (count, 3)).astype(np.uint8)[superpoints],
    }
    kinds = ("16 names", "43 names")
    panels |= {f"Predicted classes, {kind}": labels.colors[classes[kind]] for kind in kinds}
    figure = Image.new("RGB", (2 * SIDE + 1000, 2 * (SIDE + TITLE)), "white")
    draw, font = ImageDraw.Draw(figure), ImageFont.load_default(36)
    for number, (title, colors) in enumerate(panels.items()):
        left, top = SIDE * (number % 2), (SIDE + TITLE) * (number // 2)
        panel = birds_eye(scene.points, colors)
        assert len(panel.getcolors(SIDE * SIDE)) > 4  # not blank
        figure.paste(panel.crop((0, 0, SIDE - 10, SIDE)), (left, top + TITLE))
        draw.text((left + 10, top + 10), title, "black", font)

    def row(number: int, *cells: str) -> None:
        for cell, right, anchor in zip(cells, (90, 670, 880), ("la", "ra", "ra"), strict=False):
            draw.text((2 * SIDE + right, TITLE + LINE * number), cell, "black", font, anchor)

    row(0, f"{2 * REACH} x {2 * REACH} m around the LiDAR, driving up")
    row(1, "Model: mini (trained on generated rooms)")
    row(3, "Points per class", *kinds)
    for number, name in enumerate(labels.names):
        row(number + 4, name, *(str((classes[kind] == number).sum()) for kind in kinds))
        left, top = 2 * SIDE + 30, TITLE + LINE * (number + 4)
        draw.rectangle((left, top, left + 40, top + 40), tuple(labels.colors[number].tolist()), "black")
    path = output_folder / "nuscenes_key_frame.png"
    figure.resize((figure.width // 2, figure.height // 2), Image.Resampling.LANCZOS).save(path)
    print(f"\n{path}")
