"""Scores of a labelling: one confusion matrix, and every published rule for turning it into a number, by name.

Void is 255 in the ground truth: not scored. 255 in the prediction means "no feature": the method had nothing to say
about that point. Which classes a mean runs over (`absent`), and what a point without feature costs (`no_feature`), both
move published numbers by points, so neither is hidden.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from geoguide.errors import InputError
from geoguide.ops.arrays import Array, host, whole
from geoguide.scene import VOID

NO_FEATURE = 255  # prediction of a point about which the method has nothing to say
AbsentRule = Literal["zero", "skip", "union"]
NoFeatureRule = Literal["openscene", "wrong", "drop"]


@dataclass(frozen=True, eq=False)
class ClassSums:
    """What scores are made of: sums over points that add up over scenes, for any number of matrices at once.

    Attributes:
        hits: Points that are right, [..., C].
        union: Points of the class in the ground truth or predicted, IoU's denominators, [..., C].
        totals: Points of the class in the ground truth, accuracy's denominators, [..., C].
    """

    hits: np.ndarray
    union: np.ndarray
    totals: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, no_feature: NoFeatureRule) -> "ClassSums":
        """The sums of matrices.

        Args:
            counts: Integers [..., C, C + 1] as `ConfusionMatrix.counts` has them.
            no_feature: See `ConfusionMatrix`.

        Returns:
            The sums, of the leading shape of `counts`.
        """
        known, every = counts[..., :-1].sum(axis=-1), counts.sum(axis=-1)  # [..., C]
        hits = np.diagonal(counts, axis1=-2, axis2=-1).copy()  # [..., C]; a view would keep all counts in memory
        target = every if no_feature == "wrong" else known
        union = target + counts[..., :-1].sum(axis=-2) - hits
        return cls(hits, union, known if no_feature == "drop" else every)

    def weighted(self, weights: np.ndarray) -> "ClassSums":
        """The sums of scenes that are drawn several times or not at all: O(B S C).

        Args:
            weights: How often each scene counts, [B, S]; `self` has the leading shape [S].

        Returns:
            The sums of each draw, float64 [B, C], exact below 2^53 points.
        """
        weights = weights.astype(np.float64, copy=False)
        return ClassSums(*(weights @ part for part in (self.hits, self.union, self.totals)))

    def iou(self) -> np.ndarray:
        """Hits over union.

        Returns:
            float64 [..., C], NaN where the class is absent.
        """
        return self._ratio(self.union)

    def class_accuracy(self) -> np.ndarray:
        """Hits over totals.

        Returns:
            float64 [..., C], NaN where the class is absent.
        """
        return self._ratio(self.totals)

    def mean(self, values: np.ndarray, absent: AbsentRule) -> np.ndarray:
        """A mean over the classes.

        Args:
            values: `iou()` or `class_accuracy()`.
            absent: Which classes the mean runs over; see `ConfusionMatrix`.

        Returns:
            float64 [...], NaN where no class is present in the ground truth.

        Raises:
            InputError: An unknown rule.
        """
        counted = {
            "zero": np.ones(self.totals.shape, np.bool_),
            "skip": self._present,
            "union": self._present | (self.union > 0),
        }[_choice("absent", absent, AbsentRule)]
        classes = np.where(self._present.any(axis=-1), counted.sum(axis=-1), np.nan)  # [...]
        return np.nansum(values, axis=-1) / classes

    @property
    def _present(self) -> np.ndarray:
        return self.totals > 0  # [..., C]

    def _ratio(self, whole_: np.ndarray) -> np.ndarray:
        return np.where(self._present, self.hits / np.maximum(whole_, 1), np.nan)


class ConfusionMatrix:
    """Counts of (ground truth, prediction) over any number of scenes, and the scores that follow (the peers' rules).

    Scored are the points whose ground truth is not void. Everything is an exact integer until the final division, so
    updates may come in any order and matrices may be added.

    The rule `absent` says which classes a mean runs over:
        "zero"   sum over classes present in the ground truth, divided by all C (OpenScene, Pointcept)
        "skip"   mean over classes present in the ground truth
        "union"  mean over classes in the ground truth or predicted there (nuScenes, torchmetrics' Jaccard); an absent
                 class that was predicted counts 0

    The rule `no_feature` says what points predicted 255 cost:
        "openscene"  left out of IoU's misses, kept in the denominators of both accuracies (OpenScene; the default)
        "wrong"      a miss everywhere (ScanNet's benchmark)
        "drop"       left out everywhere

    Args:
        num_classes: C, in 1..255.
        no_feature: One of the rules above.

    Raises:
        InputError: `num_classes` out of range, or an unknown rule.

    Example:
        Five points of three classes, of which the last is absent from the ground truth but predicted once; the fourth
        point is void.

        >>> confusion = ConfusionMatrix(3)
        >>> confusion.update([0, 0, 1, 255, 1], [0, 2, 1, 0, 1])
        >>> confusion.matrix
        array([[1, 0, 1],
               [0, 2, 0],
               [0, 0, 0]])
        >>> confusion.iou()
        array([0.5, 1. , nan])
        >>> [confusion.miou(absent) for absent in ("zero", "skip", "union")]
        [0.5, 0.75, 0.5]
        >>> confusion.macc("skip"), confusion.accuracy()
        (0.75, 0.75)
    """

    def __init__(self, num_classes: int, no_feature: NoFeatureRule = "openscene") -> None:
        self.num_classes = whole("num_classes", num_classes, 1)
        if self.num_classes > VOID:
            raise InputError(f"num_classes must be at most {VOID}, which is void, found {num_classes}")
        self.no_feature: NoFeatureRule = _choice("no_feature", no_feature, NoFeatureRule)
        self._counts = np.zeros((self.num_classes, self.num_classes + 1), np.int64)  # [C, C + 1] last: no feature

    def update(self, target: Array, prediction: Array) -> None:
        """Add points. Inputs are never written to; predictions where the target is void are not looked at.

        Args:
            target: Integers of any shape, array or tensor: 0..C-1, or 255 (void).
            prediction: Integers of the same shape: 0..C-1, or 255 (no feature).

        Raises:
            InputError: Other shapes, dtypes or labels; then nothing was added.
        """
        target, prediction = host("target", target, "iu"), host("prediction", prediction, "iu")
        if target.shape != prediction.shape:
            raise InputError(f"prediction must be {list(target.shape)} as target is, found {list(prediction.shape)}")
        scored = target != VOID
        target, prediction = target[scored].astype(np.int64), prediction[scored].astype(np.int64)  # [n]
        for name, value in (("target", target), ("prediction", prediction)):
            bad = value[((value < 0) | (value >= self.num_classes)) & (value != NO_FEATURE)]
            if bad.size:
                raise InputError(f"{name} must be 0..{self.num_classes - 1} or 255, found {bad[0]}")
        prediction[prediction == NO_FEATURE] = self.num_classes  # a copy, by the selection above
        counts = np.bincount(target * (self.num_classes + 1) + prediction, minlength=self._counts.size)
        self._counts += counts.reshape(self._counts.shape)

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """A new matrix with the points of both, which `+` gives too.

        Args:
            other: Another matrix over the same classes, with the same no-feature rule.

        Returns:
            The new matrix; neither of the two is changed.

        Raises:
            InputError: The numbers of classes or the no-feature rules differ.
        """
        for field in ("num_classes", "no_feature"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise InputError(f"merged matrices must agree in {field}, found {mine} and {theirs}")
        merged = ConfusionMatrix(self.num_classes, self.no_feature)
        merged._counts = self._counts + other._counts
        return merged

    __add__ = merge

    @property
    def counts(self) -> np.ndarray:
        """int64 [C, C + 1], rows ground truth, columns prediction, the last one points without feature; a copy."""
        return self._counts.copy()

    @property
    def matrix(self) -> np.ndarray:
        """int64 [C, C], rows ground truth, columns prediction; a copy."""
        return self._counts[:, :-1].copy()

    @property
    def unpredicted(self) -> np.ndarray:
        """int64 [C], scored points of each class whose prediction is 255; a copy."""
        return self._counts[:, -1].copy()

    def iou(self) -> np.ndarray:
        """True positives over the union of ground truth and prediction, for each class.

        Returns:
            float64 [C], NaN where the class is absent: no scored point of the ground truth has it, whatever was
            predicted. (A class present only in points without feature is present, with IoU 0.)
        """
        return self._sums().iou()

    def class_accuracy(self) -> np.ndarray:
        """The share of each class's points that are right (recall).

        Returns:
            float64 [C], NaN where the class is absent, as in `iou`.
        """
        return self._sums().class_accuracy()

    def miou(self, absent: AbsentRule = "zero") -> float:
        """Mean IoU.

        Args:
            absent: Which classes the mean runs over; see the class.

        Returns:
            A number in [0, 1]; NaN where no class is present in the ground truth.

        Raises:
            InputError: An unknown rule.
        """
        sums = self._sums()
        return float(sums.mean(sums.iou(), absent))

    def macc(self, absent: AbsentRule = "zero") -> float:
        """Mean class accuracy.

        Args:
            absent: Which classes the mean runs over; see the class.

        Returns:
            The mean of `class_accuracy`, in [0, 1]; NaN as for `miou`.

        Raises:
            InputError: An unknown rule.
        """
        sums = self._sums()
        return float(sums.mean(sums.class_accuracy(), absent))

    def accuracy(self) -> float:
        """The share of all scored points that are right.

        Returns:
            A number in [0, 1]; NaN where no point is scored.
        """
        sums = self._sums()
        total = int(sums.totals.sum())
        return float(sums.hits.sum() / total) if total else float("nan")

    def _sums(self) -> ClassSums:
        return ClassSums.of(self._counts, self.no_feature)


def _choice(name: str, value: Any, allowed: object) -> Any:
    if value not in get_args(allowed):
        raise InputError(f"{name} must be one of {', '.join(get_args(allowed))}, found {value!r}")
    return value
