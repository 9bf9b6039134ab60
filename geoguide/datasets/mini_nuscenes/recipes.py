"""The five kinds of street, and how their profile is drawn."""

from dataclasses import dataclass

import numpy as np

LANE, PARKING = 3.6, 2.8  # metres


@dataclass(frozen=True)
class Recipe:
    """Expected numbers and shares; `must` names things that stand within sight of the car."""

    lanes: tuple[int, int]  # fewest and most in each direction
    median: float  # chance of a traffic island along the middle
    fronts: tuple[float, float, float]  # shares of buildings, lawns and lots beyond the sidewalk
    traffic: float  # metres between vehicles of a lane
    parked: float  # share of the kerb with parked vehicles
    people: float
    cycles: float  # of each, bicycles and motorcycles
    works: float  # chance of road works
    crossing: float  # chance of a side road
    must: tuple[str, ...]


STREETS: dict[str, Recipe] = {
    "avenue": Recipe((2, 2), 0.8, (0.42, 0.53, 0.05), 45, 0.25, 8, 1.2, 0.1, 0.3, ("bus", "motorcycle", "barrier")),
    "crossing": Recipe((1, 2), 0.3, (0.45, 0.45, 0.1), 40, 0.2, 11, 1.5, 0.1, 1.0, ("bicycle", "truck", "island")),
    "works": Recipe((1, 2), 0.1, (0.3, 0.55, 0.15), 55, 0.15, 4, 0.5, 1.0, 0.1, ("truck", "barrier", "trailer")),
    "depot": Recipe((1, 2), 0.0, (0.15, 0.4, 0.45), 60, 0.15, 3, 0.5, 0.25, 0.2, ("trailer", "truck", "island")),
    "residential": Recipe((1, 1), 0.0, (0.25, 0.7, 0.05), 70, 0.3, 5, 1.0, 0.1, 0.3, ("bicycle", "motorcycle")),
}


@dataclass(frozen=True)
class Profile:
    """A street's cross-section: lanes in each direction, half-widths of island and road, sidewalks (right, left)."""

    lanes: int
    island: float
    road: float
    sidewalks: tuple[float, float]

    def lane(self, number: int) -> float:
        """Distance of a lane's middle from the street's."""
        return self.island + LANE * (number + 0.5)


def draw_profile(recipe: Recipe, rng: np.random.Generator) -> Profile:
    """Lanes, island and sidewalks as a recipe has them."""
    lanes = int(rng.integers(recipe.lanes[0], recipe.lanes[1] + 1))
    island = float(rng.uniform(0.5, 1.2)) if rng.random() < recipe.median else 0.0
    first, second = rng.uniform(1.6, 3.0, 2)
    return Profile(lanes, island, island + LANE * lanes + PARKING, (float(first), float(second)))
