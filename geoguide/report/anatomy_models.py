"""Columns of the error anatomy: a 2D model and the scenes that it is looked at on."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from geoguide.datasets import scannet
from geoguide.labels import load_label_set
from geoguide.paths import cache_root
from geoguide.report.anatomy import anatomy
from geoguide.report.anatomy_table import Column, mean_over, of_each
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints, superpoint_purity
from geoguide.teachers import Teacher
from geoguide.teachers.image_model import ImageTeacher
from geoguide.teachers.registry import open_image_model, parse_spec
from geoguide.text.minilm import MiniLMTextEncoder

IMAGE_SIZE = (240, 320)  # (H, W) of real images: the size at which the committed columns were measured
LABEL_SET = "scannet20"
# Superpoints of generated rooms are pure at ScanNet's threshold (1.000 on 14 validation rooms, real scene0000_00 .938),
# so that their means would repair what no real one does. This threshold makes them .948 pure there.
GENERATED = SuperpointConfig(k=0.7)


def coordinates(text: np.ndarray) -> np.ndarray:
    """Class embeddings in an orthonormal basis of their span.

    A simulated model's features lie in that span: with these texts it is the same model, with the same inner products
    and draws, and as many channels as there are classes.

    Args:
        text: float32 [classes, C], no more classes than channels.

    Returns:
        float32 [classes, classes].
    """
    return np.linalg.qr(text.T.astype(np.float64))[1].T.astype(np.float32)


def column_of(
    kind: str,
    where: str,
    scenes: Iterable[tuple[Scene, Teacher]],
    label_set: str,
    text: np.ndarray | None = None,
    superpoints: SuperpointConfig | None = None,
) -> Column:
    """The column of a 2D model.

    Args:
        kind: real, simulated or trained.
        where: On which scenes, in words.
        scenes: Scenes with labels, instances and views, each with the model as it is there.
        label_set: Whose names the model is asked to tell apart.
        text: float32 [classes, C], the names in the model's text space; None for MiniLM's.
        superpoints: Whose means are compared; None for ScanNet's own settings.

    Returns:
        The means over the scenes, and each scene's.
    """
    names = load_label_set(label_set).names
    text = MiniLMTextEncoder().encode(names) if text is None else text
    config = superpoints or SuperpointConfig()
    rows, purity = [], []
    for scene, model in scenes:
        regions = scene_superpoints(scene, config)
        rows.append(anatomy(scene, model, text, names, regions))
        purity.append(superpoint_purity(regions, np.asarray(scene.labels)))
    return Column(kind, where, mean_over(rows), round(float(np.mean(purity)), 4), of_each(rows))


def real_room(folder: Path, scene: str) -> Scene:
    """A ScanNet room with its images at the size of the committed columns.

    Args:
        folder: Of the dataset, official layout.
        scene: Its name.

    Returns:
        The room.
    """
    return scannet.load_scene(Path(folder) / "scans" / scene, image_size=IMAGE_SIZE)


def model_column(folder: Path, scene: str, spec: str) -> Column:
    """The column of a 2D model on a ScanNet room; what it says of each frame is kept in the cache.

    Args:
        folder: Of the dataset, official layout.
        scene: The room's name.
        spec: The model, as `teachers.registry` names them.

    Returns:
        The column.

    Raises:
        ConfigError: As `open_image_model`.
        DataError: As `open_image_model`, or the room cannot be read.
    """
    model = open_image_model(parse_spec(spec))
    teacher = ImageTeacher(model, cache=cache_root() / "frames")
    text = model.text(load_label_set(LABEL_SET).names)
    return column_of("real", scene, [(real_room(folder, scene), teacher)], LABEL_SET, text)
