"""The official configuration of the Point Transformer V3 encoder: its keys, what is supported, and Sonata's values."""

from dataclasses import dataclass, fields
from typing import Any

from geoguide.backbones.serialization import ORDERS
from geoguide.errors import ConfigError
from geoguide.ops.arrays import number, whole

# Official switches for which only one value is implemented: no released encoder uses another.
_FIXED: dict[str, tuple[Any, str]] = {
    "enable_rpe": (False, "relative position encoding"),
    "upcast_attention": (False, "scores in float32: the kernels of torch accumulate in float32 anyway"),
    "upcast_softmax": (False, "softmax in float32: the kernels of torch compute it so anyway"),
    "layer_scale": (None, "a learned scale per branch"),
    "pre_norm": (True, "norm after the branch"),
    "traceable": (True, "forgetting which voxel was pooled into which"),
    "enc_mode": (True, "a decoder"),
}
_DECODER = ("dec_depths", "dec_channels", "dec_num_head", "dec_patch_size")  # say nothing where enc_mode is True


@dataclass(frozen=True)
class PointTransformerConfig:
    """Keys and defaults of the official configuration; the defaults are the released Sonata model's.

    Attributes:
        in_channels: Features of a voxel.
        order: The curves, see `serialization`; block i of a stage looks along curve `order[i mod k]` of k.
        stride: Between stages, how many cells become one along each axis.
        enc_depths: Blocks of each stage.
        enc_channels: Features of each stage.
        enc_num_head: Attention heads of each stage.
        enc_patch_size: Voxels in a patch of attention, for each stage.
        mlp_ratio: Hidden width of a block's MLP over its features.
        qkv_bias: Whether queries, keys and values have a bias.
        qk_scale: Factor of the attention scores; None is 1 / sqrt(width of a head).
        attn_drop: Dropout of attention weights, in training only.
        proj_drop: Dropout of projections, in training only.
        drop_path: Largest share of voxels whose residual branches are dropped, in training only.
        shuffle_orders: See `PointTransformerV3.forward`.
        enable_flash: See `PointTransformerV3`.
        mask_token: Whether there is a learned token for masked voxels.
        freeze_encoder: Whether the parameters take no gradient.
        rope_base: Base of the rotary position encoding in metres (Utonia, see `RotaryPosition`); None for none.
        shift_coords: Like jitter_coords and rescale_coords: how the official training disturbs the positions that
            are encoded; read, and never applied here.
        layer_scale: Like pre_norm, enable_rpe, upcast_attention, upcast_softmax, traceable and enc_mode: one value only
            is implemented.

    Raises:
        ConfigError: A value is impossible or not supported.
    """

    in_channels: int = 9
    order: tuple[str, ...] = ORDERS
    stride: tuple[int, ...] = (2, 2, 2, 2)
    enc_depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    enc_channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    enc_num_head: tuple[int, ...] = (3, 6, 12, 24, 32)
    enc_patch_size: tuple[int, ...] = (1024, 1024, 1024, 1024, 1024)
    mlp_ratio: float = 4
    qkv_bias: bool = True
    qk_scale: float | None = None
    attn_drop: float = 0.0
    proj_drop: float = 0.0
    drop_path: float = 0.3
    layer_scale: float | None = None
    pre_norm: bool = True
    shuffle_orders: bool = True
    enable_rpe: bool = False
    enable_flash: bool = True
    upcast_attention: bool = False
    upcast_softmax: bool = False
    traceable: bool = True
    mask_token: bool = True
    enc_mode: bool = True
    freeze_encoder: bool = False
    rope_base: float | None = None
    shift_coords: float | None = None
    jitter_coords: float | None = None
    rescale_coords: float | None = None

    @classmethod
    def checked(cls, values: dict[str, Any]) -> "PointTransformerConfig":
        """Make the configuration from the official dictionary.

        Args:
            values: Values by key; lists become tuples, missing keys take their defaults. The decoder's sizes are
                left out: there is none.

        Returns:
            The configuration.

        Raises:
            ConfigError: A key is unknown, or a value is impossible or not supported.
        """
        values = {key: value for key, value in values.items() if key not in _DECODER}
        known = sorted(field.name for field in fields(cls))
        unknown = sorted(str(key) for key in values if key not in known)
        if unknown:
            raise ConfigError(f"point transformer: unknown keys {', '.join(unknown)}; known: {', '.join(known)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**values)

    def __post_init__(self) -> None:
        try:
            self._check_switches()
            self._check_numbers()
            self._check_positions()
        except ValueError as error:
            raise ConfigError(f"point transformer: {error}") from None

    def _check_switches(self) -> None:
        for key, (value, meaning) in _FIXED.items():
            if getattr(self, key) is not value:
                raise ConfigError(f"{key} must be {value}, found {getattr(self, key)!r} ({meaning}: not supported)")
        for key in ("qkv_bias", "shuffle_orders", "enable_flash", "mask_token", "freeze_encoder"):
            if not isinstance(getattr(self, key), bool):
                raise ConfigError(f"{key} must be true or false, found {getattr(self, key)!r}")

    def _check_numbers(self) -> None:
        stages = len(self.enc_depths) if isinstance(self.enc_depths, tuple) else 0
        for key in ("enc_depths", "enc_channels", "enc_num_head", "enc_patch_size", "stride"):
            values, count = getattr(self, key), stages - (key == "stride")
            if stages == 0 or not isinstance(values, tuple) or len(values) != count:
                raise ConfigError(f"{key} must list one number per stage of enc_depths (stride: one less)"
                                  f", found {values!r}")  # fmt: skip
            for value in values:
                whole(key, value, 1)
        for channels, heads in zip(self.enc_channels, self.enc_num_head, strict=True):
            if channels % heads:
                raise ConfigError(f"enc_channels must be multiples of enc_num_head, found {channels} and {heads}")
        if not isinstance(self.order, tuple) or not self.order or not all(curve in ORDERS for curve in self.order):
            raise ConfigError(f"order must list some of {', '.join(ORDERS)}, found {self.order!r}")
        whole("in_channels", self.in_channels, 1)
        number("mlp_ratio", self.mlp_ratio)
        if self.qk_scale is not None:
            number("qk_scale", self.qk_scale)
        for key in ("attn_drop", "proj_drop", "drop_path"):
            if number(key, getattr(self, key)) >= 1:
                raise ConfigError(f"{key} must be below 1, found {getattr(self, key)!r}")

    def _check_positions(self) -> None:
        for key in ("shift_coords", "jitter_coords", "rescale_coords"):
            if getattr(self, key) is not None:
                number(key, getattr(self, key))
        if self.rope_base is None:
            return
        if number("rope_base", self.rope_base) <= 1:
            raise ConfigError(f"rope_base must be above 1, found {self.rope_base!r}")
        for channels, heads in zip(self.enc_channels, self.enc_num_head, strict=True):
            if channels // heads % 6:
                raise ConfigError("enc_channels / enc_num_head must be multiples of 6 with a rope_base (pairs of three "
                                  f"axes), found {channels} and {heads}")  # fmt: skip
