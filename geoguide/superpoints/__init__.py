"""Superpoints: small patches that a surface's creases separate; the units of the paper's USD and IIRC modules.

They are found by Felzenszwalb's graph segmentation over the surface. An edge weighs 1 - n_a . n_b, squared where the
surface is convex, so that creases (concave) weigh more than an object's own corners. Every point begins as a part of
its own. In ascending order of weight w, an edge merges the two parts that it joins where w is at most the threshold tau
of both; tau is k at first and w + k / size after a merge. Then parts under `min_size` points join a neighbour. What
remains are the superpoints.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pykdtree.kdtree import KDTree

from geoguide.errors import DataError, InputError
from geoguide.frozen import check_fields, unless
from geoguide.ops.arrays import as_config_error, coordinates, host, number, whole
from geoguide.ops.compiled import compiled
from geoguide.ops.neighbors import nearest_points
from geoguide.ops.union_find import find_root, join_roots
from geoguide.ops.weld import Finder, find_weld
from geoguide.scene import VOID, Scene
from geoguide.superpoints.vccs import VCCSConfig, segment_voxels
from geoguide.welding import at_positions, finder_of

_NORMAL_NEIGHBORS = 16  # of a point, for the plane its normal is taken from
_CHUNK = 1 << 16  # points whose neighbourhoods are in memory at a time


@dataclass(frozen=True)
class SuperpointConfig:
    """Over-segmentation, by default normal-based with ScanNet's own parameters. See `segment_mesh`.

    Raises:
        ConfigError: A number is out of range, or an unknown word.
    """

    k: float = 0.01  # not stated; ScanNet's default
    min_size: int = 20  # not stated; ScanNet's default, where SAS has 60 ("minVerts", preset `lineage`)
    cut: Literal["none", "annotation"] = field(default="none", metadata=unless("cut", "none"))
    """`annotation` cuts superpoints where annotated instances or labels end: an oracle variant and named so."""
    method: Literal["graph", "vccs", "points"] = field(default="graph", metadata=unless("method", "graph"))
    """`graph` is the rule at the top of this file, by `k` and `min_size`; `vccs` is GGSD's (see `segment_voxels`), by
    `vccs` and `min_size`; `points` makes every point a superpoint, as SAS does of nuScenes."""
    vccs: VCCSConfig = field(default=VCCSConfig(), metadata={"hash": lambda config: config.uses_vccs})

    def __post_init__(self) -> None:
        check_fields(self, "superpoints")
        with as_config_error("superpoints"):
            number("k", self.k)
            whole("min_size", self.min_size, 0)

    @property
    def uses_vccs(self) -> bool:
        """Whether `vccs` decides anything that its defaults do not."""
        return self.method == "vccs" and self.vccs != VCCSConfig()


def segment_mesh(vertices: np.ndarray, faces: np.ndarray, *, k: float = 0.01, min_size: int = 20) -> np.ndarray:
    """Split a mesh into superpoints, with the same partition to the vertex as ScanNet's Segmentator.

    All arithmetic is float32, as in the official program. A vertex of no face is a superpoint of its own; a face
    without area adds its edges but no normal. O(P + F log F) time.

    Args:
        vertices: [P, 3] metres, array or tensor.
        faces: integer [F, 3], vertex numbers, array or tensor.
        k: Threshold before any merge, without unit; larger makes larger superpoints.
        min_size: Vertices that a superpoint has at least, where it touches another.

    Returns:
        numpy int64 [P], ids 0..S-1 in the order of first appearance.

    Raises:
        InputError: Wrong shapes, nan or inf, an empty mesh, faces out of range.

    Example:
        A strip of seven columns of vertices, the last three on a wall that rises from the floor:

        >>> import numpy as np
        >>> x, y = (a.ravel() for a in np.meshgrid(np.arange(7.0), np.arange(2.0)))
        >>> vertices = np.stack([np.minimum(x, 3), y, np.maximum(x - 3, 0)], axis=1)
        >>> corner = np.arange(6)[:, None]
        >>> faces = np.concatenate([corner + [0, 1, 7], corner + [1, 8, 7]])
        >>> segment_mesh(vertices, faces, min_size=2).reshape(2, 7)
        array([[0, 0, 0, 0, 1, 1, 1],
               [0, 0, 0, 1, 1, 1, 1]])
    """
    vertices = coordinates("vertices", vertices, filled=True)
    faces = _faces(faces, len(vertices))
    k, min_size = number("k", k), whole("min_size", min_size, 0)
    if np.abs(vertices).max() > np.finfo(np.float32).max:
        raise InputError("vertices exceed float32, in which ScanNet's criterion is computed")
    vertices = vertices.astype(np.float32)
    edges = faces[:, [[0, 1], [0, 2], [2, 1]]].reshape(-1, 2)  # [3F, 2]
    weights = _mesh_weights(vertices, _mesh_normals(vertices, faces), edges)
    return _merge(len(vertices), edges, weights, _order(weights), np.float32(k), min_size)


def segment_points(
    points: np.ndarray,
    normals: np.ndarray | None = None,
    *,
    neighbors: int = 8,
    k: float = 0.01,
    min_size: int = 20,
    max_distance: float | None = None,
    find: Finder = find_weld,
) -> np.ndarray:
    """Split a cloud without faces: `segment_mesh`'s criterion over the graph of nearest neighbours (own choice).

    Given normals are taken as oriented (all out of the surface), and convexity is judged symmetrically, by
    (n_b - n_a) . (p_b - p_a) > 0. Without them `estimate_normals` gives unoriented ones: then an edge weighs
    1 - |n_a . n_b|, and convexity, which has no meaning without sides, is not used. O(P neighbors) memory, 16 bytes an
    edge. Points of equal position count once, with their mean normal (see `find_weld`), and get the same superpoint.

    Args:
        points: [P, 3] metres, array or tensor.
        normals: [P, 3], of any length above 0, or None.
        neighbors: Nearest neighbours of each point that the graph joins it with.
        k: As in `segment_mesh`.
        min_size: Points that a superpoint has at least, where the graph joins it with another.
        max_distance: Metres beyond which neighbours are not joined, not even for `min_size`; None for no limit.
        find: How equal positions are found.

    Returns:
        numpy int64 [P], ids 0..S-1 in the order of first appearance.

    Raises:
        InputError: Wrong shapes, nan or inf, no points.

    Example:
        >>> import numpy as np
        >>> x, y = (a.ravel() for a in np.meshgrid(np.arange(6.0), np.arange(2.0)))
        >>> floor = x < 3
        >>> points = np.stack([np.minimum(x, 3), y, np.maximum(x - 3, 0)], axis=1)  # a floor, then a wall
        >>> normals = np.where(floor[:, None], [0, 0, 1], [-1, 0, 0])
        >>> segment_points(points, normals, neighbors=3, min_size=2).reshape(2, 6)
        array([[0, 0, 0, 1, 1, 1],
               [0, 0, 0, 1, 1, 1]])
    """
    points = coordinates("points", points, filled=True)
    neighbors = whole("neighbors", neighbors, 1)
    k, min_size = number("k", k), whole("min_size", min_size, 0)
    max_distance = np.inf if max_distance is None else number("max_distance", max_distance)
    if normals is not None:
        normals = coordinates("normals", normals, filled=True, count=len(points))
        normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    weld = find(points)
    if weld is None:
        return _segment_distinct(points, normals, neighbors, k, min_size, max_distance)
    normals = None if normals is None else weld.directions(normals)
    return _segment_distinct(weld.mean(points), normals, neighbors, k, min_size, max_distance)[weld.index]


def _segment_distinct(
    points: np.ndarray, normals: np.ndarray | None, neighbors: int, k: float, min_size: int, max_distance: float
) -> np.ndarray:
    """`segment_points` of checked arguments: float64 points and unit normals."""
    oriented, count, tree = normals is not None, len(points), KDTree(points)
    reach = max(neighbors, 0 if oriented else _NORMAL_NEIGHBORS)
    found = np.empty(points.shape) if normals is None else normals
    code, size = np.empty(count * (neighbors + 1), np.int64), 0  # one for each edge, of first < second
    for start in range(0, count, _CHUNK):  # the neighbours of all points at once are gigabytes of a large cloud
        part = slice(start, start + _CHUNK)
        distance, nearest = nearest_points(tree, points[part], reach + 1)  # in most rows the point itself first
        if not oriented:
            found[part] = _principal_normals(points, nearest, start)
        own, nearest = np.arange(count)[part, None], nearest[:, : neighbors + 1]  # [n, 1], [n, neighbors + 1]
        keep = (nearest != own) & (distance[:, : neighbors + 1] <= max_distance)
        some = (np.minimum(own, nearest) * count + np.maximum(own, nearest))[keep]
        code[size : size + len(some)] = some
        size += len(some)
    code = code[:size]
    code.sort()
    code = code[np.append(code[1:] != code[:-1], True)[:size]]  # [E]; np.unique would hold copies of all
    edges, weights = np.empty((len(code), 2), np.int64), np.empty(len(code), np.float32)
    for start in range(0, len(code), _CHUNK):
        part = slice(start, start + _CHUNK)
        edges[part] = np.stack(np.divmod(code[part], count), axis=1)
        weights[part] = _point_weights(points, found, edges[part], oriented)
    return _merge(len(points), edges, weights, _order(weights), np.float32(k), min_size)


def estimate_normals(points: np.ndarray, neighbors: int = _NORMAL_NEIGHBORS, *, find: Finder = find_weld) -> np.ndarray:
    """Take each point's normal from the plane that fits its neighbourhood best (PCA).

    The sign is not known from points alone; here z >= 0 (then y, then x). Fewer than three distinct points in a
    neighbourhood leave the direction arbitrary, but of unit length. Points of equal position count once (see
    `find_weld`).

    Args:
        points: [P, 3] metres, array or tensor.
        neighbors: Nearest neighbours that the plane is fitted to, beside the point itself; at least 2.
        find: How equal positions are found.

    Returns:
        numpy float32 [P, 3], unit length.

    Raises:
        InputError: Wrong shapes, nan or inf, no points.
    """
    points = coordinates("points", points, filled=True)
    neighbors = whole("neighbors", neighbors, 2)
    weld = find(points)
    places = points if weld is None else weld.mean(points)  # [W, 3]
    tree, normals = KDTree(places), np.empty(places.shape, np.float32)
    for start in range(0, len(places), _CHUNK):  # what is nearest to all points at once is gigabytes of a large cloud
        part = slice(start, start + _CHUNK)
        normals[part] = _principal_normals(places, nearest_points(tree, places[part], neighbors + 1)[1], start)
    return normals if weld is None else normals[weld.index]


def superpoint_purity(superpoints: np.ndarray, labels: np.ndarray) -> float:
    """Share of labelled points whose label is the most frequent one of their superpoint.

    It is an upper bound for the accuracy of any method that labels whole superpoints.

    Args:
        superpoints: integer [P].
        labels: integer [P]; 255 is void and left out.

    Returns:
        A number in (0, 1]; nan where every point is void.

    Raises:
        InputError: Other shapes or dtypes.
    """
    superpoints, labels = host("superpoints", superpoints, "iu"), host("labels", labels, "iu")
    if superpoints.ndim != 1 or labels.shape != superpoints.shape:
        raise InputError(f"superpoints and labels must be [P], found {list(superpoints.shape)}, {list(labels.shape)}")
    valid = labels != VOID
    if not valid.any():
        return float("nan")
    pair = np.stack([part[valid].astype(np.int64) for part in (superpoints, labels)])  # [2, n]
    pair, votes = np.unique(pair, axis=1, return_counts=True)
    starts = np.flatnonzero(np.diff(pair[0], prepend=pair[0, 0] - 1))
    return float(np.maximum.reduceat(votes, starts).sum() / votes.sum())


def scene_normals(scene: Scene) -> np.ndarray:
    """A scene's own normals, else those of planes fitted to its points (see `estimate_normals`).

    Args:
        scene: P points, with or without normals.

    Returns:
        float32 [P, 3], unit length.
    """
    return scene.normals if scene.normals is not None else estimate_normals(scene.points, find=finder_of(scene))


def scene_superpoints(scene: Scene, config: SuperpointConfig) -> np.ndarray:
    """Split a scene into superpoints as a config says; a graph is its mesh where it has faces, else nearest neighbours.

    Vertices of equal position are one (see `welding`): separate triangles are joined, where `segment_mesh` keeps to
    the vertices that it is given, as ScanNet's Segmentator does.

    Args:
        scene: P points, with or without faces and normals.
        config: The method, and its parameters.

    Returns:
        int64 [P], ids 0..S-1 in the order of first appearance.

    Raises:
        DataError: `cut` is annotation, and the scene has no labels or instances.
    """
    found = at_positions(scene, lambda places: _segment(places, config))
    return found if config.cut == "none" else _cut(scene, found)


def _cut(scene: Scene, superpoints: np.ndarray) -> np.ndarray:
    """Superpoints whose points are of one label and one instance each, ids in the order of first appearance."""
    if scene.labels is None or scene.instances is None:
        raise DataError(f"scene {scene.name}: superpoints.cut 'annotation' needs labels and instances, found none")
    kinds = np.column_stack([superpoints, scene.labels, scene.instances])
    _, first, parts = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[parts.reshape(-1)]


def _segment(scene: Scene, config: SuperpointConfig) -> np.ndarray:
    if config.method == "points":
        return np.arange(len(scene))
    if config.method == "vccs":
        return segment_voxels(scene.points, scene.colors, scene_normals(scene), config.vccs, min_size=config.min_size)
    if scene.faces is not None and len(scene.faces):
        return segment_mesh(scene.points, scene.faces, k=config.k, min_size=config.min_size)
    find = finder_of(scene)
    return segment_points(scene.points, scene.normals, k=config.k, min_size=config.min_size, find=find)


@compiled(nogil=True, error_model="numpy")
def _mesh_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Running mean of the unit normals of a vertex's faces, in face order, not renormalised; float32."""
    normals = np.zeros_like(vertices)
    counts = np.zeros(len(vertices), np.int64)
    one = np.float32(1.0)
    for f in range(len(faces)):
        a, b, c = faces[f]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if not (length > 0.0 and length < np.inf):
            continue
        nx, ny, nz = nx / length, ny / length, nz / length
        for vertex in (a, b, c):
            new = one / np.float32(counts[vertex] + 1)
            old = one - new
            normals[vertex, 0] = new * nx + old * normals[vertex, 0]
            normals[vertex, 1] = new * ny + old * normals[vertex, 1]
            normals[vertex, 2] = new * nz + old * normals[vertex, 2]
            counts[vertex] += 1
    return normals


@compiled(nogil=True, error_model="numpy")
def _mesh_weights(points: np.ndarray, normals: np.ndarray, edges: np.ndarray) -> np.ndarray:
    weights = np.empty(len(edges), np.float32)
    for e in range(len(edges)):
        a, b = edges[e]
        dx, dy, dz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / length, dy / length, dz / length
        ax, ay, az = normals[a]
        bx, by, bz = normals[b]
        weight = np.float32(1.0) - (ax * bx + ay * by + az * bz)
        if bx * dx + by * dy + bz * dz > 0.0:  # convex; nan for a zero-length edge, hence not
            weight = weight * weight
        weights[e] = weight
    return weights


def _point_weights(points: np.ndarray, normals: np.ndarray, edges: np.ndarray, oriented: bool) -> np.ndarray:
    first, second = edges[:, 0], edges[:, 1]
    cosine = np.einsum("ed,ed->e", normals[first], normals[second])  # [E]
    if not oriented:
        return (1 - np.abs(cosine)).astype(np.float32)
    weights = 1 - cosine
    opening = np.einsum("ed,ed->e", normals[second] - normals[first], points[second] - points[first])
    return np.where(opening > 0, weights**2, weights).astype(np.float32)


def upward(normals: np.ndarray) -> np.ndarray:
    """Give every line of a normal one sign: z >= 0, or y, or x.

    Args:
        normals: [P, 3].

    Returns:
        [P, 3]: what a normal's sign was is forgotten.
    """
    sign = np.sign(normals)
    sign = np.where(sign[:, 2] != 0, sign[:, 2], np.where(sign[:, 1] != 0, sign[:, 1], sign[:, 0]))
    return normals * sign[:, None]


def _principal_normals(points: np.ndarray, nearest: np.ndarray, begin: int = 0) -> np.ndarray:
    """Normals of the points from `begin` on whose nearest ones [n, neighbors] are given."""
    normals = np.empty((len(nearest), 3), points.dtype)
    for start in range(0, len(nearest), _CHUNK):
        part = slice(start, start + _CHUNK)
        own = points[begin + start : begin + start + len(nearest[part]), None]
        around = points[nearest[part]] - own  # [n, neighbors, 3]
        around -= around.mean(axis=1, keepdims=True)
        normals[part] = np.linalg.eigh(around.transpose(0, 2, 1) @ around)[1][:, :, 0]  # least variance
    return upward(normals)


def _order(weights: np.ndarray) -> np.ndarray:
    """Stable argsort of float32 [E] -> int64 [E], several times faster than numpy's."""
    bits = (weights + np.float32(0)).view(np.uint32)  # -0 becomes 0
    return _radix_order(np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)))  # unsigned keys of the floats' order


@compiled(nogil=True)
def _radix_order(keys: np.ndarray) -> np.ndarray:
    """Three counting passes of 11 bits over uint32 keys."""
    order, following = np.arange(len(keys)), np.empty(len(keys), np.int64)
    for shift in (0, 11, 22):
        starts = np.zeros((1 << 11) + 1, np.int64)
        for key in keys:
            starts[((key >> shift) & 2047) + 1] += 1
        starts = np.cumsum(starts)
        for e in order:
            digit = (keys[e] >> shift) & 2047
            following[starts[digit]] = e
            starts[digit] += 1
        order, following = following, order
    return order


@compiled(nogil=True)
def _merge(
    count: int, edges: np.ndarray, weights: np.ndarray, order: np.ndarray, k: np.float32, min_size: int
) -> np.ndarray:
    """Both passes over the edges in `order` (merge by weight, then by size), then ids by first appearance."""
    parent, rank, size = np.arange(count), np.zeros(count, np.int64), np.ones(count, np.int64)
    threshold = np.full(count, k, np.float32)
    for e in order:
        a, b = find_root(parent, edges[e, 0]), find_root(parent, edges[e, 1])
        if a != b and weights[e] <= threshold[a] and weights[e] <= threshold[b]:
            root = join_roots(parent, rank, size, a, b)
            threshold[root] = weights[e] + k / np.float32(size[root])
    for e in order:
        a, b = find_root(parent, edges[e, 0]), find_root(parent, edges[e, 1])
        if a != b and (size[a] < min_size or size[b] < min_size):
            join_roots(parent, rank, size, a, b)
    ids, names, named = np.empty(count, np.int64), np.full(count, -1, np.int64), 0
    for i in range(count):
        root = find_root(parent, i)
        if names[root] < 0:
            names[root] = named
            named += 1
        ids[i] = names[root]
    return ids


def _faces(faces: np.ndarray, count: int) -> np.ndarray:
    faces = host("faces", faces, "iu")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"faces must be [F, 3], found {list(faces.shape)}")
    if faces.size and (faces.min() < 0 or faces.max() >= count):
        raise InputError(f"faces must name vertices 0..{count - 1}, found {faces.min()}..{faces.max()}")
    return np.ascontiguousarray(faces, dtype=np.int64)
