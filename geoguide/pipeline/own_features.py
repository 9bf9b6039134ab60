"""2D features that somebody brings along, checked before anything is learned from them."""

import numpy as np

from geoguide.errors import InputError
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
        Features float16 [P, C], 0 where unseen, and int32 [P], above 0 where seen.

    Raises:
        InputError: A wrong shape, features of another width than the text, not finite or beyond float16, or no point
            that is seen; the message names scene and field.
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
    return half, np.ceil(frames).astype(np.int32)
