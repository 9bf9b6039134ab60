"""Is a folder ScanNet as Pointcept preprocesses it, or one such scene of any data, and is it whole?"""

from functools import partial
from pathlib import Path

from geoguide.datasets.check.report import Report, check_scenes, floor_question
from geoguide.datasets.pointcept import LABELS, is_layout, is_scene, list_scenes, load_scene
from geoguide.datasets.splits import USUAL

LABEL_SET = next(iter(LABELS))


def is_pointcept(root: Path) -> bool:
    """Tell whether a folder is in Pointcept's layout.

    Args:
        root: The folder.

    Returns:
        Whether it holds splits of scenes, or is one scene itself.
    """
    return is_scene(root) or is_layout(root)


def check_pointcept(root: Path, report: Report) -> None:
    """Check every scene of every split.

    Args:
        root: The folder that holds the splits, or one scene.
        report: Is filled.
    """
    read = partial(load_scene, labels=LABEL_SET)
    if is_scene(root):
        check_scenes(report, "one scene", [root], read, need_labels=False, need_frames=False)
    labelled, question = 0, floor_question(LABEL_SET)
    for split in (split for split in USUAL if (root / split).is_dir()):
        with report.noting():
            scenes = list_scenes(root, split)
            told = split != USUAL[-1]  # the benchmark's test scans come without labels
            tally = check_scenes(report, split, scenes, read, need_labels=told, need_frames=False, question=question)
            labelled += tally.with_labels
    if report.scenes:
        report.uses.append(f"geoguide segment SCENE_FOLDER --labels ... ({report.scenes} scenes)")
    if labelled and not is_scene(root):
        how = 'evaluation, data.dataset="scannet" with this data.root; training with fused features of OpenScene\'s'
        report.uses.append(f"{how} ({labelled} scenes)")
