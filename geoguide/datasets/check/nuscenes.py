"""Is a folder nuScenes in its official layout, and is it whole?"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from geoguide.datasets.check.nuscenes_drive import ground_counts, label_doubts, motion_doubts
from geoguide.datasets.check.nuscenes_standing import Standing
from geoguide.datasets.check.report import Report, check_scenes
from geoguide.datasets.formats.nuscenes_tables import LIDAR, Tables, list_samples, read_tables
from geoguide.datasets.nuscenes import list_scenes, load_sample
from geoguide.scene import Scene


def is_nuscenes(root: Path) -> bool:
    """Tell whether a folder is nuScenes in its official layout.

    Args:
        root: The folder.

    Returns:
        Whether it holds tables of any version, such as v1.0-mini/sample.json.
    """
    return any(root.glob("v1.0-*/sample.json"))


def check_nuscenes(root: Path, report: Report) -> None:
    """Check nuScenes version by version: LiDAR, labels and images of every key frame of every scene in the tables.

    Args:
        root: The folder.
        report: Is filled.
    """
    for folder in sorted(path.parent for path in root.glob("v1.0-*/sample.json")):
        with report.noting():
            _check_version(read_tables(root, folder.name), report)


def _check_version(tables: Tables, report: Report) -> None:
    """Check every key frame that the tables of one version name."""
    version, title = tables.version, f"{tables.version}, key frames of {len(tables.scenes)} scenes"
    labelled = tables.label_files is not None  # the benchmark's test frames come without labels
    frames = _key_frames(tables, report)
    counts: defaultdict[str, np.ndarray] = defaultdict(lambda: np.zeros(6, dtype=np.int64))
    standing: defaultdict[str, Standing] = defaultdict(Standing)

    def read(path: Path) -> Scene:
        scene, drive = load_sample(tables, path.name), path.parent.name
        counts[drive] += ground_counts(scene)
        standing[drive].add(scene, tables.pose("ego_pose", tables.frames[path.name][LIDAR]["ego_pose_token"]))
        return scene

    tally = check_scenes(report, title, frames, read, need_labels=labelled)
    for drive in counts:
        for doubt in label_doubts(counts[drive]):
            report.problem(f"{tables.path('lidarseg')}: {drive}: {doubt}")
        for doubt in standing[drive].doubts():
            report.problem(f"{tables.path('ego_pose')}: {drive}: {doubt}")
    if not tables.path("lidarseg").is_file() and any((tables.root / "lidarseg").glob("*/*.bin")):
        report.problem(f"{tables.path('lidarseg')}: table not found, so the labels in lidarseg/ cannot be read")
    if not labelled:
        report.lines.append(f"{version}: lidarseg is not installed or withheld: it can be segmented but not scored")
    if count := tally.scenes:
        report.uses.append(f"geoguide.datasets.nuscenes.load_sample, lifting and segmentation ({count} key frames)")


def _key_frames(tables: Tables, report: Report) -> list[Path]:
    """One path for each key frame, <tables>/<scene>/<sample token>: nothing lies there, but it names the key frame."""
    paths = []
    for scene in list_scenes(tables):
        with report.noting():
            samples = list_samples(tables, scene)
            paths += [tables.path("sample").parent / scene / sample for sample in samples]
            for doubt in motion_doubts(tables, samples):
                report.problem(f"{tables.path('ego_pose')}: {scene}: {doubt}")
    return paths
