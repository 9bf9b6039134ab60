"""Is a folder Matterport3D in its official layout, and is it whole?"""

from collections.abc import Callable
from pathlib import Path

from geoguide.datasets.check.report import Report, check_scenes
from geoguide.datasets.matterport3d import MAPPING, REGIONS, find_mapping, list_regions, load_region, scans_folder
from geoguide.errors import DataError
from geoguide.scene import Scene

SPLITS = ("train", "val", "test")


def is_matterport3d(root: Path) -> bool:
    """Whether houses with region segmentations lie in `root` or its scans folder, or `root` is one house."""
    return bool(_houses(root))


def _houses(root: Path) -> list[Path]:
    if (root / REGIONS).is_dir():
        return [root]
    return sorted(path.parent for path in scans_folder(root).glob(f"*/{REGIONS}"))


def check_matterport3d(root: Path, report: Report) -> None:
    """Fill the report, house by house of each split list, or of all houses where there is no list."""
    mapping = find_mapping(root)
    if mapping is None:
        report.problem(f"{root / MAPPING}: not found (nor in metadata/), so labels cannot be read")
    houses = _houses(root)
    split_of = _splits(root, houses, report)
    readable = 0
    for split in (*SPLITS, "in no split list"):
        regions = []
        for house in (house for house in houses if split_of.get(house.name, "in no split list") == split):
            try:
                regions += [house / REGIONS / f"region{number}.ply" for number in list_regions(house)]
            except DataError as error:
                report.problem(str(error))
        if regions:
            tally = check_scenes(  # some regions have no camera inside
                report, split, regions, _reader(mapping, split), need_labels=mapping is not None, need_frames=False
            )
            readable += tally.scenes
    if readable:
        report.use(f"geoguide segment <house>/{REGIONS}/region<N>.ply --labels ... ({readable} regions)")
        report.use(
            f"geoguide.datasets.matterport3d.load_region, labels matterport21, 40, 80 or 160 ({readable} regions)"
        )


def _reader(mapping: Path | None, split: str) -> Callable[[Path], Scene]:
    def read(path: Path) -> Scene:
        return load_region(path.parents[1], int(path.stem.removeprefix("region")), mapping=mapping, split=split)

    return read


def _splits(root: Path, houses: list[Path], report: Report) -> dict[str, str]:
    """The split of each listed house; a listed house that is not there is a problem."""
    split_of, here = {}, {house.name for house in houses}
    for split in SPLITS:
        listing = next(
            (p for p in (root / f"scenes_{split}.txt", root / f"tasks/benchmark/scenes_{split}.txt") if p.is_file()),
            None,
        )
        for name in listing.read_text().split() if listing else ():
            split_of[name] = split
            if name not in here:
                report.problem(f"{scans_folder(root) / name / REGIONS}: not found, {listing.name} names this house")
    return split_of
