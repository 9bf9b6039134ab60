"""What rooms of mini-ScanNet are to be like: `RoomRecipe`, the part of a world's config that editions differ in."""

from dataclasses import dataclass
from typing import Literal

from geoguide.errors import ConfigError
from geoguide.frozen import check_fields

ROOM_TYPES = ("bedroom", "living room", "kitchen", "bathroom", "office", "meeting room", "studio")


@dataclass(frozen=True)
class RoomRecipe:
    """How rooms are furnished and annotated. The defaults are the small edition; no random draw depends on them there.

    Attributes:
        cycle: Room types by number: room n is of type `cycle[n % len(cycle)]`; a type that stands twice comes twice.
        rare: Share of the rooms that lack a rare thing by chance (a bathroom its bathtub, a bathtub its curtain) and
            get it all the same, 0..1.
        clutter: Factor on the counts of things on tops and on the floor; above 1 things lie on seats and beds too.
        touching: Chance, 0..1, that a piece stands flush against another instead of apart: furniture along a wall,
            things on a top or on the floor; chairs are pushed in until they touch.
        annotation: What the annotation follows. `segments`: each segment of the scored mesh is one object's, so that
            superpoints found with the same parameters are never impure. `surface`: each vertex has the object of the
            true surface, and segments end there; as in ScanNet, whose objects were drawn on a finer mesh.
    """

    cycle: tuple[str, ...] = ROOM_TYPES
    rare: float = 0.0
    clutter: float = 1.0
    touching: float = 0.0
    annotation: Literal["segments", "surface"] = "segments"

    def __post_init__(self) -> None:
        check_fields(self, "rooms")
        unknown = next((name for name in self.cycle if name not in ROOM_TYPES), None)
        if not self.cycle or unknown is not None:
            raise ConfigError(f"rooms.cycle must hold some of {', '.join(ROOM_TYPES)}, found {unknown!r}")
        for name in ("rare", "touching"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"rooms.{name} must be in 0..1, found {getattr(self, name)}")
        if self.clutter < 0:
            raise ConfigError(f"rooms.clutter must be at least 0, found {self.clutter}")
