"""Do the colour images of a recording show the colours that its points have?

Only where the points have colours of their own (a published mesh): a cloud fused from the same images agrees with them
whatever they are. The median difference of the points' colours and the pixels that see them, over that of unrelated
ones, measured on two rooms of ScanNet with 8 frames each:

| images | scene0000_00 | scene0113_00 |
|---|---|---|
| right | 0.29 | 0.29 |
| mirrored left to right | 0.91 | 0.86 |
| upside down | 0.79 | 0.95 |
| of the fifth frame after | 1.02 | 0.78 |
| of the next frame | 0.88 | 0.49 (not seen) |
| red and blue exchanged | 0.49 | 0.38 (seen by the difference after exchanging them back: 0.55, 0.75 of it) |

Of frames alone, without a mesh, the images are compared with one another, at pixels that show the same points by their
depth (see `frame_pairs.same_points`). Measured on a kitchen of 7-Scenes (8 to 40 frames) and the two rooms, whole
and thinned: right 0.11 to 0.51; mirrored, upside down or turned 0.44 to 1.2, and at most half of that when turned back;
of another frame 0.33 (the next of many) to 1.3. Where all images are those of the next frames or the ones before, it is
1.8 to 13 times what it is in step (these recordings, whole and every other frame, and six generated rooms): told too.

Other right images differ as much: every 50th frame of a ScanNet room by 0.74, exposures of 0.3 and 1.8 in turn by 0.5
to 1.6, a strong vignette 0.8, a flash 1.0, the noise of dark images and a bare wall 1.0. So images are only doubted
whose details differ too: brightness less its mean over a sixteenth of the image, in mean deviations of each view
(`_unlike`). Of three real and two generated rooms right 0.3 to 0.8 in all of these, with noise of 40 levels 0.8 to
0.92, under a flash that outshines the room 0.6 to 0.97; of other frames 0.96 to 1.05 (0.90 to 0.92 of exchanged ones
that overlap in one or three pairs: no longer seen). Other readings must mend the details too, exchanged channels the
tint, which they bring from 1.1 to 0.6; cold images of warm points would go from 0.7 to 1.1.

Where all in all they do, single images are looked at: each is laid where every other view looks, which gives the mean
difference D[v, w] of the points that view v sees and image w, and with it the order of the images that fits best.
Measured on these two rooms (60 views each), 63 generated rooms and 85 generated regions, and harmed in 4,880 draws:

| | right | harmed |
|---|---|---|
| exchanged images: D of their places over D of the best order | up to 1.24, mostly the best | 1.5 and more of 99 % |
| the same as a mean difference, of 255 levels | up to 4.2 | 12 and more of 95 % |
| seen, at a ratio of 1.2: two or three images exchanged; two panoramas of 18 | 0 of 150 | 98 to 99 %; all |
| D[v, v] over the median of D[v, w] | 0.04 to 0.83, once 1.08 | 0.2 to 1.6, half above 1.0 (of another room) |

The limit is 1.3, for 1.2 lies below the largest right one. Of images of another place one in two is seen, so that
something is said of three or more only: of a panorama from another room in 98 % of 45 draws.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoguide.datasets.frame_pairs import Recording, same_points
from geoguide.datasets.registration import Registration, registration
from geoguide.datasets.surface_agreement import readings_at
from geoguide.ops.arrays import spread
from geoguide.scene import Scene, View

FRAMES = 8  # images that are read
WRONG = 0.65  # share of the difference of unrelated colours; see the table
BETTER = 0.8  # of the difference, what another reading leaves where it is the right one
FEWEST = 500  # pairs of a point and a pixel
UNLIKE = 0.92  # of details; see above
CELLS = 16  # along each side of an image, over which details are taken
CONTRAST = 4.0  # of 255, mean deviation of details: what a bare wall shows beyond is noise
CLOSE = 0.05  # of the depth, as in `frame_pairs`
MATCHED = 72  # views that are compared with one another, evenly spread
PAIRS = 1000  # of a point and a pixel, of each view
NEAR_PAIRS = (1, 2, 4)  # frames between the two of a pair whose images are compared
TOLD = 200  # such pairs of a view, of fewer nothing is said
EXCHANGED, FOREIGN = 1.3, 1.0  # see the second table
FOREIGN_IMAGES = 3  # of which something is said
LEVELS = 4.0  # of 255, what images of neighbouring frames must save: a camera that stands shows the same
GAIN = 8.0  # of 255, mean difference an image, that another order must save
BLACK = 16  # of 255, what video calls black; compression reaches 4 there
# Of height or width, black in all images at each of two sides: 0 to 0.004 of three recordings, in the dark too, 0.06
# where 3:2 is filled up to 4:3, 0.125 where 16:9 is. Images that lie on their depth may be black where it is wider.
BAND = 0.03
NAMED = 6  # images that a sentence names
COLORLESS = 0.02  # standard deviation of colours, below which they tell nothing
Read = Callable[[np.ndarray], np.ndarray]  # of an image
EXCHANGED_CHANNELS = "with red and blue exchanged"
READINGS: dict[str, Read] = {
    "mirrored left to right": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned by 180 degrees": lambda image: image[::-1, ::-1],
    EXCHANGED_CHANNELS: lambda image: image[..., ::-1],
}


class Look(NamedTuple):
    """Colours [n, 3] of one image beside those that they should equal, and the cell of an image that each lies in."""

    own: np.ndarray
    shown: np.ndarray
    cell: np.ndarray


def color_doubts(scene: Scene) -> tuple[str, ...]:
    """Say where a scene's colour images do not show its points; at most `MATCHED` images are read.

    Args:
        scene: Points with colours of their own, and views with depth.

    Returns:
        Sentences; none where the images fit or nothing can be told.

    Raises:
        DataError: An image is broken.
    """
    usable = [view for view in scene.views if view.has_pose and None not in view.pixel_files[:2]]
    if not usable or scene.colors.std(axis=0).max() < COLORLESS:
        return ()
    return _doubt_of_all(scene, _spread(usable, FRAMES)) or _doubts_of_single(scene, _spread(usable, MATCHED))


def _spread(views: list[View], number: int) -> list[View]:
    """At most so many of the views, evenly spread."""
    return [views[row] for row in spread(len(views), number)]


def _doubt_of_all(scene: Scene, views: list[View]) -> tuple[str, ...]:
    """A sentence where most images of some views do not fit."""
    seen = [(view.color(), 255 * scene.colors[row], pixel.T)
            for view in views for row, pixel in (_seen(scene.points, view),)]  # fmt: skip

    def looks(read: Read) -> list[Look]:
        return [Look(own, read(image)[pixel[1], pixel[0]], _cells(pixel, image)) for image, own, pixel in seen]

    return _doubt(looks, "colour images differ from the points' colours")


def frame_colors(recording: Recording) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Say whether the colour images of a recording are of its frames, and where they lie beside their depth.

    Args:
        recording: Frames whose depth agrees with their poses; the images of at most 24 of them are read, and of their
            neighbours.

    Returns:
        A sentence where the images do not show the same colours at the same points, none where they fit or nothing can
        be told; and sentences for `Scene.as_read`.

    Raises:
        DataError: An image is broken.
    """
    pairs = [(i, j) for i, j in recording.pairs if j - i in NEAR_PAIRS and _has_color(recording, i, j)]
    images: dict[int, np.ndarray] = {}
    seen = [(i, j, *same_points(recording, i, j)) for i, j in pairs]
    if not seen:
        return (), ()

    def image(number: int) -> np.ndarray:
        number = min(max(number, 0), len(recording.views) - 1)
        if number not in images:
            images[number] = recording.views[number].color()
        return images[number]

    def looks(read: Read, by: int = 0) -> list[Look]:
        return [Look(read(image(i + by))[at[1], at[0]], read(image(j + by))[to[1], to[0]], _cells(at, image(i)))
                for i, j, at, to in seen]  # fmt: skip

    place = registration({number: recording.frames[number] for pair in pairs for number in pair}, image)
    what = "colour images differ from one another where they show the same points"
    if place is not None and place.fits:
        return _doubt(looks, what, in_place=True), ()
    beside = _beside_as_read(place, image(pairs[0][0])) if place is not None and place.beside else ()
    beside += _bands_as_read([image(number) for pair in pairs for number in pair])
    return _doubt(looks, what, _out_of_step(recording, looks)), beside


def _bands_as_read(images: list[np.ndarray]) -> tuple[str, ...]:
    """A sentence where all images are black along two opposite sides, as those of another shape are filled up."""
    lit = np.max([image.max(axis=2) for image in images], axis=0) > BLACK  # [H, W]
    for axis, where in ((1, "above and below"), (0, "on the left and the right")):
        line = np.flatnonzero(lit.any(axis=axis))  # rows, or columns
        count = lit.shape[1 - axis]
        band = min(line[0], count - 1 - line[-1]) / count if len(line) else 0.0
        if band >= BAND:
            share = f"{100 * band:.0f} % of their {'height' if axis else 'width'}"
            return (f"all colour images are black {where}, {share} each: were they filled up to the depth's shape?",)
    return ()


def _beside_as_read(place: Registration, image: np.ndarray) -> tuple[str, ...]:
    across = f"{abs(place.right)} to the {'right' if place.right > 0 else 'left'}"
    along = f"{abs(place.down)} {'down' if place.down > 0 else 'up'}"
    moved = " and ".join(text for text, by in ((across, place.right), (along, place.down)) if by)
    size = f"{image.shape[1]} x {image.shape[0]}"
    return (f"edges of the colour images lie beside those of depth, {moved} of {size} pixels: are they registered?",)


def _out_of_step(recording: Recording, looks: Callable[[Read, int], list[Look]]) -> tuple[str, ...]:
    """A sentence where the images of the frames after or before fit all frames better than their own."""
    if any(view.pixel_files[0] is None for view in recording.views):
        return ()
    shown = {by: looks(np.asarray, by) for by in (0, -1, 1)}
    differ = {by: _difference(those) for by, those in shown.items()}
    best = min(differ, key=lambda by: differ[by])
    if differ[best] >= BETTER * differ[0] or differ[0] - differ[best] < LEVELS:
        return ()
    if not _unlike(shown[best], _brightness) < BETTER * _unlike(shown[0], _brightness):
        return ()  # another light
    where = "late" if best > 0 else "early"
    better = f"by {differ[0]:.0f} of 255 where they show the same points, by {differ[best]:.0f}"
    return (f"colour images differ from one another {better} if all are {where} by one frame: are they out of step?",)


def _has_color(recording: Recording, *numbers: int) -> bool:
    return all(recording.frames[number].view.pixel_files[0] is not None for number in numbers)


def _doubt(
    looks: Callable[[Read], list[Look]], what: str, out_of_step: tuple[str, ...] = (), *, in_place: bool = False
) -> tuple[str, ...]:
    """A sentence where the colours of looks, at images read in some way, are not those that they should equal.

    Of images that clearly lie `in_place` only how they are read is asked: they are right in whatever light.
    """
    found = looks(np.asarray)
    own, shown = _pooled(found)
    if len(own) < FEWEST:
        return ()
    unrelated = float(np.median(np.abs(own - shown[np.random.default_rng(0).permutation(len(own))])))
    if not unrelated:
        return ()
    difference = _difference(found)
    differ = f"{what} by {difference / unrelated:.2f} of what unrelated ones do (usual: 0.3)"
    others = {name: looks(read) for name, read in READINGS.items()}
    by = {name: _difference(those) for name, those in others.items()}
    best = min(by, key=lambda name: by[name])
    if by[best] < BETTER * difference:
        detail = _tint if best == EXCHANGED_CHANNELS else _brightness
        if _unlike(others[best], detail) < BETTER * _unlike(found, detail):
            return (f"{differ}, but by {by[best] / unrelated:.2f} when {best}: are they stored so?",)
    if out_of_step or in_place:
        return out_of_step
    wrong = difference > WRONG * unrelated and _unlike(found, _brightness) > UNLIKE
    return (f"{differ}: are they mirrored, or of other frames?",) if wrong else ()


def _difference(looks: list[Look]) -> float:
    """The median difference of the two sides of all looks, of 255."""
    return float(np.median(np.abs(np.subtract(*_pooled(looks)))))


def _pooled(looks: list[Look]) -> tuple[np.ndarray, np.ndarray]:
    """The two sides of all looks, float64 [n, 3] each."""
    return (
        np.concatenate([look.own for look in looks]).astype(np.float64),
        np.concatenate([look.shown for look in looks]).astype(np.float64),
    )


def _unlike(looks: list[Look], detail: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean difference of details over that of unrelated ones of one look; nan where none has `CONTRAST`.

    Each side of a look counts by its own mean deviation, so that neither exposure nor white balance matters.
    """
    found = unrelated = 0.0
    for own, shown, cell in looks:
        sides = [_details(side.astype(np.float64), cell, _brightness) for side in (own, shown)]
        if not len(own) or min(np.abs(side).mean() for side in sides) < CONTRAST:
            continue
        one, other = (_details(side.astype(np.float64), cell, detail) for side in (own, shown))
        one, other = one / max(np.abs(one).mean(), 1e-9), other / max(np.abs(other).mean(), 1e-9)
        found += np.abs(one - other).sum()
        unrelated += np.abs(one - other[np.random.default_rng(0).permutation(len(other))]).sum()
    return found / unrelated if unrelated else np.nan


def _details(colors: np.ndarray, cell: np.ndarray, detail: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What colours [n, 3] show, less its mean over each cell [n]: float64 [n]."""
    shown, count = detail(colors), np.maximum(np.bincount(cell), 1)
    return shown - (np.bincount(cell, shown) / count)[cell]


def _brightness(colors: np.ndarray) -> np.ndarray:
    return colors.mean(axis=1)


def _tint(colors: np.ndarray) -> np.ndarray:
    """How much redder than bluer [n], whatever the white balance."""
    red, _, blue = (colors / np.maximum(colors.mean(axis=0), 1e-9)).T
    return red - blue


def _cells(pixel: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Which of `CELLS` x `CELLS` cells of an image each pixel [2, n] (column, row) lies in, int64 [n]."""
    height, width = image.shape[:2]
    return CELLS * (CELLS * pixel[1] // height) + CELLS * pixel[0] // width


def _doubts_of_single(scene: Scene, views: list[View]) -> tuple[str, ...]:
    """Sentences on images that fit elsewhere better than in their places, and on those that fit nowhere."""
    views, differs = _differences(scene, [view for view in views if view.image_size == views[0].image_size])
    if len(views) < 3:
        return ()
    from scipy.optimize import linear_sum_assignment  # slow to import, and only `data check` asks

    place = linear_sum_assignment(differs)[1]  # [K], the image that fits each view
    here, there = differs.diagonal(), differs[np.arange(len(place)), place]  # [K] each
    _, cycle = connected_components(coo_array((np.ones(len(place)), (np.arange(len(place)), place))))  # [K]
    own, best, size = (np.bincount(cycle, weights) for weights in (here, there, None))  # of each cycle of exchanges
    clear = (own > EXCHANGED * best) & (own - best > GAIN * size)
    moved = clear[cycle]  # [K]
    others = np.median(differs[~np.eye(len(views), dtype=bool)].reshape(len(views), -1), axis=1)  # [K]
    foreign = ~moved & (here > FOREIGN * others) & (here > GAIN)
    said = []
    if moved.any():
        said.append(f"colour images {_named(views, moved)} fit the points in another order: are they exchanged?")
    if foreign.sum() >= FOREIGN_IMAGES:
        said.append(f"colour images {_named(views, foreign)} fit the points no better than those of other frames do")
    return tuple(said)


def _named(views: Sequence[View], chosen: np.ndarray) -> str:
    names = [views[row].name for row in np.flatnonzero(chosen)]
    return f"{', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)}"


def _differences(scene: Scene, views: list[View]) -> tuple[list[View], np.ndarray]:
    """The views that see enough, and the difference of what view v sees and image w, of 255: float64 [K, K].

    Cost: K^2 looks at `PAIRS` pixels.
    """
    told, seen = [], []
    for view in views:
        row, pixel = _seen(scene.points, view)
        if len(row) >= TOLD:
            few = spread(len(row), PAIRS)
            told.append(view)
            seen.append((255 * scene.colors[row[few]], pixel[few]))
    differs = np.empty((len(told), len(told)))
    for w, view in enumerate(told):
        image = view.color()
        for v, (own, pixel) in enumerate(seen):
            differs[v, w] = np.abs(own - image[pixel[:, 1], pixel[:, 0]]).mean()
    return told, differs


def _seen(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Which points a view sees, by its depth image, int64 [n], and at which pixels (column, row), int64 [n, 2]."""
    row, pixel, reading, z = readings_at(points, view, view.depth())
    near = np.abs(reading - z) < CLOSE * reading
    return row[near], pixel[near]
