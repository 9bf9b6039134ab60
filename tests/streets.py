"""What the tests of mini-nuScenes share: a scene's street from its number, and a distance by brute force."""

from pathlib import Path

import numpy as np

from geoguide.labels.nuscenes import category_classes
from geoguide.worlds.jobs import Job
from geoguide.worlds.streets import make as write
from geoguide.worlds.streets.contents import STREETS
from geoguide.worlds.streets.make import StreetConfig
from geoguide.worlds.streets.world import Street, generate_street
from geoguide.worlds.things.categories import CATEGORIES

CLASS_OF = np.array([category_classes()[name] for name in CATEGORIES])  # [32]


def job(split: str, number: int, config: StreetConfig, root: Path = Path("nowhere")) -> Job:
    return write._Street(root, split, number, config)


def street_of(split: str, number: int, config: StreetConfig) -> Street:
    seed, _ = job(split, number, config).seeds(2)
    return generate_street(seed, list(STREETS)[number % len(STREETS)])


def distance_to_triangles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Smallest distance [P] of points [P, 3] to triangles [F, 3, 3], every pair looked at."""
    a, b, c = (triangles[None, :, k] for k in range(3))
    p = points[:, None]
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=-1)
    unit = normal / np.maximum(area, 1e-12)[..., None]
    height = ((p - a) * unit).sum(-1)
    foot = p - height[..., None] * unit
    inside = area > 1e-9
    best = np.full(height.shape, np.inf)
    for start, end in ((a, b), (b, c), (c, a)):
        edge = end - start
        inside = inside & ((np.cross(edge, foot - start) * unit).sum(-1) >= 0)
        along = ((p - start) * edge).sum(-1) / np.maximum((edge * edge).sum(-1), 1e-12)
        nearest = start + np.clip(along, 0, 1)[..., None] * edge
        best = np.minimum(best, np.linalg.norm(p - nearest, axis=-1))
    return np.where(inside, np.minimum(best, np.abs(height)), best).min(axis=1)
