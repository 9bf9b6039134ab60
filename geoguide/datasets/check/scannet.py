"""Is a folder ScanNet v2 in its official layout (generated rooms have the same), and is it whole?"""

from pathlib import Path

from geoguide.datasets.check.report import Report, check_empty, check_scenes, floor_question
from geoguide.datasets.scannet import find_scenes, load_scene, own_list, unknown_names
from geoguide.datasets.splits import USUAL
from geoguide.labels import CATEGORY_TABLE, load_category_table

FLOOR = floor_question("scannet20")


def is_scannet(root: Path) -> bool:
    """Tell whether a folder is ScanNet v2 in its official layout.

    Args:
        root: The folder.

    Returns:
        Whether it has a split list, or scans of ScanNet's names in scans/, or is one scan itself.
    """
    listed = any(own_list(root, split).is_file() for split in USUAL)
    return listed or any(_folders(root, "scans/scene*_*")) or _is_scan(root)


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
            lost = (root / "scans" / name for name, folder in scenes.items() if folder is None)
            told = f"scene folder not found, {own_list(root, split).name} names it"
            report.missing([f"{path}: {told}" for path in lost], f"scenes that {own_list(root, split).name} names")
            folders = [folder for folder in scenes.values() if folder is not None]
            for folder in sorted(seen.intersection(folders)):
                report.problem(f"{own_list(root, split)}: {folder.name} is in the list of another split too")
            seen.update(folders)
            labelled = split != "test"  # the benchmark's test scans come without labels
            read = check_scenes(
                report, split, folders, load_scene, expected=len(scenes), need_labels=labelled, question=FLOOR
            )
            tallies.append(read)
    others = [root] if _is_scan(root) else sorted({*_folders(root, "scans*/scene*_*")} - seen)
    if others:
        tallies.append(check_scenes(report, "in no split list", others, load_scene, question=FLOOR))
    _check_names(report, [*sorted(seen), *others])
    for folder in (*sorted(seen), *others):
        check_empty(report, folder)
    images = sum(tally.with_label_images for tally in tallies)
    if report.scenes:
        report.uses.append(f"geoguide segment SCAN_vh_clean_2.ply --labels ... ({report.scenes} scenes)")
    if images and any(tally.with_labels for tally in tallies):
        report.uses.append(f'training and evaluation, data.dataset="scannet" with this data.root ({images} scenes)')
    elif any(tally.with_frames for tally in tallies):
        report.lines.append("2D label images (label-filt/) are not extracted: the simulated 2D teacher needs them")


def _check_names(report: Report, folders: list[Path]) -> None:
    """Name the labels of objects that the table of categories does not hold, where that table is there."""
    tables = {folder: folder.parents[1] / CATEGORY_TABLE.name for folder in folders if len(folder.parents) > 1}
    for folder, path in tables.items():
        if not path.is_file():
            continue
        with report.noting():
            unknown = unknown_names(folder, load_category_table(path))
            if unknown:
                found = f"labels of objects that are not in {path.name}: {', '.join(unknown)}"
                report.problem(f"{folder / folder.name}.aggregation.json: {found}")


def _folders(root: Path, pattern: str) -> list[Path]:
    """The folders below the root that match a pattern."""
    return sorted(path for path in root.glob(pattern) if path.is_dir())


def _is_scan(folder: Path) -> bool:
    return (folder / f"{folder.name}_vh_clean_2.ply").is_file()
