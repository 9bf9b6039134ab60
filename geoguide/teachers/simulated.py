"""A simulated 2D open-vocabulary teacher: the truth of an image, spoilt by four adjustable faults (paper, F_2d^M).

It reads the ground-truth label and instance images and returns per-pixel features in the text space, with the errors
that the paper blames on 2D models: confusion of alike classes, features that bleed over boundaries and occlusions,
wrong answers for partly seen large objects, and features that drift with the viewpoint. Every result that uses it says
"simulated". In a view each object has one feature and each pixel a mixture of them: one matrix product makes the image.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import ndtr

from geoguide.errors import ConfigError, InputError
from geoguide.labels import LabelSet, load_category_table
from geoguide.scene import VOID, Scene
from geoguide.teachers.faults import Survey, ToClass, alike_table, bleed, coarse_noise, object_image, shadow, survey

NOISE_SCALE = 0.5  # at full severity, in units of the contrast between class embeddings
DRIFT_SCALE = 0.4
SCANNET = "scannet20"
LARGE_AREA = 1.5  # m^2: an object of this size suffers half of the partial-view fault


@dataclass(frozen=True)
class SimulatedTeacherConfig:
    """Severities lie in [0, 1], 0 turns a fault off. None is from the paper; 2D fusion scores about 50."""

    confusion: float = 0.25  # chance that an object is taken for an alike class in a view
    bleeding: float = 0.7  # how far features spread over boundaries and into occlusion shadows
    partial_view: float = 0.7  # extra chance of a wrong class where little of a large object is seen
    drift: float = 0.3  # how far an object's feature moves with the direction it is seen from
    pixel_noise: float = 0.6  # smooth noise over the image, new in every view
    persistence: float = 0.5  # share of the confusion that is the same in all views of an object, so never averages out
    patch: int = 8  # pixels of a 160-pixel-wide image that share one feature, as the patches of a ViT do
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is float and not 0.0 <= value <= 1.0:
                raise ConfigError(f"simulated teacher: {field.name} must lie in [0, 1], found {value}")
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
        if not scene.views:
            return
        seen = survey(scene, self._to_class)
        habits = _Habits(self._rng(scene.name), len(seen.keys), len(self.text))
        for index in range(len(scene.views)):
            yield self._view(scene, index, seen, habits)

    def _view(self, scene: Scene, index: int, seen: Survey, habits: "_Habits") -> np.ndarray:
        """The feature image of one view, float32 [H, W, D]."""
        config, view = self.config, scene.views[index]
        rng = self._rng(scene.name, view.name)
        eye = view.cam_to_world[:3, 3] if view.has_pose else np.zeros(3)
        rows = self._object_features(rng, seen, index, habits, eye)  # [O, D]
        objects = np.searchsorted(seen.keys, object_image(view, self._to_class))  # [H, W]
        objects = shadow(objects, view.depth(), config.bleeding, side=1 if rng.random() < 0.5 else -1)
        patch = max(1, round(config.patch * objects.shape[1] / 160))
        visible, local = np.unique(objects, return_inverse=True)
        mixture = np.eye(len(visible), dtype=np.float32)[local.reshape(objects.shape)]  # [H, W, O']
        mixture = bleed(mixture, config.bleeding, patch)
        basis = rows[visible]
        if config.pixel_noise > 0:
            noise = coarse_noise(rng, objects.shape, len(self.text), patch)
            mixture = np.concatenate([mixture, config.pixel_noise * NOISE_SCALE * noise], axis=-1)
            basis = np.concatenate([basis, self._contrast])
        return _mix(mixture, basis)

    def _object_features(
        self, rng: np.random.Generator, seen: Survey, index: int, habits: "_Habits", eye: np.ndarray
    ) -> np.ndarray:
        """The one feature that every object has in this view, float32 [O, D]."""
        config, count = self.config, len(seen.keys)
        known = seen.classes != VOID
        classes = np.where(known, seen.classes, 0)
        keep = config.persistence
        score = np.sqrt(keep) * habits.score + np.sqrt(1 - keep) * rng.standard_normal(count)
        large = seen.areas / (seen.areas + LARGE_AREA)
        share_of_best = seen.shares[index] / np.maximum(seen.shares.max(axis=0), 1e-9)
        hidden = config.partial_view * large * (1 - share_of_best) ** 2  # [O] chance of a wrong answer
        wrong = (ndtr(score) < config.confusion * self._ease[classes]) | (rng.random(count) < hidden)
        choice = np.where(rng.random(count) < keep, habits.choice, rng.random(count))
        other = (self._alike[classes].cumsum(axis=1) < choice[:, None]).sum(axis=1).clip(max=len(self.text) - 1)
        share = np.where(wrong, 0.55 + 0.35 * rng.random(count), 0.4 * config.confusion * rng.random(count))
        rows = (1 - share)[:, None] * self.text[classes] + share[:, None] * self.text[other]  # [O, D]
        toward = eye - seen.centers  # [O, 3]
        toward /= np.maximum(np.linalg.norm(toward, axis=1, keepdims=True), 1e-6)
        angle = np.concatenate([np.ones((count, 1)), toward], axis=1)  # [O, 4]
        pull = np.einsum("oa,oac->oc", angle, habits.drift) * np.sqrt(self._alike[classes] * len(self.text))
        rows = rows + config.drift * DRIFT_SCALE * (pull * self._ease[classes][:, None]) @ self._contrast
        return np.where(known[:, None], rows, self._generic).astype(np.float32)

    def _rng(self, *names: str) -> np.random.Generator:
        digest = hashlib.sha256("\n".join([str(self.config.seed), *names]).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "little"))


class _Habits:
    """What is the same in all views of a scene: each object's inclination to be confused, with what, and its drift."""

    def __init__(self, rng: np.random.Generator, count: int, classes: int) -> None:
        self.score = rng.standard_normal(count)  # [O]
        self.choice = rng.random(count)  # [O]
        self.drift = rng.standard_normal((count, 4, classes)) / np.sqrt(2)  # [O, 1 + direction, C]


def _mix(mixture: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Unit vectors of mixture [H, W, B] @ basis [B, D]; the lengths come from the B x B Gram matrix, which is small."""
    flat = mixture.reshape(-1, mixture.shape[-1])  # [H W, B]
    squared = np.einsum("pk,pk->p", flat @ (basis @ basis.T), flat)
    flat = flat / np.sqrt(np.maximum(squared, 1e-12))[:, None]
    return (flat @ basis).reshape(*mixture.shape[:2], -1)
