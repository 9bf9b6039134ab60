"""CLIP text embeddings: the tower against open_clip's whole model, the cache without open_clip, and what errors say."""

import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.text import clip as text_clip
from geoguide.text.clip import MODELS, ClipTextEncoder, Released
from geoguide.text.encoder import BATCH
from geoguide.text.encoders import ENCODERS, TextConfig, text_encoder
from geoguide.text.minilm import MiniLMTextEncoder

NAMES = ["chair", "kitchen counter", "Something RED {1}", "été 漢字", "very long " * 60]
SCENE = "a {} in a scene"


def from_hash(encoder: ClipTextEncoder, sentences: list[str]) -> np.ndarray:
    """In place of the model: vectors [N, D], not of unit length, that follow from the sentence alone."""
    assert 0 < len(sentences) <= BATCH
    seeds = [int(hashlib.sha256(sentence.encode()).hexdigest()[:8], 16) for sentence in sentences]
    return np.stack([np.random.default_rng(seed).normal(size=encoder.width) for seed in seeds]).astype(np.float32)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClipTextEncoder, "_embed", from_hash)


@pytest.mark.parametrize(("model", "width"), [("ViT-L-14-336", 768), ("ViT-B-32", 512)])
def test_interface(fake: None, model: str, width: int) -> None:
    encoder = ClipTextEncoder(model, cache=None)
    assert (encoder.name, encoder.width) == (f"CLIP {model}", width)
    names = [f"thing {i}" for i in range(BATCH + 3)]
    parts = [encoder.encode(names, prompt) for prompt in ("a photo of a {}", SCENE)]
    raw = np.concatenate([from_hash(encoder, [SCENE.replace("{}", name)]) for name in names])
    np.testing.assert_allclose(parts[1], raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    mean = sum(parts) / 2
    both = encoder.encode(names, ["a photo of a {}", SCENE])
    assert both.shape == (len(names), width) and both.dtype == np.float32
    np.testing.assert_allclose(both, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)


def test_a_copied_cache_needs_neither_open_clip_nor_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ClipTextEncoder, "_embed", from_hash)
        vectors = ClipTextEncoder(cache=tmp_path / "text").encode(NAMES, SCENE)
    (tmp_path / "text").rename(tmp_path / "copy")
    monkeypatch.setitem(sys.modules, "open_clip", None)
    encoder = ClipTextEncoder(cache=tmp_path / "copy")
    np.testing.assert_array_equal(encoder.encode(NAMES[::-1], SCENE), vectors[::-1])
    with pytest.raises(DataError, match="CLIP needs open_clip_torch"):
        encoder.encode(["another word"], SCENE)


def test_cache_entries_follow_the_model_and_the_content_of_its_weights(fake: None, tmp_path: Path) -> None:
    first, copy, other = (tmp_path / name for name in ("a.pt", "b.pt", "c.pt"))
    first.write_bytes(b"weights")
    copy.write_bytes(b"weights")
    other.write_bytes(b"other weights")
    choices = [("ViT-L-14-336", None), ("ViT-B-32", None), ("ViT-B-32", first), ("ViT-B-32", other)]
    entries = [ClipTextEncoder(model, weights, tmp_path)._entry("a chair") for model, weights in choices]
    assert len({*entries, MiniLMTextEncoder(tmp_path)._entry("a chair")}) == len(choices) + 1
    assert ClipTextEncoder("ViT-B-32", str(copy), tmp_path)._entry("a chair") == entries[2]


def test_factory() -> None:
    assert isinstance(text_encoder(), MiniLMTextEncoder)
    large, base = text_encoder("clip-vit-l14-336"), text_encoder("clip-vit-b32", "weights/clip.pt")
    assert (large.model, large.weights) == ("ViT-L-14-336", None)
    assert (base.model, base.weights) == ("ViT-B-32", Path("weights/clip.pt"))
    assert [text_encoder(kind).width for kind in ENCODERS] == [384, 768, 512]
    known = "text.encoder must be one of minilm, clip-vit-l14-336, clip-vit-b32, open_clip:MODEL:TAG, found 'clip'"
    for make in (text_encoder, TextConfig):
        with pytest.raises(ConfigError, match=known):
            make("clip")
        with pytest.raises(ConfigError, match="text.weights must be None for minilm"):
            make("minilm", "clip.pt")
    with pytest.raises(InputError, match="model must be one of ViT-L-14-336, ViT-B-32, found 'RN50'"):
        ClipTextEncoder("RN50")


def test_where_weights_lie_is_no_part_of_an_experiment() -> None:
    config = TextConfig("clip-vit-b32")
    assert config_hash(config) == config_hash(TextConfig("clip-vit-b32", "elsewhere.pt")) != config_hash(TextConfig())
    assert from_dict(TextConfig, to_dict(config)) == config


class Unfit:
    """An import hook for a torchvision that was built for another torch."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name == "open_clip":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(DataError, match=r"pip install -c constraints.txt -e '.\[clip\]'.* copy the text cache"):
        ClipTextEncoder(cache=None).encode(["chair"])
    monkeypatch.delitem(sys.modules, "open_clip")
    monkeypatch.setattr(sys, "meta_path", [Unfit(), *sys.meta_path])
    with pytest.raises(DataError, match=r"\(operator torchvision::nms does not exist\): .*the installed torch") as e:
        ClipTextEncoder(cache=None).encode(["chair"])
    assert "\n" not in str(e.value)


def test_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_config: Any) -> None:
        raise FileNotFoundError("no route\nmore")

    module = SimpleNamespace(get_pretrained_cfg=lambda model, tag: {}, download_pretrained=offline)
    monkeypatch.setitem(sys.modules, "open_clip", module)
    with pytest.raises(DataError) as raised:
        ClipTextEncoder("ViT-B-32", cache=None).encode(["chair"])
    message = str(raised.value)
    assert message.startswith("ViT-B-32: cannot download CLIP's weights (no route); fetch them elsewhere with `hf down")
    assert MODELS["ViT-B-32"].repository in message and text_clip.COPY in message and "\n" not in message


@pytest.mark.parametrize("cache", ["text", None])
def test_missing_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str | None) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", SimpleNamespace())
    with pytest.raises(DataError, match="none.pt: CLIP's weights not found"):
        ClipTextEncoder(weights=tmp_path / "none.pt", cache=cache and tmp_path / cache).encode(["chair"])


@pytest.fixture(scope="module")
def tiny(open_clip: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    """A whole CLIP model, as small as can be, with random weights."""
    path = tmp_path_factory.mktemp("config") / "Tiny-quickgelu.json"
    image = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    words = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    path.write_text(json.dumps({"embed_dim": 8, "quick_gelu": True, "vision_cfg": image, "text_cfg": words}))
    open_clip.add_model_config(path)
    torch.manual_seed(0)
    model = open_clip.create_model("Tiny-quickgelu").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    return model


def traced(model: torch.nn.Module, tokens: torch.Tensor, path: Path) -> str:
    """The model as a TorchScript archive, OpenAI's own format; its SHA-256."""
    torch.jit.save(torch.jit.trace_module(model, {"encode_text": tokens}), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.filterwarnings("ignore")  # of tracing
@pytest.mark.parametrize("name", ["clip.safetensors", "clip.bin", "clip.pt"])
def test_equals_the_whole_model(
    open_clip: ModuleType, tiny: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, tokens, sha256 = tmp_path / name, open_clip.tokenize([SCENE.replace("{}", name) for name in NAMES]), ""
    if path.suffix == ".safetensors":
        save_file(tiny.state_dict(), path)
    elif path.suffix == ".bin":
        torch.save({"state_dict": tiny.state_dict()}, path)
    else:
        sha256 = traced(tiny, tokens, path)
    monkeypatch.setitem(MODELS, "Tiny", Released(8, "", sha256))
    with torch.inference_mode():
        expected = tiny.encode_text(tokens, normalize=True).numpy()
    encoder = ClipTextEncoder("Tiny", path, tmp_path / "text")
    np.testing.assert_allclose(encoder.encode(NAMES, SCENE), expected, atol=1e-6)
    assert not any("visual" in key for key in text_clip._load("Tiny", path, path.stat().st_mtime_ns).state_dict())


@pytest.mark.filterwarnings("ignore")  # of tracing
def test_foreign_code_and_weights_that_do_not_fit_are_refused(
    open_clip: ModuleType, tiny: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "Tiny", Released(8, "", "0" * 64))
    traced(tiny, open_clip.tokenize(["chair"]), tmp_path / "code.pt")
    with pytest.raises(DataError, match="code.pt: not a checkpoint.*TorchScript"):
        ClipTextEncoder("Tiny", tmp_path / "code.pt", None).encode(["chair"])
    state = tiny.state_dict()
    state["text_projection"] = torch.zeros(16, 9)
    del state["ln_final.weight"]
    save_file(state, tmp_path / "other.safetensors")
    misfit = "1 missing .ln_final.weight.; 1 wrong shape .text_projection must be .16, 8., found .16, 9.."
    with pytest.raises(DataError, match=f"other.safetensors: does not fit the text tower of Tiny: {misfit}"):
        ClipTextEncoder("Tiny", tmp_path / "other.safetensors", None).encode(["chair"])


def test_released_models_are_known_to_open_clip(open_clip: ModuleType) -> None:
    for model, released in MODELS.items():
        assert open_clip.get_model_config(f"{model}-quickgelu")["embed_dim"] == released.width
        source = open_clip.get_pretrained_cfg(model, "openai")
        assert source["hf_hub"].startswith(released.repository) and released.sha256 in source["url"]
