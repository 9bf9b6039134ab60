"""A simulated 2D open-vocabulary teacher: the truth of an image, spoilt by adjustable faults (paper, F_2d^M).

It reads the ground-truth label and instance images and returns per-pixel features in the text space, with the errors
that the paper blames on 2D models: confusion of alike classes, features that bleed over boundaries and occlusions,
wrong answers for partly seen large objects, and features that drift with the viewpoint; and with those that real 2D
models were seen to make: objects that fall to the background, and the same mistake in every view and for a whole class.
Every result that uses it says "simulated". In a view each object has one feature and each pixel a mixture of them: one
matrix product makes the image.
"""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

import numpy as np
from scipy.special import ndtr

from geoguide.errors import ConfigError, InputError
from geoguide.frozen import check_fields, unless
from geoguide.labels import LabelSet, load_category_table
from geoguide.ops.pixel_rows import PixelRows
from geoguide.scene import VOID, Scene, View
from geoguide.teachers.faults import (
    Survey,
    ToClass,
    alike_table,
    background_table,
    bleed,
    coarse_noise,
    different,
    hashed,
    part_image,
    shadow,
    survey,
)

NOISE_SCALE = 0.5  # at full severity, in units of the contrast between class embeddings
DRIFT_SCALE = 0.4
SCANNET = "scannet20"
LARGE_AREA = 1.5  # m^2: an object of this size suffers half of the partial-view fault


@dataclass(frozen=True)
class SimulatedTeacherConfig:
    """Severities lie in [0, 1], 0 turns a fault off. None is from the paper; 2D fusion scores 40 to 50."""

    confusion: float = 0.25  # chance that an object is taken for an alike class in a view
    bleeding: float = 0.7  # how far features spread over boundaries and into occlusion shadows
    partial_view: float = 0.7  # extra chance of a wrong class where little of a large object is seen
    drift: float = 0.3  # how far an object's feature moves with the direction it is seen from
    pixel_noise: float = 0.6  # smooth noise over the image, new in every view
    persistence: float = 0.5  # share of the confusion that is the same in all views of an object, so never averages out
    patch: int = 8  # pixels of a 160-pixel-wide image that share one feature, as the patches of a ViT do
    seed: int = 0
    background: float = field(default=0.0, metadata=unless("background", 0.0))
    """Chance that an object before a wall is taken for the wall (see `faults.BACKGROUND`)."""
    pairs: float = field(default=0.0, metadata=unless("pairs", 0.0))
    """Share of the objects that are taken for the one class for which the model takes all of their class."""
    lasting: float = field(default=0.0, metadata=unless("lasting", 0.0))
    """What `persistence` is to confusion, for the other mistakes about whole objects: those of little-seen ones, falls
    to the background, and how strong a mistake is."""

    parts: float = field(default=0.0, metadata=unless("parts", 0.0))
    """Chance that a part of an object, of at most `faults.PART` metres, is taken for an alike class by itself;
    `lasting` says how many of these parts are the same in all views."""
    steady: float = field(default=0.0, metadata=unless("steady", 0.0))
    """How far what fills most of a scene (`faults.STEADY`) is spared by `partial_view` as it is by confusion."""

    def __post_init__(self) -> None:
        check_fields(self, "simulated teacher")
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type is float and not 0.0 <= value <= 1.0:
                raise ConfigError(f"simulated teacher: {each.name} must lie in [0, 1], found {value}")
        if self.patch < 1:
            raise ConfigError(f"simulated teacher: patch must be at least 1, found {self.patch}")


class SimulatedTeacher:
    """A teacher that knows the truth and errs as a 2D model does; the same config and scene give the same features.

    Args:
        config: Severities of the faults.
        text: float32 [C, D], the class embeddings of the label set, of unit length.
        label_set: The C classes.
        to_class: Turns a label image int64 [H, W] into class ids (255 void). None reads the ids that ScanNet's images
            or the label set have; for houses, whose images hold neither, `datasets.matterport3d.label_image_classes`.

    Raises:
        InputError: `text` is not [C, D].
    """

    name = "simulated"

    def __init__(
        self, config: SimulatedTeacherConfig, text: np.ndarray, label_set: LabelSet, *, to_class: ToClass | None = None
    ) -> None:
        text = np.asarray(text, dtype=np.float32)
        if text.ndim != 2 or len(text) != len(label_set.names):
            raise InputError(f"text must be [{len(label_set.names)}, D], found {list(text.shape)}")
        self.config, self.text, self.label_set = config, text, label_set
        self._to_class = to_class or self._raw_class
        self.width = text.shape[1]
        self._alike, self._ease = alike_table(text, label_set.names)  # [C, C], [C]
        self._fall, self._behind = background_table(label_set.names)  # [C], class
        self._pair = self._rng("pairs").random(len(text))  # [C] which of the alike classes
        center = text.mean(axis=0)
        self._contrast = text - center  # [C, D] what tells the classes apart
        self._generic = center / np.linalg.norm(center)  # the feature of what has no label: "some thing"

    def _raw_class(self, raw: np.ndarray) -> np.ndarray:
        """Classes of a label image: ids of ScanNet's category table, or the label set's own raw ids in other data."""
        return self.label_set.from_raw(load_category_table().nyu40(raw) if self.label_set.name == SCANNET else raw)

    def features(self, scene: Scene) -> Iterator[np.ndarray]:
        """Simulated features of a scene's views; deterministic by seed, scene name and view name.

        A view without a pose counts as seeing its objects whole.

        Args:
            scene: A scene whose K views have label, instance and depth images.

        Yields:
            float32 [H, W, D], unit vectors, for each view, in order.

        Raises:
            DataError: An image is missing; the message names it.
        """
        for rows in self.pixel_rows(scene):
            yield rows.whole()

    def pixel_rows(self, scene: Scene) -> Iterator[PixelRows]:
        """`features`, of which lifting makes what points see.

        Args:
            scene: As in `features`.

        Yields:
            The features [H, W, D] of each view, in order.

        Raises:
            DataError: As in `features`.
        """
        if not scene.views:
            return
        seen = survey(scene, self._to_class)
        habits = _Habits(
            self._rng(scene.name), self._rng(scene.name, "habits of later faults"), len(seen.keys), len(self.text)
        )
        for index in range(len(scene.views)):
            yield self._view(scene, index, seen, habits)

    def _view(self, scene: Scene, index: int, seen: Survey, habits: "_Habits") -> PixelRows:
        """The features of one view, [H, W, D]."""
        config, view = self.config, scene.views[index]
        rng = self._rng(scene.name, view.name)
        eye = view.cam_to_world[:3, 3] if view.has_pose else np.zeros(3)
        rows = self._object_features(rng, scene, seen, index, habits, eye)  # [O, D]
        objects = shadow(seen.images[index], view.depth(), config.bleeding, side=1 if rng.random() < 0.5 else -1)
        if config.parts > 0:
            objects, rows = self._spoil_parts(scene.name, view, objects, rows, seen)
        patch = max(1, round(config.patch * objects.shape[1] / 160))
        visible, local = different(objects)
        mixture = np.eye(len(visible), dtype=np.float32)[local]  # [H, W, O']
        mixture = bleed(mixture, config.bleeding, patch)
        parts, basis = [mixture], rows[visible]
        if config.pixel_noise > 0:
            parts.append(config.pixel_noise * NOISE_SCALE * coarse_noise(rng, objects.shape, len(self.text), patch))
            basis = np.concatenate([basis, self._contrast])
        flat = [part.reshape(-1, part.shape[-1]) for part in parts]  # [H W, .] each
        mix = functools.partial(_mix, flat, basis, basis @ basis.T)
        return PixelRows((*objects.shape, self.width), mix)

    def _object_features(
        self, rng: np.random.Generator, scene: Scene, seen: Survey, index: int, habits: "_Habits", eye: np.ndarray
    ) -> np.ndarray:
        """The one feature that every object has in this view, float32 [O, D]."""
        config, count, view = self.config, len(seen.keys), (scene.name, scene.views[index].name)
        known = seen.classes != VOID
        classes = np.where(known, seen.classes, 0)
        keep = config.persistence
        score = np.sqrt(keep) * habits.score + np.sqrt(1 - keep) * rng.standard_normal(count)
        large = seen.areas / (seen.areas + LARGE_AREA)
        share_of_best = seen.shares[index] / np.maximum(seen.shares.max(axis=0), 1e-9)
        hidden = config.partial_view * large * (1 - share_of_best) ** 2  # [O] chance of a wrong answer
        hidden *= 1 - config.steady * (1 - self._ease[classes])
        slip = self._again(rng.random(count), "slip", habits.slip, view)
        wrong = (ndtr(score) < config.confusion * self._ease[classes]) | (slip < hidden)
        choice = np.where(rng.random(count) < keep, habits.choice, rng.random(count))
        choice = np.where(habits.paired < config.pairs, self._pair[classes], choice)
        other = (self._alike[classes].cumsum(axis=1) < choice[:, None]).sum(axis=1).clip(max=len(self.text) - 1)
        much, little = rng.random(count), rng.random(count)
        if config.background > 0:
            fall = self._again(self._rng(*view, "fall").random(count), "fall again", habits.fall, view)
            fell = fall < config.background * self._fall[classes]
            wrong, other = wrong | fell, np.where(fell, self._behind, other)
        much = self._again(much, "much", habits.much, view)
        share = np.where(wrong, 0.55 + 0.35 * much, 0.4 * config.confusion * little)
        rows = (1 - share)[:, None] * self.text[classes] + share[:, None] * self.text[other]  # [O, D]
        toward = eye - seen.centers  # [O, 3]
        toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-6)
        angle = np.concatenate([np.ones((count, 1)), toward], axis=1)  # [O, 4]
        pull = np.einsum("oa,oac->oc", angle, habits.drift) * np.sqrt(self._alike[classes] * len(self.text))
        rows = rows + config.drift * DRIFT_SCALE * (pull * self._ease[classes][:, None]) @ self._contrast
        return np.where(known[:, None], rows, self._generic).astype(np.float32)

    def _spoil_parts(
        self, scene: str, view: View, objects: np.ndarray, rows: np.ndarray, seen: Survey
    ) -> tuple[np.ndarray, np.ndarray]:
        """Give parts of objects a feature of their own: objects [H, W] and rows [O + parts, D] with the new numbers."""
        config = self.config
        cells = part_image(view)  # [H, W], -1 where the place is not known
        codes, local = np.unique(cells * len(rows) + objects, return_inverse=True)
        owner = codes % len(rows)
        classes = np.where(seen.classes == VOID, 0, seen.classes)[owner]
        known = (codes >= 0) & (seen.classes[owner] != VOID)
        lasts = hashed(codes, self._rng(scene, view.name, "lasts")) < config.lasting
        always, now = (self._rng(scene, "parts"), self._rng(scene, view.name, "parts"))
        draws = [np.where(lasts, hashed(codes, always), hashed(codes, now)) for _ in range(3)]
        wrong = known & (draws[0] < config.parts * self._ease[classes])
        other = (self._alike[classes].cumsum(axis=1) < draws[1][:, None]).sum(axis=1).clip(max=len(self.text) - 1)
        share = (0.55 + 0.35 * draws[2][wrong])[:, None]
        spoilt = (1 - share) * rows[owner[wrong]] + share * self.text[other[wrong]]  # [parts, D]
        number = np.where(wrong, len(rows) + wrong.cumsum() - 1, owner)
        return number[local.reshape(objects.shape)], np.concatenate([rows, spoilt.astype(np.float32)])

    def _again(self, drawn: np.ndarray, fault: str, habit: np.ndarray, view: tuple[str, str]) -> np.ndarray:
        """For a share of `lasting` of the objects, what is drawn for all views in place of what is drawn for this one.

        From a generator of its own, so that draws of other faults are the same whether this one is on or off.
        """
        if self.config.lasting == 0:
            return drawn
        return np.where(self._rng(*view, fault).random(len(drawn)) < self.config.lasting, habit, drawn)

    def _rng(self, *names: str) -> np.random.Generator:
        digest = hashlib.sha256("\n".join([str(self.config.seed), *names]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))


class _Habits:
    """What is the same in all views of a scene: each object's inclination to be confused, with what, and its drift."""

    def __init__(self, rng: np.random.Generator, later: np.random.Generator, count: int, classes: int) -> None:
        self.score = rng.standard_normal(count)  # [O]
        self.choice = rng.random(count)  # [O]
        self.drift = rng.standard_normal((count, 4, classes)) / np.sqrt(2)  # [O, 1 + direction, C]
        self.slip, self.fall, self.much, self.paired = later.random((4, count))  # [O] each


def _mix(parts: list[np.ndarray], basis: np.ndarray, gram: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Unit vectors [n, D] of the rows `pixels` of a mixture, whose columns lie in parts [H W, .], times basis [B, D].

    The lengths come from the B x B Gram matrix, which is small.
    """
    mixture = np.concatenate([part[pixels] for part in parts], axis=1)  # [n, B]
    squared = np.einsum("pk,pk->p", mixture @ gram, mixture)
    return (mixture / np.sqrt(np.maximum(squared, 1e-12))[:, None]) @ basis
