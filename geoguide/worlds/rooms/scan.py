"""The scan of mini-ScanNet: `scan_room(room, seed)` walks through a room with a hand-held RGB-D camera.

The camera follows a walk through the free floor and looks where least has been seen so far.
"""

import itertools

import numpy as np
from scipy import ndimage
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from geoguide.errors import InputError
from geoguide.worlds.camera import Frame, SensorConfig, directions, look, pose_errors, render, smooth_noise
from geoguide.worlds.casting import RayCaster
from geoguide.worlds.holes import Holes
from geoguide.worlds.interior import FurnishedRoom, floor_grid

WALK_STEP = 0.2  # metres between the places where a camera may stand
SMALLEST_PLACE = 4  # cells; smaller free places are not visited
BLOCKED = 6.0  # factor on the length of a way over furniture
WAYPOINTS = 10  # places that a walk visits at most
COVERAGE_POINTS = 3000  # surface points whose coverage steers the view
FACING = 0.35  # cosine of ray and surface normal; seen at a lower one a target does not count as covered
VIEW_DIRECTIONS = 48  # directions weighed per frame
LARGEST_TURN = np.deg2rad(75)  # largest turn between two frames


def scan_room(room: FurnishedRoom, seed: int, config: SensorConfig | None = None) -> list[Frame]:
    """Scan a room along a hand-held path; the same room, seed and config give the same frames.

    Args:
        room: The room.
        seed: Source of the path and of all faults.
        config: The camera.

    Returns:
        The frames, in the order they were taken.

    Raises:
        InputError: `config.frames` is below 1, or the camera can stand nowhere in the room.
    """
    config = config or SensorConfig()
    if config.frames < 1:
        raise InputError(f"frames must be at least 1, found {config.frames}")
    rng = np.random.default_rng(seed)
    caster = RayCaster(room.vertices, room.faces)
    poses = camera_path(room, caster, config, rng)  # [K, 4, 4]
    recorded = poses @ pose_errors(len(poses), config, rng)
    exposure = 1.0 + config.exposure_drift * smooth_noise(len(poses), 1, rng)[:, 0]  # [K]
    holes = Holes.of_scan(config.holes, seed)
    return [
        render(room, caster, pose, record, gain, config, rng, holes)
        for pose, record, gain in zip(poses, recorded, exposure, strict=True)
    ]


def camera_path(room: FurnishedRoom, caster: RayCaster, config: SensorConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw one walk through the room.

    Positions follow shortest ways between far-apart free places; each view is the direction, among those a hand could
    turn to, that adds most to the coverage of the room's surface.

    Args:
        room: The room.
        caster: The ray caster of its mesh.
        config: The camera.
        rng: Source of the walk.

    Returns:
        True poses camera-to-world float64 [K, 4, 4], OpenCV axes.

    Raises:
        InputError: The camera can stand nowhere in the room.
    """
    positions = _walk(room, config.frames, rng)  # [K, 2]
    low, high = config.height_range
    sway = gaussian_filter1d(rng.standard_normal(config.frames + 12), 3.0)[6 : 6 + config.frames] * 2.0
    height = (low + high) / 2 + np.clip(sway, -1, 1) * (high - low) / 2
    eyes = np.column_stack([positions, np.minimum(height, room.size[2] - 0.3)])  # [K, 3]
    targets, normals = _surface_samples(room, caster, rng)  # [T, 3] each
    seen = np.zeros(len(targets))  # [T] times that each was covered
    poses = np.empty((config.frames, 4, 4))
    yaw = rng.uniform(-np.pi, np.pi)
    for number, eye in enumerate(eyes):  # each view depends on what the views before it saw
        yaw, pitch, covered = _best_view(eye, yaw, targets, normals, seen, caster, config, rng, free=number == 0)
        seen += covered
        poses[number] = look(eye, yaw, pitch, roll=np.deg2rad(3) * rng.standard_normal())
    return poses


def _walk(room: FurnishedRoom, frames: int, rng: np.random.Generator) -> np.ndarray:
    """Camera positions [K, 2], all free, along a tour of far-apart free places.

    Where furniture separates two free places the camera is carried over it, without a frame on the way.
    """
    counts = max(int(room.size[0] / WALK_STEP), 1), max(int(room.size[1] / WALK_STEP), 1)
    cells = floor_grid(counts, WALK_STEP)  # [X Y, 2]
    free = room.camera_free(cells)  # [X Y]
    part = ndimage.label(free.reshape(counts))[0].reshape(-1)
    usable = np.flatnonzero(free & (np.bincount(part)[part] >= SMALLEST_PLACE))
    if len(usable) == 0:
        raise InputError(f"room of type {room.room_type}: no free place for the camera")
    stops = usable[_far_apart(cells[usable], min(WAYPOINTS, len(usable)), rng)]
    graph = _neighbours(counts, free)
    distance, before = dijkstra(graph, directed=False, indices=stops, return_predecessors=True)  # [stops, X Y] each
    tour = _tour(distance[:, stops])
    track = [stops[tour[0]]]
    for start, end in itertools.pairwise(tour):
        leg = [stops[end]]
        while leg[-1] != stops[start]:
            leg.append(before[start, leg[-1]])
        track += leg[-2::-1]
    points = cells[[cell for cell in track if free[cell]]]  # [T, 2]
    at = np.linspace(0, len(points) - 1, frames)  # [K] places along the track
    smooth = np.column_stack([np.interp(at, np.arange(len(points)), points[:, axis]) for axis in range(2)])  # [K, 2]
    wobbly = smooth + gaussian_filter1d(rng.standard_normal((frames, 2)), 1.0, axis=0) * 0.05
    nearest = points[np.rint(at).astype(np.int64)]
    return np.where(room.camera_free(wobbly)[:, None], wobbly, nearest)


def _neighbours(counts: tuple[int, int], free: np.ndarray) -> coo_matrix:
    """Sparse graph [X Y, X Y] of grid cells that share a side; edges are distances, times `BLOCKED` where not free."""
    index = np.arange(len(free)).reshape(counts)
    edges = np.concatenate(
        [
            np.column_stack([a.reshape(-1), b.reshape(-1)])
            for a, b in ((index[1:], index[:-1]), (index[:, 1:], index[:, :-1]))
        ]
    )
    cost = np.where(free[edges].all(axis=1), WALK_STEP, BLOCKED * WALK_STEP)  # [E]
    return coo_matrix((cost, edges.T), shape=(len(free), len(free))).tocsr()


def _far_apart(cells: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices [count] of cells, each the farthest from those before it."""
    chosen = [int(rng.integers(len(cells)))]
    nearest = np.linalg.norm(cells - cells[chosen[0]], axis=1)  # [N]
    for _ in range(count - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(cells - cells[chosen[-1]], axis=1))
    return np.array(chosen)


def _tour(distance: np.ndarray) -> list[int]:
    """Order of visits: always on to the nearest stop not yet visited."""
    order, left = [0], set(range(1, len(distance)))
    while left:
        nearest = min(left, key=lambda stop: (distance[order[-1], stop], stop))
        order.append(nearest)
        left.remove(nearest)
    return order


def _surface_samples(room: FurnishedRoom, caster: RayCaster, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points [T, 3] and unit normals [T, 3] on the surface: half by area, half equal for every object."""
    corners = room.vertices[room.faces]  # [F, 3, 3]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)  # [F]
    total = np.bincount(room.face_object, area, minlength=len(room.objects))[room.face_object]
    share = area / area.sum() + area / np.maximum(total, 1e-12) / len(room.objects)
    face = rng.choice(len(area), COVERAGE_POINTS, p=share / share.sum())  # [T]
    weight = rng.dirichlet((1.0, 1.0, 1.0), COVERAGE_POINTS)  # uniform over a triangle
    return (weight[:, :, None] * corners[face]).sum(axis=1), caster.face_normals[face]


def _best_view(
    eye: np.ndarray,
    yaw: float,
    targets: np.ndarray,
    normals: np.ndarray,
    seen: np.ndarray,
    caster: RayCaster,
    config: SensorConfig,
    rng: np.random.Generator,
    free: bool,
) -> tuple[float, float, np.ndarray]:
    """(yaw, pitch, newly covered float64 [T]) of the candidate direction that adds most coverage.

    `free`: the first view, which may look anywhere; later ones turn by at most `LARGEST_TURN` from `yaw`.
    """
    offset = targets - eye  # [T, 3]
    distance = np.linalg.norm(offset, axis=1)  # [T]
    cosine = np.abs((normals * offset).sum(axis=1)) / np.maximum(distance, 1e-9)  # [T]
    near, far = config.depth_range
    visible = (distance > near) & (distance < far - 1.0) & (cosine > FACING)  # [T], if nothing stands before it
    ahead = offset[visible]
    visible[visible] = caster.cast(np.broadcast_to(eye, ahead.shape), ahead)[1] > 0.98
    turn = (
        rng.uniform(-np.pi, np.pi, VIEW_DIRECTIONS)
        if free
        else rng.uniform(-LARGEST_TURN, LARGEST_TURN, VIEW_DIRECTIONS)
    )
    pitch = rng.uniform(np.deg2rad(-50), np.deg2rad(15), VIEW_DIRECTIONS)
    axes = directions(yaw + turn, pitch)  # [N, 3, 3]
    local = (offset[visible] @ axes).astype(np.float32)  # [N, V, 3] visible targets in each candidate's camera axes
    height, width = config.image_size
    reach = 0.95 / 2 / config.focal * local[..., 2]
    covered = (np.abs(local[..., 0]) < width * reach) & (np.abs(local[..., 1]) < height * reach)  # [N, V]
    covered &= local[..., 2] > near
    gain = covered @ (0.25 ** np.minimum(seen[visible], 6)) - 2.0 * np.abs(turn)  # [N]
    best = int(gain.argmax())
    new = np.zeros(len(targets))
    new[visible] = covered[best]
    return yaw + turn[best], pitch[best], new
