"""Large clouds in tiles: the same voxels and patches as the whole, and labels that differ near a tile's edge alone."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import geoguide
from geoguide import own_scan, superpoints
from geoguide.backbones import BackboneConfig, DescriptorBackbone, open_backbone, parts
from geoguide.backbones import joined as joined_module
from geoguide.backbones.joined import JoinedBackbone
from geoguide.backbones.parts import Parts, encoded, frame_of, part_of
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.backbones.whole_patches import whole_stages
from geoguide.datasets import orientation
from geoguide.errors import InputError
from geoguide.instances import regions
from geoguide.instances.geometry import segment_instances
from geoguide.model import GeoGuideModel
from geoguide.ops import tiles
from geoguide.ops.tiles import plan_steps, tiling
from geoguide.pipeline.class_text import word_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.scene import Scene
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.superpoints import estimate_normals

LABELS = ["wall", "floor", "chair", "table", "door"]


@pytest.fixture(scope="module")
def model() -> GeoGuideModel:
    return geoguide.load("mini")


@pytest.fixture
def room(tiny: ExperimentConfig) -> Scene:
    return scene_sources(tiny.data, "test")[0].load()


@pytest.mark.parametrize(("edge", "halo"), [(1, 0), (4, 2), (3, 7), (None, 2)])
def test_every_point_lies_in_one_tile_and_sees_its_halo(rng: np.random.Generator, edge: int | None, halo: int) -> None:
    """Against the definition, tile by tile."""
    points = rng.uniform(-5, 15, (3000, 3))
    step = plan_steps(points, points[:, :2].min(axis=0), 0.8)
    cut = tiling(step, halo, edge, most=500)
    found, count = np.zeros(len(points), int), 0
    assert cut.halo == halo
    for tile in cut:
        own = tile.rows[tile.own]
        found[own] += 1
        low = step[own[0]] // cut.edge * cut.edge
        inside = ((step >= low - halo) & (step < low + cut.edge + halo)).all(axis=1)
        np.testing.assert_array_equal(tile.rows, np.flatnonzero(inside))
        count += 1
        assert edge is not None or len(tile.rows) <= 500 or cut.edge < 2 * halo
    assert (found == 1).all() and count == len(cut)


@pytest.mark.parametrize("edge", [None, 4, 10**30])
@pytest.mark.parametrize("most", [10_000, 500])
@pytest.mark.parametrize("shrink", [True, False])
def test_a_halo_of_any_size_is_the_whole_cloud(edge: int | None, most: int, shrink: bool) -> None:
    """One that reaches over all points, and those beyond it: the same tiles, as fast."""
    rng = np.random.default_rng(0)
    step = plan_steps(rng.uniform(0, 15, (3000, 3)) * (1, 2, 1), np.zeros(2), 0.8)
    expected, *others = (
        tiling(step, halo, edge, most=most, shrink=shrink) for halo in (int(step.max()) + 1, 1000, 10**30)
    )
    for found in others:
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            assert np.array_equal(one.rows, two.rows) and np.array_equal(one.own, two.own)
    if not (shrink and most < len(step) and edge is None):
        assert others[1].halo == 10**30 and all(len(tile.rows) == len(step) for tile in others[1])


@pytest.mark.parametrize("tile", [None, 1.6, 1e308])
def test_metres_beyond_all_numbers_are_the_whole_cloud(model: GeoGuideModel, room: Scene, tile: float | None) -> None:
    cut = Parts(open_backbone(model.backbone, "cpu"), room, tile, 1e308)
    assert cut.halo == 1e308 and all(len(tile.rows) == len(room) for tile in cut.tiling)


def test_the_size_of_tiles_follows_what_is_counted() -> None:
    step = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1).reshape(-1, 2)
    sizes = [tiling(step, 2, most=most).edge for most in (10_000, 4095, 1000, 10)]
    assert sizes == [64, 32, 16, 2]
    assert tiling(step, 2, counted=step[:1], most=10).edge == 1 << (0).bit_length()


@pytest.mark.parametrize(("most", "halo", "edge"), [(12**2, 4, 4), (12**2 - 1, 3, 4), (15, 1, 1), (3, 0, 1)])
def test_a_halo_that_does_not_fit_shrinks_as_far_as_it_must(most: int, halo: int, edge: int) -> None:
    """A full plane: a tile with its halo holds (edge + 2 halo)^2, and edges are powers of two from the halo on."""
    step = np.stack(np.meshgrid(np.arange(64), np.arange(64)), axis=-1).reshape(-1, 2)
    found = tiling(step, 4, most=most, shrink=True)
    assert (found.halo, found.edge) == (halo, edge)
    assert tiling(step, 4, most=most).halo == 4


def test_fewer_voxels_of_a_wider_network(model: GeoGuideModel) -> None:
    """The packaged network keeps its tiles; of Sonata's 1,088 features network and rows take the budget at most."""
    backbone = open_backbone(model.backbone, "cpu")
    assert parts.most_voxels(backbone, backbone.width) == tiles.MOST
    most = parts.most_voxels(backbone, 1088)  # both have 48 channels first
    assert most < tiles.MOST and most * (4 * 1088 + 48 * parts.BYTES) <= parts.BUDGET


def test_a_part_that_is_all_of_a_scene_is_encoded_as_the_whole(model: GeoGuideModel, room: Scene) -> None:
    backbone = open_backbone(model.backbone, "cpu")
    whole = encoded(backbone, room)
    part = backbone.encode_voxels(room, frame_of(room.points, backbone))
    np.testing.assert_array_equal(part.index, whole.index)
    np.testing.assert_allclose(part.rows, whole.rows, atol=1e-5)
    np.testing.assert_array_equal(whole[:], backbone.encode(room))
    own = np.arange(len(room)) % 3 == 0  # of these alone, as the others are seen
    chosen = backbone.encode_voxels(room, frame_of(room.points, backbone), own)
    np.testing.assert_array_equal(chosen[:], part[:][own])
    assert len(chosen.rows) == len(np.unique(part.index[own]))


@pytest.mark.parametrize("count", [5, 64, 200, 256])
def test_slots_are_those_of_the_whole(rng: np.random.Generator, count: int) -> None:
    """Whoever shares a patch in the whole and is in the part shares it there; nobody else does."""
    tiny = {"in_channels": 3, "enc_depths": [2], "enc_channels": [8], "enc_num_head": [1], "stride": []}
    network = PointTransformerV3(**tiny, enc_patch_size=[32]).eval()
    cells = torch.from_numpy(np.unique(rng.integers(0, 24, (4 * count, 3)), axis=0))[:count]
    (stage,) = whole_stages(cells, network.config)
    whole = network(cells * 0.1, cells, torch.ones(len(cells), 3), torch.tensor([len(cells)]))[0]
    chosen = torch.from_numpy(np.sort(rng.choice(len(cells), max(1, len(cells) // 3), replace=False)))
    gather, scatter, ((patches, length),) = stage.slots(cells[chosen])
    for curve in range(2):
        seen = {}  # for each voxel of the whole, those that it attends to
        slots = whole.serialization.order[curve][whole.patches.pad].reshape(-1, length).tolist()
        place = whole.patches.unpad[whole.serialization.inverse[curve]]
        for voxel in range(len(cells)):
            seen[voxel] = set(slots[int(place[voxel]) // length])
        own = gather[curve].reshape(patches, length)
        for row, voxel in enumerate(chosen.tolist()):
            found = {int(chosen[i]) for i in own[int(scatter[curve][row]) // length]}
            assert found == seen[voxel] & set(chosen.tolist())
            assert int(own.reshape(-1)[scatter[curve][row]]) == row


def test_labels_in_tiles_are_those_of_the_whole(model: GeoGuideModel, room: Scene) -> None:
    expected, scores = model.segment_scene(room, labels=LABELS)
    found, cosines = model.segment_scene(room, labels=LABELS, tile=1.6, halo=8.0)  # every tile sees the room
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(cosines, scores, atol=1e-5)
    near, _ = model.segment_scene(room, labels=LABELS, tile=2.4, halo=1.6)
    cut = Parts(open_backbone(model.backbone, "cpu"), room, 2.4, 1.6)
    place = cut.tiling.step % cut.tiling.edge
    inside = np.minimum(place, cut.tiling.edge - 1 - place).min(axis=1) > 0
    assert len(cut) > 1 and inside.any() and (near != expected).any()
    assert (near == expected)[inside].mean() > 0.9  # a room is smaller than what its coarsest patch sees


def test_a_scan_of_many_points_is_cut_by_itself(
    model: GeoGuideModel, room: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = model.segment_scene(room, labels=LABELS)
    monkeypatch.setattr(parts, "FROM", 100)
    monkeypatch.setattr(parts, "MOST", 100)
    sizes, own = [], parts.encoded

    def watched(backbone, scene, frame, chosen):
        sizes.append(len(scene))
        return own(backbone, scene, frame, chosen)

    monkeypatch.setattr(parts, "encoded", watched)
    with pytest.warns(UserWarning, match=r"tiles see 0 m around them, not 0.8, .* more than the 100 voxels"):
        found, _ = model.segment_scene(room, labels=LABELS, halo=0.8)
    encoded = model.encode(room, halo=0)
    np.testing.assert_array_equal(encoded.label(LABELS)[0], found)
    assert len(sizes) > 2 and (found == expected).mean() > 0.3
    with pytest.warns(UserWarning, match="tiles see 0 m"):
        result = own_scan.segment_scan(own_scan.Scan(room), model, tuple(LABELS), halo=0.8)
    assert result.summary["tiles"] == {"edge": None, "halo": 0}
    np.testing.assert_array_equal(result.ids, found)
    monkeypatch.undo()
    assert len(encoded.rows) == len(model.encode(room).rows)  # no voxel is in two tiles


def test_a_scan_is_encoded_once_for_all_words(
    model: GeoGuideModel, room: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = model.encode(room)
    monkeypatch.setattr(GeoGuideModel, "_parts", lambda *given: pytest.fail("encoded again"))
    ids, scores = encoded.label(LABELS)
    assert len(encoded) == len(room) and encoded.rows.norm(dim=1).allclose(torch.ones(len(encoded.rows)))
    each = np.stack([encoded.score(word) for word in LABELS])
    np.testing.assert_array_equal(each.argmax(0), ids)
    np.testing.assert_allclose(each.max(0), scores, atol=5e-6)  # products of another shape round otherwise
    np.testing.assert_allclose(model.features(room)[:, :5], encoded.rows[encoded.index][:, :5], atol=1e-5)
    with pytest.raises(InputError, match="labels must be a non-empty list"):
        encoded.label([])


def test_tiles_that_cannot_be(model: GeoGuideModel, room: Scene) -> None:
    for sizes in ({"tile": 0}, {"tile": -1}, {"tile": "a"}, {"halo": -1}, {"tile": 1.0, "halo": np.nan}):
        with pytest.raises(InputError, match="tile|halo"):
            model.segment_scene(room, labels=LABELS, **sizes)


def test_backbones_without_voxels_are_cut_too(model: GeoGuideModel, room: Scene) -> None:
    """Descriptors see their surroundings alone, but for heights and outlines of the whole."""
    room = part_of(room, np.arange(0, len(room), 8))
    joined = JoinedBackbone((open_backbone(model.backbone, "cpu"), DescriptorBackbone()))
    for backbone in (DescriptorBackbone(), joined):
        rows = np.concatenate([part.rows for part in Parts(backbone, room, 1.6, 0.8)])
        features = np.concatenate([part.features[:] for part in Parts(backbone, room, 1.6, 0.8)])
        np.testing.assert_array_equal(np.sort(rows), np.arange(len(room)))
        assert features.shape == (len(room), backbone.width) and np.isfinite(features).all()


def test_joined_features_are_held_by_voxel_and_cut_by_both(
    model: GeoGuideModel, room: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dense scan has few voxels and many points, each of which has descriptors of its own."""
    room = part_of(room, np.arange(0, len(room), 8))
    thrice = {name: np.repeat(getattr(room, name), 3, axis=0) for name in ("points", "colors", "normals")}
    dense = replace(room, **thrice, faces=None, labels=None, instances=None, file_points=None)
    network = open_backbone(model.backbone, "cpu")
    joined = JoinedBackbone((network, DescriptorBackbone()))
    whole = encoded(joined, dense)
    np.testing.assert_array_equal(whole[:], joined.encode(dense))
    assert len(whole.parts[0].rows) < len(dense) / 2 and len(whole.index) == len(dense)
    monkeypatch.setattr(parts, "MOST", len(dense) // 2)
    assert len(Parts(network, dense, halo=0)) == 1
    cut = Parts(joined, dense, halo=0)
    assert max(len(tile.rows) for tile in cut.tiling) <= len(dense) // 2 < len(dense)
    monkeypatch.setattr("geoguide.model.ROWS", 1000)
    student = Adapter(joined.width, 384, AdapterConfig()).eval()
    both = replace(model, adapter=student, farthest=None, backbone=BackboneConfig("sonata-mini+descriptors"))
    most, own = [], joined_module.join
    monkeypatch.setattr(joined_module, "join", lambda rows: most.append(len(rows[0])) or own(rows))
    ids, _ = both.segment_scene(dense, labels=LABELS)
    expected = torch.nn.functional.normalize(student(torch.from_numpy(whole[:])), dim=-1)
    found = word_text(LABELS, both.prompt, both.text).classify(expected.detach())[0]
    assert max(most[:-1]) <= 1000 and (ids == found).mean() > 0.999


def test_a_part_keeps_the_triangles_among_its_points(room: Scene) -> None:
    rows = np.flatnonzero(room.points[:, 0] < np.median(room.points[:, 0]))
    part = part_of(room, rows)
    among = np.isin(room.faces, rows).all(axis=1)
    np.testing.assert_array_equal(rows[part.faces], room.faces[among])
    np.testing.assert_array_equal(part.points, room.points[rows])


def test_normals_in_chunks_and_tiles(
    room: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    estimate = estimate_normals(room.points)
    monkeypatch.setattr(superpoints, "_CHUNK", 1000)
    np.testing.assert_array_equal(estimate_normals(room.points), estimate)
    expected = orientation.oriented(room.points, estimate)
    monkeypatch.setattr(orientation, "FROM", 100)
    monkeypatch.setattr(orientation, "MOST", 1000)
    found = orientation.oriented(room.points, estimate)
    assert "4/4" in capsys.readouterr().err  # it was cut
    assert (found == expected).all(axis=1).mean() > 0.97


def test_superpoints_and_masks_hold_the_neighbours_of_a_part_at_a_time(
    room: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of all points at once, in a fraction of the memory: what `--masks` adds to a scan of millions."""
    bare = np.concatenate([room.points + np.array([6 * shift, 0, 0]) for shift in range(3)])
    normals = np.tile(room.normals, (3, 1))
    expected = [superpoints.segment_points(bare, given) for given in (normals, None)]
    masks = segment_instances(bare, normals, expected[0])
    monkeypatch.setattr(superpoints, "_CHUNK", 1000)
    monkeypatch.setattr(regions, "CHUNK", 1000)
    found = []
    tracemalloc.start()
    for compute in (
        lambda: [superpoints.segment_points(bare, given) for given in (normals, None)],
        lambda: segment_instances(bare, normals, expected[0]),
    ):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        found.append((compute(), (tracemalloc.get_traced_memory()[1] - before) / len(bare)))
    tracemalloc.stop()
    (parts, of_parts), (again, of_masks) = found
    assert all(np.array_equal(one, other) for one, other in zip(parts, expected, strict=True))
    assert np.array_equal(again.index, masks.index) and np.array_equal(again.scores, masks.scores)
    assert max(of_parts, of_masks) < 450  # bytes a point: 650 and 550 of all at once


def test_a_scannet_scene_is_its_official_mesh(
    tiny: ExperimentConfig, model: GeoGuideModel, capsys: pytest.CaptureFixture
) -> None:
    folder = scene_sources(tiny.data, "test")[0].path
    scan = own_scan.open_scan(Path(folder))
    mesh = own_scan.open_scan(Path(folder) / f"{folder.name}_vh_clean_2.ply")
    np.testing.assert_array_equal(scan.scene.points, mesh.scene.points)
    assert "official mesh" in scan.scene.as_read[0] and scan.scene.views
    result = own_scan.segment_scan(scan, model, tuple(LABELS))
    np.testing.assert_array_equal(result.ids, own_scan.segment_scan(mesh, model, tuple(LABELS)).ids)
    lines = own_scan.report_lines(result)
    assert any("images see" in line for line in lines) and not any("{" in line for line in lines)
    for option in ({"unit": "mm"}, {"depth_scale": 5000.0}, {"max_depth": 3.0}):
        with pytest.raises(InputError, match="--unit|--depth-scale|--max-depth"):
            own_scan.open_scan(Path(folder), **option)


def test_a_scene_without_normals_is_cut_too(model: GeoGuideModel, room: Scene) -> None:
    bare = replace(room, normals=None, faces=None)
    expected, _ = model.segment_scene(bare, labels=LABELS)
    found, _ = model.segment_scene(bare, labels=LABELS, tile=1.6, halo=8.0)
    np.testing.assert_array_equal(found, expected)
