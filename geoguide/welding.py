"""A scene's different positions: everything geometric is computed on these, and copied back to the points."""

import functools
import weakref
from collections.abc import Callable, MutableMapping
from dataclasses import replace

import numpy as np

from geoguide.ops.weld import RARE, Finder, Weld, find_weld
from geoguide.scene import Scene

_KNOWN: MutableMapping[Scene, Weld | None] = weakref.WeakKeyDictionary()  # every stage asks; found once for a scene


def finder(provenance: str) -> Finder:
    """How equal positions are found in data of a provenance.

    Args:
        provenance: As in `Scene`.

    Returns:
        `find_weld`; for generated data with its `RARE`.
    """
    return functools.partial(find_weld, rare=RARE) if provenance == "mini" else find_weld


def scene_weld(scene: Scene) -> Weld | None:
    """A scene's different positions, found when they are first asked for.

    Args:
        scene: P points.

    Returns:
        The weld; None where points do not repeat, or in generated data only by chance.
    """
    if scene not in _KNOWN:
        _KNOWN[scene] = finder(scene.provenance)(scene.points)
    return _KNOWN[scene]


def finder_of(scene: Scene) -> Finder:
    """What functions of arrays take as `find` where the points are those of a scene: nothing is searched again.

    Args:
        scene: P points.

    Returns:
        Gives `scene_weld` of the scene.
    """
    return lambda _: scene_weld(scene)


def welded(scene: Scene) -> tuple[Scene, Weld | None]:
    """Reduce a scene to its different positions, so that nothing depends on how often a point is there.

    A position has the mean of its copies' different coordinates, colours, intensities and normals (see `Weld.mean`,
    `Weld.directions`); triangles are joined at it, and kept once. Labels and instances serve scoring only, and are not
    carried over.

    Args:
        scene: P points, with or without faces.

    Returns:
        The scene of W positions, in the order of first appearance, and which of them each point is; the scene itself
        and None where `scene_weld` finds none.
    """
    weld = scene_weld(scene)
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
    _KNOWN[reduced] = None  # its positions are different
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
    """Add to a scene's `as_read` that points were welded, where more than a few are (`RARE`).

    Args:
        scene: As its reader returned it.

    Returns:
        The scene, with a sentence more where positions repeat.
    """
    weld = scene_weld(scene)
    if weld is None or len(scene) - len(weld) <= RARE * len(scene):
        return scene
    kind = "points" if scene.faces is None else "mesh vertices"
    exact = f" (within {1000 * weld.tolerance:g} mm)" if weld.tolerance else ""
    said = f"welded: {len(scene):,} {kind} lie at {len(weld):,} different positions{exact}; each position counts once"
    return with_said(scene, f"{said}, and all its copies get the same label")


def with_said(scene: Scene, *said: str) -> Scene:
    """Add sentences to a scene's `as_read`; what is known of its positions stays known.

    Args:
        scene: The scene.
        *said: Sentences.

    Returns:
        The scene with them.
    """
    told = replace(scene, as_read=(*scene.as_read, *said))
    if scene in _KNOWN:
        _KNOWN[told] = _KNOWN[scene]
    return told
