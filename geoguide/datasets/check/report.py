"""What a check found: counts by split, problems, and what can be run; and the check that every scene gets."""

import contextlib
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from geoguide.datasets.color_agreement import color_doubts
from geoguide.datasets.depth_agreement import check_depth
from geoguide.datasets.formats.files import listed
from geoguide.datasets.label_agreement import floor_counts, floor_doubts, label_doubts
from geoguide.errors import GeoGuideError, ReadAs, refused_file
from geoguide.labels import load_label_set
from geoguide.ops.strays import FARTHEST, distances, named_rows, stray_rows
from geoguide.scene import NO_INSTANCE, VOID, Scene, View
from geoguide.welding import with_weld_said

MANY = 20  # things that are not there, above which they are counted: of 1,201 scenes few are fetched at first
NAMED = 10  # frames whose names a line about lost poses gives
Reader = Callable[[Path], Scene]  # of one scene, from the path that names it


@dataclass
class Report:
    """What was found out about one layout of a folder.

    Attributes:
        title: The folder and the layout.
        lines: What is there, in order.
        notes: What could be read in more than one way and how it was read, each once.
        problems: What is missing or broken, each once; they decide the exit code.
        uses: What can be run with this folder.
        scenes: How many scenes are readable.
    """

    title: str
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    scenes: int = 0

    def problem(self, text: str) -> None:
        """Add something that is missing or broken, unless it was added before.

        Args:
            text: The line; it names the file.
        """
        if text not in self.problems:  # regions of one house share its cameras
            self.problems.append(text)

    def missing(self, texts: Sequence[str], what: str) -> None:
        """Add things of one kind that are not there: a line each, or one line for all where they are many.

        Args:
            texts: A line for each; it names the file.
            what: What they are, and who names them, for the one line.
        """
        for text in texts[:1] if len(texts) > MANY else texts:
            others = f"; so are {len(texts) - 1} other {what}" if len(texts) > MANY else ""
            self.problem(f"{text}{others}")

    def note(self, text: str) -> None:
        """Add how something was read, unless it was added before.

        Args:
            text: The line; it names the file or the scene.
        """
        if text not in self.notes:
            self.notes.append(text)

    @contextlib.contextmanager
    def noting(self) -> Generator[None]:
        """Go on after what is done within, even where a file of it is missing or broken: that is a problem.

        Warnings are problems too, but for those that say how something was read (`ReadAs`).

        Yields:
            Nothing, once.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except GeoGuideError as error:
                self.problem(str(error))
            except OSError as error:
                refused = refused_file(error)
                if refused is None:
                    raise
                self.problem(refused)
        for warning in caught:
            (self.note if issubclass(warning.category, ReadAs) else self.problem)(str(warning.message))

    def print(self) -> None:
        """Print the title, and below it the lines, how things were read, the problems, the uses and the two counts."""
        print(self.title)
        for text in self.lines:
            print(f"  {text}")
        for text in self.notes:
            print(f"  as read: {text}")
        for text in self.problems:
            print(f"  problem: {text}")
        for text in self.uses or ["nothing yet"]:
            print(f"  can be run: {text}")
        print(f"  {self.scenes} scenes, {len(self.problems)} problems")


class Question(NamedTuple):
    """What is asked of the labels of all scenes of a split together.

    Attributes:
        counts: Counts points of one scene, int64 [n].
        doubts: Says, by the sum of these, where the labels are not of the points.
    """

    counts: Callable[[Scene], np.ndarray]
    doubts: Callable[[np.ndarray], tuple[str, ...]]


def floor_question(label_set: str) -> Question:
    """Ask whether the floors of rooms are called so.

    Args:
        label_set: What their labels are classes of; it has a class "floor".

    Returns:
        The question.
    """
    floor = load_label_set(label_set).names.index("floor")
    return Question(lambda scene: floor_counts(scene, floor), floor_doubts)


@dataclass
class Tally:
    """Counts over the readable scenes of one split, so that no scene has to stay in memory.

    Attributes:
        scenes: Number of scenes.
        points: Number of their points.
        frames: Number of their views.
        void: Number of points whose label is void.
        with_labels: Number of scenes that have labels.
        with_frames: Number of scenes that have views.
        with_instances: Number of scenes that have instances.
        with_label_images: Number of scenes with views, all of which have label images.
        provenances: `Scene.provenance` of the scenes: "mini", "real" or both.
    """

    scenes: int = 0
    points: int = 0
    frames: int = 0
    void: int = 0
    with_labels: int = 0
    with_frames: int = 0
    with_instances: int = 0
    with_label_images: int = 0
    provenances: set[str] = field(default_factory=set)

    def add(self, scene: Scene) -> None:
        """Count a scene.

        Args:
            scene: The scene.
        """
        self.scenes += 1
        self.points += len(scene)
        self.frames += len(scene.views)
        self.void += 0 if scene.labels is None else int((scene.labels == VOID).sum())
        self.with_labels += scene.labels is not None
        self.with_frames += bool(scene.views)
        self.with_instances += scene.instances is not None
        self.with_label_images += bool(scene.views) and all(view.label_path is not None for view in scene.views)
        self.provenances.add(scene.provenance)

    def describe(self, split: str, expected: int) -> str:
        """Put the counts into one line.

        Args:
            split: What the scenes are, for the line.
            expected: How many scenes there should be.

        Returns:
            The line.
        """
        text = f"{split}: {self.scenes} of {expected} scenes readable"
        if not self.scenes:
            return text
        mean = f"about {self.points // self.scenes} points and {self.frames // self.scenes} frames"
        counts = f"labels in {self.with_labels}, instances in {self.with_instances}, frames in {self.with_frames}"
        return f"{text} ({'/'.join(sorted(self.provenances))}), {mean}; {counts}"


def check_scenes(
    report: Report,
    split: str,
    paths: Sequence[Path],
    read: Reader,
    *,
    expected: int | None = None,
    need_labels: bool = True,
    need_frames: bool = True,
    question: Question | None = None,
) -> Tally:
    """Read every scene of a split under a progress bar, decode every frame, and note what is wrong, file by file.

    Args:
        report: Takes the problems and one line of counts.
        split: What the scenes are, for that line.
        paths: A path for each scene, which `read` takes and messages name.
        read: Reads one scene.
        expected: How many scenes there should be, where that is known; by default as many as `paths`.
        need_labels: Whether a scene without labels is a problem; otherwise it is only counted.
        need_frames: Whether a scene without views is a problem; otherwise it is only counted.
        question: What the labels are asked, None for nothing.

    Returns:
        The counts.
    """
    tally, counts = Tally(), []
    for path in tqdm(paths, f"check {split}"):
        scene = check_scene(report, path, read, need_labels, need_frames)
        if scene is not None:
            tally.add(scene)
            counts += [] if question is None else [question.counts(scene)]
    for doubt in () if question is None or not counts else question.doubts(np.sum(counts, axis=0)):
        report.problem(f"{paths[0].parent}: {doubt}")
    report.scenes += tally.scenes
    report.lines.append(tally.describe(split, len(paths) if expected is None else expected))
    return tally


def check_scene(report: Report, path: Path, read: Reader, need_labels: bool, need_frames: bool) -> Scene | None:
    """Read one scene and decode all of its frames.

    Args:
        report: Takes the problems.
        path: The scene's path, which `read` takes and messages name.
        read: Reads the scene.
        need_labels: Whether a scene without labels is a problem.
        need_frames: Whether a scene without views is a problem.

    Returns:
        The scene, None when it cannot be read.
    """
    scene = None
    with report.noting():
        scene = read(path)
    if scene is None:
        return None
    for decision in with_weld_said(scene).as_read:
        report.note(f"{path}: {decision}")
    if scene.labels is None and need_labels:
        report.problem(f"{path}: no labels, so it can be segmented but not scored")
    elif scene.labels is not None and (scene.labels == VOID).all():
        report.problem(f"{path}: every label is void")
    if scene.instances is not None and (scene.instances == NO_INSTANCE).all():
        report.problem(f"{path}: no point belongs to an object")
    if not scene.views and need_frames:
        report.problem(f"{path}: no frames, so nothing can be lifted")
    for view in scene.views:
        parts = [view.color] + [view.depth] * (view.pixel_files[1] is not None)
        parts += [view.labels] * (view.label_path is not None) + [view.instances] * (view.instance_path is not None)
        for part in parts:
            with report.noting():
                part()
    _check_poses(report, path, scene.views)
    _check_agreement(report, path, scene)
    return scene


def _check_agreement(report: Report, path: Path, scene: Scene) -> None:
    """Name what of a scene is not of one another: labels, depth images and colour images, and points."""
    for doubt in label_doubts(scene):
        report.problem(f"{path}: {doubt}")
    with report.noting():
        check_depth(scene.views, str(path), np.inf)  # what it finds unusual of a whole recording is not amiss here
        for doubt in color_doubts(scene):
            report.problem(f"{path}: {doubt}")


def check_empty(report: Report, folder: Path) -> None:
    """Name the files of a folder that hold 0 bytes, as broken downloads leave them, unless a problem names them.

    Args:
        report: Takes the problems.
        folder: The folder; what lies below it is looked at too. One look at the disk a file.
    """
    with report.noting():
        for path in listed(folder, "**/*"):
            if path.stat().st_size == 0 and not any(text.startswith(f"{path}:") for text in report.problems):
                report.problem(f"{path}: holds 0 bytes")


def _check_poses(report: Report, path: Path, views: Sequence[View]) -> None:
    """Name the frames of a scene that no camera can have taken."""
    lost = [view.name for view in views if not view.has_pose]
    if len(lost) == 1:
        report.problem(f"{path}: pose of frame {lost[0]} is lost (not finite or zero); the frame will be skipped")
    elif lost:
        which = f"{', '.join(lost[:NAMED])}{', ...' * (len(lost) > NAMED)}"
        said = f"pose of {len(lost)} of {len(views)} frames is lost (not finite or zero); they will be skipped"
        report.problem(f"{path}: {said}: {which}")
    posed = [view for view in views if view.has_pose]
    eyes = np.array([view.cam_to_world[:3, 3] for view in posed]).reshape(-1, 3)  # [K, 3]
    rows = stray_rows(eyes)
    if len(rows) and distances(eyes)[rows[0]] > FARTHEST:  # buildings and streets are long
        report.problem(f"{path}: cameras far from all others: {named_rows(rows, eyes, lambda row: posed[row].name)}")
