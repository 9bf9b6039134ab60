"""Recompute columns of the error anatomy, results/anatomy.json; columns that are not asked for are kept.

    python benchmarks/anatomy.py real FOLDER      # FOLDER: scannet_real/ and networks_2d/; needs the extra `litert`
    python benchmarks/anatomy.py simulated [NAME] # simulated 2D models (all, or one) on the mini test rooms
    python benchmarks/anatomy.py trained [NAME]   # packaged models that look at pixels, likewise

ENet's column (it has seen that room) is of an earlier measurement and noted to two decimals: its file is no LiteRT
network, so that this script cannot make it again.
"""

import sys
from pathlib import Path

from geoguide.experiments.presets import TEACHERS
from geoguide.labels import load_label_set
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.report.anatomy_models import GENERATED, column_of, coordinates, model_column
from geoguide.report.anatomy_table import read_columns, write_columns
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import open_image_model, parse_spec
from geoguide.teachers.simulated import SimulatedTeacher
from geoguide.text.minilm import MiniLMTextEncoder

ROOM = "scene0000_00"
FILES = {  # network, and the file of its class names
    "MOSAIC": ("mobile_segmenter_r4_quant_argmax_uint8.tflite", "ade31.txt"),
    "DeepLab150": ("lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1.tflite", "ade150_labels.txt"),
}


def real(folder: str) -> None:
    """The real networks on the real room."""
    networks = Path(folder) / "networks_2d"
    specs = {n: f"litert:{networks / file},names={networks / names}" for n, (file, names) in FILES.items()}
    for name, spec in (specs | {"both": f"mean:{'+'.join(specs.values())}"}).items():
        keep(name, model_column(Path(folder) / "scannet_real", ROOM, spec))


def simulated(*names: str) -> None:
    """Simulated 2D models on the test rooms, in coordinates of their span."""
    config = ExperimentConfig()
    labels = load_label_set(config.data.label_set)
    text = coordinates(MiniLMTextEncoder().encode(labels.names))
    for name in names or TEACHERS:
        model = SimulatedTeacher(TEACHERS[name], text, labels)
        scenes = ((source.load(), model) for source in scene_sources(config.data, "test"))
        keep(name, column_of("simulated", "mini test rooms", scenes, labels.name, text, GENERATED))


def trained(*names: str) -> None:
    """Packaged models of rooms on the test rooms."""
    config = ExperimentConfig()
    for name in names or ("lseg-mini", "openseg-mini", "sas-mini"):
        teacher = ImageTeacher(open_image_model(parse_spec(f"mini:{name}")))
        scenes = ((source.load(), teacher) for source in scene_sources(config.data, "test"))
        keep(name, column_of("trained", "mini test rooms", scenes, config.data.label_set, superpoints=GENERATED))


def keep(name, column):
    """Write a column as soon as it is there."""
    print(name, column, flush=True)
    write_columns(read_columns() | {name: column})


if __name__ == "__main__":
    {"real": real, "simulated": simulated, "trained": trained}[sys.argv[1]](*sys.argv[2:])
