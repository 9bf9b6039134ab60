"""The README's moving picture, one generated room and where the packaged model sees each word, as book/query.webp.

python book/query_picture.py. The room is of the test split, which the model was not trained on.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoguide.benchmarks.scenes import list_sources
from geoguide.experiments.presets import preset
from geoguide.model import load
from geoguide.paths import replacing
from geoguide.report.figures.clouds import EYE
from geoguide.report.figures.palette import viridis
from geoguide.report.figures.poster import HEIGHT, WIDTH, draw_cloud

ROOM = 4  # of the test rooms: an office
WORDS = ("chair", "something to write on", "window", "bookshelf", "door", "floor")
SHOWN = 1500  # milliseconds a word
FACE = ImageFont.load_default(size=22)


def frame(points: np.ndarray, colors: np.ndarray, said: str) -> Image.Image:
    """One picture with words below, on white."""
    drawn = Image.fromarray(draw_cloud(points, colors, EYE), "RGBA")
    page = Image.new("RGB", (WIDTH, HEIGHT + 40), "white")
    page.paste(drawn, mask=drawn)
    ImageDraw.Draw(page).text((WIDTH // 2, HEIGHT + 18), said, fill="black", font=FACE, anchor="mm")
    return page


def main() -> int:
    scene = list_sources(preset().data, "test")[ROOM].load()
    model = load("mini")
    pictures = [frame(scene.points, np.round(scene.colors * 255), "a generated room it has not seen")]
    for word in WORDS:
        heat = model.similarity(scene.points, scene.colors, scene.normals, text=word)  # [P]
        shade = (heat - heat.min()) / max(np.ptp(heat), 1e-6)
        pictures.append(frame(scene.points, viridis(shade), f"“{word}”"))
    with replacing(Path(__file__).with_name("query.webp")) as path:
        options = {"save_all": True, "append_images": pictures[1:], "duration": SHOWN, "loop": 0, "quality": 60}
        pictures[0].save(path, format="WEBP", **options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
