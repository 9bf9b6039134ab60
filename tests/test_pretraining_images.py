"""Training of the mini 2D models: worlds with a gap, the loss, repeatable and resumable steps, scores, capability."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from geoguide.datasets import scannet
from geoguide.errors import ConfigError, DataError, InputError
from geoguide.labels import load_category_table
from geoguide.lifting import PixelFeatures
from geoguide.metrics import ConfusionMatrix
from geoguide.paths import WEIGHTS
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.images import capability
from geoguide.pretraining.images import run as making
from geoguide.pretraining.images.capability import measure_and_save, overlaps
from geoguide.pretraining.images.config import DenseTrainConfig, GapConfig, WorldsConfig
from geoguide.pretraining.images.gap import new_colors, repaint, specimens
from geoguide.pretraining.images.loop import ImageTraining, changed, regions, taught_names, text_loss, train_images
from geoguide.pretraining.images.names import names_of
from geoguide.pretraining.images.run import FUSED, MODELS, ROOMS, make_model, train_and_save
from geoguide.pretraining.images.score import EVERY, score_held_out, score_images
from geoguide.pretraining.images.worlds import (
    GENERATORS,
    Images,
    catalogue,
    identities,
    load_images,
    render_thing,
    render_world,
    things,
)
from geoguide.pretraining.rooms import check_disjoint
from geoguide.scene import VOID
from geoguide.teachers import mini_dense
from geoguide.teachers.image_model import ImageModel
from geoguide.teachers.mini_dense import MiniDenseModel, write_network
from geoguide.teachers.mini_fused import FusedMiniModel, fuse_by_capability, open_mini
from geoguide.teachers.mini_network import DenseNet, DenseNetConfig, unit_codes
from geoguide.teachers.registry import open_image_model, parse_spec
from geoguide.text.encoders import TextConfig, text_encoder
from geoguide.worlds.rooms.make import make_mini_scannet

NET = DenseNetConfig(stages=(4, 6, 8), blocks=(0, 1, 0), decoder=6, code=5, width=16, finest=1)
WORLDS = WorldsConfig(train=2, held_out=1, views=3, image_size=(24, 32))
TINY = DenseTrainConfig(
    worlds=WORLDS, network=NET, steps=6, batch=2, crop=(16, 24), log_every=2, checkpoint_every=2
)  # fmt: skip
SHIPPED = [name for name in MODELS if (WEIGHTS / f"{name}.safetensors").is_file()]


@pytest.fixture(scope="module")
def worlds() -> list[Images]:
    paint = catalogue(WORLDS)
    return [render_world(world, WORLDS, paint) for world in identities(WORLDS, "train")]


def text_of(config: DenseTrainConfig) -> np.ndarray:
    made = np.random.default_rng(5).normal(size=(len(taught_names(config)[0]), config.network.width))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def run(worlds: list[Images], config: DenseTrainConfig = TINY, **options) -> ImageTraining:
    return train_images(config, worlds, text_of(config), progress=False, **options)


def same(a: ImageTraining, b: ImageTraining) -> bool:
    pairs = zip(a.network.state_dict().values(), b.network.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs) and a.history == b.history


@pytest.mark.parametrize("kind", ["rooms", "streets"])
def test_a_world_is_drawn_again_to_the_same_bytes_and_its_images_show_seen_names_only(kind: str):
    config = replace(WORLDS, kind=kind)
    paint, (world, *_) = catalogue(config), identities(config, "train")
    one, two = render_world(world, config, paint), render_world(world, config, paint)
    assert np.array_equal(one.color, two.color) and np.array_equal(one.object, two.object)
    shown = set(np.unique(one.name)) - {VOID}
    assert shown and all(names_of(kind)[row].seen for row in shown)
    assert not np.array_equal(one.color, render_world(world, config, None).color)


def test_images_are_kept_and_a_damaged_file_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    first = load_images(WORLDS, "val", progress=False)
    (file,) = tmp_path.rglob("val-0000.npz")
    file.write_bytes(file.read_bytes()[:200])
    assert np.array_equal(load_images(WORLDS, "val", progress=False)[0].color, first[0].color)
    monkeypatch.setitem(GENERATORS, "rooms", 2)
    load_images(WORLDS, "val", progress=False)
    assert len([*tmp_path.rglob("val-0000.npz")]) == 2


def test_training_worlds_are_never_those_of_a_benchmark_or_of_each_other(tmp_path):
    rooms = make_mini_scannet(tmp_path / "rooms", rooms=(1, 1, 1), workers=1, progress=False)
    every = [identity for config in MODELS.values() for identity in identities(config.worlds, "train")]
    check_disjoint(
        every, [folder for split in ("train", "val", "test") for folder in scannet.list_scenes(rooms, split)]
    )
    assert not {PretrainConfig().room_seed, 0} & {config.worlds.seed for config in MODELS.values()}
    for config in MODELS.values():
        assert not set(identities(config.worlds, "train")) & set(identities(config.worlds, "val"))


@pytest.mark.parametrize("kind", ["rooms", "streets"])
def test_seen_and_unseen_names_are_disjoint_and_all_that_worlds_can_show(kind: str):
    names = names_of(kind)
    seen, unseen = ({name.name for name in names if name.seen is which} for which in (True, False))
    assert seen and unseen and not seen & unseen
    assert len({name.raw for name in names}) == len(names) <= VOID
    assert not {name.synonym for name in names} & seen, "a synonym is a word that training has not seen"
    shown = {thing.category for n in range(7) for thing in things((9, "train", n), kind)}
    assert shown <= {name.raw for name in names}
    if kind == "rooms":
        assert {name.raw for name in names} <= set(load_category_table().ids)


def test_coarse_names_never_say_an_unseen_name():
    for kind in ("rooms", "streets"):
        unseen = {name.name for name in names_of(kind) if not name.seen}
        config = DenseTrainConfig(worlds=WorldsConfig(kind=kind), crop=(96, 128))
        for coarse in (False, True):
            taught, rows = taught_names(replace(config, coarse=coarse))
            assert not set(taught) & unseen and len(set(taught)) == len(taught)
            for name, row in zip(names_of(kind), rows, strict=False):
                said = None if row == VOID else taught[row]
                assert said == ((name.coarse if coarse else name.name) if name.seen else None)


def test_things_wear_the_colours_of_specimens_and_keep_their_handles():
    room = things((9, "train", 0), "rooms")
    paint = specimens([room], 1)
    assert all(len(colors) == 1 for colors in paint.values())
    worn = new_colors(room, paint, GapConfig(faithful=1.0), np.random.default_rng(0))
    kept = ("wall", "floor", "ceiling")
    assert all(color == (thing.color if thing.category in kept else paint[thing.category][0])
               for thing, color in zip(room, worn, strict=True))  # fmt: skip
    assert new_colors(room, paint, GapConfig(faithful=0.0), np.random.default_rng(0)) == [t.color for t in room]
    base, new = np.array([[100, 50, 200]] * 3), np.array([[40, 80, 20]] * 3)
    faces = np.array([[100, 50, 200], [50, 25, 100], [10, 200, 10]], np.uint8)
    assert repaint(faces, base, new).tolist() == [[40, 80, 20], [20, 40, 10], [10, 200, 10]]


def test_the_loss_is_that_of_a_loop_over_pixels():
    torch.manual_seed(0)
    codes, basis = torch.randn(2, 3, 4, 5), torch.randn(5, 16)
    text = F.normalize(torch.randn(7, 16), dim=1)
    unit = unit_codes(codes, basis)
    name = torch.randint(0, 7, (2, 3, 4))
    name[0, 0, :2] = VOID
    found, right = text_loss(unit, name, basis, text, replace(TINY, temperature=0.1, pull=0.3))
    losses, rights = [], []
    for b, i, j in np.ndindex(2, 3, 4):
        if name[b, i, j] == VOID:
            continue
        feature = codes[b, i, j] @ basis
        cosines = torch.stack([F.cosine_similarity(feature, row, dim=0) for row in text])
        chance = torch.softmax(cosines / 0.1, dim=0)[name[b, i, j]]
        losses.append(-chance.log() + 0.3 * (1 - cosines[name[b, i, j]]))
        rights.append(cosines.argmax() == name[b, i, j])
    torch.testing.assert_close(found, torch.stack(losses).mean())
    assert right == pytest.approx(np.mean(rights))
    assert text_loss(unit, torch.full_like(name, VOID), basis, text, TINY) == (0.0, 0.0)


def test_regions_are_the_things_of_each_image():
    torch.manual_seed(0)
    unit = torch.randn(2, 2, 3, 5)
    thing = torch.tensor([[[0, 0, 3], [3, 3, -1]], [[3, 3, 3], [1, 1, 1]]])
    name = torch.tensor([[[6, 6, 2], [2, 2, VOID]], [[2, 2, 2], [VOID, VOID, VOID]]])
    means, names = regions(unit, name, thing)
    expected = [
        unit[0, 0, :2].mean(0),
        torch.stack([unit[0, 0, 2], unit[0, 1, 0], unit[0, 1, 1]]).mean(0),
        unit[1, 0].mean(0),
    ]
    torch.testing.assert_close(means, torch.stack(expected))
    assert names.tolist() == [6, 2, 2]


def test_mirrored_images_keep_their_names():
    color = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    name, thing = np.arange(16).reshape(4, 2, 2), np.arange(16, dtype=np.int16).reshape(4, 2, 2)
    image, names, numbers = changed(color, name, thing, 0.0, np.random.default_rng(1))
    for k in range(4):
        flipped = names[k, 0, 0] != 4 * k
        expected = color[k][:, ::-1] if flipped else color[k]
        assert np.allclose(image[k].permute(1, 2, 0).numpy() * 255, expected, atol=1e-3)
        assert names[k].tolist() == numbers[k].tolist() == (name[k][:, ::-1] if flipped else name[k]).tolist()


@pytest.mark.parametrize("loss", ["pixels", "regions"])
def test_training_repeats_and_goes_on_after_a_kill_to_the_same_weights(worlds, tmp_path, loss: str):
    config = replace(TINY, loss=loss, coarse=loss == "regions")
    whole = run(worlds, config)
    assert whole.step == 6 and len(whole.history) == 3
    assert same(whole, run(worlds, config))
    assert run(worlds, config, run_dir=tmp_path, until=3).step == 3
    assert same(whole, run(worlds, config, run_dir=tmp_path))
    assert not same(whole, run(worlds, replace(config, seed=1)))


def test_training_learns(worlds):
    losses = run(worlds, replace(TINY, steps=120, batch=6, learning_rate=0.02, log_every=20, seed=3)).history
    assert losses[-1]["total"] < 0.7 * losses[0]["total"] and losses[-1]["accuracy"] > losses[0]["accuracy"]


def test_bad_input_is_refused(worlds, tmp_path):
    with pytest.raises(InputError, match="text must be"):
        train_images(TINY, worlds, np.zeros((3, 16), np.float32))
    with pytest.raises(InputError, match="batch=9"):
        run(worlds, replace(TINY, batch=9))
    with pytest.raises(ConfigError, match="multiples of 4"):
        replace(TINY, crop=(18, 24))
    with pytest.raises(ConfigError, match="faithful"):
        GapConfig(faithful=1.5)
    with pytest.raises(ConfigError, match="kind"):
        replace(WORLDS, kind="towers")
    with pytest.raises(ConfigError, match="no --steps"):
        make_model("sas-mini", tmp_path / "sas.json", tmp_path, steps=3)
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    for path in ("bad.safetensors", "none.safetensors"):
        with pytest.raises(DataError, match=path):
            MiniDenseModel("x", tmp_path / path)


@pytest.fixture
def tiny(tmp_path) -> MiniDenseModel:
    torch.manual_seed(0)
    net = DenseNet(replace(NET, width=384)).eval()
    write_network(
        tmp_path / "tiny.safetensors",
        net,
        {"config": {"worlds": {"image_size": [24, 32]}}, "worlds": [[9, "train", 0]]},
    )
    return MiniDenseModel("tiny", tmp_path / "tiny.safetensors")


def test_a_model_gives_unit_features_of_images_of_any_size_from_what_it_keeps(tiny):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((24, 32), (25, 31), (48, 90), (9, 8))]
    for image, kept, full in zip(images, tiny.compact(images), tiny.encode(images), strict=True):
        assert full.shape == (*image.shape[:2], 384) and full.dtype == np.float32
        assert np.allclose(np.linalg.norm(full, axis=-1), 1, atol=1e-5)
        assert np.array_equal(tiny.expand(kept, image.shape[:2]), full)
        assert np.allclose(tiny.expand(kept.astype(np.float16), image.shape[:2]), full, atol=5e-3)
        some = rng.choice(image.shape[0] * image.shape[1], 50, replace=False)
        found = tiny.expand_rows(kept, image.shape[:2]).make(some)
        assert np.allclose(found, full.reshape(-1, 384)[some], rtol=1e-6, atol=1e-7)
    codes = torch.from_numpy(tiny.compact(images[:1])[0])
    lookup = tiny.network((torch.from_numpy(images[0]).permute(2, 0, 1)[None] / 255).float())[0].permute(1, 2, 0)
    direct = F.normalize(lookup @ tiny.network.basis, dim=-1)
    torch.testing.assert_close(codes @ tiny.network.basis, direct, atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="kept frame"):
        tiny.expand(codes.numpy()[:-1], (24, 32))
    with pytest.raises(InputError, match="at least 8 pixels"):
        tiny.encode([np.zeros((7, 40, 3), np.uint8)])


def test_a_model_that_reads_by_names_gives_the_mean_of_their_texts(tiny, tmp_path):
    """Slowly, pixel by pixel: softmax of the cosines with what was taught, over the temperature."""
    names, temperature = ["wall", "office chair", "sink"], 0.04
    said = {"config": {"worlds": {"image_size": [24, 32]}, "reading": temperature}, "worlds": [], "names": names}
    write_network(tmp_path / "read.safetensors", tiny.network, said)
    model = MiniDenseModel("read", tmp_path / "read.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    own, read, text = tiny.encode([image])[0], model.encode([image])[0], tiny.text(names)
    assert np.array_equal(text, text_encoder("minilm").encode(names))  # what the training compares with
    for row, column in ((0, 0), (11, 20), (23, 31)):
        power = np.exp(text @ own[row, column] / temperature)
        np.testing.assert_allclose(read[row, column], (power / power.sum()) @ text, atol=1e-4)
    assert model.identity != tiny.identity and np.array_equal(model.compact([image])[0], tiny.compact([image])[0])


def test_a_training_leaves_weights_and_their_record(tmp_path, monkeypatch):
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "data"))
    out = tmp_path / "small.safetensors"
    config = replace(TINY, network=replace(NET, width=384))
    result = train_and_save(config, out, run_dir=tmp_path / "runs", until=2, progress=False)
    said, model = json.loads(out.with_suffix(".json").read_text()), MiniDenseModel("small", out)
    assert result.step == said["step"] == model.notes["step"] == 2 and not said["finished"]
    assert said["sha256"] == model.identity and len(said["history"]) == 1
    assert model.notes["names"] == taught_names(config)[0]
    assert set(said["scores"]) == {"training_look", "training_look_first_world", "benchmark_look",
                                   "benchmark_look_first_world"}  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.glob("small.*")}

    def interrupted(*_: object, progress: bool) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(making, "score_held_out", interrupted)
        train_and_save(config, out, run_dir=tmp_path / "runs", progress=False)
    assert {path: path.read_bytes() for path in tmp_path.glob("small.*")} == before  # not new weights with old scores
    again = train_and_save(config, out, run_dir=tmp_path / "runs", progress=False)
    assert again.step == 6 and json.loads(out.with_suffix(".json").read_text())["finished"]


class Painter(ImageModel):
    """Says of each pixel the name that its red channel numbers, in a text space of one axis a name."""

    name, width, identity, space = "painter", 400, "painter", TextConfig("minilm")

    def encode(self, images):
        return [np.eye(400, dtype=np.float32)[image[..., 0]] for image in images]

    def text(self, names, prompt=""):
        return (
            np.eye(400, dtype=np.float32)[: len(names)]
            + np.eye(400, k=-len(names) // 2, dtype=np.float32)[: len(names)]
        )


def test_scores_are_those_of_confusion_matrices_over_the_names_allowed():
    names = names_of("streets")
    seen = np.array([name.seen for name in names])
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(names), (2, 6, 8)).astype(np.uint8)
    said = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, len(names), label.shape)).astype(np.uint8)
    label[0, 0] = VOID
    found = score_images(
        Painter(), [Images(np.repeat(said[..., None], 3, -1), label, label.astype(np.int16))], "streets"
    )
    every = ConfusionMatrix(len(names))
    every.update(label, said)
    assert found["seen_among_all"] == pytest.approx(100 * np.nanmean(every.iou()[seen]))
    assert found["unseen_among_all"] == pytest.approx(100 * np.nanmean(every.iou()[~seen]))
    only = ConfusionMatrix(len(names))
    mask = np.isin(label, np.flatnonzero(seen))
    first = np.flatnonzero(seen)[0]  # where an unseen name is said all seen ones score 0, and the first is taken
    only.update(label[mask], np.where(seen[said[mask]], said[mask], first))
    assert found["seen"] == pytest.approx(100 * only.miou("skip"))
    assert found["accuracy"] == pytest.approx(100 * only.accuracy())


def test_fusion_by_capability_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    first, second, text = (rng.normal(size=(*shape, 9)).astype(np.float32) for shape in ((4, 5), (4, 5), (6,)))
    capability = rng.random((2, 6)).astype(np.float32)
    capability[:, 2] = 0
    found = fuse_by_capability(first, second, text, capability, other=3)
    kinds = set()
    for i, j in np.ndindex(4, 5):
        one, two = int((text @ first[i, j]).argmax()), int((text @ second[i, j]).argmax())
        if one == 3:
            expected = first[i, j]
        else:
            w1, w2 = capability[0, one] + capability[0, two], capability[1, two] + capability[1, one]
            w1, w2 = (w1 / (w1 + w2), w2 / (w1 + w2)) if w1 + w2 else (0.5, 0.5)
            e1, e2 = np.exp(w1 / 0.05), np.exp(w2 / 0.05)
            expected = (e1 * first[i, j] + e2 * second[i, j]) / (e1 + e2)
        kinds.add(one == 3)
        assert np.allclose(found[i, j], expected, atol=1e-4)
    assert kinds == {True, False}


def test_a_fused_model_is_made_of_the_models_that_were_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(mini_dense, "WEIGHTS", tmp_path)
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        notes = {"config": {"worlds": {"image_size": [24, 32]}}, "worlds": []}
        network = DenseNet(replace(NET, width=384, finest=1 - seed)).eval()  # of other grids
        write_network(tmp_path / f"{name}.safetensors", network, notes)
    one, two = MiniDenseModel("one"), MiniDenseModel("two")
    file = tmp_path / "fused.json"
    said: dict[str, object] = {
        "names": ["bed", "door"],
        "models": ["one", "two"],
        "sha256": [one.identity, two.identity],
    }
    said |= {"first": [0.5, 0.1], "second": [0.4, 0.6], "other": "nothing"}
    file.write_text(json.dumps({"capability": said}))
    fused = FusedMiniModel("fused", file)
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    first, second = (model.encode([image])[0] for model in (one, two))
    expected = fuse_by_capability(first, second, one.text(["bed", "door"]), fused.capability)
    assert np.allclose(fused.encode([image])[0], expected, atol=1e-5)
    with pytest.raises(InputError, match="kept frame"):
        fused.expand(fused.compact([image])[0][..., :-1], (24, 32))
    for change in ({"sha256": ["a", "b"]}, {"first": [0.5]}, {"second": [0.4, 1.6]}, {"names": "bed"}):
        file.write_text(json.dumps({"capability": said | change}))
        with pytest.raises(DataError, match=r"fused\.json"):
            FusedMiniModel("fused", file)
    file.write_text("{}")
    with pytest.raises(DataError, match="pretrain sas-mini"):
        FusedMiniModel("fused", file)


def test_capability_is_the_overlap_with_where_the_thing_is():
    text = np.eye(400, dtype=np.float32)[:5]
    image = np.array([[[2, 2, 2], [1, 1, 1]], [[2, 2, 2], [0, 0, 0]]], np.uint8)
    images, truth = np.stack([image, image]), np.zeros((2, 2, 2), bool)
    truth[0] = [[True, True], [False, False]]  # the second image does not show the thing, so it is left out
    assert overlaps(Painter(), images, truth, text, 2).tolist() == [1, 3]


def test_a_thing_is_photographed_in_a_bare_room():
    world = (WORLDS.seed, "val", 0)
    standing = things(world, "rooms")
    number = next(k for k, thing in enumerate(standing) if thing.category == "bed")
    images = render_thing(world, WORLDS, number)
    shown = {standing[k].category for k in np.unique(images.object) if k >= 0}
    assert "bed" in shown and shown <= {"bed", "wall", "floor", "ceiling"}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_record_of_shipped_weights_is_of_them(name: str) -> None:
    record = json.loads((WEIGHTS / f"{name}.json").read_text())
    model = MiniDenseModel(name)
    assert record["sha256"] == model.identity and record["finished"]
    assert list(model.worlds) == identities(MODELS[name].worlds, "train")
    assert model.notes["names"] == taught_names(MODELS[name])[0]
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 20e6
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 8e6


@pytest.mark.parametrize(("name", "config"), [*((name, MODELS[name].worlds) for name in SHIPPED), ("sas-mini", ROOMS)])
def test_the_record_of_a_shipped_model_says_what_it_scores_on_a_held_out_world(name: str, config: WorldsConfig) -> None:
    world = render_world(identities(config, "val")[0], config, None).every(EVERY)
    found = score_images(open_mini(name), [world], config.kind)
    said = json.loads((WEIGHTS / f"{name}.json").read_text())["scores"]["benchmark_look_first_world"]
    assert {key: value for key, value in found.items() if np.isfinite(value)} == pytest.approx(
        {key: value for key, value in said.items() if value is not None}, abs=0.3
    )


def test_the_record_of_two_models_as_one_has_their_scores_and_says_who_they_are(tmp_path, monkeypatch):
    """Scores that the record has are those of the model that it makes, and change nothing of who that is."""
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "data"))
    out = tmp_path / "both.json"
    found = measure_and_save(FUSED, out, WORLDS, replace(WORLDS, views=2))
    said, model = json.loads(out.read_text()), FusedMiniModel("both", out)
    assert said["capability"]["sha256"] == [MiniDenseModel(member).identity for member in FUSED]
    assert said["scores"] == score_held_out(model, WORLDS, progress=False) and said["environment"]
    out.write_text(json.dumps({"capability": said["capability"]}))
    assert model.measured == found and FusedMiniModel("both", out).identity == model.identity


def test_a_measurement_that_is_interrupted_leaves_what_was_there(tmp_path, monkeypatch):
    """A file without scores would be taken for a whole one, and the earlier measurement would be lost."""

    def interrupted(model: FusedMiniModel, scored: WorldsConfig) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(capability, "single_things", lambda config: iter(()))
    monkeypatch.setattr(capability, "score_held_out", interrupted)
    out = tmp_path / "both.json"
    out.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        measure_and_save(FUSED, out, WORLDS)
    assert out.read_text() == "before" and [*tmp_path.iterdir()] == [out]


@pytest.mark.parametrize("name", ["lseg-mini", "openseg-mini", "lseg-streets-mini", "sas-mini"])
def test_packaged_models_are_opened_by_name(name: str) -> None:
    model = open_image_model(parse_spec(f"mini:{name}"))
    (seen,) = model.encode([np.full((24, 32, 3), 90, np.uint8)])
    features = seen.features if isinstance(seen, PixelFeatures) else seen
    assert features.shape == (24, 32, 384) and np.isfinite(np.asarray(features, np.float32)).all()
