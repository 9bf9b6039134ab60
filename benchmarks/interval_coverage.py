"""How often 95 % intervals of a paired difference hold the truth, with few seeds that are scored on the same scenes.

    python benchmarks/interval_coverage.py

Differences are drawn as a_seed + b_scene + c_seed,scene, all normal, and an interval should hold the mean of both
populations. `seeds' share` is the share of the mean's variance that comes from the seeds; c has a tenth of it. Compared
are Student's t over seeds alone, the percentile bootstraps over seeds and over seeds and scenes (Owen, 2007),
Satterthwaite's t, and what the book uses (`evidence.Estimate`; Banerjee, 1961). `width` is the mean width less that of
the ideal interval, which knows the variance, over that of the ideal one. Nothing is timed.
"""

from pathlib import Path

import numpy as np
from _measure import report
from scipy import stats

from geoguide.report.evidence import estimate

SEEDS, SHARES, SCENES = (3, 5), (0.1, 0.5, 0.9), 60
TRIES, DRAWS = 2000, 400
TOGETHER = 0.1  # share of the mean's variance that seed and scene have together


def differences(rng: np.random.Generator, seeds: int, share: float) -> np.ndarray:
    """One study, float [seeds, scenes]; its mean has variance 1 and the true value 0."""
    of_seed = rng.normal(0, np.sqrt((1 - TOGETHER) * share * seeds), (seeds, 1))
    of_scene = rng.normal(0, np.sqrt((1 - TOGETHER) * (1 - share) * SCENES), (1, SCENES))
    return of_seed + of_scene + rng.normal(0, np.sqrt(TOGETHER * seeds * SCENES), (seeds, SCENES))


def intervals(found: np.ndarray, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """The interval of every method for one study."""
    seeds, scenes = found.shape
    gap, by_scene = found.mean(axis=1), found.mean(axis=0)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds  # [B, seeds]
    weights = rng.multinomial(scenes, np.full(scenes, 1 / scenes), size=DRAWS) / scenes  # [B, scenes]
    errors = np.array([stats.sem(gap), stats.sem(by_scene)])
    both = np.square(errors).sum()
    freedom = both**2 / (errors**4 / np.array([seeds - 1, scenes - 1])).sum()
    half = stats.t.ppf(0.975, freedom) * np.sqrt(both)
    return {
        "t over seeds": estimate(gap).bounds(),
        "percentile, seeds": tuple(np.percentile(drawn @ gap, [2.5, 97.5])),
        "percentile, seeds and scenes": tuple(np.percentile((drawn @ found * weights).sum(axis=1), [2.5, 97.5])),
        "Satterthwaite": (gap.mean() - half, gap.mean() + half),
        "the book's": estimate(gap, float(errors[1]), scenes).bounds(),
    }


def coverage(seeds: int, share: float, tries: int = TRIES) -> list[dict[str, object]]:
    """A row for each method."""
    rng = np.random.default_rng([seeds, int(10 * share)])
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(tries):
        for name, ends in intervals(differences(rng, seeds, share), rng).items():
            found.setdefault(name, []).append(ends)
    rows = []
    for name, ends in found.items():
        low, high = np.array(ends).T
        held, ideal = float(((low < 0) & (high > 0)).mean()), 2 * stats.norm.ppf(0.975)
        width = float((high - low).mean() / ideal - 1)
        row = {"seeds": seeds, "scenes": SCENES, "seeds' share": share, "interval": name, "studies": tries}
        rows.append(row | {"coverage": round(held, 4), "width": round(width, 3)})
    return rows


if __name__ == "__main__":
    report(Path(__file__).stem, [row for seeds in SEEDS for share in SHARES for row in coverage(seeds, share)])
