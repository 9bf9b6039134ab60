"""Is a folder ScanNet v2 in its official layout (generated rooms have the same), and is it whole?"""

from pathlib import Path

from geoguide.datasets.check.report import Report, check_scenes
from geoguide.datasets.scannet import find_scenes, load_scene, own_list
from geoguide.datasets.splits import USUAL


def is_scannet(root: Path) -> bool:
    """Tell whether a folder is ScanNet v2 in its official layout.

    Args:
        root: The folder.

    Returns:
        Whether it has a split list, or scans of ScanNet's names in scans/, or is one scan itself.
    """
    listed = any(own_list(root, split).is_file() for split in USUAL)
    return listed or any(root.glob("scans/scene*_*")) or _is_scan(root)


def check_scannet(root: Path, report: Report) -> None:
    """Check ScanNet split by split; scans that no list names are checked too.

    Args:
        root: The folder.
        report: Is filled.
    """
    seen: set[Path] = set()
    tallies = []
    for split in USUAL:
        if not own_list(root, split).is_file():
            continue
        with report.noting():
            scenes = find_scenes(root, split)
            for name in (name for name, folder in scenes.items() if folder is None):
                report.problem(f"{root / 'scans' / name}: scene folder not found, scannetv2_{split}.txt names it")
            folders = [folder for folder in scenes.values() if folder is not None]
            seen.update(folders)
            labelled = split != "test"  # the benchmark's test scans come without labels
            tallies.append(check_scenes(report, split, folders, load_scene, expected=len(scenes), need_labels=labelled))
    others = [root] if _is_scan(root) else sorted({*root.glob("scans*/scene*_*")} - seen)
    if others:
        tallies.append(check_scenes(report, "in no split list", others, load_scene))
    images = sum(tally.with_label_images for tally in tallies)
    if report.scenes:
        report.uses.append(f"geoguide segment SCAN_vh_clean_2.ply --labels ... ({report.scenes} scenes)")
    if images and any(tally.with_labels for tally in tallies):
        report.uses.append(f'training and evaluation, data.dataset="scannet" with this data.root ({images} scenes)')
    elif any(tally.with_frames for tally in tallies):
        report.lines.append("2D label images (label-filt/) are not extracted: the simulated 2D teacher needs them")


def _is_scan(folder: Path) -> bool:
    return (folder / f"{folder.name}_vh_clean_2.ply").is_file()
