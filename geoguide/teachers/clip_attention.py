"""What CLIP's image tower says of every patch: its last block with another attention, and nothing trained.

The last block mixes patches so that one token tells of the whole image; what a patch shows is lost there. With its
input x, its queries q, keys k and values v, its output layer o, and A(a, b) = softmax(a b^T / sqrt(d)) in each head,

    mixed = o(W v)    W = A(q, k): CLIP's own; 1: MaskCLIP; A(q, q) + A(k, k): SCLIP; A(q, q): ClearCLIP
    y = x + mixed, and y + MLP(y) is the block's output: CLIP, MaskCLIP, SCLIP
    mixed itself is the block's output: ClearCLIP

(Zhou et al. 2022, arXiv:2112.01071; Wang et al. 2023, arXiv:2312.01597; Lan et al. 2024, arXiv:2407.12442; each as its
authors' code has it.) Then come CLIP's last normalisation and projection, as for its class token.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from geoguide.errors import ConfigError

Attention = Literal["qk", "v", "qq", "kk", "vv", "qq+kk"]


def check_tower(model: str, tower: Any) -> None:
    """Make sure that an image tower has the parts that are read here.

    Args:
        model: Its name.
        tower: Of any kind.

    Raises:
        ConfigError: It is no ViT of open_clip's own (ResNet, timm's, SigLIP), pools by attention (CoCa), or its blocks
            are of a special kind.
    """
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    if not isinstance(tower, VisionTransformer):
        raise ConfigError(f"{model}: dense features need a ViT of open_clip's own, found {type(tower).__name__}")
    if tower.attn_pool is not None:
        raise ConfigError(f"{model}: dense features need a ViT that projects its tokens, found one that pools them")
    blocks = tower.transformer.resblocks
    if not tower.transformer.batch_first or not all(isinstance(block, ResidualAttentionBlock) for block in blocks):
        raise ConfigError(f"{model}: dense features need CLIP's own blocks, found {type(blocks[-1]).__name__}")


def token_features(tower: Any, pixels: Tensor, attention: Attention, whole_block: bool) -> Tensor:
    """Describe the patches of images in CLIP's joint space of images and text.

    Args:
        tower: open_clip's VisionTransformer, which `check_tower` takes.
        pixels: float32 [N, 3, H, W], prepared; H and W are multiples of the patch size, else the rest is not seen.
        attention: What takes the place of A(q, k) in the last block.
        whole_block: Whether its input is added and its MLP follows.

    Returns:
        float32 [N, 1 + T, D], not of unit length: the class token, then T = h w patches row by row.
    """
    patches = tower.conv1(pixels)  # [N, width, h, w]
    tokens = torch.cat([tower.class_embedding.expand(len(pixels), 1, -1), patches.flatten(2).transpose(1, 2)], dim=1)
    tokens = tower.ln_pre(tokens + positions(tower, patches.shape[-2:]))  # [N, 1 + T, width]
    *first, last = tower.transformer.resblocks
    for block in first:
        tokens = block(tokens)
    return tower.ln_post(last_block(last, tokens, attention, whole_block)) @ tower.proj


def positions(tower: Any, size: tuple[int, int]) -> Tensor:
    """The position embeddings for any number of patches, resized as open_clip does when it loads weights.

    Args:
        tower: open_clip's VisionTransformer.
        size: (h, w) patches.

    Returns:
        float32 [1 + h w, width].
    """
    own = tower.positional_embedding  # [1 + T, width]
    if tuple(size) == tuple(tower.grid_size):
        return own
    grid = own[1:].T.unflatten(1, tower.grid_size)[None]  # [1, width, h', w']
    grid = F.interpolate(grid, size=tuple(size), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([own[:1], grid[0].flatten(1).T])


def last_block(block: Any, tokens: Tensor, attention: Attention, whole_block: bool) -> Tensor:
    """Run a block of the transformer with another attention.

    Args:
        block: open_clip's ResidualAttentionBlock.
        tokens: float32 [N, T, width], its input.
        attention: What takes the place of A(q, k).
        whole_block: Whether the input is added and the MLP follows.

    Returns:
        float32 [N, T, width].
    """
    mixed = block.ls_1(_attended(block.attn, block.ln_1(tokens), attention))
    if not whole_block:
        return mixed
    tokens = tokens + mixed
    return tokens + block.ls_2(block.mlp(block.ln_2(tokens)))


def _attended(layer: torch.nn.MultiheadAttention, tokens: Tensor, attention: Attention) -> Tensor:
    """o(W v), [N, T, width]."""
    heads = F.linear(tokens, layer.in_proj_weight, layer.in_proj_bias).unflatten(-1, (3, layer.num_heads, -1))
    by_letter = dict(zip("qkv", heads.permute(2, 0, 3, 1, 4), strict=True))  # [N, heads, T, d] each
    values = by_letter["v"]
    if attention == "v":
        mixed = values
    else:
        pairs = ((by_letter[left], by_letter[right]) for left, right in attention.split("+"))
        mixed = torch.stack([F.scaled_dot_product_attention(left, right, values) for left, right in pairs]).sum(dim=0)
    return layer.out_proj(mixed.transpose(1, 2).flatten(2))
