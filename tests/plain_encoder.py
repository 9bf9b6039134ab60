"""The Point Transformer V3 encoder read straight off its description: oracle of the tests, other side of the benchmark.

No layout is kept or shared: every block sorts its voxels along its curve again, looks its 26 neighbours up again, takes
one gather and one matrix product per offset, and softmaxes whole score matrices, patch by patch of equal size.
"""

import itertools

import torch
from torch.nn import functional

from geoguide.backbones.serialization import serialize


def plain_neighbors(grid_coord, batch, radius=1):
    """For each offset of the kernel, x slowest: which voxel lies there, and whether one does."""
    span = int(grid_coord.max()) + 1 + 2 * radius
    x, y, z = (grid_coord + radius).unbind(1)
    key = ((batch * span + x) * span + y) * span + z
    ordered, place = key.sort()
    pairs = []
    for a, b, c in itertools.product(range(-radius, radius + 1), repeat=3):
        wanted = key + (a * span + b) * span + c
        found = torch.searchsorted(ordered, wanted).clamp(max=len(key) - 1)
        pairs.append((place[found], ordered[found] == wanted))
    return pairs


def plain_conv(feat, weight, bias, neighbors):
    """Cross-correlation over existing voxels: for each offset, the neighbour's features or zeros, times its matrix."""
    total = bias.expand(len(feat), -1).clone()
    for (row, exists), kernel in zip(neighbors, weight.flatten(1, 3).unbind(1), strict=True):
        total += (feat[row] * exists[:, None]) @ kernel.T
    return total


def plain_attention(feat, state, prefix, heads, order, counts, size):
    """Scene by scene and patch by patch: the last patch of a larger scene is filled with the one before."""
    out = torch.empty_like(feat)
    start = 0
    for count in counts:
        scene = order[start : start + count]
        slots = scene
        if count > size and count % size:
            whole = count // size * size
            slots = torch.cat([scene, scene[whole - size + count % size : whole]])
        slots = slots.view(-1, min(size, count))  # [N, K]
        qkv = functional.linear(feat[slots], state[prefix + "qkv.weight"], state.get(prefix + "qkv.bias"))
        query, key, value = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2).contiguous() for part in qkv.chunk(3, dim=-1)
        )  # [N, H, K, D]
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(-2).flatten(0, 1)[:count]
        out[scene] = mixed
        start += count
    return functional.linear(out, state[prefix + "proj.weight"], state[prefix + "proj.bias"])


def plain_block(feat, neighbors, order, counts, state, prefix, config, stage):
    def norm(name, value):
        weight, bias = state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"]
        return functional.layer_norm(value, weight.shape, weight, bias)

    def linear(name, value):
        return functional.linear(value, state[f"{prefix}{name}.weight"], state[f"{prefix}{name}.bias"])

    conv = plain_conv(feat, state[prefix + "cpe.0.weight"], state[prefix + "cpe.0.bias"], neighbors)
    feat = feat + norm("cpe.2", linear("cpe.1", conv))
    heads, size = config.enc_num_head[stage], config.enc_patch_size[stage]
    feat = feat + plain_attention(norm("norm1.0", feat), state, prefix + "attn.", heads, order, counts, size)
    return feat + linear("mlp.0.fc2", functional.gelu(linear("mlp.0.fc1", norm("norm2.0", feat))))


def plain_encode(state, config, grid_coord, feat, offset, keep=False):
    """Features of every stage, and the pooling inverse that led there: ([V, C], int64 [V before] or None) each.

    keep: compute the curves and the neighbours once a stage, not once a block.
    """
    counts = offset.diff(prepend=offset.new_zeros(1)).tolist()
    batch = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    stem = functional.linear(feat, state["embedding.stem.linear.weight"], state["embedding.stem.linear.bias"])
    weight, bias = state["embedding.stem.norm.weight"], state["embedding.stem.norm.bias"]
    feat = functional.gelu(functional.layer_norm(stem, weight.shape, weight, bias))
    stages, inverse = [], None
    for stage, depth in enumerate(config.enc_depths):
        if stage > 0:
            down = f"enc.enc{stage}.down."
            rows = torch.cat([batch[:, None], grid_coord // config.stride[stage - 1]], dim=1)
            rows, inverse = torch.unique(rows, dim=0, return_inverse=True)
            batch, grid_coord = rows[:, 0], rows[:, 1:]
            counts = torch.bincount(batch).tolist()
            wide = functional.linear(feat, state[down + "proj.weight"], state[down + "proj.bias"])
            feat = torch.full((len(rows), wide.shape[1]), -torch.inf)
            feat = feat.scatter_reduce(0, inverse[:, None].expand_as(wide), wide, "amax")
            weight, bias = state[down + "norm.0.weight"], state[down + "norm.0.bias"]
            feat = functional.gelu(functional.layer_norm(feat, weight.shape, weight, bias))
        for index in range(depth):
            if index == 0 or not keep:
                neighbors = plain_neighbors(grid_coord, batch)
                orders = serialize(grid_coord, batch, config.order, len(counts)).order
            order, prefix = orders[index % len(orders)], f"enc.enc{stage}.block{index}."
            feat = plain_block(feat, neighbors, order, counts, state, prefix, config, stage)
        stages.append((feat, inverse))
    return stages
