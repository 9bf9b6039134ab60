"""`geoguide data check`: is a folder in ScanNet's or nuScenes' layout complete and readable, scene by scene?"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from geoguide.datasets import nuscenes
from geoguide.datasets.mini_nuscenes.records import VERSION
from geoguide.datasets.scannet import list_scenes, load_scene
from geoguide.errors import DataError, GeoGuideError
from geoguide.scene import VOID, Scene

SPLITS = ("train", "val", "test")


def check_scene(folder: Path) -> tuple[Scene | None, list[str]]:
    """The scene and what is wrong with it, one line each: every file is decoded, every frame opened."""
    try:
        scene = load_scene(folder)
    except GeoGuideError as error:
        return None, [str(error)]
    problems = []
    if scene.labels is None:
        problems.append(f"{folder}: no labels, so it can be segmented but not scored")
    elif (scene.labels == VOID).all():
        problems.append(f"{folder}: every label is void")
    if not scene.views:
        problems.append(f"{folder}: no extracted frames, so nothing can be lifted")
    for view in scene.views:
        try:
            view.color()
            view.depth()
        except DataError as error:
            problems.append(str(error))
        if not view.has_pose:
            problems.append(f"{folder}: pose of frame {view.name} is not finite; the frame will be skipped")
    return scene, problems


def check_scannet(root: Path) -> int:
    """Print what a folder holds and what is wrong with it; 0 when nothing is, 1 otherwise."""
    found, problems = 0, []
    for split in SPLITS:
        if not (root / f"scannetv2_{split}.txt").is_file():
            continue
        folders = list_scenes(root, split)
        scenes = []
        for folder in tqdm(folders, f"check {split}"):
            scene, wrong = check_scene(folder)
            problems += wrong
            scenes += [] if scene is None else [scene]
        found += len(scenes)
        if scenes:
            points = int(np.mean([len(s) for s in scenes]))
            frames = int(np.mean([len(s.views) for s in scenes]))
            source = "/".join(sorted({s.source for s in scenes}))
            print(
                f"{split}: {len(scenes)} of {len(folders)} scenes readable ({source}), "
                f"about {points} points and {frames} frames"
            )
    if not found and not problems:
        raise DataError(
            f"{root}: no scannetv2_train.txt, scannetv2_val.txt or scannetv2_test.txt; not ScanNet's layout"
        )
    return _report(root, f"{found} scenes", problems)


def check_nuscenes(root: Path, version: str = VERSION) -> int:
    """As `check_scannet`, of the key frames of mini-nuScenes' splits."""
    tables, found, problems = nuscenes.read_tables(root, version), 0, []
    for split in SPLITS:
        names = nuscenes.list_scenes(tables, split)
        samples = [sample for name in names for sample in nuscenes.list_samples(tables, name)]
        readable = []
        for sample in tqdm(samples, f"check {split}"):
            try:
                scene = nuscenes.load_sample(tables, sample)
                for view in scene.views:
                    view.color()
            except DataError as error:
                problems.append(str(error))
            else:
                readable.append(scene.source)
        found += len(readable)
        if samples:
            source = "/".join(sorted(set(readable))) or "none"
            print(f"{split}: {len(readable)} of {len(samples)} key frames readable ({source})")
    return _report(root, f"{found} key frames", problems)


def _report(root: Path, found: str, problems: list[str]) -> int:
    for line in problems:
        print(line)
    print(f"{root}: {found}, {len(problems)} problems")
    return 1 if problems else 0
