"""The data cards of the generated benchmarks: `croissant.json` beside the data (Croissant, mlcommons.org/croissant).

The card is made from the benchmark's object and from the files as they lie there: sizes and hashes are measured. It is
no part of the data: fingerprints and readers look at scenes and lists, never at it. Its version is the generator's,
then 0, then the seed: data of the same version and edition are the same bytes.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoguide.benchmarks import benchmark_of, benchmarks
from geoguide.benchmarks.definition import Benchmark, FileKind
from geoguide.datasets.config import GENERATED, DataConfig
from geoguide.datasets.formats.files import MINI_STAMP, read_json
from geoguide.labels import load_label_set
from geoguide.paths import write_text
from geoguide.worlds.jobs import MANIFEST, SPLIT_NAMES

CARD = "croissant.json"
LICENCE = "https://spdx.org/licenses/MIT.html"
USES = (
    "Tests, teaching and ablations of methods for 3D semantic segmentation on machines without a GPU and without a "
    "licence for real scans: the same code reads the real dataset's files. Compare methods with each other on it."
)
LIMITS = (
    "Everything in it is generated: shapes, colours, arrangement and noise are simpler than in any real scan. A score "
    "on it says nothing about a score on the real dataset, and a network trained on it knows generated things only. "
)
PRIVACY = "None: no person, place or recording of the real world went into it."
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "samplingRate": "cr:samplingRate",
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def write_card(data: DataConfig) -> Path:
    """Write the card of a generated dataset beside it, from what lies there.

    Args:
        data: Which dataset, edition and folder; it must be complete (`scenes.generate`).

    Returns:
        The file.

    Raises:
        DataError: There is no manifest, or it or a stamp cannot be read.
        WriteError: The file cannot be written.
    """
    path = Path(data.folder) / CARD
    write_text(path, json.dumps(card(data), indent=1) + "\n")
    return path


def card(data: DataConfig) -> dict[str, Any]:
    """Describe a generated dataset in Croissant's words.

    Args:
        data: As in `write_card`.

    Returns:
        JSON-LD. Record sets: `splits`; `recipe`, from what it was made; `scenes`, with split and fingerprint;
        `classes`, the label sets; `frames`, whose images are read from the files.

    Raises:
        DataError: As `write_card`.
    """
    there, root = benchmark_of(data), Path(data.folder)
    world, manifest = there.world, read_json(root / MANIFEST, ("generator", "seed", "fingerprint", "scenes"))
    scenes = _scenes(root, world.files, manifest["scenes"])
    counts = {split: sum(row["scenes/split"] == split for row in scenes) for split in SPLIT_NAMES}
    distribution = [part for kind in world.files for part in _distributed(root, kind)]
    recipe = {"edition": data.edition, "seed": manifest["seed"], "generator": manifest["generator"]}
    recipe["fingerprint"] = manifest["fingerprint"]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": data.dataset if data.edition == "small" else f"{data.dataset}-{data.edition}",
        "description": f"{world.titled(data.edition)}. {world.about} Generated: no data of {there.title} are in it.",
        "license": LICENCE,
        "version": f"{manifest['generator']}.0.{manifest['seed']}",
        "keywords": ["3D semantic segmentation", "point cloud", "generated data", f"layout of {there.title}"],
        "citeAs": f"Layout and label names are those of {there.citation}. The data are of this replication; "
        "see its CITATION.cff.",
        "creator": {"@type": "sc:Organization", "name": "The GeoGuide-Replicated authors"},
        "rai:dataUseCases": USES,
        "rai:dataLimitations": LIMITS + world.limits,
        "rai:dataCollection": "Generated by a program from a seed: the same seed gives the same bytes.",
        "rai:personalSensitiveInformation": PRIVACY,
        "distribution": [_manifest(root), *distribution],
        "recordSet": [
            _record_set("splits", "The splits, and how many scenes each has.", _splits(counts), key="name"),
            _record_set("recipe", "What the data were made from.", [{f"recipe/{k}": v for k, v in recipe.items()}]),
            _record_set("scenes", f"The {world.place}, by split.", scenes, key="name"),
            _record_set("classes", "The label sets that are scored; ids count from 0 in each.", _classes(there)),
            _images(),
        ],
    }


def facts() -> list[dict[str, str | int]]:
    """List the editions of the generated benchmarks, from their objects.

    Returns:
        A row for each edition of each: what it is, the scenes of each split, and the numbers of scored classes.
    """
    return [
        {
            "benchmark": there.world.titled(edition),
            "--dataset": GENERATED + there.name,
            "--edition": edition,
            "of": there.world.place,
            **dict(zip(SPLIT_NAMES, counts, strict=True)),
            "classes": ", ".join(str(len(load_label_set(name))) for name in (there.label_set, *there.more_label_sets)),
            "layout": there.title,
        }
        for there in benchmarks()
        for edition, counts in there.world.editions.items()
    ]


def in_words(there: Benchmark) -> str:
    """Say what is to be known of a generated benchmark before it is used.

    Args:
        there: The benchmark.

    Returns:
        Markdown: what it is, what it is for, its limits, its files.
    """
    kinds = "\n".join(
        f"- `{kind.place}`: {kind.about}" for kind in there.world.files
    )  # the book's outputs know no tables
    return (
        f"### {there.world.title}\n\n{there.world.about}\n\n**Limits.** {there.world.limits}\n\n"
        f"**Layout after.** {there.citation}.\n\n**Files.**\n\n{kinds}\n"
    )


def _scenes(root: Path, kinds: tuple[FileKind, ...], fingerprints: dict[str, str]) -> list[dict[str, str]]:
    """The scenes in the manifest's order; their stamps say of which split each is."""
    (stamps,) = (kind.place for kind in kinds if kind.place.endswith(f"/{MINI_STAMP}"))
    split = {path.parent.name: read_json(path, {"recipe": dict})["recipe"]["split"] for path in root.glob(stamps)}
    return [
        {"scenes/name": name, "scenes/split": split[name], "scenes/fingerprint": found}
        for name, found in fingerprints.items()
    ]


def _splits(counts: dict[str, int]) -> list[dict[str, str | int]]:
    return [{"splits/name": name, "splits/scenes": count} for name, count in counts.items()]


def _classes(there: Benchmark) -> list[dict[str, str | int]]:
    return [
        {"classes/label_set": label_set, "classes/id": number, "classes/name": name}
        for label_set in (there.label_set, *there.more_label_sets)
        for number, name in enumerate(load_label_set(label_set).names)
    ]


def _manifest(root: Path) -> dict[str, Any]:
    about = "Recipe, fingerprint of the whole and of each scene; written last"
    return _file(root, root / MANIFEST, "manifest", about, "application/json")


def _distributed(root: Path, kind: FileKind) -> Iterator[dict[str, Any]]:
    """Files of the top folder one by one, with their hashes; those of scenes as a set, where there are any."""
    found = sorted(path for path in root.glob(kind.place) if path.is_file())
    if "/" not in kind.place:
        for path in found:
            yield _file(root, path, kind.name if len(found) == 1 else path.name, kind.about, kind.format)
    elif found:
        size = sum(path.stat().st_size for path in found)
        yield {
            "@type": "cr:FileSet",
            "@id": kind.name,
            "name": kind.name,
            "description": f"{kind.about}. {len(found)} files, {size} bytes.",
            "encodingFormat": kind.format,
            "includes": kind.place,
        }


def _file(root: Path, path: Path, name: str, about: str, form: str) -> dict[str, Any]:
    content = path.read_bytes()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": about,
        "contentUrl": path.relative_to(root).as_posix(),
        "contentSize": f"{len(content)} B",
        "encodingFormat": form,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _record_set(name: str, about: str, rows: list[dict[str, Any]], key: str | None = None) -> dict[str, Any]:
    """A record set whose rows stand in the card itself."""
    found: dict[str, Any] = {"@type": "cr:RecordSet", "@id": name, "name": name, "description": about}
    if name == "splits":
        found["dataType"] = "cr:Split"
    if key is not None:
        found["key"] = {"@id": f"{name}/{key}"}
    types = {int: "sc:Integer", str: "sc:Text"}
    refers = {"scenes/split": {"references": {"field": {"@id": "splits/name"}}}}
    found["field"] = [
        {"@type": "cr:Field", "@id": field, "name": field.partition("/")[2], "dataType": types[type(value)]}
        | refers.get(field, {})
        for field, value in rows[0].items()
    ]
    return found | {"data": rows}


def _images() -> dict[str, Any]:
    """The colour images, which a client of Croissant reads from the files."""
    parts = {"path": ("sc:Text", "fullpath"), "image": ("sc:ImageObject", "content")}
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"frames/{name}",
            "name": name,
            "dataType": kind,
            "source": {"fileSet": {"@id": "images"}, "extract": {"fileProperty": of}},
        }
        for name, (kind, of) in parts.items()
    ]
    about = "The colour image of each frame."
    return {"@type": "cr:RecordSet", "@id": "frames", "name": "frames", "description": about, "field": fields}
