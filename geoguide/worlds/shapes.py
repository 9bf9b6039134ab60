"""Building blocks of all things: boxes and lofted rings gathered into a `Piece`, with the boxes it occupies in space.

Local frame of every piece of furniture, in metres: x along its width (centred on 0), y from its back (0) to its front,
z up from the floor. A piece stands against a wall when its origin lies on the wall and its y axis is the wall's inward
normal. (Things of a street have frames of their own; their modules say which.) Scans are reconstructed in voxels of
4 to 5 cm: parts that the mesh must keep (legs, panels) are 4 cm thick or more.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from geoguide.worlds.palette import Color

MAX_EDGE = 0.3  # metres; longer sides of boxes are divided, so that shades vary over large faces
SHADE = 0.025  # standard deviation of the brightness factor of one quad
Point = tuple[float, float, float]
Rectangle = tuple[float, float, float, float]  # x0 y0 x1 y1
Box = tuple[float, ...]  # x0 y0 z0 x1 y1 z1


@cache
def _unit_box(divisions: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [N, 3] of the unit cube's six divided sides and its triangles [2 Q, 3], wound outwards."""
    vertices, quads = [], []
    for axis in range(3):
        u_axis, v_axis = (axis + 1) % 3, (axis + 2) % 3
        nu, nv = divisions[u_axis], divisions[v_axis]
        for side in (0.0, 1.0):
            grid = np.zeros((nu + 1, nv + 1, 3))
            grid[..., axis] = side
            grid[..., u_axis] = np.linspace(0, 1, nu + 1)[:, None]
            grid[..., v_axis] = np.linspace(0, 1, nv + 1)[None, :]
            quad = grid_quads(nu, nv) + sum(map(len, vertices))  # [nu * nv, 4]
            vertices.append(grid.reshape(-1, 3))
            quads.append(quad if side else quad[:, ::-1])
    return np.concatenate(vertices), triangles(np.concatenate(quads))


@cache
def _between_rings(rings: int, count: int) -> np.ndarray:
    """Triangles [2 (rings - 1) count, 3] between rings of `count` points, each of which ends with its first point."""
    return triangles(grid_quads(rings - 1, count)[:, ::-1])


@cache
def _fan(count: int, last: bool) -> np.ndarray:
    """Triangles [count, 3] between a ring, which ends with its first point, and the middle, which follows it."""
    start = np.arange(count)
    fan = np.stack([start, start + 1, np.full(count, count + 1)], axis=1)  # [N, 3]
    return fan if last else fan[:, ::-1]


@cache
def _unit_ring(power: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The x and the y [count] of `ring` with radius 1."""
    angle = 2 * np.pi * (np.arange(count) + 0.5) / count
    x, y = np.cos(angle), np.sin(angle)
    return np.sign(x) * np.abs(x) ** (2 / power), np.sign(y) * np.abs(y) ** (2 / power)


def grid_quads(nu: int, nv: int) -> np.ndarray:
    """The quads of a grid of (nu + 1) x (nv + 1) vertices that are stored row by row.

    Args:
        nu: Number of rows of quads.
        nv: Number of quads in each row.

    Returns:
        int64 [nu * nv, 4], rows of the vertices.
    """
    corner = (np.arange(nu)[:, None] * (nv + 1) + np.arange(nv)[None, :]).ravel()  # [Q]
    return np.stack([corner, corner + nv + 1, corner + nv + 2, corner + 1], axis=1)


def triangles(quads: np.ndarray) -> np.ndarray:
    """Split quads into triangles.

    Args:
        quads: int64 [Q, 4].

    Returns:
        int64 [2 Q, 3]; the two triangles of a quad are neighbours.
    """
    return quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)


def ring(
    center: Point, radius_x: float, radius_y: float | None = None, *, power: float = 2.0, count: int = 14
) -> np.ndarray:
    """Points of a horizontal superellipse.

    Args:
        center: Its middle (x, y, z), metres.
        radius_x: Half its extent along x.
        radius_y: Half its extent along y, by default as along x.
        power: 2 gives an ellipse, larger powers approach a rectangle.
        count: Number of points.

    Returns:
        Float64 [count, 3], counter-clockwise seen from above.
    """
    x, y = _unit_ring(power, count)
    points = np.empty((count, 3))
    points[:, 0] = center[0] + radius_x * x
    points[:, 1] = center[1] + (radius_x if radius_y is None else radius_y) * y
    points[:, 2] = center[2]
    return points


def shaded(rng: np.random.Generator, color: Color, count: int, spread: float = SHADE) -> np.ndarray:
    """Draw shades of one colour.

    Args:
        rng: Source of the brightness.
        color: The colour.
        count: How many shades.
        spread: Standard deviation of the brightness factor.

    Returns:
        uint8 [count, 3].
    """
    shade = rng.normal(1.0, spread, (count, 1))
    return np.minimum(np.maximum(np.asarray(color, np.float64) * shade, 0), 255).astype(np.uint8)


@dataclass
class ObjectParts:
    """One object being built, part by part.

    Attributes:
        category: Its name in the benchmark's vocabulary.
        color: Its base colour.
        vertices: Points of each part, float64 [N, 3] metres.
        faces: Triangles of each part, int64 [F, 3], rows of all the object's points.
        colors: Colours of each part's triangles, uint8 [F, 3].
    """

    category: str
    color: Color
    vertices: list[np.ndarray] = field(default_factory=list)
    faces: list[np.ndarray] = field(default_factory=list)
    colors: list[np.ndarray] = field(default_factory=list)

    def add(self, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> None:
        """Add a part.

        Args:
            vertices: Its points, float64 [N, 3] metres.
            faces: Its triangles, int64 [F, 3], rows of `vertices`.
            colors: The triangles' colours, uint8 [F, 3].
        """
        self.faces.append(faces + sum(map(len, self.vertices)))
        self.vertices.append(vertices)
        self.colors.append(colors)


class Piece:
    """One or several objects built in one local frame, the boxes they occupy, and where things may be put on them.

    Lengths are metres; a part without a `color` takes that of its object, a little brighter or darker in each quad.

    Args:
        rng: Source of all that is random in the piece.
        max_edge: Sides of boxes are divided into quads of at most this, metres; streets need less fine ones than rooms.

    Attributes:
        items: The objects, in the order they were begun.
        boxes: Boxes x0 y0 z0 x1 y1 z1 that the parts occupy, for collisions.
        supports: x0 y0 x1 y1 z of each top that carries clutter.
        clear: Boxes that must stay empty for ever, e.g. a door's swing.
    """

    def __init__(self, rng: np.random.Generator, max_edge: float = MAX_EDGE) -> None:
        self.rng, self.max_edge = rng, max_edge
        self.items: list[ObjectParts] = []
        self.boxes: list[Box] = []
        self.supports: list[tuple[float, ...]] = []
        self.clear: list[Box] = []

    def start(self, category: str, color: Color) -> "Piece":
        """Begin the next object; the parts that follow belong to it.

        Args:
            category: Its name in the benchmark's vocabulary.
            color: Its base colour.

        Returns:
            The piece itself.
        """
        self.items.append(ObjectParts(category, color))
        return self

    def box(self, low: Point, high: Point, color: Color | None = None) -> None:
        """Add an axis-aligned box, its sides divided to `max_edge`.

        Args:
            low: Its lowest corner.
            high: Its highest corner.
            color: Its colour.
        """
        low_, high_ = np.array(low, np.float64), np.array(high, np.float64)
        divisions = tuple(int(n) for n in np.maximum(1, np.ceil((high_ - low_) / self.max_edge)))
        unit, faces = _unit_box(divisions)  # [N, 3], [2 Q, 3]
        self._add(low_ + unit * (high_ - low_), faces, color)

    def loft(self, rings: list[np.ndarray], color: Color | None = None, *, caps: bool = True) -> None:
        """Add the surface through rings; it faces outwards where they run counter-clockwise and rise.

        Args:
            rings: Closed polygons of N points each, float64 [N, 3].
            color: Its colour.
            caps: Whether the first and the last ring are closed.
        """
        count = len(rings[0])
        rows = np.empty((len(rings), count + 1, 3))
        rows[:, :-1] = rings
        rows[:, -1] = rows[:, 0]
        item = self._add(rows.reshape(-1, 3), _between_rings(len(rings), count), color)
        for index in (0, len(rings) - 1) if caps else ():
            points = np.empty((count + 2, 3))
            # Of the ring itself: the order in which its memory lies decides how its sum is rounded.
            points[:-1], points[-1] = rows[index], np.add.reduce(rings[index]) / count
            item.add(points, _fan(count, index > 0), shaded(self.rng, color or item.color, count))

    def cylinder(self, base: Point, radius: float, height: float, color: Color | None = None, top: float = 0) -> None:
        """Add a cylinder, or a cone's frustum.

        Args:
            base: Middle of its lower end.
            radius: Radius of the lower end.
            height: Its height.
            color: Its colour.
            top: Radius of the upper end; 0: as the lower end's.
        """
        x, y, z = base
        self.loft([ring(base, radius), ring((x, y, z + height), top or radius)], color)

    def cushion(self, low: Point, high: Point, color: Color | None = None) -> None:
        """Add a soft box, rounded in plan and in section.

        Args:
            low: Its lowest corner.
            high: Its highest corner.
            color: Its colour.
        """
        (x0, y0, z0), (x1, y1, z1) = low, high
        levels = ((0.0, 0.9), (0.3, 1.0), (0.7, 1.0), (1.0, 0.85))
        center, rx, ry = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0) / 2, (y1 - y0) / 2
        self.loft([ring((*center, z0 + t * (z1 - z0)), rx * s, ry * s, power=5, count=20) for t, s in levels], color)

    def beam(self, start: Point, end: Point, thickness: float, color: Color | None = None) -> None:
        """Add a square bar between two points: legs that splay, star bases, lamp arms.

        Args:
            start: Middle of its one end.
            end: Middle of its other end.
            thickness: Edge of its section.
            color: Its colour.
        """
        a, b = np.array(start, np.float64), np.array(end, np.float64)
        along = (b - a) / np.linalg.norm(b - a)
        side = np.cross(along, [1.0, 0, 0] if abs(along[0]) < 0.8 else [0, 1.0, 0])
        side /= np.linalg.norm(side)
        up = np.cross(along, side)
        corners = thickness / 2 * np.stack([side + up, up - side, -side - up, side - up])  # [4, 3]
        self.loft([a + corners, b + corners], color)

    def slab(self, bottom: Rectangle, top: Rectangle, z0: float, z1: float, color: Color | None = None) -> None:
        """Add a box that leans or tapers.

        Args:
            bottom: Its lower rectangle x0 y0 x1 y1.
            top: Its upper rectangle.
            z0: Height of the lower rectangle.
            z1: Height of the upper rectangle.
            color: Its colour.
        """

        def rectangle(r: Rectangle, z: float) -> np.ndarray:
            return np.array([[r[0], r[1], z], [r[2], r[1], z], [r[2], r[3], z], [r[0], r[3], z]], np.float64)

        steps = np.linspace(0, 1, max(2, int(np.ceil((z1 - z0) / self.max_edge)) + 1))[:, None, None]
        rings = (1 - steps) * rectangle(bottom, z0) + steps * rectangle(top, z1)  # [R, 4, 3]
        self.loft(list(rings), color)

    def basin(self, low: Point, high: Point, rim: float, depth: float, power: float) -> None:
        """Add a box with a hollow, as sinks and bathtubs have.

        Args:
            low: Lowest corner of the box.
            high: Its highest corner.
            rim: Width of the rim around the hollow.
            depth: Depth of the hollow.
            power: Plan of the hollow, see `ring`.
        """
        (x0, y0, z0), (x1, y1, z1) = low, high
        c, rx, ry = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0) / 2, (y1 - y0) / 2
        inner_x, inner_y, count = rx - rim, ry - rim, 28
        self.loft(
            [
                ring((*c, z0), rx, ry, power=12, count=count),
                ring((*c, z1), rx, ry, power=12, count=count),
                ring((*c, z1), inner_x, inner_y, power=power, count=count),
                ring((*c, z1 - 0.7 * depth), inner_x * 0.93, inner_y * 0.93, power=power, count=count),
                ring((*c, z1 - depth), inner_x * 0.75, inner_y * 0.75, power=power, count=count),
            ]
        )

    def sheet(self, x0: float, x1: float, z0: float, z1: float, y: float, waves: float, amplitude: float) -> None:
        """Add hanging cloth, 4 cm thick and in folds.

        Args:
            x0: Where it begins along the width.
            x1: Where it ends.
            z0: Height of its lower edge.
            z1: Height of its upper edge.
            y: Depth about which it is folded.
            waves: Number of folds.
            amplitude: Half the depth of a fold.
        """
        x = np.linspace(x0, x1, int(np.ceil(10 * waves)) + 1)
        fold = y + amplitude * np.sin(2 * np.pi * waves * (x - x0) / (x1 - x0) + self.rng.uniform(0, 6))  # [n]
        front, back = np.stack([x, fold + 0.02], 1), np.stack([x, fold - 0.02], 1)[::-1]  # [n, 2] each
        outline = np.concatenate([front, back])[::-1]  # [2n, 2] counter-clockwise
        levels = np.linspace(z0, z1, int(np.ceil((z1 - z0) / MAX_EDGE)) + 1)
        self.loft([np.column_stack([outline, np.full(len(outline), z)]) for z in levels], caps=False)

    def occupy(self, low: Point, high: Point) -> None:
        """Declare an empty box as taken, e.g. the space between a chair's legs.

        Args:
            low: Its lowest corner.
            high: Its highest corner.
        """
        self.boxes.append((*low, *high))

    def support(self, x0: float, y0: float, x1: float, y1: float, z: float) -> None:
        """Declare a flat top that may carry clutter.

        Args:
            x0: Where it begins along the width.
            y0: Where it begins along the depth.
            x1: Where it ends along the width.
            y1: Where it ends along the depth.
            z: Its height.
        """
        self.supports.append((x0, y0, x1, y1, z))

    def keep_clear(self, low: Point, high: Point) -> None:
        """Declare a box that no later piece may enter.

        Args:
            low: Its lowest corner.
            high: Its highest corner.
        """
        self.clear.append((*low, *high))

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around everything occupied.

        Returns:
            Its lowest and its highest corner, float64 [3] each.
        """
        boxes = np.array(self.boxes)  # [B, 6]
        return boxes[:, :3].min(axis=0), boxes[:, 3:].max(axis=0)

    def _add(self, vertices: np.ndarray, faces: np.ndarray, color: Color | None) -> ObjectParts:
        """Add points [N, 3] and triangles [2 Q, 3], of which every two make a quad of one shade."""
        item = self.items[-1]
        colors = np.repeat(shaded(self.rng, color or item.color, len(faces) // 2), 2, axis=0)  # [2 Q, 3]
        item.add(vertices, faces, colors)
        self.boxes.append((*vertices.min(axis=0).tolist(), *vertices.max(axis=0).tolist()))
        return item


PieceMaker = Callable[[np.random.Generator], Piece]  # builds one piece, its sizes and colours drawn anew
_SHARED = {
    "rng": "Draws its sizes and colours.",
    "p": "The piece to add to.",
    "w": "Its width, metres.",
    "d": "Its depth, metres.",
    "h": "Its height, metres.",
    "category": "Its category, one of the benchmark's names.",
    "rider": "Whether somebody rides it.",
    **{size: f"About its {size}, metres." for size in ("width", "depth", "height", "length")},
}


def document_makers(module: str) -> None:
    """Complete the docstrings of a module's makers with the sections that all makers of their signature share.

    Args:
        module: Its name, `__name__` at the end of its file.
    """
    for make in vars(sys.modules[module]).values():
        ours = inspect.isfunction(make) and make.__module__ == module and make.__doc__
        if ours and "Args:" not in make.__doc__ and set(make.__annotations__) <= {*_SHARED, "return"}:
            arguments = [f"    {name}: {_SHARED[name]}" for name in make.__annotations__ if name != "return"]
            returns = ["", "Returns:", "    A new piece, in its own frame."] if make.__annotations__["return"] else []
            make.__doc__ = "\n".join([inspect.cleandoc(make.__doc__), "", "Args:", *arguments, *returns])
