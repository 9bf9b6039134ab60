"""2D features that somebody brings along, checked before anything is learned from them."""

import warnings

import numpy as np

from geoguide.errors import InputError, ReadAs
from geoguide.ops.arrays import host
from geoguide.pipeline.config import ExperimentConfig
from geoguide.text.encoders import text_encoder


def own_features(
    name: str, features: np.ndarray, seen: np.ndarray, count: int, config: ExperimentConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Check 2D features that somebody brings along.

    Args:
        name: Of the scene, for messages.
        features: Numbers [P, C], in the space of the config's text; what stands where nothing is seen is not read.
        seen: Which points have one: truth values, or the number of frames that see each point, [P].
        count: P.
        config: Whose `text` they are compared with.

    Returns:
        Features float16 [P, C], 0 where unseen, and int32 [P], above 0 where seen: as `without_zeros` has it.

    Raises:
        InputError: A wrong shape, features of another width than the text, not finite or beyond float16, or no point
            that is seen, or as `without_zeros`; the message names scene and field.
    """
    values, frames = host("features", features), host("seen", seen, "fiub")
    encoder = text_encoder(config.text.encoder, config.text.weights)
    if values.ndim != 2 or values.shape != (count, encoder.width):
        expected = f"[{count}, {encoder.width}], the width of {encoder.name}"
        raise InputError(f"scene {name}: features must be {expected}, found {list(values.shape)}")
    if frames.shape != (count,) or not (frames >= 0).all():
        found = list(frames.shape)
        if frames.shape == (count,):
            found = f"{int((~(frames >= 0)).sum())} that are negative or nan"
        raise InputError(f"scene {name}: seen must be [{count}], each at least 0, found {found}")
    if not (frames > 0).any():
        raise InputError(f"scene {name}: seen holds no point: nothing can be learned from it")
    with np.errstate(over="ignore"):
        half = np.where((frames > 0)[:, None], values, 0).astype(np.float16)
    if not np.isfinite(half).all():
        bad = int((~np.isfinite(half)).any(axis=1).sum())
        raise InputError(f"scene {name}: features must be finite and within float16, {bad} of {count} rows are not")
    return half, without_zeros(name, half, np.ceil(frames).astype(np.int32))


def without_zeros(name: str, features: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Count points whose feature is all zero as not seen, as files of fused features are read: zeros have no direction.

    They would be learned from as a constant loss, and scored as the first class.

    Args:
        name: Of the scene, for messages.
        features: float16 [P, C].
        seen: int32 [P], above 0 where a point has one.

    Returns:
        `seen`, 0 at these points; one `ReadAs` warning counts them.

    Raises:
        InputError: All that is seen is zero.
    """
    empty = ~features.any(axis=1) & (seen > 0)
    count, named = int(empty.sum()), int((seen > 0).sum())
    if count == 0:
        return seen
    if count == named:
        raise InputError(f"scene {name}: features must not be zero alone, found no other at {named} seen points")
    told = f"{count} of {named} seen points have features of zeros alone: counted as not seen"
    warnings.warn(f"scene {name}: {told}", ReadAs, stacklevel=3)
    return np.where(empty, 0, seen)
