"""Space-filling curves over voxels and the patches cut from them, after Point Transformer V3 (arXiv 2312.10035, 3.2).

A curve numbers the cells of a cube of 2^depth cells a side; voxels sorted by that number are cut into patches, within
which attention looks. Four curves: z-order and Hilbert, and each of them with x and y swapped ("-trans"). A scene of a
batch goes into the bits above the curve's, so one sort orders all scenes and never mixes them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide.errors import InputError

ORDERS = ("z", "z-trans", "hilbert", "hilbert-trans")
MAX_DEPTH = 16  # bits a coordinate, the official limit: 3 * 16 leave 15 bits of an int64 for the scene


def curve_depth(grid_coord: Tensor, scenes: int) -> int:
    """Bits that each coordinate needs: bit_length(largest coordinate + 1), the official rule.

    Args:
        grid_coord: int64 [V, 3], at least 0.
        scenes: Number of scenes in the batch.

    Returns:
        The depth of the curves.

    Raises:
        InputError: The depth is above 16, or the scenes do not fit an int64 beside the curve.
    """
    largest = int(grid_coord.max())
    depth = (largest + 1).bit_length()
    if depth > MAX_DEPTH:
        raise InputError(f"grid_coord must be at most {2**MAX_DEPTH - 2} (curves of {MAX_DEPTH} bits), found {largest}")
    if 3 * depth + scenes.bit_length() > 63:
        raise InputError(f"{scenes} scenes of {depth} bits a coordinate do not fit a 63-bit code: use a smaller batch")
    return depth


def curve_code(grid_coord: Tensor, order: str, depth: int | Tensor) -> Tensor:
    """Number each cell along one curve.

    Z-order takes x as the most significant bit of each triple.

    Args:
        grid_coord: int64 [V, 3] in [0, 2^depth).
        order: One of `ORDERS`.
        depth: Bits of a coordinate; or int64 [V], a cube of its own for each voxel.

    Returns:
        int64 [V] in [0, 2^(3 depth)).

    Raises:
        InputError: An unknown order.
    """
    if order not in ORDERS:
        raise InputError(f"order must be one of {', '.join(ORDERS)}, found {order!r}")
    x, y, z = grid_coord.unbind(1)
    if order.endswith("-trans"):
        x, y = y, x
    if order.startswith("z"):
        return _interleave(x, y, z)
    return _hilbert(x, y, z, depth)


def _interleave(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return _spread(x) << 2 | _spread(y) << 1 | _spread(z)


def _spread(value: Tensor) -> Tensor:
    """Move bit b of a 16-bit number to bit 3 b, by halves."""
    value = (value | value << 16) & 0xFF00_00FF
    value = (value | value << 8) & 0x00F0_0F00_F00F
    value = (value | value << 4) & 0x0C30_C30C_30C3
    return (value | value << 2) & 0x2492_4924_9249


def _hilbert(x: Tensor, y: Tensor, z: Tensor, depth: int | Tensor) -> Tensor:
    """Skilling's transform (AIP Conf. Proc. 707, 381, 2004), all voxels at a time, one step a bit.

    From the highest bit down, each coordinate that has the bit set inverts the lower bits of the first coordinate, and
    each that has not exchanges them with it; what results is the Gray code of the number along the curve.
    """
    axes = [x, y, z]
    top = depth if isinstance(depth, int) else int(depth.max())
    for bit in range(top - 1, -1, -1):
        low = (1 << bit) - 1
        # above a voxel's own cube there is nothing to turn: leading zeros would exchange the axes
        active = low if isinstance(depth, int) else torch.where(bit < depth, low, 0)
        for axis in range(3):
            is_set = (axes[axis] >> bit & 1).bool()
            swap = torch.where(is_set, 0, (axes[0] ^ axes[axis]) & active)
            axes[0] = axes[0] ^ torch.where(is_set, active, swap)
            if axis:
                axes[axis] = axes[axis] ^ swap
    code = _interleave(*axes)
    for shift in (1, 2, 4, 8, 16, 32):  # Gray code to number: each bit is the parity of those above it
        code = code ^ code >> shift
    return code


@dataclass(frozen=True, eq=False)
class Serialization:
    """All voxels of a batch along k curves.

    Attributes:
        code: int64 [k, V], the number of each voxel along each curve, its scene in the bits above.
        order: int64 [k, V], the voxels as each curve meets them.
        inverse: int64 [k, V], the place of each voxel on each curve.
        depth: Bits of a coordinate.
    """

    code: Tensor
    order: Tensor
    inverse: Tensor
    depth: int


def serialize(
    grid_coord: Tensor, batch: Tensor, orders: tuple[str, ...], scenes: int, *, scene_depth: bool = False
) -> Serialization:
    """Sort voxels along every curve: code = scene << 3 depth | number along the curve (the official rule).

    The depth is that of the whole batch, as in the official code. A Hilbert curve's axes turn with its depth, so a
    small scene may then be ordered otherwise beside a large one than alone.

    Args:
        grid_coord: int64 [V, 3], at least 0.
        batch: int64 [V], the scene of each voxel, 0..scenes-1.
        orders: k of `ORDERS`.
        scenes: Number of scenes in the batch.
        scene_depth: Take each scene's own depth for its curve instead, so that a scene is ordered as alone.

    Returns:
        The voxels along the k curves.

    Raises:
        InputError: The codes do not fit (see `curve_depth`), or an order is unknown.
    """
    depth = curve_depth(grid_coord, scenes)
    own: int | Tensor = depth
    if scene_depth:
        largest = torch.zeros(scenes, dtype=torch.int64, device=batch.device)
        largest = largest.scatter_reduce(0, batch, grid_coord.amax(1), "amax") + 1  # [scenes]
        bits = torch.arange(MAX_DEPTH + 1, device=batch.device)
        own = (largest[:, None] >> bits > 0).sum(1)[batch]  # [V] bit lengths
    code = torch.stack([batch << 3 * depth | curve_code(grid_coord, order, own) for order in orders])  # [k, V]
    order = torch.argsort(code, dim=1, stable=True)
    places = torch.arange(code.shape[1], device=code.device).expand_as(order)
    return Serialization(code, order, torch.empty_like(order).scatter_(1, order, places), depth)


@dataclass(frozen=True, eq=False)
class Patches:
    """How serialized voxels fill the patches of attention.

    Attributes:
        pad: int64 [T], the serialized voxel that fills each slot.
        unpad: int64 [V], the slot of each serialized voxel.
        runs: (patches, slots a patch) of consecutive slots with patches of one size; together all T slots.
        size: The patch size.
    """

    pad: Tensor
    unpad: Tensor
    runs: tuple[tuple[int, int], ...]
    size: int


def cut_patches(counts: list[int], size: int, device: torch.device | str = "cpu") -> Patches:
    """Cut each scene into patches of `size` slots (the official rule).

    A scene of at most `size` voxels is one patch of its own size. A larger one is filled up to whole patches, where the
    missing slots at the end hold the voxels of the same slots of the patch before: attention looks at them, but their
    own output is dropped. So no scene's patches depend on another scene.

    Args:
        counts: Voxels of each scene.
        size: Slots of a patch.
        device: Where the indices are made.

    Returns:
        The patches of all scenes, one after the other.
    """
    runs: list[tuple[int, int]] = []
    for count in counts:  # scenes of a batch, not voxels
        patches, length = (1, count) if count <= size else (-(-count // size), size)
        if runs and runs[-1][1] == length:
            runs[-1] = (runs[-1][0] + patches, length)
        else:
            runs.append((patches, length))
    real = torch.tensor(counts, device=device)  # [B]
    padded = torch.where(real <= size, real, (real + size - 1).div(size, rounding_mode="floor") * size)
    start, start_padded = real.cumsum(0) - real, padded.cumsum(0) - padded
    scene = torch.arange(len(counts), device=device).repeat_interleave(padded)  # [T]
    slot = torch.arange(len(scene), device=device) - start_padded[scene]
    pad = torch.where(slot < real[scene], slot, slot - size) + start[scene]
    unpad = torch.arange(sum(counts), device=device) + (start_padded - start).repeat_interleave(real)
    return Patches(pad, unpad, tuple(runs), size)
