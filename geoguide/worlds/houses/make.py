"""mini-Matterport3D on disk: `make_mini_matterport3d` makes generated houses in Matterport3D's official layout.

Making is resumable, and the bytes are the same for any number of workers (see `worlds.jobs`).
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.datasets.matterport3d import MAPPING, list_houses
from geoguide.errors import ConfigError, check_known
from geoguide.paths import generated_folder, replacing
from geoguide.worlds.camera import SensorConfig
from geoguide.worlds.houses.official import write_house, write_mapping
from geoguide.worlds.houses.scan import PITCHES, scan_house
from geoguide.worlds.houses.world import MAX_REGIONS, generate_house
from geoguide.worlds.jobs import Job, list_jobs, making_in, run_jobs, write_lists, write_manifest
from geoguide.worlds.things.vocabulary import VOCABULARY_TABLE, load_vocabulary

HOUSE_COUNTS = (8, 3, 6)  # houses of train, val, test; six consecutive houses hold every name
COUNTS = {"small": HOUSE_COUNTS, "large": (40, 8, 20)}  # by edition; 40 houses hold each name 7 times or more


@dataclass(frozen=True)
class HouseConfig:
    """What the bytes of a house depend on, beside its number.

    Attributes:
        seed: Source of all houses and scans.
        regions: Rooms of each house.
        voxel: Edge of the reconstruction's voxels, metres.
        panoramas: Panoramas of each room, and up to `scan.MORE` more where these do not see every object.
        sensor: The cameras. `sensor.frames` is the number of images of one panorama, a multiple of three: the official
            18 are three tilts times six turns. The focal length is the official one for images of this width.
    """

    seed: int = 0
    regions: int = MAX_REGIONS
    voxel: float = 0.05
    panoramas: int = 2
    sensor: SensorConfig = field(
        default_factory=lambda: SensorConfig(
            frames=18, image_size=(128, 160), focal=134.56, height_range=(1.4, 1.6), rotation_error=0.15
        )
    )

    def __post_init__(self) -> None:
        if self.sensor.frames < 3 or self.sensor.frames % len(PITCHES) or self.panoramas < 1:
            raise ConfigError(
                f"houses: need panoramas >= 1 and sensor.frames a multiple of {len(PITCHES)}, found {self.panoramas} "
                f"and {self.sensor.frames}"
            )


class _House(Job):
    """One house of mini-Matterport3D. Its name holds no _, which separates house and region."""

    generator = 1
    first_number: ClassVar = {"train": 0, "val": 5000, "test": 7000}
    name_format = "house{:04d}"
    home = "v1/scans"

    @property
    def recipe(self) -> dict[str, Any]:
        return super().recipe | {"vocabulary": hashlib.sha256(VOCABULARY_TABLE.read_bytes()).hexdigest()[:12]}

    def write(self, folder: Path) -> None:
        house_seed, scan_seed = self.seeds(2)
        house = generate_house(house_seed, self.number, self.config.regions)
        shots = scan_house(house, scan_seed, self.config.sensor, self.config.panoramas)
        write_house(folder, self.name, house, shots, self.config.sensor, self.config.voxel, self.recipe)


def make_mini_matterport3d(
    root: str | Path | None = None,
    *,
    houses: tuple[int, int, int] | None = None,
    seed: int = 0,
    edition: str = "small",
    config: HouseConfig | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Generate, scan, reconstruct and write houses in Matterport3D's layout; about 6 s and 20 MB a house.

    The same seed gives the same bytes whatever `workers` is. Each house is made in a temporary folder and renamed when
    complete, and the manifest is written last: a killed run goes on where it stopped. Houses of another recipe at the
    same place are refused.

    Args:
        root: Folder of the data set, by default the edition's and seed's in the data folder (see `geoguide.paths`). It
            then holds v1/scans/, category_mapping.tsv, scenes_{train,val,test}.txt and the manifest.
        houses: How many of (train, val, test); None for the edition's counts.
        seed: Source of all houses and scans.
        edition: A key of `COUNTS`.
        config: Rooms, panoramas, camera, voxel and seed: all that decides the bytes; overrides `seed`.
        workers: Number of processes; None for as many as cores and memory allow.
        progress: Whether a progress bar is shown.

    Returns:
        The root, ready for `datasets.matterport3d`.

    Raises:
        ConfigError: An unknown edition.
        InputError: `houses` are not three counts of 0..2000, or `workers` is below 1.
        DataError: A house's folder is there and was not written by this program, or the root holds another recipe's.
    """
    check_known("edition", edition, COUNTS)
    config = config or HouseConfig(seed=seed)
    root = Path(root) if root is not None else generated_folder("mini-matterport3d", edition, config.seed)
    jobs = list_jobs(_House, root, COUNTS[edition] if houses is None else houses, config, "houses")
    with making_in(root):
        if run_jobs(jobs, workers, progress, "house"):
            with replacing(root / MAPPING) as temporary:
                write_mapping(temporary)
            write_lists(jobs, "scenes_{}.txt")
            write_manifest(jobs, "houses")
    return root


def instance_counts(root: str | Path, split: str) -> dict[str, int]:
    """Count the annotated objects of each of the 160 names in a split of a generated set.

    Args:
        root: Folder of the data set.
        split: "train", "val" or "test".

    Returns:
        The count of each name, in the order of the classes.

    Raises:
        DataError: The split is empty, or a house is not a generated one.
    """
    stamps = (read_json(house / MINI_STAMP, {"instances": dict}) for house in list_houses(root, split))
    total = sum((Counter(stamp["instances"]) for stamp in stamps), Counter())
    return {entry.name: total[entry.name] for entry in load_vocabulary()}
