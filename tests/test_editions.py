"""Editions of the generated worlds: the small one stays as it was, the large one has what its recipe says."""

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from geoguide.benchmarks import NAMES, benchmark
from geoguide.benchmarks.scenes import generate, list_sources
from geoguide.cli import main
from geoguide.datasets.config import DataConfig
from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.scannet import list_scenes, load_scene
from geoguide.errors import ConfigError
from geoguide.experiments import placing
from geoguide.experiments.facts import Facts
from geoguide.experiments.presets import preset
from geoguide.frozen import config_hash
from geoguide.paths import generated_folder
from geoguide.pipeline.config import ExperimentConfig
from geoguide.report.labels import row_label
from geoguide.scene import VOID
from geoguide.superpoints import segment_mesh, superpoint_purity
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.holes import Holes
from geoguide.worlds.layout import collisions
from geoguide.worlds.rooms.contents import RECIPES
from geoguide.worlds.rooms.make import EDITIONS, MiniConfig, instance_counts, make_mini_scannet
from geoguide.worlds.rooms.recipe import ROOM_TYPES, RoomRecipe
from geoguide.worlds.rooms.scan import scan_room
from geoguide.worlds.rooms.world import generate_room

# Of room 5 of each type as version 0.1 of the generator drew it: the mesh to 0.1 mm, and of four small depth images the
# readings that are lost and the sum of the others, in mm (within 1 in 1000: libraries may round differently).
FIRST = {
    "bedroom": ("141a06d9d33bc515", 1613, 10269388),
    "living room": ("4ffe3faa865861eb", 1270, 8143552),
    "kitchen": ("9e3cac7927e65779", 2073, 6752551),
    "bathroom": ("35f770e57da4288a", 1144, 4514372),
    "office": ("94341cf1cd893ac1", 1603, 5866093),
    "meeting room": ("e11bac0a5b115289", 2431, 5861010),
    "studio": ("90a91a2938948539", 2076, 5877189),
}
TINY = SensorConfig(frames=4, image_size=(30, 40), focal=36.0)
LARGE = EDITIONS["large"].contents


@pytest.mark.parametrize("room_type", ROOM_TYPES)
def test_the_small_edition_is_as_it_was(room_type: str) -> None:
    room = generate_room(5, room_type)
    mesh = (np.rint(room.vertices * 1e4).astype("<i8"), room.faces.astype("<i8"), room.face_color)
    digest = hashlib.sha256()
    for array in (*mesh, room.face_object.astype("<i8")):
        digest.update(np.ascontiguousarray(array).tobytes())
    depth = np.stack([frame.depth for frame in scan_room(room, 6, TINY)])
    expected, lost, total = FIRST[room_type]
    assert digest.hexdigest()[:16] == expected
    assert (depth == 0).sum() == pytest.approx(lost, rel=1e-3) and depth.sum() == pytest.approx(total, rel=1e-3)


def test_stamps_and_hashes_of_the_small_edition_hold_no_new_option(tmp_path: Path) -> None:
    config = MiniConfig(sensor=TINY, voxel=0.1)
    root = make_mini_scannet(tmp_path, rooms=(1, 0, 0), config=config, workers=1, progress=False)
    recipe = read_json(root / "scans" / "scene0000_00" / MINI_STAMP, ("recipe",))["recipe"]
    assert (
        list(recipe) == ["generator", "split", "number", "seed", "voxel", "sensor"] and "holes" not in recipe["sensor"]
    )
    assert config_hash(DataConfig()) == config_hash(DataConfig(edition="small"))
    assert config_hash(DataConfig()) != config_hash(DataConfig(edition="large"))


@pytest.mark.parametrize("name", NAMES)
def test_a_large_edition_has_a_folder_and_facts_of_its_own(name: str) -> None:
    world = benchmark(name).world
    data = benchmark(name).generated_data("large")
    assert data.folder == generated_folder(f"mini-{name}", "large") != generated_folder(f"mini-{name}")
    assert data.rooms == world.editions["large"] and all(a > b for a, b in zip(data.rooms, world.counts, strict=True))
    config = placing.on(preset(edition="large"), name, "large")
    assert (Facts.of(config).edition, Facts.of(config).changed) == ("large", ())
    assert row_label(Facts.of(config)).endswith(", large edition")
    weighed = dict(Facts.of(placing.on(preset(), name, "large")).changed)  # with the small edition's weights of losses
    assert weighed["objective.lambda_by"] == "value" and "objective.iirc.scale" in weighed
    assert Facts.of(placing.on(preset(), name)).edition == "small"
    assert "edition" not in row_label(Facts.of(placing.on(preset(), name)))
    assert placing.tested_on(config, "nuscenes").tested().data.edition == "large"


def test_real_data_have_no_editions() -> None:
    with pytest.raises(ConfigError, match=r"data.edition is a generated dataset's, found 'large' of scannet"):
        DataConfig("scannet", root="/data", edition="large")
    with pytest.raises(ConfigError, match=r"data.edition must be one of small, large, found 'huge'"):
        DataConfig(edition="huge")
    with pytest.raises(ConfigError, match=r"editions are of mini data; found large"):
        placing.placed(ExperimentConfig(), "scannet", "/data", edition="large")


def test_the_command_makes_an_edition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    made = dataclasses.replace(EDITIONS["large"], sensor=dataclasses.replace(TINY, holes=0.2), voxel=0.1)
    monkeypatch.setitem(EDITIONS, "large", made)
    with pytest.raises(SystemExit, match="0"):
        main(["data", "make", "--edition", "large", "--rooms", "2", "0", "0", "--workers", "1"])
    assert "mini-ScanNet, large edition is complete in" in capsys.readouterr().out
    data = DataConfig(edition="large", rooms=(2, 0, 0))
    assert generate(data) == tmp_path / "mini-scannet-large"
    assert [source.name for source in list_sources(data, "train")] == ["scene0000_00", "scene0001_00"]
    stamp = read_json(data.folder / "scans" / "scene0000_00" / MINI_STAMP, ("recipe",))["recipe"]
    assert stamp["contents"] == dataclasses.asdict(LARGE) | {"cycle": list(LARGE.cycle)}
    assert stamp["sensor"]["holes"] == 0.2


def test_the_recipes_are_those_of_the_room_types() -> None:
    assert tuple(RECIPES) == ROOM_TYPES
    for wrong in ({"cycle": ("cellar",)}, {"cycle": ()}, {"rare": 2.0}, {"touching": -0.1}, {"clutter": -1.0}):
        with pytest.raises(ConfigError, match="rooms."):
            RoomRecipe(**wrong)
    with pytest.raises(ConfigError, match="rooms.annotation must be one of"):
        RoomRecipe(annotation="guess")


def test_bathrooms_of_the_large_edition_have_what_is_rare() -> None:
    found = Counter()
    for seed in range(20):
        found.update({item.category for item in generate_room(seed, "bathroom", LARGE).objects})
    assert found["toilet"] == 20 and found["bathtub"] >= 17 and found["shower curtain"] >= 15


def test_clutter_adds_things_and_touching_pieces_touch_without_pressing_into_each_other() -> None:
    seeds = [(seed, ROOM_TYPES[seed]) for seed in range(len(ROOM_TYPES))]
    plain, crowded = ([generate_room(*seed, recipe) for seed in seeds] for recipe in (RoomRecipe(), LARGE))
    assert sum(len(r.objects) for r in crowded) > 1.2 * sum(len(r.objects) for r in plain)

    def contacts(rooms: list) -> float:
        """Pairs of boxes a piece that come within a centimetre sideways."""
        boxes = [room.obstacles for room in rooms]
        grown = [rows + np.array([0, 0, 0.01, 0.01, 0, 0, 0]) for rows in boxes]
        return sum(np.triu(collisions(a, b), 1).sum() for a, b in zip(grown, boxes, strict=True)) / len(rooms)

    touching = [generate_room(*seed, RoomRecipe(touching=1.0)) for seed in seeds]
    assert contacts(touching) > 1.3 * contacts(plain)
    deepest = dataclasses.replace(LARGE, touching=1.0)
    assert (
        generate_room(3, "office", deepest).vertices.tobytes() == generate_room(3, "office", deepest).vertices.tobytes()
    )


def test_holes_take_about_their_share_and_the_same_places_in_every_frame() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 8, (200_000, 3))
    for share in (0.05, 0.2, 0.4):
        taken = np.mean([Holes.draw(rng, share).hold(points).mean() for _ in range(10)])
        assert taken == pytest.approx(share, abs=0.25 * share)
    assert not Holes.draw(rng, 0.5).hold(np.full((3, 3), np.nan, np.float32)).any()
    room = generate_room(4, "kitchen")
    whole, holed = (scan_room(room, 1, dataclasses.replace(TINY, holes=holes)) for holes in (0.0, 0.3))
    field = Holes.draw(np.random.default_rng([1, 1]), 0.3)
    for a, b in zip(whole, holed, strict=True):
        gone = field.hold(a.surface.reshape(-1, 3)).reshape(a.depth.shape)
        assert (b.depth == np.where(gone, 0, a.depth)).all() and (a.color == b.color).all()
    with pytest.raises(ConfigError, match="sensor.holes"):
        SensorConfig(holes=1.0)


def test_annotation_of_the_surface_leaves_superpoints_impure(tmp_path: Path) -> None:
    """Both annotations of one room: the mesh is the same, and only the labels' borders move."""
    scenes = {}
    sensor = SensorConfig(frames=12, image_size=(60, 80), focal=72.0)
    for follow in ("segments", "surface"):
        config = MiniConfig(3, 0.08, sensor, RoomRecipe(annotation=follow))
        root = make_mini_scannet(tmp_path / follow, rooms=(1, 0, 0), config=config, workers=1, progress=False)
        scenes[follow] = load_scene(list_scenes(root, "train")[0])
    segments, surface = scenes.values()
    assert (segments.points == surface.points).all()
    superpoints = segment_mesh(segments.points, segments.faces)
    assert superpoint_purity(superpoints, segments.labels) == 1.0
    assert 0.8 < superpoint_purity(superpoints, surface.labels) < 0.99
    both = (segments.labels != VOID) & (surface.labels != VOID)
    assert (segments.labels == surface.labels)[both].mean() > 0.8
    counts = instance_counts(tmp_path / "surface", "train", min_points=1)
    for index, (name, count) in enumerate(counts.items()):
        here = surface.instances[(surface.labels == index) & (surface.instances >= 0)]
        assert count == len(np.unique(here)), name
    assert sum(instance_counts(tmp_path / "surface", "train").values()) < sum(counts.values())
