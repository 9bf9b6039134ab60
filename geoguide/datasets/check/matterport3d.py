"""Is a folder Matterport3D in its official layout, and is it whole?"""

import functools
import os
from pathlib import Path

from geoguide.datasets import matterport3d
from geoguide.datasets.check.report import NAMED, Report, check_empty, check_scenes, floor_question
from geoguide.datasets.formats.files import listed
from geoguide.datasets.formats.frame_files import of_frame
from geoguide.datasets.formats.matterport_cameras import read_cameras
from geoguide.datasets.formats.matterport_house import exchanged_with, read_boxes
from geoguide.datasets.formats.ply import checked_points, read_ply
from geoguide.datasets.splits import USUAL, load_split
from geoguide.scene import Scene
from geoguide.text_files import read_names

NO_SPLIT = "in no split list"
FLOOR = floor_question("matterport21")


def is_matterport3d(root: Path) -> bool:
    """Tell whether a folder is Matterport3D in its official layout.

    Args:
        root: The folder.

    Returns:
        Whether houses with region segmentations lie in it or its scans folder, or it is one house.
    """
    return bool(_houses(root))


def check_matterport3d(root: Path, report: Report) -> None:
    """Check Matterport3D split by split; houses that no list names are checked too.

    Args:
        root: The folder.
        report: Is filled.
    """
    mapping = matterport3d.find_mapping(root)
    if mapping is None:
        report.problem(f"{root / matterport3d.MAPPING}: not found (nor in metadata/), so labels cannot be read")
    houses = _houses(root)
    split_of = _splits(root, houses, report)
    readable = 0
    views: dict[str, int] = {}
    for split in (*USUAL, NO_SPLIT):
        regions = []
        for house in (house for house in houses if split_of.get(house.name, NO_SPLIT) == split):
            with report.noting():
                numbers = matterport3d.list_regions(house)
                regions += [house / matterport3d.REGIONS / f"region{number}.ply" for number in numbers]
        if regions:
            read = functools.partial(_load, mapping, split, views)
            # Some regions have no camera inside.
            tally = check_scenes(
                report, split, regions, read, need_labels=mapping is not None, need_frames=False, question=FLOOR
            )
            readable += tally.scenes
    for house in houses:
        check_empty(report, house)
        with report.noting():
            _check_regions(house, report)
        with report.noting():
            _check_images(house, views.get(house.name), report)
    if readable:
        report.uses += [
            f"geoguide segment <house>/{matterport3d.REGIONS}/region<N>.ply --labels ... ({readable} regions)",
            f"geoguide.datasets.matterport3d.load_region, labels matterport21, 40, 80 or 160 ({readable} regions)",
        ]


def _load(mapping: Path | None, split: str, views: dict[str, int], path: Path) -> Scene:
    """A region, named by its ply file; its views are added to those of its house."""
    number, house = int(path.stem.removeprefix("region")), path.parents[1]
    scene = matterport3d.load_region(house, number, mapping=mapping, split=split)
    views[house.name] = views.get(house.name, 0) + len(scene.views)
    return scene


def _check_regions(house: Path, report: Report) -> None:
    """Name the regions of a house that are not there, and those whose files are another region's, by its .house file.

    Args:
        house: The house.
        report: Takes the problems; a region that is not there may have no mesh, and is noted.
    """
    path = house / "house_segmentations" / f"{house.name}.house"
    numbers = matterport3d.list_regions(house)
    boxes = read_boxes(path) if path.is_file() else {}
    lost = sorted({*boxes, *range(numbers[-1])} - {*numbers})
    if lost:
        named = ", ".join(map(str, lost[:NAMED])) + ", ..." * (len(lost) > NAMED)
        report.note(f"{house / matterport3d.REGIONS}: holds no mesh of {len(lost)} regions of the house: {named}")
    for number in numbers if boxes else ():
        mesh = house / matterport3d.REGIONS / f"region{number}.ply"
        with report.noting():
            found = exchanged_with(checked_points(read_ply(mesh)[0], mesh), number, boxes)
            if found is not None:
                report.problem(f"{mesh}: by {path.name} {found}: are their files exchanged?")


def _check_images(house: Path, views: int | None, report: Report) -> None:
    """Name the images of a house that are lost to it: those without a camera, or all of them where no region has any.

    Args:
        house: The house.
        views: Views of all of its regions that can be read; None where none can.
        report: Takes the problems.
    """
    images = listed(house / matterport3d.COLOR)
    if not images or views is None:
        return
    conf = house / matterport3d.CAMERAS / f"{house.name}.conf"
    if not views:
        report.problem(f"{conf}: no camera stands inside any region, expected poses in metres in the regions' world")
    known = {of_frame(house / matterport3d.COLOR / camera.color).name for camera in read_cameras(conf)}
    lost = [path.name for path in images if path.name not in known]
    if lost:
        report.problem(f"{conf}: names no camera of {len(lost)} of {len(images)} images in {matterport3d.COLOR}, "
                       f"first {lost[0]}")  # fmt: skip


def _splits(root: Path, houses: list[Path], report: Report) -> dict[str, str]:
    """The split of each house; one that the data's own lists name, not the official ones, and is lost is a problem."""
    split_of, here, home = {}, {house.name for house in houses}, matterport3d.scans_folder(root)
    for split in USUAL:
        listing = matterport3d.own_list(root, split)
        if listing is None:
            continue
        names: tuple[str, ...] = ()
        with report.noting():
            names = read_names(listing, "split list")
        for name in names:
            if name in split_of:
                report.problem(f"{listing}: {name} is in the list of another split too ({split_of[name]})")
            split_of[name] = split
        lost = (home / name / matterport3d.REGIONS for name in names if name not in here)
        told = f"not found, {listing.name} names this house"
        report.missing([f"{path}: {told}" for path in lost], f"houses that {listing.name} names")
    others = [split for split in USUAL if matterport3d.own_list(root, split) is None]
    return {name: split for split in others for name in load_split("matterport3d", split)} | split_of


def _houses(root: Path) -> list[Path]:
    """The houses that lie in `root` or its scans folder, or `root` itself where that is one."""
    if (root / matterport3d.REGIONS).is_dir():
        return [root]
    # of a folder that may not be read: no house, which is no error
    return [house for house in matterport3d.house_folders(root) if os.path.isdir(house / matterport3d.REGIONS)]
