"""The encoder against the official one's recorded stages, against a plain reading of it, and its invariances."""

import json

import numpy as np
import pytest
import torch
from plain_encoder import plain_encode
from safetensors.torch import load_file

from geoguide.backbones import PointTransformerV3, upcast
from geoguide.errors import ConfigError, InputError
from geoguide.ops.segment import segment_mean

ATOL = 3e-5
SMALL = {
    "in_channels": 6,
    "order": ["hilbert", "z", "z-trans"],
    "stride": [3, 2],
    "enc_depths": [2, 4, 1],
    "enc_channels": [12, 24, 32],
    "enc_num_head": [2, 3, 4],
    "enc_patch_size": [32, 20, 16],
    "mlp_ratio": 3,
    "drop_path": 0.1,
}


def randomized(model, seed=0):
    """Every parameter drawn, so that no branch is silent."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * (0.15 if parameter.dim() > 1 else 0.5)
    return model.eval()


def voxels(rng, count, side, device, channels=6):
    """A random scene: `count` different voxels of a slab, with features."""
    cells = rng.choice(side * side * 4, count, replace=False)
    grid = torch.tensor(np.stack([cells // (4 * side), cells // 4 % side, cells % 4], axis=1), device=device)
    feat = torch.tensor(rng.normal(size=(count, channels)), dtype=torch.float32, device=device)
    return grid.float() * 0.02, grid, feat


def batched(*scenes):
    coord, grid, feat = (torch.cat(parts) for parts in zip(*scenes, strict=True))
    return coord, grid, feat, torch.tensor([len(scene[0]) for scene in scenes], device=coord.device).cumsum(0)


@pytest.fixture
def small(device):
    return randomized(PointTransformerV3(**SMALL)).to(device)


@pytest.fixture(scope="module")
def case(golden, device):
    folder = golden / "sonata" / "dev"
    config = json.loads((folder / "config.json").read_text())
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    given, expected = (dict(np.load(folder / f"{name}.npz")) for name in ("input", "expected"))
    tensors = [torch.tensor(given[key], device=device) for key in ("coord", "grid_coord", "feat", "offset")]
    return config, load_file(folder / "weights.safetensors"), tensors, given, expected


class TestOfficial:
    """Every stage that the official run recorded."""

    @staticmethod
    def run(case, device, record=False, **options):
        config, weights, tensors, _, _ = case
        calls = {key: options.pop(key) for key in ("mask", "shuffle_seed") if key in options}
        model = PointTransformerV3(**{**config, **options}).eval()
        model.load_state_dict(weights, strict=True)
        seen, block = {}, model.enc["enc0"]["block0"]
        parts = {"embed_feat": model.embedding, "enc0_block0_cpe": block.cpe[2], "enc0_block0_attn": block.attn}
        for name, module in {**parts, "enc0_block0_out": block}.items():
            module.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
        with torch.inference_mode():
            stages = model.to(device)(*tensors, **calls)
        return (stages, seen) if record else stages

    def test_stages(self, case, device):
        stages, seen = self.run(case, device, record=True)
        expected = case[-1]
        for name, value in seen.items():
            np.testing.assert_allclose(value.cpu(), expected[name], atol=ATOL, rtol=0, err_msg=name)
        assert len(seen) == 4 and len(stages) == 5
        for s, stage in enumerate(stages):
            curves, patches = stage.serialization, stage.patches
            exact = {"grid_coord": stage.grid_coord, "offset": stage.offset, "batch": stage.batch}
            exact |= {"pad": patches.pad, "unpad": patches.unpad}
            if s > 0:
                exact |= {"code": curves.code, "pooling_inverse": stage.pooling_inverse}
            for name, value in exact.items():
                np.testing.assert_array_equal(value.cpu(), expected[f"stage{s}_{name}"], err_msg=f"stage{s}_{name}")
            assert curves.depth == expected[f"stage{s}_serialized_depth"]
            assert patches.size == expected[f"stage{s}_patch_size_used"]
            for name in ("feat", "coord"):
                found = getattr(stage, name).cpu()
                np.testing.assert_allclose(found, expected[f"stage{s}_{name}"], atol=ATOL, rtol=0, err_msg=name)

    def test_upcast_at_voxels_and_points(self, case, device):
        features = upcast(self.run(case, device)).cpu()
        np.testing.assert_allclose(features, case[-1]["upcast_voxel"], atol=ATOL, rtol=0)
        np.testing.assert_allclose(features[case[3]["scene0_inverse"]], case[-1]["upcast_raw"], atol=ATOL, rtol=0)

    def test_colours_pool_as_means_of_means(self, case, device):
        color = torch.tensor(case[3]["color"], device=device)
        for stage in self.run(case, device)[1:]:
            color = segment_mean(color, stage.pooling_inverse, len(stage.feat))
        np.testing.assert_allclose(color.cpu(), case[-1]["enc_color_mean"], atol=ATOL, rtol=0)

    def test_masked(self, case, device):
        mask = torch.tensor(case[3]["mask_for_masked_variant"], device=device)
        found = self.run(case, device, mask=mask)[-1].feat.cpu()
        np.testing.assert_allclose(found, case[-1]["masked_enc_feat"], atol=ATOL, rtol=0)

    @pytest.mark.parametrize("rule", ["variable", "official"])
    def test_variable_length(self, case, device, rule):
        """One scene: both rules agree, and the sequences are those of the official flash attention."""
        stages = self.run(case, device, patch_rule=rule, enable_flash=True)
        np.testing.assert_allclose(stages[-1].feat.cpu(), case[-1]["flashsem_enc_feat"], atol=ATOL, rtol=0)
        for s, stage in enumerate(stages):
            lengths = [length for number, length in stage.patches.runs for _ in range(number)]
            assert np.cumsum([0, *lengths]).tolist() == case[-1][f"flashsem_stage{s}_cu_seqlens"].tolist()

    def test_shuffled_as_released(self, case, device):
        stages = self.run(case, device, shuffle_orders=True, shuffle_seed=int(case[-1]["shuffled_seed"]))
        np.testing.assert_allclose(stages[-1].feat.cpu(), case[-1]["shuffled_enc_feat"], atol=ATOL, rtol=0)
        half = case[-1]["shuffled_upcast_voxel_f16"].astype(np.float32)  # stored half: half a last place
        np.testing.assert_allclose(upcast(stages).cpu(), half, atol=ATOL, rtol=2**-11)

    def test_full_size_names_and_shapes(self, golden):
        folder = golden / "sonata" / "full"
        config, shapes = (json.loads((folder / f"{n}.json").read_text()) for n in ("config", "state_dict_shapes"))
        for options in ({k: v for k, v in config.items() if not k.startswith("_")}, {}):  # the defaults are the same
            with torch.device("meta"):
                state = PointTransformerV3(**options).state_dict()
            assert {key: list(value.shape) for key, value in state.items()} == shapes


def test_equals_the_plain_encoder(small, rng, device):
    """Other widths, depths, strides, patches and curves; scenes of different size: larger and smaller than a patch."""
    scenes = [voxels(rng, count, side, device) for count, side in ((150, 14), (7, 5), (333, 40), (32, 4))]
    coord, grid, feat, offset = batched(*scenes)
    with torch.inference_mode():
        stages = small(coord, grid, feat, offset)
        state = {key: value.cpu() for key, value in small.state_dict().items()}
        expected = plain_encode(state, small.config, grid.cpu(), feat.cpu(), offset.cpu())
    for stage, (features, inverse) in zip(stages, expected, strict=True):
        torch.testing.assert_close(stage.feat.cpu(), features, atol=ATOL, rtol=1e-4)
        assert stage.pooling_inverse is None or torch.equal(stage.pooling_inverse.cpu(), inverse)


def test_a_scene_does_not_depend_on_its_batch(device, rng):
    model = randomized(PointTransformerV3(**SMALL, scene_depth=True)).to(device)
    scenes = [voxels(rng, count, side, device) for count, side in ((150, 14), (9, 5), (300, 60))]
    with torch.inference_mode():
        together = model(*batched(*scenes))
        for number, scene in enumerate(scenes):
            for stage, alone in zip(together, model(*batched(scene)), strict=True):
                torch.testing.assert_close(stage.feat[stage.batch == number], alone.feat, atol=ATOL, rtol=1e-4)


def test_a_scene_beside_one_of_the_same_depth_is_as_alone(small, device, rng):
    """The default, official depth is the batch's: equal where the scenes have as many bits."""
    scenes = [voxels(rng, count, 14, device) for count in (150, 9)]
    scenes = [(coord, grid + torch.tensor([0, 2, 0], device=device), feat) for coord, grid, feat in scenes]
    scenes = [(c, torch.where(torch.arange(len(g), device=device)[:, None] == 0, 15, g), f) for c, g, f in scenes]
    with torch.inference_mode():
        together = small(*batched(*scenes))[-1]
        for number, scene in enumerate(scenes):
            alone = small(*batched(scene))[-1].feat
            torch.testing.assert_close(together.feat[together.batch == number], alone, atol=ATOL, rtol=1e-4)


def test_official_patch_rule_shrinks_to_the_smallest_scene(device, rng):
    model = randomized(PointTransformerV3(**SMALL, patch_rule="official")).to(device)
    with torch.inference_mode():
        stages = model(*batched(voxels(rng, 150, 14, device), voxels(rng, 9, 5, device)))
    for stage in stages:
        smallest = int(torch.bincount(stage.batch).min())
        assert stage.patches.size == smallest and {length for _, length in stage.patches.runs} == {smallest}


def test_order_of_voxels_does_not_matter(small, device, rng):
    coord, grid, feat, offset = batched(voxels(rng, 200, 20, device))
    order = torch.tensor(rng.permutation(200), device=device)
    with torch.inference_mode():
        expected = upcast(small(coord, grid, feat, offset))
        found = upcast(small(coord[order], grid[order], feat[order], offset))
    torch.testing.assert_close(found, expected[order], atol=ATOL, rtol=1e-4)


@pytest.mark.parametrize("concat", [0, 1, 2])
def test_upcast_equals_a_loop(small, device, rng, concat):
    with torch.inference_mode():
        stages = small(*batched(voxels(rng, 120, 20, device)))
        features = upcast(stages, concat)
    for voxel in (0, 50, 119):
        path = [voxel]
        for stage in stages[1:]:
            path.append(int(stage.pooling_inverse[path[-1]]))
        rows = [stage.feat[row] for stage, row in zip(stages, path, strict=True)]
        assert torch.equal(features[voxel], torch.cat(rows[2 - concat :]))


@pytest.mark.parametrize("concat", [0, 1, 2])
def test_some_voxels_are_those_of_all(small, device, rng, concat):
    """Bit for bit, in any order, some of them twice; and none."""
    with torch.inference_mode():
        stages = small(*batched(voxels(rng, 120, 20, device)))
        for rows in (torch.from_numpy(rng.integers(0, 120, 50)).to(device), torch.arange(0, device=device)):
            assert torch.equal(upcast(stages, concat, rows), upcast(stages, concat)[rows])


def test_shuffling_is_off_unless_seeded(small, device, rng):
    inputs = batched(voxels(rng, 200, 20, device))
    with torch.inference_mode():
        plain = [small(*inputs)[-1].feat for _ in range(2)]
        shuffled = [small(*inputs, shuffle_seed=seed)[-1].feat for seed in (1, 1, 2)]
    assert torch.equal(*plain) and torch.equal(shuffled[0], shuffled[1])
    assert not torch.allclose(shuffled[0], plain[0]) and not torch.allclose(shuffled[2], shuffled[0])


def test_trains(small, device, rng):
    """Every parameter but the mask token gets a finite gradient; drop path is random in training only."""
    inputs = batched(voxels(rng, 150, 14, device), voxels(rng, 9, 5, device))
    small.train()
    assert not torch.equal(small(*inputs)[-1].feat, small(*inputs)[-1].feat)
    upcast(small(*inputs)).square().mean().backward()
    for name, parameter in small.named_parameters():
        if name != "embedding.mask_token":
            assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name
    frozen = PointTransformerV3(**SMALL, freeze_encoder=True)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_bfloat16_autocast_is_close(small, device, rng):
    inputs = batched(voxels(rng, 150, 14, device))
    with torch.inference_mode():
        expected = upcast(small(*inputs))
        with torch.autocast(device.type, torch.bfloat16):
            found = upcast(small(*inputs)).float()
    assert found.isfinite().all() and torch.cosine_similarity(found, expected).min() > 0.99


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_voxels(small, device, rng, count):
    stages = small(*batched(voxels(rng, count, 4, device)))
    assert [stage.feat.isfinite().all().item() for stage in stages] == [True] * 3


def changed(inputs, place, value):
    return [*inputs[:place], value, *inputs[place + 1 :]]


def test_refuses_inputs(small, device, rng):
    inputs = batched(voxels(rng, 20, 9, device))
    coord, grid, feat, offset = inputs
    nan = feat.clone()
    nan[3, 2] = torch.nan
    bad = [
        (changed(inputs, 2, feat[:, :5]), r"feat must be a floating tensor \[20, 6\], found torch.float32 \[20, 5\]"),
        (changed(inputs, 2, nan), "feat holds nan or inf in 1 of 20 rows"),
        (changed(inputs, 2, feat[:0]), "feat must hold at least one voxel"),
        (changed(inputs, 0, coord[:-1]), r"coord must be a floating tensor \[20, 3\], found torch.float32 \[19, 3\]"),
        (changed(inputs, 1, grid.int()), r"grid_coord must be a int64 tensor \[20, 3\], found torch.int32"),
        (changed(inputs, 1, grid - 1), "grid_coord must be at least 0, found -1"),
        (changed(inputs, 1, grid + 2**16), "grid_coord must be at most 65534"),
        (changed(inputs, 1, grid * 0), r"grid_coord must be unique within a batch item, found \[0, 0, 0\]"),
        (changed(inputs, 3, offset.to("meta")), "must be on one device, found .*meta"),
        (changed(inputs, 3, offset + 1), r"offset must increase .* to 20 voxels, found \[21\]"),
        (changed(inputs, 3, torch.tensor([5, 5, 20], device=device)), r"offset must increase .* found \[5, 5, 20\]"),
        (changed(inputs, 3, offset.float()), r"offset must be an int64 tensor \[B\], found torch.float32"),
        (changed(inputs, 3, 20), r"offset must be an int64 tensor \[B\], found int"),
    ]
    for values, message in bad:
        with pytest.raises(InputError, match=message):
            small(*values)
    with pytest.raises(InputError, match=r"mask must be a bool tensor \[20\], found torch.float32 \[20, 6\]"):
        small(*inputs, mask=feat)
    with pytest.raises(InputError, match="mask must be None: this configuration has no mask_token"):
        PointTransformerV3(**SMALL, mask_token=False).to(device)(*inputs, mask=feat[:, 0] > 0)
    with pytest.raises(InputError, match="concat must be 0..2 for 3 stages, found 3"):
        upcast(small(*inputs), 3)


BAD_CONFIGS = [
    ({"enable_rpe": True}, "enable_rpe must be False, found True"),
    ({"enc_mode": False}, "enc_mode must be True, found False"),
    ({"layer_scale": 0.1}, "layer_scale must be None, found 0.1"),
    ({"patch": 8}, "unknown keys patch; known: attn_drop"),
    ({"order": ["z", "peano"]}, "order must list some of z"),
    ({"stride": [2]}, "stride must list one number per stage of enc_depths"),
    ({"enc_channels": [12, 24, 0]}, "enc_channels must be a"),
    ({"enc_num_head": [5, 3, 4]}, "enc_channels must be multiples of enc_num_head, found 12 and 5"),
    ({"drop_path": 1.0}, "drop_path must be below 1, found 1.0"),
    ({"qkv_bias": 1}, "qkv_bias must be true or false, found 1"),
    ({"patch_rule": "fixed"}, "patch_rule must be 'variable' or 'official', found 'fixed'"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CONFIGS)
def test_refuses_configurations(change, message):
    with pytest.raises(ConfigError, match=message):
        PointTransformerV3(**{**SMALL, **change})
