"""What is wrong with a camera's pose or matrix: the same checks for files and for arrays that users give."""

import numpy as np

# How far R'R may be from the identity: poses written with two decimals reach 0.017; real ones 4e-4 (7-Scenes), 2e-6
# (ScanNet). A scale of 1 % gives 0.02.
RIGID = 0.02
LAST_ROW = 1e-4  # how far the last row may be from 0 0 0 1: it is no measurement
HUGE = 1e100  # of a rotation's entries: their squares can still be computed
SKEW = 1e-3  # of the focal length, about half a pixel at an image's border; lifting and fusion know of none
FEWEST_PIXELS = 2.0  # a focal length below is one of an image of width 1, not of pixels


def pose_fault(pose: np.ndarray) -> str | None:
    """Say why a pose is no rigid motion.

    Args:
        pose: Finite pose [4, 4], in either direction.

    Returns:
        The fault, in words; None where there is none.

    Example:
        >>> pose_fault(np.eye(4)), pose_fault(2 * np.eye(4))
        (None, 'pose must end with the row 0 0 0 1, found 0 0 0 2')
    """
    rotation, must = pose[:3, :3], "the pose's first three columns must be a rotation, found"
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > LAST_ROW:
        turned = np.abs(pose[:, 3] - (0, 0, 0, 1)).max() <= LAST_ROW
        hint = ": a transposed pose? The translation belongs in the last column" if turned else ""
        return f"pose must end with the row 0 0 0 1, found {_row(pose[3])}{hint}"
    if np.abs(rotation).max() > HUGE:
        return f"{must} {np.abs(rotation).max():.4g}"
    product = rotation.T @ rotation  # [3, 3]
    scale = np.sqrt(np.trace(product) / 3)
    if np.abs(product - np.eye(3)).max() > RIGID:
        if np.abs(product / scale**2 - np.eye(3)).max() <= RIGID:
            return f"{must} one scaled by {scale:.4g} (a similarity)"
        lengths = np.linalg.norm(rotation, axis=0)  # [3]
        crooked = "" if np.ptp(lengths) > RIGID else " that are not at right angles"
        return f"{must} columns of lengths {_row(lengths)}{crooked}"
    if np.linalg.det(rotation) < 0:
        return f"{must} a reflection: one axis is mirrored, as between left- and right-handed coordinates"
    return None


def camera_fault(matrix: np.ndarray) -> str | None:
    """Say why a camera matrix is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], finite, in pixels.

    Args:
        matrix: The camera matrix [3, 3].

    Returns:
        The fault, in words; None where there is none.

    Example:
        >>> camera_fault(np.diag([0.9, 0.9, 1]))
        "intrinsics need focal lengths in pixels, found 0.9 0.9: normalised by the image's size?"
    """
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        return "intrinsics need finite values and positive focal lengths"
    if np.abs(matrix[2] - (0, 0, 1)).max() > LAST_ROW:
        hint = ": a transposed matrix?" if np.abs(matrix[:, 2] - (0, 0, 1)).max() <= LAST_ROW else ""
        return f"intrinsics must end with the row 0 0 1, found {_row(matrix[2])}{hint}"
    if max(abs(matrix[0, 1]), abs(matrix[1, 0])) > SKEW * matrix[0, 0]:
        found = f"found {_row(matrix[0])} and {_row(matrix[1])}"
        return f"intrinsics must have the rows fx 0 cx and 0 fy cy, without skew, {found}"
    if min(matrix[0, 0], matrix[1, 1]) < FEWEST_PIXELS:
        found = f"found {_row(np.diag(matrix)[:2])}: normalised by the image's size?"
        return f"intrinsics need focal lengths in pixels, {found}"
    return None


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.4g}" for value in values)
