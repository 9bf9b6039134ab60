"""Columns of the error anatomy: a 2D model and the scenes that it is looked at on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoguide.datasets import scannet
from geoguide.errors import DataError
from geoguide.labels import load_label_set
from geoguide.report.anatomy import anatomy
from geoguide.report.anatomy_table import Column, mean_over
from geoguide.scene import Scene
from geoguide.superpoints import SuperpointConfig, scene_superpoints
from geoguide.teachers import Teacher
from geoguide.teachers.closed_set import ClosedSetTeacher
from geoguide.teachers.litert import LiteRTSegmenter
from geoguide.text.minilm import MiniLMTextEncoder
from geoguide.text_files import read_text

IMAGE_SIZE = (240, 320)  # (H, W) of real images: the size at which the committed columns were measured
LABEL_SET = "scannet20"


@dataclass(frozen=True, eq=False)
class Mean:
    """Several 2D models of one text space as one: the mean of their features.

    Attributes:
        parts: The models; none of them weighs pixels.
    """

    parts: Sequence[Teacher]

    def features(self, scene: Scene) -> Iterator[np.ndarray]:
        """The mean features of a scene's views.

        Args:
            scene: A scene with K views.

        Yields:
            float32 [H, W, C] for each view, in order.
        """
        for maps in zip(*(part.features(scene) for part in self.parts), strict=True):
            yield np.mean([np.asarray(each, np.float32) for each in maps], axis=0)


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
    scenes: Iterable[tuple[Scene, Teacher | Mean]],
    label_set: str,
    text: np.ndarray | None = None,
) -> Column:
    """The column of a 2D model.

    Args:
        kind: real, simulated or trained.
        where: On which scenes, in words.
        scenes: Scenes with labels, instances and views, each with the model as it is there.
        label_set: Whose names the model is asked to tell apart.
        text: float32 [classes, C], the names in the model's text space; None for MiniLM's.

    Returns:
        The means over the scenes.
    """
    names = load_label_set(label_set).names
    text = MiniLMTextEncoder().encode(names) if text is None else text
    config = SuperpointConfig()
    rows = [anatomy(scene, model, text, names, scene_superpoints(scene, config)) for scene, model in scenes]
    return Column(kind, where, mean_over(rows))


def closed_set_model(network: Path, classes: Path) -> ClosedSetTeacher:
    """A LiteRT segmentation network as a 2D model; the one place of the anatomy that knows how.

    Args:
        network: The file of the network.
        classes: A text file with a class name a line, in the order of the network's outputs, where "other" names
            nothing; or lines of a number from 1, a tab, and names by commas, of which the first counts: output 0 then
            names nothing.

    Returns:
        The model.

    Raises:
        DataError: A file cannot be read, or the class names are not as many as the network's outputs.
    """
    names = _names(classes)
    text = MiniLMTextEncoder().encode([name for name in names if name])
    segmenter = LiteRTSegmenter(network, names)
    return ClosedSetTeacher(segmenter, text)  # ty: ignore[invalid-argument-type]  # its names are never set anew


def _names(path: Path) -> list[str | None]:
    lines = [line.strip() for line in read_text(path, "class names").splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: must hold a class name a line, found none")
    if not all("\t" in line for line in lines):
        return [None if line == "other" else line for line in lines]
    return [None, *(line.split("\t")[1].split(",")[0].strip() for line in lines)]


def real_room(folder: Path, scene: str) -> Scene:
    """A ScanNet room with its images at the size of the committed columns.

    Args:
        folder: Of the dataset, official layout.
        scene: Its name.

    Returns:
        The room.
    """
    return scannet.load_scene(Path(folder) / "scans" / scene, image_size=IMAGE_SIZE)


def model_column(folder: Path, scene: str, network: Path, classes: Path) -> Column:
    """The column of a LiteRT network on a ScanNet room.

    Args:
        folder: Of the dataset, official layout.
        scene: The room's name.
        network: The network's file.
        classes: Its class names (see `closed_set_model`).

    Returns:
        The column.
    """
    return column_of("real", scene, [(real_room(folder, scene), closed_set_model(network, classes))], LABEL_SET)
