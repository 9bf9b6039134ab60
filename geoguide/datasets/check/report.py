"""What a check found: counts by split, problems, and what can be run; and the check that every scene gets."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.errors import GeoGuideError
from geoguide.scene import VOID, Scene


@dataclass
class Report:
    """Lines to print under a title, in order; `problems` decide the exit code."""

    title: str
    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    scenes: int = 0

    def line(self, text: str) -> None:
        self.lines.append(text)

    def problem(self, text: str) -> None:
        if text not in self.problems:  # regions of one house share its cameras
            self.problems.append(text)

    def use(self, text: str) -> None:
        """Something that can be run with this folder."""
        self.uses.append(text)

    def print(self) -> None:
        print(self.title)
        for text in self.lines:
            print(f"  {text}")
        for text in self.problems:
            print(f"  problem: {text}")
        for text in self.uses or ["nothing yet"]:
            print(f"  can be run: {text}")
        print(f"  {self.scenes} scenes, {len(self.problems)} problems")


@dataclass
class Tally:
    """Counts over the readable scenes of one split; nothing of a scene is kept."""

    scenes: int = 0
    points: int = 0
    frames: int = 0
    with_labels: int = 0
    with_frames: int = 0
    with_instances: int = 0
    with_label_images: int = 0
    sources: set[str] = field(default_factory=set)

    def add(self, scene: Scene) -> None:
        self.scenes += 1
        self.points += len(scene)
        self.frames += len(scene.views)
        self.with_labels += scene.labels is not None
        self.with_frames += bool(scene.views)
        self.with_instances += scene.instances is not None
        self.with_label_images += bool(scene.views) and all(view.label_path is not None for view in scene.views)
        self.sources.add(scene.source)

    def describe(self, split: str, expected: int) -> str:
        text = f"{split}: {self.scenes} of {expected} scenes readable"
        if not self.scenes:
            return text
        mean = f"about {self.points // self.scenes} points and {self.frames // self.scenes} frames"
        counts = f"labels in {self.with_labels}, instances in {self.with_instances}, frames in {self.with_frames}"
        return f"{text} ({'/'.join(sorted(self.sources))}), {mean}; {counts}"


def check_scenes(
    report: Report,
    split: str,
    sources: Sequence[Path],
    read: Callable[[Path], Scene],
    *,
    expected: int | None = None,
    need_labels: bool = True,
    need_frames: bool = True,
) -> Tally:
    """Read every scene of a split under a progress bar, decode every frame, and note what is wrong, file by file.

    expected: how many scenes there should be, where that is known. need_labels, need_frames: a scene without is a
    problem; otherwise it is only counted.
    """
    tally = Tally()
    for source in tqdm(sources, f"check {split}"):
        scene, problems = check_scene(source, read, need_labels, need_frames)
        for problem in problems:
            report.problem(problem)
        if scene is not None:
            tally.add(scene)
    report.scenes += tally.scenes
    report.line(tally.describe(split, len(sources) if expected is None else expected))
    return tally


def check_scene(
    source: Path, read: Callable[[Path], Scene], need_labels: bool, need_frames: bool
) -> tuple[Scene | None, list[str]]:
    """The scene that `read` makes of `source`, None when it cannot, and what is wrong with it, one line each."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            scene = read(source)
    except GeoGuideError as error:
        return None, [str(error)]
    problems = [str(warning.message) for warning in caught]
    if scene.labels is None and need_labels:
        problems.append(f"{source}: no labels, so it can be segmented but not scored")
    elif scene.labels is not None and (scene.labels == VOID).all():
        problems.append(f"{source}: every label is void")
    if not scene.views and need_frames:
        problems.append(f"{source}: no frames, so nothing can be lifted")
    for view in scene.views:
        parts = [view.color] + [view.depth] * (view.pixel_files[1] is not None)
        for part in parts + [view.labels] * (view.label_path is not None):
            try:
                part()
            except GeoGuideError as error:
                problems.append(str(error))
        if not view.has_pose:
            problems.append(f"{source}: pose of frame {view.name} is not finite; the frame will be skipped")
    return scene, problems


def spread(count: int, number: int = 64) -> np.ndarray:
    """At most `number` indices int64 below `count`, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(number, count)).astype(np.int64))
