"""A scan that answers words: what is coloured how, and what a point and its images say. No server in here."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from tqdm import tqdm

from geoguide.errors import InputError, check_known, require
from geoguide.lifting import PixelFeatures, fuse, lift, project, splat_depth
from geoguide.model import GeoGuideModel
from geoguide.own_scan.scan import DEPTH_TOLERANCE, Scan, lift_colors, lifting_of, palette, parse_labels
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import Stages
from geoguide.scene import View
from geoguide.teachers.color import ColorTeacher
from geoguide.teachers.image_model import ImageTeacher

Coloring = Literal["labels", "heat map", "own colours", "superpoints", "masks", "images", "2D heat map"]
COLORINGS: tuple[Coloring, ...] = get_args(Coloring)
HEATS = ("heat map", "2D heat map")  # of one word
NOTHING = np.array([150, 150, 150], np.uint8)  # of points in no mask, or that no image sees
# Dark blue, green, yellow: the ends of matplotlib's viridis and its middle.
HEAT = np.array([[68, 1, 84], [33, 145, 140], [253, 231, 37]], np.float64)
REACH = 0.02  # of the way to a point: how far beside it a ray may pass
MARK = 6  # pixels that the mark in an image extends to either side
GLOW = 0.6  # of a 2D model's heat map over an image


@dataclass(frozen=True, eq=False)
class Evidence:
    """An image that sees a point.

    Attributes:
        view: The view's name.
        image: uint8 [H, W, 3], with a cross at the point's pixel; under a heat map where there is a 2D model.
        pixel: Row and column.
    """

    view: str
    image: np.ndarray
    pixel: tuple[int, int]


class Exploration:
    """A scan and a model, for any number of words: features are encoded once, and a new word costs one product.

    Args:
        scan: What `open_scan` returns.
        model: A trained model.
        words: As `words` below.
        teacher: A 2D model, such as the one that the model was distilled from, to look at what it says of the images;
            they are asked about when that is first looked at. None: images show their colours alone.

    Attributes:
        scan: As above.
        model: As above.
        teacher: As above.
        words: The words that labels are chosen from, at least one.
    """

    def __init__(
        self,
        scan: Scan,
        model: GeoGuideModel,
        words: Sequence[str] = ("floor", "wall"),
        teacher: ImageTeacher | None = None,
    ) -> None:
        self.scan, self.model, self.teacher = scan, model, teacher
        self._encoded = model.encode(scan.scene)
        self._cosines: dict[str, np.ndarray] = {}
        self._cosines_2d: dict[str, np.ndarray] = {}
        self.words: tuple[str, ...] = ()
        self.set_words(words)

    def set_words(self, words: Sequence[str] | str) -> None:
        """Choose the words; those that were there before cost nothing.

        Args:
            words: Words, or a text with commas between them.

        Raises:
            InputError: No words, or two that are the same to the text encoder; the old ones then stay.
        """
        chosen = parse_labels(words) if isinstance(words, str) else tuple(words)
        self.model.check_labels(chosen)
        self.words = chosen

    def cosines(self, word: str) -> np.ndarray:
        """How similar every point is to a word: its heat map.

        Args:
            word: Any words.

        Returns:
            float32 [P], cosines.
        """
        return self._of_rows(word)[self._encoded.index]

    def _of_rows(self, word: str) -> np.ndarray:
        """Cosines of a word with the encoded rows, float32 [R]: that is all that is kept of a word."""
        if word not in self._cosines:
            self._cosines[word] = self._encoded.score_rows(word)
        return self._cosines[word]

    def labels(self) -> tuple[np.ndarray, np.ndarray]:
        """The best word of every point, the first of equal ones.

        Returns:
            Ids int64 [P] into `words`, and their cosines float32 [P]. O(P + R) memory, however many words there are.
        """
        best = self._of_rows(self.words[0]).copy()  # [R]
        ids = np.zeros(len(best), np.int64)
        for number, word in enumerate(self.words[1:], 1):
            other = self._of_rows(word)
            better = other > best
            ids[better], best[better] = number, other[better]
        return ids[self._encoded.index], best[self._encoded.index]

    def top_words(self, point: int, count: int = 5) -> list[tuple[str, float]]:
        """The words that a point is most similar to.

        Args:
            point: Its number.
            count: How many at most.

        Returns:
            Words and cosines, the best first; of equal ones the first of `words`.
        """
        row = self._encoded.index[point]
        found = [(word, float(self._of_rows(word)[row])) for word in self.words]
        return sorted(found, key=lambda row: -row[1])[:count]

    @property
    def colorings(self) -> tuple[Coloring, ...]:
        """What points can be coloured by here: "images" where the scan has any, "2D heat map" where they are asked."""
        if not self._views:
            return COLORINGS[:-2]
        return COLORINGS if self.teacher is not None else COLORINGS[:-1]

    @property
    def _views(self) -> tuple[View, ...]:
        return self.scan.scene.with_poses().views

    def colors(self, coloring: Coloring = "labels", word: str | None = None) -> np.ndarray:
        """Colour the points.

        Args:
            coloring: labels: the colour of the best word, as in `geoguide segment`; heat map: from dark blue (the
                lowest hundredth) to yellow (the highest) by the cosine with `word`; superpoints, masks: one colour for
                each; images: the mean colour of the images' pixels that see a point, grey where none does; 2D heat map:
                as heat map, by the cosine of what the 2D model says of these pixels, lifted.
            word: Of a heat map; None for the first of `words`.

        Returns:
            uint8 [P, 3].

        Raises:
            ConfigError: An unknown colouring.
            InputError: "images" of a scan without any, or "2D heat map" without a 2D model.
        """
        check_known("colouring", coloring, COLORINGS)
        if coloring == "2D heat map":
            values = self.cosines_2d(word or self.words[0])
            colors, seen = np.tile(NOTHING, (len(values), 1)), ~np.isnan(values)
            if seen.any():
                colors[seen] = heat(values[seen])
            return colors
        if coloring == "labels":
            return palette(len(self.words))[self.labels()[0]]
        if coloring == "heat map":
            return heat(self.cosines(word or self.words[0]))
        if coloring == "own colours":
            return np.rint(255 * self.scan.scene.colors).astype(np.uint8)
        if coloring == "images":
            return self._lifted
        groups = self.superpoints if coloring == "superpoints" else self.masks
        drawn = np.random.default_rng(0).permutation(palette(int(groups.max()) + 1))  # neighbours differ
        return np.vstack([drawn, NOTHING])[groups]  # group -1 is the last row

    def cosines_2d(self, word: str) -> np.ndarray:
        """How similar to a word a point is in the images, by what the 2D model says of them.

        Args:
            word: Any words.

        Returns:
            float32 [P], cosines of the lifted features; nan where no image sees a point.

        Raises:
            InputError: There is no 2D model, or no image with a pose.
        """
        if word not in self._cosines_2d:
            self._cosines_2d[word] = self._features_2d @ self._asked.text((word,))[0]
        return self._cosines_2d[word]

    @property
    def _asked(self) -> ImageTeacher:
        if self.teacher is None:
            raise InputError("an exploration without a 2D model has no 2D heat map")
        return self.teacher

    @functools.cached_property
    def _features_2d(self) -> np.ndarray:
        """What the 2D model says of the images, lifted: float32 [P, C] of length 1, nan where no image sees a point."""
        scene, views = self.scan.scene, self._views
        require(views, f"{scene.name}: has no image with a pose")
        posed = replace(scene, views=views)
        said = tqdm(self._asked.features(posed), "images", len(views))
        features, count = lift(posed, said, lifting_of(self.scan))
        features = np.asarray(features, np.float32)
        length = np.linalg.norm(features, axis=1, keepdims=True)
        return np.where((np.asarray(count)[:, None] > 0) & (length > 0), features / np.maximum(length, 1e-12), np.nan)

    @property
    def superpoints(self) -> np.ndarray:
        """int64 [P], found when first asked for."""
        return self._stages.superpoints

    @functools.cached_property
    def masks(self) -> np.ndarray:
        """int64 [P], the best class-agnostic mask that holds each point, -1 for none; found when first asked for."""
        return self._stages.masks.best_of_points()

    @functools.cached_property
    def _stages(self) -> Stages:
        return Stages(self.scan.scene, ExperimentConfig())

    @functools.cached_property
    def _lifted(self) -> np.ndarray:
        """The images' colours, uint8 [P, 3], grey where no image sees the point."""
        scene, views = self.scan.scene, self._views
        require(views, f"{scene.name}: has no image with a pose")
        if any(view.depth_path is None for view in views):
            lifted, count = lift_colors(scene)
        else:
            images = ColorTeacher().features(scene.with_poses())
            lifted, count = fuse(scene.points, views, images, depth_tolerance=DEPTH_TOLERANCE)
        seen = np.asarray(count)[:, None] > 0
        return np.where(seen, np.rint(255 * np.clip(lifted, 0, 1)), NOTHING).astype(np.uint8)

    def nearest(self, origin: ArrayLike, direction: ArrayLike) -> int | None:
        """The point that a ray meets first, such as that of a click.

        Args:
            origin: [3], metres.
            direction: [3], of any length.

        Returns:
            Its number; None where the ray passes every point at more than `REACH` of the way to it.

        Raises:
            InputError: These are no such vectors, or the direction has no length.
        """
        start, toward = np.asarray(origin, np.float64), np.asarray(direction, np.float64)
        length = np.linalg.norm(toward)
        if start.shape != (3,) or toward.shape != (3,) or not length > 0:
            raise InputError(f"a ray is two vectors of 3 numbers, found {origin!r:.60} and {direction!r:.60}")
        offset = self.scan.scene.points - start  # [P, 3]
        along = offset @ (toward / length)  # [P]
        aside = np.sqrt(np.maximum((offset**2).sum(1) - along**2, 0))
        met = np.flatnonzero((along > 0) & (aside <= REACH * along))
        if not len(met):
            return None
        return int(met[(along[met] + 5 * aside[met]).argmin()])  # of two as far, the one that is hit better

    def evidence(self, point: int, count: int = 2, word: str | None = None) -> list[Evidence]:
        """The images that see a point from nearest by: where depth images are missing, the points themselves occlude.

        Args:
            point: Its number.
            count: How many images at most.
            word: Of the heat map where there is a 2D model; None shows the images alone.

        Returns:
            The nearest first; none for a scan without images.

        Raises:
            DataError: An image cannot be read.
        """
        place = self.scan.scene.points[point]
        views = sorted(self._views, key=lambda view: float(np.linalg.norm(view.cam_to_world[:3, 3] - place)))
        found: list[Evidence] = []
        for view in views:  # each that could see it reads one depth image, until there are enough
            pixel = self._pixel(view, point)
            if pixel is not None:
                found.append(Evidence(view.name, marked(self._shown(view, word), pixel), pixel))
            if len(found) == count:
                break
        return found

    def _shown(self, view: View, word: str | None) -> np.ndarray:
        """A view's image uint8 [H, W, 3]; with a 2D model and a word under the heat map of what that says of it."""
        image = view.color()
        if self.teacher is None or word is None:
            return image
        (said,) = self.teacher.features(replace(self.scan.scene, views=(view,)))
        features = said.features if isinstance(said, PixelFeatures) else said  # [H, W, C]
        length = np.linalg.norm(features, axis=-1)  # [H, W]
        answered = (length > 0) & (said.weight > 0 if isinstance(said, PixelFeatures) else True)
        if answered.any():
            warm = heat((features[answered] @ self.teacher.text((word,))[0]) / length[answered])
            image = image.copy()
            image[answered] = np.rint((1 - GLOW) * image[answered] + GLOW * warm)
        return image

    def _pixel(self, view: View, point: int) -> tuple[int, int] | None:
        """Row and column at which a view sees a point."""
        points, camera = self.scan.scene.points, (view.intrinsics, view.cam_to_world, view.image_size)
        one = points[point : point + 1]
        if not project(one, *camera).visible[0]:
            return None
        depth = view.depth() if view.depth_path is not None else splat_depth(points, *camera)
        tolerance = DEPTH_TOLERANCE if view.depth_path is not None else 0.1
        found = project(one, *camera, depth=depth, depth_tolerance=tolerance)
        return (int(found.row[0]), int(found.col[0])) if found.visible[0] else None


def heat(values: np.ndarray) -> np.ndarray:
    """Colours from dark blue to yellow between the lowest and the highest hundredth of some values.

    Args:
        values: float [P].

    Returns:
        uint8 [P, 3]; all dark blue where the values are the same.
    """
    low, high = np.percentile(values, [1, 99])
    share = np.clip((values - low) / (high - low if high > low else 1.0), 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(share, stops, channel) for channel in HEAT.T], 1).round().astype(np.uint8)


def marked(image: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """An image with a cross at one of its pixels.

    Args:
        image: uint8 [H, W, 3].
        pixel: Row and column.

    Returns:
        A copy.
    """
    drawn, (row, col) = image.copy(), pixel
    top, left = max(row - MARK, 0), max(col - MARK, 0)
    drawn[top : row + MARK + 1, col] = drawn[row, left : col + MARK + 1] = (255, 0, 255)
    return drawn
