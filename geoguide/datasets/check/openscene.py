"""Is a folder OpenScene's published layout of ScanNet, Matterport3D or nuScenes, and is it whole?"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.datasets.check.nuscenes_drive import ground_counts, label_doubts
from geoguide.datasets.check.report import Question, Report, check_scenes, floor_question
from geoguide.datasets.formats.files import listed
from geoguide.datasets.formats.fused_features import FusedFeatures, feature_files
from geoguide.datasets.formats.torch_files import as_array, read_torch
from geoguide.datasets.label_agreement import feature_doubts
from geoguide.datasets.nuscenes_car import street_place
from geoguide.datasets.openscene_folders import LAYOUTS, Layout, scene_name
from geoguide.datasets.openscene_layout import check_splits_apart, list_scenes, load_scene
from geoguide.datasets.splits import USUAL
from geoguide.errors import GeoGuideError
from geoguide.ops.arrays import spread

STREET = Question(lambda scene: ground_counts(scene, street_place(scene.points)), label_doubts)
ROWS = 64  # of a file of features that are read, to see that it can be


def is_openscene(root: Path) -> bool:
    """Tell whether a folder is what OpenScene published.

    Args:
        root: The folder.

    Returns:
        Whether it holds one of the published 3D or 2D folders, or is a 3D folder itself.
    """
    names = {name for layout in LAYOUTS.values() for name in (layout.name, layout.folder_2d)}
    return root.name in LAYOUTS or any((root / name).is_dir() for name in names)


def check_openscene(root: Path, report: Report) -> None:
    """Check every 3D folder, its 2D folder and the folders of fused features beside them.

    Args:
        root: The folder that holds them, or one 3D folder.
        report: Is filled.
    """
    if root.name in LAYOUTS:
        root, chosen = root.parent, [LAYOUTS[root.name]]
    else:
        chosen = [layout for layout in LAYOUTS.values() if (root / layout.name).is_dir()]
        for folder in sorted({layout.folder_2d for layout in LAYOUTS.values()} - {one.folder_2d for one in chosen}):
            if (root / folder).is_dir():
                report.problem(f"{root / folder}: images without points, {folder.replace('2d', '3d')} not found")
    features, found = sorted({path.parent for path in listed(root, "*/*.pt")}), []
    for layout in chosen:
        paths = _check_points(root, layout, report)
        found += [folder for folder in features if _check_features(folder, layout, paths, report)]
    for folder in (folder for folder in features if chosen and folder not in found):
        first = listed(folder, "*.pt")[0].name
        report.problem(f"{folder}: expected files <scene>.pt or <scene>_0.pt, found none of a scene, first {first}")


def _check_points(root: Path, layout: Layout, report: Report) -> list[Path]:
    """Check every split of a 3D folder; returns its scene files."""
    paths: list[Path] = []
    readable = frames = 0
    question = STREET if layout.dataset == "nuscenes" else floor_question(layout.label_set)
    for split in USUAL:
        if not (root / layout.name / split).is_dir():
            continue
        with report.noting():
            scenes = list_scenes(root, layout.name, split)
            paths += scenes
            need_frames = layout.dataset != "matterport3d" and (root / layout.folder_2d).is_dir()
            title = f"{layout.name} {split}"
            tally = check_scenes(report, title, scenes, load_scene, need_frames=need_frames, question=question)
            if tally.with_labels and not tally.void:
                told = f"no label of {tally.with_labels} scenes is void (255 or -100): is a class what has none?"
                report.note(f"{root / layout.name / split}: {told}")
            readable, frames = readable + tally.scenes, frames + tally.with_frames
    for scored in USUAL[1:]:
        with report.noting():
            check_splits_apart(root, layout.name, scored)
    if not paths:
        report.problem(f"{root / layout.name}: no split with scenes, expected {', '.join(USUAL)}")
    if readable:
        report.uses.append(f"geoguide segment {layout.name}/<split>/<scene>.pth --labels ... ({readable} scenes)")
        report.uses.append(f"geoguide.datasets.openscene_layout.load_scene ({readable} scenes, {frames} with frames)")
    return paths


def _check_features(folder: Path, layout: Layout, paths: list[Path], report: Report) -> bool:
    """Open every feature file of the layout's scenes: keys, dtypes, the mask against the cloud, and some rows.

    Returns whether there is a scene, and files of one or a scene that cannot be read.
    """
    whole = lacking = total = named = empty = unknown = 0
    widths: dict[int, Path] = {}  # the first file of each
    for path in tqdm(paths, f"check {folder.name} of {layout.name}"):
        try:
            files = feature_files(folder, scene_name(path))
            points = as_array(read_torch(path)[0], path, "coords") if files else np.empty((0, 3))
            count = len(points)
        except (GeoGuideError, IndexError, KeyError, TypeError) as error:
            reason = str(error) if isinstance(error, GeoGuideError) else "its points cannot be told"
            report.problem(f"{folder}: features of {path.name} cannot be checked ({reason})")
            unknown += 1
            continue
        lacking += not files
        total += len(files)
        for file in files:
            with report.noting():
                features = FusedFeatures(file, count)
                named, empty = named + features.named, empty + features.empty
                widths.setdefault(features.width, file)
                features.rows(spread(count, ROWS))
                whole += 1
                if file == files[0] and points.shape[1:] == (3,) and np.isfinite(points).all():
                    for doubt in feature_doubts(points, features):
                        report.problem(f"{file}: {doubt}")
    if len(widths) > 1:
        found = ", ".join(f"{width} in {file.name}" for width, file in widths.items())
        report.problem(f"{folder}: expected features of one width, found {found}")
    if total:
        readable = f"{whole} of {total} files of {layout.name} readable"
        report.lines.append(f"{folder.name}: {readable}, {lacking} scenes without")
        if empty:
            share = f"{empty / named:.1%} of the points that have a feature by mask_full"
            report.lines.append(f"{folder.name}: {share} have zeros alone, counted as not seen")
        report.uses.append(f"geoguide.datasets.openscene_layout.open_features ({folder.name}, {whole} files)")
    return not paths or total + unknown > 0
