"""A scene's different positions: everything geometric is computed on these, and copied back to the points."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from geoguide.ops.weld import Weld, find_weld
from geoguide.scene import Scene


def welded(scene: Scene) -> tuple[Scene, Weld | None]:
    """Reduce a scene to its different positions, so that nothing depends on how often a point is there.

    A position has the mean of its copies' different coordinates, colours, intensities and normals (see `Weld.mean`,
    `Weld.directions`); triangles are joined at it, and kept once. Labels and instances serve scoring only, and are not
    carried over.

    Args:
        scene: P points, with or without faces.

    Returns:
        The scene of W positions, in the order of first appearance, and which of them each point is; the scene itself
        and None where points do not repeat, or only by chance (see `find_weld`).
    """
    weld = find_weld(scene.points)
    if weld is None:
        return scene, None
    reduced = replace(
        scene,
        points=weld.mean(scene.points),
        colors=weld.mean(scene.colors),
        normals=None if scene.normals is None else weld.directions(scene.normals),
        faces=None if scene.faces is None else weld.faces(scene.faces),
        intensity=None if scene.intensity is None else weld.mean(scene.intensity[:, None])[:, 0],
        labels=None,
        instances=None,
        file_points=None,
    )
    return reduced, weld


def at_positions(scene: Scene, compute: Callable[[Scene], np.ndarray]) -> np.ndarray:
    """Compute something for each point of a scene from its different positions alone; all copies get the same.

    Args:
        scene: P points.
        compute: Gives a row for each point of the scene that it is called with.

    Returns:
        The rows [P, ...].
    """
    reduced, weld = welded(scene)
    rows = compute(reduced)
    return rows if weld is None else rows[weld.index]


def with_weld_said(scene: Scene) -> Scene:
    """Add to a scene's `as_read` that points were welded, where they are.

    Args:
        scene: As its reader returned it.

    Returns:
        The scene, with a sentence more where positions repeat.
    """
    weld = find_weld(scene.points)
    if weld is None:
        return scene
    kind = "points" if scene.faces is None else "mesh vertices"
    exact = f" (within {1000 * weld.tolerance:g} mm)" if weld.tolerance else ""
    said = f"welded: {len(scene):,} {kind} lie at {len(weld):,} different positions{exact}; each position counts once"
    return replace(scene, as_read=(*scene.as_read, f"{said}, and all its copies get the same label"))
