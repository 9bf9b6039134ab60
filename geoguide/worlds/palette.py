"""Colours of furniture and rooms, and the raw category names of mini-ScanNet.

The palettes of the classes overlap on purpose (a white box may be a refrigerator, a cabinet or a nightstand, a wooden
one a table, a desk, a door or a bookshelf): colour alone must not give a class away.
"""

import numpy as np

Color = tuple[int, int, int]

WOOD: tuple[Color, ...] = (
    (196, 160, 115), (160, 115, 75), (120, 82, 52), (90, 60, 42), (215, 185, 145), (70, 50, 40), (180, 130, 90),
)  # fmt: skip
WHITE: tuple[Color, ...] = ((235, 233, 228), (222, 220, 212), (245, 245, 243))
GREY: tuple[Color, ...] = ((150, 150, 152), (110, 112, 115), (80, 82, 86), (190, 192, 195))
BLACK: tuple[Color, ...] = ((45, 45, 48), (60, 58, 58))
METAL: tuple[Color, ...] = ((175, 178, 182), (140, 142, 146), (200, 200, 202))
FABRIC: tuple[Color, ...] = (
    (60, 80, 120), (130, 50, 48), (90, 110, 80), (190, 175, 150), (115, 90, 70), (70, 120, 125), (190, 150, 70),
    (120, 120, 125), (85, 65, 95), (210, 205, 195),
)  # fmt: skip
VIVID: tuple[Color, ...] = (
    (190, 40, 45), (35, 90, 170), (40, 130, 70), (230, 180, 40), (225, 110, 40), (120, 60, 140), (240, 240, 235),
    (30, 30, 35),
)  # fmt: skip
WALL: tuple[Color, ...] = (
    (226, 222, 210), (210, 205, 190), (200, 210, 214), (215, 222, 208), (235, 235, 232), (205, 190, 165),
    (188, 196, 205),
)  # fmt: skip
GLASS: tuple[Color, ...] = ((175, 200, 220), (205, 215, 225), (120, 140, 160), (225, 230, 235), (95, 110, 120))
LEAF: tuple[Color, ...] = ((60, 110, 50), (85, 130, 60), (50, 85, 55))

# NYU40 ids as in the official scannetv2-labels.combined.tsv. Of these, ids 1-12, 14, 16, 24, 28, 33, 34, 36 and 39 are
# the 20 benchmark classes; the rest is void there.
RAW_TO_NYU40: dict[str, int] = {
    "wall": 1, "floor": 2, "ceiling": 22,
    "cabinet": 3, "kitchen cabinet": 3, "file cabinet": 3, "bathroom vanity": 3, "bathroom cabinet": 3,
    "bed": 4, "chair": 5, "office chair": 5, "armchair": 5, "couch": 6,
    "table": 7, "dining table": 7, "coffee table": 7, "end table": 7, "round table": 7,
    "door": 8, "doorframe": 8, "window": 9, "bookshelf": 10, "picture": 11, "poster": 11,
    "kitchen counter": 12, "counter": 12, "bathroom counter": 12, "desk": 14, "curtain": 16,
    "refrigerator": 24, "mini fridge": 24, "shower curtain": 28, "toilet": 33, "sink": 34, "bathtub": 36,
    "trash can": 39, "recycling bin": 39, "radiator": 39, "tv stand": 39, "wardrobe closet": 39, "ottoman": 39,
    "bench": 39, "washing machine": 39,
    "blinds": 13, "shelf": 15, "dresser": 17, "pillow": 18, "mirror": 19, "books": 23, "book": 23, "tv": 25,
    "towel": 27, "box": 29, "whiteboard": 30, "nightstand": 32, "lamp": 35, "desk lamp": 35, "bag": 37,
    "stove": 38, "range hood": 38,
    "stool": 40, "monitor": 40, "keyboard": 40, "laptop": 40, "computer tower": 40, "telephone": 40, "printer": 40,
    "microwave": 40, "coffee maker": 40, "bottle": 40, "cup": 40, "bowl": 40, "plant": 40, "backpack": 40,
    "suitcase": 40, "shoes": 40, "laundry basket": 40, "toilet paper": 40, "soap dispenser": 40,
}  # fmt: skip


def pick_color(rng: np.random.Generator, *groups: tuple[Color, ...]) -> Color:
    """Draw a colour.

    Args:
        rng: Source of the choice and of the change of shade.
        groups: Palettes, one of which is drawn first.

    Returns:
        One colour of that palette, a little brighter or darker and slightly tinted.
    """
    group = groups[rng.integers(len(groups))]
    color = np.array(group[rng.integers(len(group))]) + rng.integers(-12, 13) + rng.integers(-3, 4, 3)
    r, g, b = np.clip(color, 5, 250).tolist()
    return r, g, b


def darker(color: Color, factor: float = 0.7) -> Color:
    """Change a colour's brightness.

    Args:
        color: The colour.
        factor: What its brightness is multiplied by; above 1 it gets lighter.

    Returns:
        The colour of the same hue.
    """
    r, g, b = (int(min(255, c * factor)) for c in color)
    return r, g, b
