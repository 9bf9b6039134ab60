"""mini-Matterport3D: generated houses on disk in Matterport3D's official layout; resumable, equal for any workers."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import ClassVar

from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.matterport3d import list_houses
from geoguide.paths import data_root, replacing
from geoguide.worlds.houses.official import write_house, write_mapping
from geoguide.worlds.houses.scan import HouseConfig, scan_house
from geoguide.worlds.houses.world import generate_house
from geoguide.worlds.jobs import SPLITS, Job, list_jobs, run_jobs, write_manifest
from geoguide.worlds.things.vocabulary import TABLE, load_vocabulary

DEFAULT_HOUSES = (8, 3, 6)  # six consecutive houses hold every name


MAPPING = "category_mapping.tsv"


class _House(Job):
    """One house of mini-Matterport3D; its name holds no _, which separates house and region."""

    generator = 1
    first_number: ClassVar = {"train": 0, "val": 5000, "test": 7000}
    name_format = "house{:04d}"
    home = "v1/scans"

    @property
    def recipe(self) -> dict:
        return super().recipe | {"vocabulary": hashlib.sha256(TABLE.read_bytes()).hexdigest()[:12]}

    def write(self, folder: Path) -> None:
        house_seed, scan_seed = self.seeds(2)
        house = generate_house(house_seed, self.number, self.config.regions)
        write_house(folder, self.name, house, scan_house(house, scan_seed, self.config), self.config, self.recipe)


def make_mini_matterport3d(
    root: str | Path | None = None,
    *,
    houses: tuple[int, int, int] = DEFAULT_HOUSES,
    seed: int = 0,
    config: HouseConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write houses (train, val, test counts); returns the root.

    `root` then holds v1/scans/, category_mapping.tsv and scenes_{train,val,test}.txt for `datasets.matterport3d`, and
    the manifest. The same seed gives the same bytes whatever `workers` is (processes, one per core by default). Each
    house is made in a temporary folder and renamed when complete, the manifest is written last: a killed run goes on
    where it stopped. Houses of another recipe at the same place are replaced; folders this program did not write raise
    `DataError`. `config` overrides `seed`. About 7 s and 20 MB a house.
    """
    root = Path(root) if root is not None else data_root() / "mini-matterport3d"
    jobs = list_jobs(_House, root, houses, config or HouseConfig(seed=seed), "houses")
    if run_jobs(jobs, workers, progress, "house"):
        with replacing(root / MAPPING) as temporary:
            write_mapping(temporary)
        for split in SPLITS:
            with replacing(root / f"scenes_{split}.txt") as temporary:
                temporary.write_text("".join(f"{job.name}\n" for job in jobs if job.split == split))
        write_manifest(jobs, "houses")
    return root


def instance_counts(root: str | Path, split: str) -> dict[str, int]:
    """Annotated objects of each of the 160 names in a split of a generated set, in the order of the classes.

    Raises `DataError` when the split is empty or a house is not a generated one.
    """
    stamps = (read_json(house / MINI_STAMP, ("instances",)) for house in list_houses(root, split))
    total = sum((Counter(stamp["instances"]) for stamp in stamps), Counter())
    return {entry.name: total[entry.name] for entry in load_vocabulary()}
