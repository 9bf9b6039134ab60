"""How good masks are, by who made them: rows of results/masks.json (chapter 15); rows that are not asked for are kept.

    python benchmarks/masks.py mini [VAL TEST [SOURCES...]]   # the large edition's first rooms, 30 and 40
    python benchmarks/masks.py real FOLDER [SOURCES...]   # a real room and its rescan, in ScanNet's layout
    python benchmarks/masks.py files FOLDER MASKS NAME SCENES...   # NAME's, an index <scene>.txt in MASKS for each

Nothing is timed. Validation rooms chose what was chosen of the network; test rooms and the real room are scored once.
"""

import sys
from dataclasses import replace

from geoguide.backbones import BackboneConfig, open_backbone
from geoguide.benchmarks import benchmark
from geoguide.benchmarks.scenes import list_sources
from geoguide.datasets.config import Splits
from geoguide.instances.learned import open_proposer
from geoguide.instances.scene_masks import LEARNED, MaskConfig, scene_masks
from geoguide.report.mask_table import MAKERS, REAL, TEST, VALIDATION, mask_row, write_rows
from geoguide.superpoints import SuperpointConfig, scene_superpoints


def describe(scene, name):
    """Frozen features of a backbone."""
    return open_backbone(BackboneConfig(name), "cpu").encode(scene)


def measure(sources, place, kind, makers):
    """One row for each maker of masks; scenes are read once."""
    found = {name: [] for name in makers}
    for number, source in enumerate(sources):
        scene = source.load()
        superpoints = scene_superpoints(scene, SuperpointConfig())
        for name, config in makers.items():
            found[name].append((scene_masks(scene, superpoints, config, describe), scene.instances))
        print(f"{place}: {number + 1} of {len(sources)}", flush=True)
    sha256 = {name: open_proposer().sha256 for name in LEARNED if name in makers}
    rows = [mask_row(name, place, kind, masks, sha256.get(name)) for name, masks in found.items()]
    for row in rows:
        print(row, flush=True)
    write_rows(rows)


def mini(val="30", test="40", *chosen):
    """The large edition."""
    data = benchmark("scannet").generated_data("large")
    for split, count in (("val", val), ("test", test)):
        makers = {name: MaskConfig(name) for name in chosen or MAKERS}
        place = {"val": VALIDATION, "test": TEST}[split]
        measure(list_sources(data, split)[: int(count)], place, "mini", makers)


def real(folder, *chosen):
    """The real room and its rescan."""
    data = benchmark("scannet").real_data(folder, None)
    for scene, place in REAL.items():
        sources = list_sources(replace(data, splits=Splits(test=(scene,))), "test")
        measure(sources, place, "real", {name: MaskConfig(name) for name in chosen or MAKERS})


def files(folder, masks, name, *scenes):
    """Masks of your own on real scenes."""
    data = benchmark("scannet").real_data(folder, None)
    sources = list_sources(replace(data, splits=Splits(test=scenes)), "test")
    config = MaskConfig("files", folder=masks, made_by=name)
    measure(sources, ", ".join(scenes), "real", {name: config})


if __name__ == "__main__":
    {"mini": mini, "real": real, "files": files}[sys.argv[1]](*sys.argv[2:])
