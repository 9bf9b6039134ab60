"""What a scan has lost of a surface, in patches: too dark, too shiny or out of reach, the same in every frame."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

WAVES = 12  # plane waves whose sum says where the patches are
LENGTHS = (0.35, 1.2)  # metres from crest to crest of the waves: patches of a hand's to a door's width


@dataclass(frozen=True, eq=False)
class Holes:
    """Patches of space in which no reading is taken: where a smooth random field is above a threshold.

    Attributes:
        vectors: Wave vectors of the field, radians a metre, float32 [W, 3].
        phases: Radians, float32 [W].
        threshold: Of the field, which has mean 0 and unit deviation.
    """

    vectors: np.ndarray
    phases: np.ndarray
    threshold: float

    @classmethod
    def draw(cls, rng: np.random.Generator, share: float) -> "Holes":
        """Draw the patches of one scan.

        Args:
            rng: Source of the field.
            share: About which share of the surface they take, above 0 and below 1.

        Returns:
            The patches.
        """
        direction = rng.standard_normal((WAVES, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        vectors = direction * (2 * np.pi / rng.uniform(*LENGTHS, (WAVES, 1)))
        phases = rng.uniform(0, 2 * np.pi, WAVES)
        return cls(vectors.astype(np.float32), phases.astype(np.float32), float(ndtri(1.0 - share)))

    @classmethod
    def of_scan(cls, share: float, seed: int) -> "Holes | None":
        """The patches of a scan, from a stream of their own: with them it is otherwise the scan without.

        Args:
            share: Of the surface, in 0..1.
            seed: Of the scan.

        Returns:
            The patches; None where the share is 0.
        """
        return cls.draw(np.random.default_rng([seed, 1]), share) if share else None

    def hold(self, points: np.ndarray) -> np.ndarray:
        """Which points lie in a patch.

        Args:
            points: float [N, 3] metres; NaN lies in none.

        Returns:
            bool [N].
        """
        field = np.cos(points.astype(np.float32) @ self.vectors.T + self.phases).sum(axis=1)  # [N]
        return field * np.sqrt(2.0 / WAVES) > self.threshold
