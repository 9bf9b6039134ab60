"""Is a folder nuScenes in its official layout, and is it whole?"""

from pathlib import Path

from geoguide.datasets.check.report import Report, check_scenes
from geoguide.datasets.formats.nuscenes_tables import Tables, list_samples, read_tables
from geoguide.datasets.nuscenes import list_scenes, load_sample
from geoguide.errors import DataError


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
        try:
            tables = read_tables(root, folder.name)
        except DataError as error:
            report.problem(str(error))
            continue
        frames = _key_frames(tables, report)
        tally = check_scenes(
            report,
            f"{folder.name}, key frames of {len(tables.scenes)} scenes",
            frames,
            lambda path, tables=tables: load_sample(tables, path.name),
            need_labels=tables.label_files is not None,  # the benchmark's test frames come without labels
        )
        if tables.label_files is None:
            report.line(f"{folder.name}: lidarseg is not installed or withheld: it can be segmented but not scored")
        if tally.scenes:
            report.use(f"geoguide.datasets.nuscenes.load_sample, lifting and segmentation ({tally.scenes} key frames)")


def _key_frames(tables: Tables, report: Report) -> list[Path]:
    """One path for each key frame, <tables>/<scene>/<sample token>: nothing lies there, but it names the key frame."""
    paths = []
    for scene in list_scenes(tables):
        try:
            paths += [tables.path("sample").parent / scene / sample for sample in list_samples(tables, scene)]
        except DataError as error:
            report.problem(str(error))
    return paths
