"""Scores of a labelling: one confusion matrix, and every published rule for turning it into a number, by name.

Void is 255 in the ground truth: not scored. 255 in the prediction means "no feature": the method had nothing to say
about that point. Which classes a mean runs over (`absent`), and what a point without feature costs (`no_feature`), both
move published numbers by points, so neither is hidden.
"""

from typing import Any, Literal, get_args

import numpy as np

from geoguide.errors import InputError
from geoguide.ops.arrays import Array, host, whole
from geoguide.scene import VOID

NO_FEATURE = 255  # prediction of a point about which the method has nothing to say
AbsentRule = Literal["zero", "skip", "union"]
NoFeatureRule = Literal["openscene", "wrong", "drop"]


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
        return _ratio(self._hits(), np.maximum(self._union(), 1), self._present())

    def class_accuracy(self) -> np.ndarray:
        """The share of each class's points that are right (recall).

        Returns:
            float64 [C], NaN where the class is absent, as in `iou`.
        """
        return _ratio(self._hits(), np.maximum(self._totals(), 1), self._present())

    def miou(self, absent: AbsentRule = "zero") -> float:
        """Mean IoU.

        Args:
            absent: Which classes the mean runs over; see the class.

        Returns:
            A number in [0, 1]; NaN where no class is present in the ground truth.

        Raises:
            InputError: An unknown rule.
        """
        return self._mean(self.iou(), absent)

    def macc(self, absent: AbsentRule = "zero") -> float:
        """Mean class accuracy.

        Args:
            absent: Which classes the mean runs over; see the class.

        Returns:
            The mean of `class_accuracy`, in [0, 1]; NaN as for `miou`.

        Raises:
            InputError: An unknown rule.
        """
        return self._mean(self.class_accuracy(), absent)

    def accuracy(self) -> float:
        """The share of all scored points that are right.

        Returns:
            A number in [0, 1]; NaN where no point is scored.
        """
        total = int(self._totals().sum())
        return float(self._hits().sum() / total) if total else float("nan")

    def _hits(self) -> np.ndarray:
        return np.diagonal(self._counts)  # [C]

    def _totals(self) -> np.ndarray:
        """Ground-truth points of each class in accuracy's denominators, [C]."""
        return (self._counts[:, :-1] if self.no_feature == "drop" else self._counts).sum(axis=1)

    def _union(self) -> np.ndarray:
        """Points of each class in the ground truth or predicted, IoU's denominators, [C]."""
        target = (self._counts if self.no_feature == "wrong" else self._counts[:, :-1]).sum(axis=1)
        return target + self._counts[:, :-1].sum(axis=0) - self._hits()  # [C]

    def _present(self) -> np.ndarray:
        return self._totals() > 0  # [C]

    def _mean(self, values: np.ndarray, absent: AbsentRule) -> float:
        counted = {
            "zero": np.ones(self.num_classes, np.bool_),
            "skip": self._present(),
            "union": self._present() | (self._union() > 0),
        }[_choice("absent", absent, AbsentRule)]
        if not self._present().any() or not counted.any():
            return float("nan")
        return float(np.nansum(values) / counted.sum())


def _ratio(part: np.ndarray, whole_: np.ndarray, present: np.ndarray) -> np.ndarray:
    return np.where(present, part / whole_, np.nan)


def _choice(name: str, value: Any, allowed: object) -> Any:
    if value not in get_args(allowed):
        raise InputError(f"{name} must be one of {', '.join(get_args(allowed))}, found {value!r}")
    return value
