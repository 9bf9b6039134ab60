"""2D models by name: specs and configs, what an experiment makes of them, true names in records and model files."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geoguide.datasets.config import DataConfig
from geoguide.errors import ConfigError, DataError, InputError, ReadAs
from geoguide.experiments import run
from geoguide.experiments.facts import Facts
from geoguide.experiments.placing import placed
from geoguide.experiments.presets import adapter_only, fusion, preset
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.lifting import lift
from geoguide.model import from_fit, load
from geoguide.paths import WEIGHTS
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.evaluate import evaluate
from geoguide.pipeline.prepare import prepare_split
from geoguide.pipeline.stages import Stages
from geoguide.pipeline.train import checkpoint_name, fit
from geoguide.teachers import image_model
from geoguide.teachers.image_model import ImageTeacher, MeanModel, mean_of
from geoguide.teachers.registry import (
    PUBLISHED,
    ImageModelConfig,
    identified,
    is_spec,
    open_image_model,
    parse_spec,
)
from geoguide.text import TextConfig

OWN = "own:my_model:Brightness"
OTHER = """
import numpy as np
from geoguide.lifting import PixelFeatures
from my_model import Brightness

class Scaled(Brightness):
    def __init__(self, scale=1, space="minilm"):
        super().__init__()
        self.name, self.identity = f"scaled {scale}", f"scaled {scale}"

    def encode(self, images):
        return [PixelFeatures(f, np.full(f.shape[:2], 0.25)) for f in super().encode(images)]

number = 3

class Wide(Brightness):
    width = 512

class Blank(Brightness):
    identity = "brightness 1, half of it blank"

    def encode(self, images):
        return [np.where(np.arange(f.shape[1])[:, None] < f.shape[1] // 2, f, 0) for f in super().encode(images)]

class Plain(Brightness):
    name, width = "plain", np.int64(384)

    def encode(self, images):
        said = super().encode(images)
        return [PixelFeatures(f, np.ones(f.shape[:2])) if image[0, 0, 0] % 2 else f for image, f in zip(images, said)]

def word():
    return "no model"

class Fails(Brightness):
    identity = "fails"
    def __init__(self, where="encode"):
        super().__init__()
        self.where = where
        self.said("factory")
        self.asked = True
    def said(self, where):
        if where == self.where:
            raise ValueError("boom")
    def text(self, names):
        if hasattr(self, "asked"):
            self.said("text")
        return super().text(names)
    def encode(self, images):
        self.said("encode")
        return super().encode(images)
    def expand(self, kept, size):
        self.said("expand")
        return super().expand(kept, size)
"""


@pytest.fixture(autouse=True)
def my_model(tmp_path_factory, monkeypatch) -> str:
    """The documented example as a file that can be imported, and another one; the text of how it is used."""
    blocks = re.split(r"\n\n(?=\S)", image_model.__doc__)
    code, use = (re.sub(r"(?m)^    ", "", block.split("\n\n", 1)[1]) for block in blocks if "\n    " in block)
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_model.py").write_text(code)
    (folder / "other_model.py").write_text(OTHER)
    monkeypatch.syspath_prepend(folder)
    return use


@pytest.fixture
def own(tiny: ExperimentConfig) -> ExperimentConfig:
    """2D fusion of the documented example on the tiny rooms."""
    return placed(fusion(), "scannet", features=OWN).replace(data=small(tiny))


def small(config: ExperimentConfig) -> DataConfig:
    """Its rooms with small images: a kept frame is 4 MB, not 59."""
    return replace(config.data, image_size=(60, 80))


def test_the_documented_model_scores(own, my_model, monkeypatch, capsys):
    """The text of the docstring runs as it stands; what it gives is what a direct computation does."""
    monkeypatch.setattr("geoguide.experiments.placing.placed", lambda *args, **named: own)
    exec(my_model)  # the documentation's own lines
    score = float(capsys.readouterr().out.split()[-1])
    model, (scene,) = open_image_model(own.image_model), prepare_split(own, "test", progress=False)
    maps = [model.encode([view.color()])[0] for view in scene.load().views]
    direct = lift(scene.load(), maps, own.lifting)
    np.testing.assert_allclose(scene.lifted, direct.mean, atol=2e-3)
    np.testing.assert_array_equal(scene.seen_by, direct.count)
    assert 0 < score < 20 and score == pytest.approx(evaluate(own, scenes=[scene]).miou)
    assert len(list(my_model.splitlines())) < 10


def test_numpys_numbers_and_weights_of_some_images_alone(own):
    """A missing weight is one, so that the features are those of the model without weights."""
    plain = own.replace(image_model=identified(parse_spec("own:other_model:Plain")))
    (found,), (expected,) = (prepare_split(config, "test", progress=False) for config in (plain, own))
    kinds = {int(view.color()[0, 0, 0]) % 2 for view in found.load().views}
    assert kinds == {0, 1}
    np.testing.assert_allclose(found.lifted, expected.lifted, atol=2e-3)
    np.testing.assert_array_equal(found.seen_by, expected.seen_by)


def test_points_that_get_zeros_alone_are_not_seen(own):
    """Where a model says "no answer" by zeros in place of a weight: as in files of fused features."""
    with pytest.warns(ReadAs, match="seen points have features of zeros alone: counted as not seen"):
        (found,) = prepare_split(
            own.replace(image_model=identified(parse_spec("own:other_model:Blank"))), "test", progress=False
        )
    (whole,) = prepare_split(own, "test", progress=False)
    scene, width = whole.load(), 80
    answered = np.zeros((*scene.views[0].image_size, 1), np.float32)
    answered[:, : width // 2] = 1
    expected = lift(scene, (answered for _ in scene.views), own.lifting).mean[:, 0] > 0
    np.testing.assert_array_equal(found.seen_by, np.where(expected, whole.seen_by, 0))
    assert 0 < found.seen.sum() < whole.seen.sum()


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("lseg-mini", "mini:lseg-mini"),
        ("lseg-mini", "mini:lseg-mini,weights={weights}/lseg-mini.safetensors"),  # the packaged ones all the same
        ("lseg-mini [", "mini:lseg-mini,weights={weights}/openseg-mini.safetensors"),
        ("ours [", "mini:ours,weights={weights}/openseg-mini.safetensors"),
        ("brightness", OWN),
        ("scaled 2 [", "own:other_model:Scaled,scale=2"),
        ("mean of brightness and lseg-mini", "mean:own:my_model:Brightness+mini:lseg-mini"),
        ("mean of brightness and lseg-mini [", f"mean:{OWN}+mini:lseg-mini,weights={WEIGHTS / 'sas-mini.json'}"),
    ],
)
def test_a_name_says_which_weights_and_settings(name, spec):
    found = identified(parse_spec(spec.format(weights=WEIGHTS)))
    assert found.name == (f"{name}{found.identity[:8]}]" if name.endswith("[") else name)


def test_other_weights_under_one_name_are_another_row(own):
    specs = ("mini:lseg-mini", f"mini:lseg-mini,weights={WEIGHTS / 'openseg-mini.safetensors'}")
    one, other = (own.replace(image_model=identified(parse_spec(spec))) for spec in specs)
    assert config_hash(one) != config_hash(other) and Facts.of(one) != Facts.of(other)


def test_committed_records_name_what_they_were_made_with():
    """Their 2D models would have the same names today."""
    found = {}
    for path in (Path(__file__).parents[1] / "results").rglob("*.json"):
        record = json.loads(path.read_text())
        config = record.get("config") if isinstance(record, dict) else None
        if config and config.get("image_model"):
            model = from_dict(ExperimentConfig, config).image_model
            found[model.name] = (model.kind, model.identity)
    assert len(found) >= 4
    for name, (kind, identity) in found.items():
        if kind == "litert":
            assert PUBLISHED[name] == identity
        elif kind == "mini":
            assert identified(parse_spec(f"mini:{name}")).name == name
        else:
            assert kind == "mean" and set(name.removeprefix("mean of ").split(" and ")) <= PUBLISHED.keys()


def test_a_kept_frame_serves_another_lifting(own, monkeypatch):
    prepare_split(own, "test", progress=False)
    monkeypatch.setattr("my_model.Brightness.encode", lambda self, images: pytest.fail("asked again"))
    (scene,) = prepare_split(own.replace(lifting__border=5), "test", progress=False)
    (before,) = prepare_split(own, "test", progress=False)
    assert scene.seen.sum() < before.seen.sum()


def test_true_names_stand_in_records_and_model_files(own, tiny, tmp_path):
    config = placed(adapter_only(), "scannet", features=OWN, steps=20, backbone="descriptors").replace(data=small(tiny))
    assert config.train.steps == 20 and config.backbone.name == "descriptors" and config.name.endswith(", brightness")
    record = run.run(config.replace(train__evaluate_every=10), folder=tmp_path, progress=False)
    facts = Facts.of(config)
    assert (
        record.raw["teacher"] == record.facts.teacher == facts.teacher == "brightness" and record.provenance == "mini"
    )
    assert facts.method == "adapter only"
    assert {name for name, _ in facts.changed} == {"data.rooms", "data.image_size", "train.steps"}
    kept = replace(config.image_model, source="brightness")  # no place of this machine
    assert record.config.image_model == kept and record.config.text == TextConfig("minilm")
    fitted = fit(config, run_dir=None, progress=False)
    model = load(from_fit(fitted, config).save(tmp_path / "m.safetensors"))
    assert "brightness" in model.trained_on and "simulated" not in model.trained_on


def test_no_hash_of_an_older_config_moves():
    """Hashes of committed records, and those of presets, are what they were without the field."""
    plain = ExperimentConfig()
    assert "image_model" not in to_dict(plain, hashed_only=True)
    one, other = (plain.replace(image_model=ImageModelConfig("own", source, name="x", identity="1")) for source in "ab")
    assert config_hash(one) == config_hash(other) != config_hash(plain)
    assert config_hash(one) != config_hash(one.replace(image_model__identity="2"))
    slow, fast = (plain.replace(image_model=parse_spec(f"litert:a,low=0{more}")) for more in ("", ",threads=2"))
    assert fast.image_model.threads == 2 and config_hash(slow) == config_hash(fast)
    assert from_dict(ExperimentConfig, json.loads(json.dumps(to_dict(one)))) == one


def test_stages_of_two_models_are_two(own, tmp_path):
    source = prepare_split(own, "test", progress=False).sources[0]
    other = own.replace(image_model=identified(parse_spec("own:other_model:Scaled,scale=2")))
    first, second = (Stages(source, config, tmp_path).lifted[0] for config in (own, other))
    np.testing.assert_allclose(first, second, atol=2e-3)  # a constant weight changes no mean
    assert len(list(tmp_path.glob("scene*/lifted-*.json"))) == 2
    kept = {json.loads(path.read_text())["identity"] for path in tmp_path.glob("frames/*/model.json")}
    assert kept == {"brightness 1", "scaled 2"}
    quiet = own.replace(image_model__keep_frames=False)
    assert Stages(source, quiet, tmp_path / "quiet").lifted[1].any()
    assert not (tmp_path / "quiet" / "frames").exists()


def test_text_must_be_the_models_space(own):
    source = prepare_split(own, "test", progress=False).sources[0]
    wrong = own.replace(text=TextConfig("clip-vit-b32"))
    message = "text.encoder must be minilm, the text space of brightness, found clip-vit-b32"
    with pytest.raises(ConfigError, match=message):
        Stages(source, wrong).prepared()
    with pytest.raises(
        ConfigError, match="brightness has its own text space: its features lie in minilm, asked for was"
    ):
        placed(fusion(), "scannet", features=OWN, text="clip-vit-b32")
    with pytest.raises(ConfigError, match="text must be minilm, the space of LSeg-like, found clip-vit-b32"):
        placed(fusion(), "scannet", features="LSeg-like", text="clip-vit-b32")
    with pytest.raises(ConfigError, match="data.features must be None beside the 2D model brightness, found fused"):
        own.replace(data__features="fused").check_space()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("own:missing_module:X", r"cannot be imported \(No module named 'missing_module'\).*PYTHONPATH"),
        ("own:my_model:Missing", "cannot be imported .*Missing"),
        ("own:my_model", "expected own:MODULE:CALLABLE"),
        ("own:my_model:Brightness,scale=2", r"options \('scale=2',\): got an unexpected keyword argument 'scale'"),
        ("own:other_model:Wide", "image_model: width of brightness must be 384, of its text space minilm, found 512"),
        ("own:other_model:word", "must return an ImageModel, found str"),
        ("own:other_model:number", "is not a callable object"),
        ("own:", "image_model.source must name the own model, found ''"),
        ("litert:a.tflite,batch=0", "image_model.batch must be at least 1, found 0"),
        ("litert:a.tflite,batch=two", "batch must be int, found 'two'"),
        ("litert:a.tflite,low=dark", "image_model.options: low must be a finite number, found 'dark'"),
        ("litert:a.tflite,high=NaN", "image_model.options: high must be a finite number, found nan"),
        ("litert:a.tflite,high=true", "image_model.options: high must be a finite number, found True"),
        ("litert:a.tflite,threads=0", "image_model.threads must be at least 1, found 0"),
        ("mini:lseg-mini,batch=2,batch=3", "option batch stands there twice"),
        (
            "mini:lseg-mini,device=cuda",
            "image_model.device belongs to kind transformers and open_clip, found 'cuda' for",
        ),
        (
            "litert:a.tflite,device=auto",
            "image_model.device belongs to kind transformers and open_clip, found 'auto' for",
        ),
        ("mini:lseg-mini,threads=2", "image_model.threads belongs to kind litert, found 2 for mini"),
        ("own:my_model:Brightness,names=a.txt", "image_model.names belongs to kind litert, found 'a.txt' for own"),
        ("given:x", "a 2D model is one of transformers:"),
        ("plain", "a 2D model is one of transformers:"),
        ("mean:own:my_model:Brightness", "a mean needs two models or more, found 1"),
    ],
)
def test_what_no_model_can_be_opened_by(spec, message):
    with pytest.raises((ConfigError, InputError), match=message):
        open_image_model(parse_spec(spec))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("\nx = = 1\n", r"SyntaxError: invalid syntax \(harmed_a.py:2\)"),
        ("import numpy\nnumpy.nothing\n", r"AttributeError: .* \(.*__init__.py:\d+\)"),
        ("y = undefined_name\n", r"NameError: name 'undefined_name' is not defined \(harmed_a.py:1\)"),
        ("raise RuntimeError\n", r"RuntimeError: RuntimeError \(harmed_a.py:1\)"),
    ],
)
def test_a_module_of_ones_own_that_fails_is_one_line(tmp_path, monkeypatch, code, message):
    (tmp_path / "harmed_a.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match=f"^own:harmed_a:X: raised {message}$") as said:
        open_image_model(parse_spec("own:harmed_a:X"))
    assert said.value.__cause__ is not None


@pytest.mark.parametrize("where", ["factory", "encode", "expand", "text"])
def test_an_error_in_a_model_of_ones_own_is_one_line(own, where):
    """It names the model, and scene and view where it looks at one; the cause is kept."""
    source = prepare_split(own, "test", progress=False)[0].load()
    with pytest.raises(DataError) as said:
        teacher = ImageTeacher(open_image_model(parse_spec(f"own:other_model:Fails,where={where}")))
        teacher.text(["wall"]) if where == "text" else next(teacher.features(source))
    place = rf"scene {source.name}, view .*: " if where in ("encode", "expand") else ""
    message = rf"^{place}own:other_model:Fails: raised ValueError: boom \(other_model.py:\d+\)$"
    assert re.match(message, str(said.value)) and isinstance(said.value.__cause__, ValueError)


def test_an_error_in_a_model_of_this_package_stays_what_it_is(own, monkeypatch):
    model = open_image_model(parse_spec("mini:lseg-mini"))
    source = prepare_split(own, "test", progress=False)[0].load()
    monkeypatch.setattr(model, "compact", lambda images: images.nothing)
    with pytest.raises(AttributeError):
        next(ImageTeacher(model).features(source))


def test_a_spec_is_told_from_a_folder():
    assert is_spec("litert:a") and is_spec("own:a:b")
    assert not is_spec("scannet_multiview_lseg") and not is_spec("OpenSeg-like") and not is_spec("litert")


def test_another_model_under_the_same_name_is_refused(own):
    changed = own.image_model.__class__(**{**vars(own.image_model), "identity": "0" * 16})
    with pytest.raises(
        ConfigError, match=r"image_model.identity: my_model:Brightness must be 0{16} \(brightness\), found"
    ):
        open_image_model(changed)


FROM_FILE = """
from pathlib import Path
from my_model import Brightness

class Read(Brightness):
    def __init__(self, path):
        super().__init__()
        self.identity = self.name = Path(path).read_text()
"""


def rewrite(path: Path, content: str | bytes) -> None:
    """Another content, at another time: clocks of some file systems are coarse."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def test_what_a_spec_names_is_read_again_when_it_was_replaced(tmp_path, monkeypatch):
    """Files of options, of weights, and of the members of a mean, in a folder whose name has a plus sign."""
    folder = tmp_path / "a+b"
    folder.mkdir()
    (folder / "reads.py").write_text(FROM_FILE)
    monkeypatch.syspath_prepend(folder)
    for name in ("one", "two"):
        (folder / name).write_text(name)
    shutil.copy(WEIGHTS / "lseg-mini.safetensors", folder / "w.safetensors")
    read = f"own:reads:Read,path={folder / 'one'}"
    specs = read, f"mini:lseg-mini,weights={folder / 'w.safetensors'}", f"mean:{OWN}+{read}"
    before = [open_image_model(parse_spec(spec)).identity for spec in specs]
    assert open_image_model(parse_spec(specs[2])).name == "mean of brightness and one"
    rewrite(folder / "one", "three")
    rewrite(folder / "w.safetensors", (WEIGHTS / "openseg-mini.safetensors").read_bytes())
    after = [open_image_model(parse_spec(spec)).identity for spec in specs]
    assert after[0] == "three" and all(one != other for one, other in zip(before, after, strict=True))


def test_a_plus_sign_ends_a_member_before_a_kind_alone(tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    for name in ("lseg-mini", "openseg-mini"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", folder)
    spec = "+".join(f"mini:{name},weights={folder / name}.safetensors" for name in ("lseg-mini", "openseg-mini"))
    assert len(open_image_model(parse_spec(f"mean:{spec}")).members) == 2
    with pytest.raises(ConfigError, match="image_model.batch must be at least 1, found 0"):
        parse_spec(f"mean:{OWN}+{OWN},batch=0")


def test_the_mean_of_two_models_is_weighted_by_their_weights(own, tmp_path):
    spec = f"mean:{OWN}+own:other_model:Scaled,scale=2"
    model = open_image_model(parse_spec(spec))
    assert model.name == "mean of brightness and scaled 2" and model.space == TextConfig("minilm")
    scene = prepare_split(own, "test", progress=False)[0].load()
    scene = replace(scene, views=scene.views[:2])
    parts = [list(ImageTeacher(member).features(scene)) for member in model.members]
    teacher = ImageTeacher(model, cache=tmp_path)
    for first, (second, weight), (mean, total) in zip(*parts, teacher.features(scene), strict=True):
        np.testing.assert_allclose(mean, (first + weight[..., None] * second) / 1.25, atol=1e-6)
        np.testing.assert_allclose(total, 1.25 / 2)
    assert len(list(tmp_path.iterdir())) == 2  # the frames of each, which serve it alone too
    images = [scene.views[0].color()]
    np.testing.assert_allclose(model.encode(images)[0].features, mean_of([p[0] for p in parts])[0], atol=2e-3)


def test_a_mean_needs_one_space():
    model, other = (open_image_model(parse_spec(spec)) for spec in (OWN, "own:other_model:Scaled"))
    other.space = TextConfig("clip-vit-b32")
    with pytest.raises(
        InputError, match="must share their text space, found brightness minilm and scaled 1 clip-vit-b32"
    ):
        MeanModel([model, other])


def test_where_no_model_answers_the_mean_does_not():
    from geoguide.lifting import PixelFeatures

    none = PixelFeatures(np.full((1, 2, 1), 7.0), np.array([[0.0, 1.0]]))
    both = mean_of([none, PixelFeatures(np.full((1, 2, 1), 3.0), np.zeros((1, 2)))])
    assert both.weight.tolist() == [[0, 0.5]] and both.features[..., 0].tolist() == [[0, 7]]


class TestGiven:
    """Features that somebody brings along as arrays, or as maps of the views."""

    @pytest.fixture
    def scene(self, tiny_scenes):
        return tiny_scenes["train"][0].load()

    @pytest.fixture
    def config(self, tiny) -> ExperimentConfig:
        return tiny.replace(image_model=ImageModelConfig("given", "LSeg of our lab"), backbone__name="descriptors")

    def test_own_arrays_train_a_model_that_names_them(self, scene, config, rng, tmp_path, tiny_scenes):
        features, seen = rng.normal(size=(len(scene), 384)), rng.random(len(scene)) < 0.5
        features[~seen] = np.nan  # is not read
        prepared = Stages(scene, config, tmp_path, lifted=(features, seen)).prepared()
        np.testing.assert_array_equal(prepared.seen, seen)
        np.testing.assert_array_equal(prepared.lifted[seen], features[seen].astype(np.float16))
        assert not prepared.lifted[~seen].any() and prepared.provenance == "mini"
        assert not list(tmp_path.glob("*/lifted-*"))  # nothing of it can be mistaken for a computed stage
        fitted = fit(config, train=[prepared], val=[prepared], progress=False)
        assert "LSeg of our lab" in from_fit(fitted, config).trained_on
        assert Facts.of(config).teacher == "LSeg of our lab"

    def test_a_training_on_other_arrays_is_another(self, scene, config, rng, tmp_path):
        """Of the same name and scene: the finished training of the first ones was taken for theirs."""
        features, seen = rng.normal(size=(len(scene), 384)), np.ones(len(scene), bool)
        better, fewer = features.copy(), seen.copy()
        better[7, 3] += 1
        fewer[5] = False
        given = [(features, seen), (better, seen), (features, fewer), (features.astype(np.float16), seen)]
        made = [Stages(scene, config, tmp_path, lifted=each).prepared() for each in given]
        names = [checkpoint_name(config, [each]) for each in made]
        assert len({*names[:3]}) == 3 and names[3] == names[0]

    def test_own_maps_are_lifted_first(self, scene, config, tiny_scenes):
        maps = (np.tile(view.color().astype(np.float32) / 255, 128) for view in scene.views)
        prepared = Stages(scene, config, lifted=lift(scene, maps, config.lifting)).prepared()
        np.testing.assert_array_equal(prepared.seen_by, tiny_scenes["train"][0].seen_by)
        close = np.abs(prepared.lifted[prepared.seen][:, :3] - scene.colors[prepared.seen])
        assert np.median(close) < 0.05

    @pytest.mark.parametrize(
        ("features", "seen", "message"),
        [
            ((9, 384), 9, r"features must be \[P, 384\], the width of all-MiniLM-L6-v2, found \[9, 384\]"),
            (("P", 512), "P", r"features must be \[P, 384\], the width of all-MiniLM-L6-v2, found \[P, 512\]"),
            (("P",), "P", r"features must be \[P, 384\]"),
            (("P", 384), 9, r"seen must be \[P\], each at least 0, found \[9\]"),
        ],
    )
    def test_shapes_that_do_not_fit(self, scene, config, features, seen, message):
        shape = [len(scene) if size == "P" else size for size in features]
        given = np.zeros(shape, np.float32), np.ones(len(scene) if seen == "P" else seen, bool)
        expected = f"scene {scene.name}: " + message.replace("P,", f"{len(scene)},").replace("[P", f"[{len(scene)}")
        with pytest.raises(InputError, match=expected.replace(r"\[P\]", rf"\[{len(scene)}\]")):
            Stages(scene, config, lifted=given).prepared()

    @pytest.mark.parametrize(
        ("value", "seen", "message"),
        [
            (np.nan, True, "features must be finite and within float16, 1 of"),
            (1e6, True, "features must be finite and within float16, 1 of"),
            (1.0, False, "seen holds no point"),
        ],
    )
    def test_values_that_do_not_serve(self, scene, config, value, seen, message):
        features = np.ones((len(scene), 384), np.float32)
        features[3] = value
        with pytest.raises(InputError, match=f"scene {scene.name}: {message}"):
            Stages(scene, config, lifted=(features, np.full(len(scene), seen))).prepared()

    def test_zeros_are_not_seen(self, scene, config, rng):
        """As in files of fused features: they have no direction, and would be scored as the first class."""
        features, views = rng.normal(size=(len(scene), 384)), rng.integers(0, 3, len(scene))
        features[::7] = 0
        with pytest.warns(ReadAs, match=f"scene {scene.name}: {(views[::7] > 0).sum()} of {(views > 0).sum()} seen"):
            prepared = Stages(scene, config, lifted=(features, views)).prepared()
        np.testing.assert_array_equal(prepared.seen_by, np.where(np.arange(len(scene)) % 7, views, 0))
        with pytest.raises(InputError, match=rf"found no other at {len(scene)} seen points"):
            Stages(scene, config, lifted=(np.zeros_like(features), np.ones(len(scene)))).prepared()

    def test_a_config_says_whose_features_they_are(self, scene, config, tiny):
        given = np.ones((len(scene), 384), np.float32), np.ones(len(scene), bool)
        with pytest.raises(ConfigError, match=r'expected ImageModelConfig\("given", NAME\) beside `lifted`'):
            Stages(scene, tiny, lifted=given)
        with pytest.raises(ConfigError, match="expected features as `lifted`"):
            Stages(scene, config)
        with pytest.raises(ConfigError, match="features of 'LSeg of our lab' are given as arrays"):
            open_image_model(config.image_model)


def test_presets_can_be_trained_on_any_model():
    config = placed(preset("works-best", drop="usd"), "scannet", features=OWN)
    facts = Facts.of(config)
    assert (facts.method, facts.preset, facts.dropped) == ("GeoGuide", "works-best", ("usd",)) and not facts.changed
    with pytest.raises(DataError, match="LiteRT file not found"):
        placed(preset(), "scannet", features="litert:/nowhere/x.tflite")
