"""Dense CLIP features: the last block by hand, windows against the direct computation, text and its ensembles.

open_clip is an extra: without it these tests skip. Networks are tiny and random; no weights are downloaded.
"""

import json
import math
import re
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from geoguide.errors import ConfigError, DataError, InputError
from geoguide.frozen import config_hash, from_dict, to_dict
from geoguide.teachers.clip_attention import check_tower, positions, token_features
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.open_clip_dense import VARIANTS, DenseClipConfig, OpenClipModel, starts
from geoguide.text.clip import OpenClipTextEncoder, prompt_ensemble
from geoguide.text.encoders import TextConfig, text_encoder
from geoguide.text.open_clip_towers import model_config, parse_name, preparation, weights_file

SIDE, PATCH, WIDTH, HEADS, D = 32, 8, 16, 2, 6
NAMES = ["chair", "kitchen counter", "Something RED {1}", "été 漢字"]
ONCE = {"scales": (1.0,)}  # one window: the image as the network was trained on


def small(**vision: object) -> dict[str, object]:
    image = {"image_size": SIDE, "layers": 3, "width": WIDTH, "patch_size": PATCH, "head_width": WIDTH // HEADS}
    words = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    return {"embed_dim": D, "vision_cfg": image | vision, "text_cfg": words}


def added(open_clip: ModuleType, folder: Path, name: str, config: dict[str, object]) -> torch.nn.Module:
    """A whole model, as small as can be, that open_clip knows by name; weights random and far from their start."""
    (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{name}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("open_clip")


@pytest.fixture(scope="module")
def network(open_clip: ModuleType, folder: Path) -> torch.nn.Module:
    return added(open_clip, folder, "Dense-tiny", small(ls_init_value=0.5))


@pytest.fixture(scope="module")
def weights(network: torch.nn.Module, folder: Path) -> Path:
    save_file(network.state_dict(), folder / "tiny.safetensors")
    return folder / "tiny.safetensors"


def dense(weights: Path, variant: str = "clearclip", **changes: object) -> OpenClipModel:
    return OpenClipModel("Dense-tiny", weights, replace(VARIANTS[variant], **changes))


def an_image(height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def prepared(open_clip: ModuleType, image: np.ndarray) -> torch.Tensor:
    """The image as the network wants it, [1, 3, H, W], at its own size."""
    values = (image.astype(np.float32) / 255 - open_clip.OPENAI_DATASET_MEAN) / open_clip.OPENAI_DATASET_STD
    return torch.from_numpy(np.moveaxis(values, 2, 0)[None].astype(np.float32))


def by_hand(network: torch.nn.Module, pixels: torch.Tensor, attention: str, whole_block: bool) -> np.ndarray:
    """[1 + T, D]: the last block from explicit q, k, v matrices, head by head, token by token."""
    tower = network.visual
    hidden = tower._embeds(pixels)
    for block in tower.transformer.resblocks[:-1]:
        hidden = block(hidden)
    last = tower.transformer.resblocks[-1]
    x = last.ln_1(hidden)[0]  # [1 + T, width]
    w, b = last.attn.in_proj_weight, last.attn.in_proj_bias
    q, k, v = (x @ w[i * WIDTH : (i + 1) * WIDTH].T + b[i * WIDTH : (i + 1) * WIDTH] for i in range(3))
    d, out = WIDTH // HEADS, torch.zeros_like(x)

    def a(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        scores = torch.tensor([[(i @ j).item() / math.sqrt(d) for j in right] for i in left]).exp()
        return scores / scores.sum(dim=1, keepdim=True)

    for head in range(HEADS):
        part = slice(head * d, (head + 1) * d)
        qh, kh, vh = q[:, part], k[:, part], v[:, part]
        mix = {
            "qk": lambda q, k, v: a(q, k),
            "qq": lambda q, k, v: a(q, q),
            "kk": lambda q, k, v: a(k, k),
            "vv": lambda q, k, v: a(v, v),
            "qq+kk": lambda q, k, v: a(q, q) + a(k, k),
            "v": lambda q, k, v: torch.eye(len(v)),
        }[attention]
        out[:, part] = mix(qh, kh, vh) @ vh
    y = last.ls_1(out @ last.attn.out_proj.weight.T + last.attn.out_proj.bias)
    if whole_block:
        y = hidden[0] + y
        y = y + last.ls_2(last.mlp(last.ln_2(y)))
    return (F.layer_norm(y, (WIDTH,), tower.ln_post.weight, tower.ln_post.bias) @ tower.proj).detach().numpy()


@pytest.mark.parametrize("whole_block", [True, False])
@pytest.mark.parametrize("attention", ["qk", "v", "qq", "kk", "vv", "qq+kk"])
def test_the_last_block_by_hand(
    open_clip: ModuleType, network: torch.nn.Module, attention: str, whole_block: bool
) -> None:
    pixels = prepared(open_clip, an_image())
    expected = by_hand(network, pixels, attention, whole_block)
    found = token_features(network.visual, pixels, attention, whole_block)[0].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    other = token_features(network.visual, pixels, attention, not whole_block)[0].detach().numpy()
    assert np.abs(other - expected).max() > 0.1


def test_each_attention_is_another(open_clip: ModuleType, network: torch.nn.Module) -> None:
    pixels = prepared(open_clip, an_image())
    kinds = ("qk", "v", "qq", "kk", "vv", "qq+kk")
    found = [token_features(network.visual, pixels, kind, False).detach() for kind in kinds]
    assert min((one - other).abs().max() for i, one in enumerate(found) for other in found[:i]) > 0.01


def test_variants_are_the_papers() -> None:
    blocks = {name: (config.attention, config.whole_block) for name, config in VARIANTS.items()}
    assert blocks == {
        "clip": ("qk", True),
        "maskclip": ("v", True),
        "sclip": ("qq+kk", True),
        "clearclip": ("qq", False),
    }
    assert VARIANTS["clearclip"] == DenseClipConfig()


@pytest.mark.parametrize("final_ln_after_pool", [False, True])
def test_unchanged_class_token_is_the_models_own_embedding(
    open_clip: ModuleType, folder: Path, final_ln_after_pool: bool
) -> None:
    network = added(open_clip, folder, "Pooled-tiny", small(final_ln_after_pool=final_ln_after_pool))
    pixels = torch.cat([prepared(open_clip, an_image(seed=seed)) for seed in range(3)])
    with torch.inference_mode():
        expected = network.encode_image(pixels)
        found = token_features(network.visual, pixels, "qk", True)[:, 0]
        value_path = token_features(network.visual, pixels, "v", True)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (value_path - expected).abs().max() > 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_window_equals_the_direct_computation(
    open_clip: ModuleType, network: torch.nn.Module, weights: Path, variant: str
) -> None:
    image, config = an_image(), VARIANTS[variant]
    model = dense(weights, variant, **ONCE)
    patches = by_hand(network, prepared(open_clip, image), config.attention, config.whole_block)[1:]
    patches = patches.reshape(SIDE // PATCH, SIDE // PATCH, D)
    np.testing.assert_allclose(model.compact([image])[0], patches, atol=2e-5)
    for window in (0.0, 3.0):  # the whole image, and a window larger than it: the same
        np.testing.assert_allclose(
            dense(weights, variant, window=window, **ONCE).compact([image])[0], patches, atol=2e-5
        )
    (pixels,) = model.encode([image])
    assert pixels.shape == (SIDE, SIDE, D) and pixels.dtype == np.float32 and pixels.flags.c_contiguous
    layers = [np.asarray(Image.fromarray(layer).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for layer in
              np.moveaxis(patches, 2, 0)]  # fmt: skip
    np.testing.assert_allclose(pixels, np.stack(layers, axis=-1), atol=1e-4)


def test_windows_without_overlap_are_computed_each_for_itself(weights: Path) -> None:
    left, right = an_image(seed=1), an_image(seed=2)
    both = dense(weights, overlap=0.0, **ONCE).compact([np.concatenate([left, right], axis=1)])[0]
    alone = dense(weights, **ONCE).compact([left, right])
    np.testing.assert_allclose(both, np.concatenate(alone, axis=1), atol=1e-5)


def test_overlapping_windows_are_averaged(weights: Path) -> None:
    """48 pixels wide: windows at patches 0 and 2; the patches 2 and 3 are seen by both."""
    image = an_image(SIDE, 48)
    found = dense(weights, **ONCE).compact([image])[0]
    first, second = dense(weights, **ONCE).compact([image[:, :32], image[:, 16:]])
    expected = np.concatenate([first[:, :2], (first[:, 2:] + second[:, :2]) / 2, second[:, 2:]], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_windows_of_a_constant_image_are_equal(weights: Path) -> None:
    grey = np.full((SIDE, 3 * SIDE, 3), 90, np.uint8)
    features = dense(weights, "maskclip", overlap=0.0, **ONCE).compact([grey])[0]
    windows = np.split(features, 3, axis=1)
    np.testing.assert_allclose(windows[1], windows[0], atol=1e-6)
    np.testing.assert_allclose(windows[2], windows[0], atol=1e-6)
    assert np.abs(features[0, 0] - features[0, 1]).max() > 1e-3  # the position still shows


@pytest.mark.parametrize("batch", [1, 3])
def test_neither_batch_nor_company_matters(weights: Path, batch: int) -> None:
    images = [an_image(40, 56, seed=3), an_image(90, 33, seed=4)]
    together = dense(weights).compact(images)
    for image, expected in zip(images, together, strict=True):
        alone = OpenClipModel("Dense-tiny", weights, batch=batch).compact([image])[0]
        np.testing.assert_allclose(alone, expected, atol=1e-5)


def test_scales_are_averaged_at_the_finest(weights: Path) -> None:
    image = an_image(64, 96)
    parts = {scale: dense(weights, scales=(scale,)).compact([image])[0] for scale in (1.0, 2.0)}
    coarse = torch.from_numpy(parts[1.0]).permute(2, 0, 1)[None]
    coarse = F.interpolate(coarse, size=parts[2.0].shape[:2], mode="bilinear")[0].permute(1, 2, 0).numpy()
    both = dense(weights, scales=(1.0, 2.0))
    np.testing.assert_allclose(both.compact([image])[0], (coarse + parts[2.0]) / 2, atol=1e-5)
    assert both.encode([image])[0].shape == (64, 96, D)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (33, 31), (240, 320)])
def test_any_size(weights: Path, size: tuple[int, int]) -> None:
    for changes in ({}, {"window": 0.0}, {"window": 0.4, "overlap": 0.9}):
        (features,) = dense(weights, **changes).encode([an_image(*size)])
        assert features.shape == (*size, D) and np.isfinite(features).all()


def test_preparation_equals_open_clips_own(open_clip: ModuleType, weights: Path) -> None:
    image, model = an_image(50, 50), dense(weights, **ONCE)
    own = open_clip.image_transform(SIDE, is_train=False)(Image.fromarray(image))
    np.testing.assert_allclose(model._prepared(image, (4, 4)), own, atol=1e-6)


def test_positions_are_interpolated_as_open_clip_does(
    open_clip: ModuleType, network: torch.nn.Module, folder: Path
) -> None:
    larger = added(open_clip, folder, "Larger-tiny", small(image_size=6 * PATCH)).visual
    state = {"visual.positional_embedding": network.visual.positional_embedding.detach().clone()}
    open_clip.model.resize_pos_embed(state, SimpleNamespace(visual=larger))
    expected = state["visual.positional_embedding"]
    np.testing.assert_allclose(positions(network.visual, (6, 6)).detach(), expected.detach(), atol=1e-6)
    assert positions(network.visual, (4, 4)) is network.visual.positional_embedding
    uneven = positions(network.visual, (3, 9)).detach()
    assert uneven.shape == (28, WIDTH)
    across = positions(network.visual, (9, 3)).detach()  # of the transposed grid, the transposed
    turned = network.visual.positional_embedding[1:].reshape(4, 4, WIDTH).transpose(0, 1).reshape(16, WIDTH)
    tower = SimpleNamespace(
        positional_embedding=torch.cat([network.visual.positional_embedding[:1], turned]), grid_size=(4, 4)
    )
    mirrored = positions(tower, (3, 9)).detach()[1:].reshape(3, 9, WIDTH).transpose(0, 1).reshape(27, WIDTH)
    np.testing.assert_allclose(across[1:], mirrored, atol=1e-6)


def test_as_a_teacher_the_cache_keeps_patches(weights: Path, tmp_path: Path) -> None:
    images = [an_image(60, 80, seed) for seed in range(3)]
    views = [
        SimpleNamespace(name=f"{number}", color=lambda image=image: image, color_path=None)
        for number, image in enumerate(images)
    ]
    scene = SimpleNamespace(name="three", views=views)
    model = dense(weights)
    first = list(ImageTeacher(model, cache=tmp_path, batch=2).features(scene))
    kept = [np.load(path) for path in tmp_path.rglob("*.npy")]
    assert len(kept) == 3 and {array.shape for array in kept} == {(6, 8, D)}
    again = list(ImageTeacher(model, cache=tmp_path).features(scene))
    for features, other, exact in zip(first, again, model.encode(images), strict=True):
        np.testing.assert_array_equal(features, other)
        np.testing.assert_allclose(features, exact, atol=np.abs(exact).max() * 2e-3)


def test_identity_tells_weights_and_settings_apart(weights: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    copy, other = tmp_path / "copy.safetensors", tmp_path / "other.safetensors"
    copy.write_bytes(weights.read_bytes())
    save_file({key: value + 1 for key, value in network.state_dict().items()}, other)
    assert dense(weights).identity == dense(copy).identity == OpenClipModel("Dense-tiny", copy, batch=2).identity
    models = [dense(weights), dense(other), dense(weights, "sclip"), dense(weights, window=0.0), dense(weights, "clip")]
    models.append(OpenClipModel("ViT-B-32:openai"))  # nothing is loaded until it is run
    models.append(OpenClipModel("ViT-B-32:laion2b_s34b_b79k"))
    assert len({model.identity for model in models}) == len(models)
    assert len({model.space.encoder for model in models}) == 3
    encoders = [text_encoder(model.space.encoder, model.space.weights) for model in models]
    assert len({encoder.identity for encoder in encoders}) == 4
    assert models[0].space == TextConfig("open_clip:Dense-tiny", str(weights))


def test_text_equals_the_whole_models(open_clip: ModuleType, network: torch.nn.Module, weights: Path) -> None:
    encoder = OpenClipTextEncoder("Dense-tiny", weights, cache=None)
    assert encoder.width == D
    with torch.inference_mode():
        expected = network.encode_text(open_clip.tokenize([f"a {name} in a scene" for name in NAMES]), normalize=True)
    found = encoder.encode(NAMES, "a {} in a scene")
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(NAMES[::-1], "a {} in a scene"), found[::-1])


@pytest.mark.parametrize(("ensemble", "count"), [("imagenet", 80), ("short", 7)])
def test_a_prompt_ensemble_is_the_mean_of_unit_vectors(
    open_clip: ModuleType,
    network: torch.nn.Module,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ensemble: str,
    count: int,
) -> None:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path))
    prompts = prompt_ensemble(ensemble)
    assert len(set(prompts)) == count and all(prompt.count("{}") == 1 for prompt in prompts)
    model = dense(weights)
    found = model.text(NAMES, prompts)
    templates = {"imagenet": open_clip.OPENAI_IMAGENET_TEMPLATES, "short": open_clip.SIMPLE_IMAGENET_TEMPLATES}
    expected = open_clip.build_zero_shot_classifier(network, open_clip.tokenize, NAMES, templates[ensemble]).T
    np.testing.assert_allclose(found, expected.detach(), atol=2e-6)
    parts = np.stack([model.text(NAMES, prompt) for prompt in prompts]).mean(axis=0)
    np.testing.assert_allclose(found, parts / np.linalg.norm(parts, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(model.text(NAMES[::-1], prompts), found[::-1])
    with pytest.raises(InputError, match="ensemble must be one of imagenet, short, found 'all'"):
        prompt_ensemble("all")


def test_the_weights_decide_the_activation_and_the_preparation(open_clip: ModuleType) -> None:
    """OpenAI trained ViT-B-32 with quick GELU, whether or not the name says so; LAION with GELU."""
    quick = {name: model_config(parse_name(name))["quick_gelu"] for name in (
        "ViT-B-32:openai", "ViT-B-32-quickgelu:openai", "ViT-B-32:laion2b_s34b_b79k", "ViT-B-32", "ViT-B-32-quickgelu",
    )}  # fmt: skip
    assert list(quick.values()) == [True, True, False, False, True]
    assert preparation(parse_name("ViT-B-32")).mean == open_clip.OPENAI_DATASET_MEAN
    assert preparation(parse_name("ViT-L-14-CLIPA:datacomp1b"))[::2] == (open_clip.constants.IMAGENET_MEAN, "bilinear")


def test_half_precision_and_training_checkpoints_load(network: torch.nn.Module, weights: Path, tmp_path: Path) -> None:
    image = an_image()
    expected = dense(weights).compact([image])[0]
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state}, tmp_path / "epoch_3.pt")
    np.testing.assert_array_equal(dense(tmp_path / "epoch_3.pt").compact([image])[0], expected)
    save_file({key: value.half() for key, value in network.state_dict().items()}, tmp_path / "half.safetensors")
    found = dense(tmp_path / "half.safetensors").compact([image])[0]
    assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_unknown_models_and_weights(open_clip: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model 'ViT-B-61'; names like it: .*ViT-B-16"):
        OpenClipModel("ViT-B-61:openai")
    with pytest.raises(ConfigError, match="unknown weights of ViT-B-16 'laion': known are openai, laion400m_e31"):
        OpenClipModel("ViT-B-16:laion")
    with pytest.raises(ConfigError, match="MODEL or MODEL:TAG, found 'ViT-B-16:a:b'"):
        OpenClipModel("ViT-B-16:a:b")
    with pytest.raises(ConfigError, match="MODEL or MODEL:TAG, found ''"):
        TextConfig("open_clip:")
    with pytest.raises(
        ConfigError, match="ViT-B-16: give a file of weights, or a tag as in ViT-B-16:TAG; its tags: openai"
    ):
        OpenClipModel("ViT-B-16").encode([an_image()])
    with pytest.raises(DataError, match="gone.safetensors: CLIP's weights not found"):
        OpenClipModel("ViT-B-16", tmp_path / "gone.safetensors")
    with pytest.raises(InputError, match="batch must be at least 1, found 0"):
        OpenClipModel("ViT-B-16:openai", batch=0)


def test_weights_that_do_not_fit_are_refused(network: torch.nn.Module, tmp_path: Path) -> None:
    state = dict(network.state_dict())
    state["visual.proj"] = torch.zeros(WIDTH, D + 1)
    del state["visual.ln_post.bias"]
    save_file(state, tmp_path / "wide.safetensors")
    one = (
        r"does not fit the image tower of Dense-tiny: 1 missing .visual.ln_post.bias.; 1 wrong shape .visual.proj must"
    )
    with pytest.raises(DataError, match=f"wide.safetensors: {one} be .16, 6., found .16, 7.") as raised:
        dense(tmp_path / "wide.safetensors").encode([an_image()])
    assert "\n" not in str(raised.value)
    state = dict(network.state_dict()) | {"text_projection": torch.full((16, D), torch.nan)}
    save_file(state, tmp_path / "words.safetensors")
    with pytest.raises(DataError, match="does not fit the text tower of Dense-tiny: 1 not finite .text_projection."):
        OpenClipTextEncoder("Dense-tiny", tmp_path / "words.safetensors", None).encode(["chair"])
    torch.save({"state_dict": {"visual.proj": SimpleNamespace()}}, tmp_path / "code.pt")
    with pytest.raises(DataError, match=r"code.pt: holds more than plain tensors, which could run code: refused"):
        dense(tmp_path / "code.pt").encode([an_image()])
    (tmp_path / "torn.safetensors").write_bytes(b"\x08")
    with pytest.raises(DataError, match="torn.safetensors: not a readable safetensors file"):
        dense(tmp_path / "torn.safetensors").encode([an_image()])


def test_networks_of_another_make_are_refused(open_clip: ModuleType, network: torch.nn.Module, weights: Path) -> None:
    for name in ("coca_ViT-B-32", "ViT-B-16-SigLIP", "roberta-ViT-B-32"):
        with pytest.raises(ConfigError, match=f"{name} has a text tower of another make"):
            OpenClipModel(name, weights).encode([an_image()])
    with pytest.raises(ConfigError, match="RN50: dense features need a ViT of open_clip's own, found ModifiedResNet"):
        check_tower("RN50", open_clip.create_model("RN50").visual)
    pooled = open_clip.transformer.VisionTransformer(32, 8, 16, 1, 2, 4.0, attentional_pool=True, output_dim=8)
    with pytest.raises(ConfigError, match="a ViT that projects its tokens, found one that pools them"):
        check_tower("pooled", pooled)
    special = open_clip.transformer.VisionTransformer(32, 8, 16, 1, 2, 4.0, qk_norm=True)
    with pytest.raises(ConfigError, match="CLIP's own blocks, found CustomResidualAttentionBlock"):
        check_tower("special", special)


def test_images_of_another_kind_are_refused(weights: Path) -> None:
    wrong = [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32),
             np.zeros((0, 4, 3), np.uint8)]  # fmt: skip
    for image in wrong:
        with pytest.raises(InputError, match=re.escape(f"[H, W, 3], found {image.dtype} {list(image.shape)}")):
            dense(weights).encode([an_image(), image])
    with pytest.raises(InputError, match=r"a frame must be \[6, 8, 6\], found \[6, 7, 6\]"):
        dense(weights).expand(np.zeros((6, 7, D), np.float16), (60, 80))


def test_config() -> None:
    for config in VARIANTS.values():
        assert from_dict(DenseClipConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert len({config_hash(config) for config in VARIANTS.values()}) == len(VARIANTS)
    for changes, message in (
        ({"attention": "qv"}, "open_clip.attention must be one of qk, v, qq, kk, vv, qq.kk, found 'qv'"),
        ({"scales": ()}, "open_clip.scales must hold numbers above 0, found ()"),
        ({"scales": (1.0, -1.0)}, "open_clip.scales must hold numbers above 0"),
        ({"scales": (math.nan,)}, "open_clip.scales must be finite"),
        ({"window": -1.0}, "open_clip.window must be at least 0, found -1.0"),
        ({"overlap": 1.0}, "open_clip.overlap must be at least 0 and below 1, found 1.0"),
    ):
        with pytest.raises(ConfigError, match=re.escape(message) if "qv" not in message else message):
            DenseClipConfig(**changes)


@pytest.mark.parametrize("length", range(1, 30))
def test_windows_cover_a_line(length: int) -> None:
    for window in range(1, length + 1):
        for step in range(1, window + 1):
            found = starts(length, window, step)
            assert found[0] == 0 and found[-1] == length - window and found == sorted(set(found))
            assert all(after - before <= step for before, after in pairwise(found))
            assert len(found) == math.ceil((length - window) / step) + 1  # no more than needed
    with pytest.raises(InputError, match="expected 1 <= step <= window <= length"):
        starts(length, length + 1, 1)


def test_without_network(open_clip: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_config: object) -> None:
        raise FileNotFoundError("no route\nmore")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    line = "ViT-B-16:openai: cannot download CLIP's weights (no route); fetch timm/vit_base_patch16_clip_224.openai"
    with pytest.raises(DataError, match=re.escape(line)) as raised:
        weights_file(parse_name("ViT-B-16:openai"), None)
    assert "\n" not in str(raised.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(DataError, match=r"CLIP needs open_clip_torch .*pip install -c constraints.txt -e '.\[clip\]'"):
        OpenClipModel("ViT-B-16:openai")
    assert TextConfig("open_clip:ViT-B-16:openai") != TextConfig("open_clip:ViT-B-16:laion2b_s34b_b88k")
    assert text_encoder("open_clip:ViT-B-16:openai").identity == "open_clip ViT-B-16 openai"
