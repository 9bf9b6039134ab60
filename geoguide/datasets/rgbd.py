"""A folder of posed RGB-D frames as a scene: the cloud is reconstructed from the depth, the frames become its views.

Two layouts are read: `frame-N.color.jpg`, `frame-N.depth.png`, `frame-N.pose.txt` with one `camera-intrinsics.txt`
(7-Scenes and similar recordings), and ScanNet's extracted `color/N.jpg`, `depth/N.png`, `pose/N.txt`,
`intrinsic/intrinsic_depth.txt`.
"""

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from geoguide.datasets.formats.cameras import common_camera, read_pose
from geoguide.datasets.formats.files import need_file, need_folder
from geoguide.datasets.reconstruct import reconstruct
from geoguide.errors import DataError, InputError
from geoguide.scene import Scene, View

AXES = dict(zip(("x", "y", "z", "-x", "-y", "-z"), (*np.eye(3), *-np.eye(3)), strict=True))  # each [3]
UP_CONES = (40.0, 20.0, 10.0, 5.0)  # degrees: horizontal surfaces are looked for in narrowing cones


def load_rgbd(
    folder: str | Path,
    *,
    voxel: float = 0.03,
    frame_skip: int = 1,
    up: str = "auto",
    max_depth: float = 5.0,
    depth_scale: float = 1000.0,
    image_size: tuple[int, int] | None = None,
) -> Scene:
    """Reconstruct a folder of RGB-D frames into a scene with these frames as views, z up.

    Frames without a finite pose stay among the views (`has_pose` False) and are not fused.

    Args:
        folder: The folder, in one of the two layouts.
        voxel: Edge of a voxel in metres, as in `reconstruct`.
        frame_skip: Every n-th frame is taken.
        up: Which direction of the recording's world points up: "x", "y", "z", "-x", "-y", "-z", or "auto" for
            `estimate_up`. Mesh and poses are turned together by the smallest rotation that brings it to +z; nothing is
            moved.
        max_depth: Depth beyond this, in metres, is not used, as in `reconstruct`.
        depth_scale: Units of the depth images per metre.
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The scene, named as the folder.

    Raises:
        DataError: The folder is missing or holds no frames, or a file is broken.
        InputError: An argument is out of range, the cameras have no common up direction, or nothing can be
            reconstructed.
    """
    folder = need_folder(folder, "RGB-D folder")
    if up != "auto" and up not in AXES:
        raise InputError(f"up must be 'auto' or one of {', '.join(AXES)}, found {up!r}")
    if frame_skip < 1 or depth_scale <= 0:
        raise InputError(f"frame_skip and depth_scale must be positive, found {frame_skip} and {depth_scale}")
    views = load_views(folder, frame_skip=frame_skip, depth_scale=depth_scale, image_size=image_size)
    vertices, faces, colors, normals = reconstruct(views, voxel=voxel, max_depth=max_depth)
    turn = rotation_to_z(estimate_up(views, normals) if up == "auto" else AXES[up])  # [3, 3]
    return Scene(
        name=folder.name,
        points=(vertices.astype(np.float64) @ turn.T).astype(np.float32),
        colors=colors,
        normals=(normals.astype(np.float64) @ turn.T).astype(np.float32),
        faces=faces,
        views=tuple(_turned(view, turn) for view in views),
    )


def load_views(
    folder: str | Path, *, frame_skip: int = 1, depth_scale: float = 1000.0, image_size: tuple[int, int] | None = None
) -> tuple[View, ...]:
    """List the frames of a folder in either layout as views, in frame order; pixels stay on disk.

    Args:
        folder: The folder.
        frame_skip: Every n-th frame is taken.
        depth_scale: Units of the depth images per metre.
        image_size: (H, W) of the views, by default the depth images' own.

    Returns:
        The views.

    Raises:
        DataError: The folder is missing or holds no frames, or a file is broken.
    """
    folder = need_folder(folder, "RGB-D folder")
    frames, intrinsics_path = _find_frames(folder)
    frames = frames[::frame_skip]
    intrinsics, size = common_camera([frame[1:3] for frame in frames], intrinsics_path, image_size)
    return tuple(
        View(name, intrinsics, read_pose(pose), size, color, depth, depth_scale) for name, color, depth, pose in frames
    )


def estimate_up(views: tuple[View, ...], normals: np.ndarray) -> np.ndarray:
    """Estimate which way is up, against gravity.

    Starts from the cameras' mean up direction (people hold cameras upright). Then, in ever narrower cones around the
    estimate, averages the normals that point up or down within the cone: floors, tables, seats.

    Args:
        views: Views, of which those with a pose are used.
        normals: Unit normals of the surfaces [P, 3], in the same world.

    Returns:
        Unit vector, float64 [3].

    Raises:
        InputError: The cameras' directions cancel out.
    """
    rises = np.stack([-view.cam_to_world[:3, 1] for view in views if view.has_pose])  # [K, 3], image top
    up = rises.mean(axis=0)  # [3]
    if np.linalg.norm(up) < 0.2:
        raise InputError("up='auto': the cameras have no common up direction; give up='z' or another axis")
    up /= np.linalg.norm(up)
    for cone in UP_CONES:
        along = normals.astype(np.float64) @ up  # [P]
        near = np.abs(along) > np.cos(np.deg2rad(cone))  # [P]
        if not near.any():
            break  # no horizontal surface in sight: what the wider cone gave stands
        up = (normals[near] * np.sign(along[near])[:, None]).mean(axis=0, dtype=np.float64)
        up /= np.linalg.norm(up)
    return up


def rotation_to_z(direction: np.ndarray) -> np.ndarray:
    """Compute the smallest rotation that takes a direction to +z.

    Args:
        direction: Unit vector [3].

    Returns:
        The rotation, float64 [3, 3]; half a turn about x for -z.

    Example:
        >>> rotation_to_z(np.array([0.0, 1.0, 0.0])).round(6).tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
    """
    axis = np.cross(direction, (0.0, 0.0, 1.0))
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3) if direction[2] > 0 else np.diag([1.0, -1.0, -1.0])
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, direction[2])).as_matrix()


def _turned(view: View, turn: np.ndarray) -> View:
    """The view in a world turned by `turn` [3, 3]; a lost pose stays as it is."""
    if not view.has_pose:
        return view
    motion = np.eye(4)
    motion[:3, :3] = turn
    return dataclasses.replace(view, cam_to_world=motion @ view.cam_to_world)


def _find_frames(folder: Path) -> tuple[list[tuple[str, Path, Path, Path]], Path]:
    """Name, colour, depth and pose file of each frame, in frame order, and the intrinsics file, of either layout."""
    flat = sorted(path for kind in ("jpg", "png") for path in folder.glob(f"*.color.{kind}"))
    if flat and (folder / "color").is_dir():
        raise DataError(f"{folder}: mixed layouts, holds both {flat[0].name} and color/")
    colors = flat or [path for kind in ("jpg", "png") for path in (folder / "color").glob(f"*.{kind}")]
    if not colors:
        raise DataError(f"{folder}: no RGB-D frames (frame-N.color.jpg files, or a color/ folder with images)")
    if flat:
        stems = [path.name[: path.name.index(".color.")] for path in flat]
        files = [(folder / f"{stem}.depth.png", folder / f"{stem}.pose.txt") for stem in stems]
        camera = folder / "camera-intrinsics.txt"
    else:
        colors.sort(key=lambda path: (len(path.stem), path.stem))  # numeric order for names without padding
        stems = [path.stem for path in colors]
        files = [(folder / "depth" / f"{stem}.png", folder / "pose" / f"{stem}.txt") for stem in stems]
        camera = folder / "intrinsic" / "intrinsic_depth.txt"
    depths, poses = [need_file(depth, "depth image") for depth, _ in files], [pose for _, pose in files]
    return list(zip(stems, colors, depths, poses, strict=True)), camera
