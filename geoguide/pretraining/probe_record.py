"""One JSON record of what frozen backbones know of some scenes: a row for each backbone, the same scenes and probes."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from geoguide import backbones
from geoguide.backbones.joined import join
from geoguide.backbones.point_transformer import PointTransformerV3
from geoguide.backbones.sonata import encode_scene
from geoguide.backbones.sonata_mini import PACKAGED
from geoguide.datasets import scannet
from geoguide.datasets.formats.nuscenes_tables import MINI_HOME
from geoguide.datasets.sources import SceneSource
from geoguide.errors import ConfigError, DataError
from geoguide.experiments.environment import environment
from geoguide.experiments.records import dumps
from geoguide.frozen import to_dict
from geoguide.labels import load_label_set
from geoguide.paths import alone_beside, write_text
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.prepare import scene_sources
from geoguide.pretraining.config import PretrainConfig
from geoguide.pretraining.probing import ProbeConfig, ProbeRoom, probe
from geoguide.pretraining.rooms import check_disjoint, identity, read_cloud
from geoguide.pretraining.supervised import train_supervised
from geoguide.scene import NO_INSTANCE, Scene
from geoguide.worlds.streets.official import STREETS_VERSION

BACKBONES = (*PACKAGED, "random", "descriptors", "supervised", *(f"{name}+descriptors" for name in PACKAGED))
Encode = Callable[[Scene], np.ndarray]


def add_row(
    name: str,
    out: Path,
    *,
    weights: Path | None = None,
    steps: int = 400,
    config: ExperimentConfig | None = None,
    settings: ProbeConfig | None = None,
) -> dict[str, Any]:
    """Probe one backbone and put its row into a record, which is made where it is missing.

    Args:
        name: One of `BACKBONES`.
        out: The record's file.
        weights: A mini backbone's weights, by default those of the package.
        steps: Steps of the supervised training.
        config: The experiment whose scenes and label set are used; real ones too, but for `supervised`.
        settings: Settings of the probes.

    Returns:
        The row.

    Raises:
        ConfigError: Another name.
        DataError: A scored room was pretrained on, or the record holds rows of other settings.
    """
    if name not in BACKBONES:
        raise ConfigError(f"backbone must be one of {', '.join(BACKBONES)}, found {name!r}")
    begin = time.perf_counter()
    config, settings = config or ExperimentConfig(), settings or ProbeConfig()
    opened = None if name == "supervised" else _encoder(name, config, weights, steps)  # missing weights are told first
    sources = {split: scene_sources(config.data, split) for split in ("train", "val", "test")}
    protocol = _protocol(config, settings, sources)
    _rows(out, settings, protocol)  # refused now rather than after the work
    encode, about = opened or _encoder(name, config, weights, steps)
    mini, known = config.data.generated, about.pop("rooms", ())
    if mini:
        check_disjoint(known, [stamped(source) for split in ("val", "test") for source in sources[split]])
    rooms = {split: [_room(source, encode) for source in found] for split, found in sources.items()}
    label_set = load_label_set(config.data.label_set)
    row = probe(rooms["train"], rooms["val"], rooms["test"], len(label_set), settings)
    row = about | row | {"wall_seconds": round(time.perf_counter() - begin, 1), "environment": environment("cpu")}
    kind, source = "probe of frozen features", "mini" if mini else "real"
    record = {"kind": kind, "source": source, "protocol": protocol}
    with alone_beside(out):  # another backbone's row may have been added meanwhile
        write_text(out, dumps(record | {"rows": _rows(out, settings, protocol) | {name: row}}))
    return row


def _protocol(
    config: ExperimentConfig, settings: ProbeConfig, sources: dict[str, tuple[SceneSource, ...]]
) -> dict[str, Any]:
    """What all rows of a record share, as JSON types: settings, label set and scenes."""
    label_set, mini = load_label_set(config.data.label_set), config.data.generated
    shared = {
        "probe": to_dict(settings),
        "label_set": label_set.name,
        "classes": list(label_set.names),
        "absent_class": "zero",
        "rooms": {
            split: [list(identity(stamped(source))) if mini else source.name for source in found]
            for split, found in sources.items()
        },
    }
    return shared if config.data.edition == "small" else shared | {"edition": config.data.edition}


def _rows(path: Path, settings: ProbeConfig, protocol: dict[str, Any]) -> dict[str, Any]:
    """The rows of a record that is there, which must be of the same scenes."""
    if not path.is_file():
        return {}
    record = read_record(path, settings)
    for field in ("label_set", "rooms", "edition"):
        found, wanted = record["protocol"].get(field), protocol.get(field)
        if found != wanted:
            raise DataError(f"{path}: protocol.{field} is that of other scenes than these; choose another --out")
    return record["rows"]


def read_record(path: Path, settings: ProbeConfig) -> dict[str, Any]:
    """Read a record.

    Args:
        path: Its file.
        settings: The probes' settings that its rows must come from.

    Returns:
        The record.

    Raises:
        DataError: It is unreadable, or its rows come from other settings.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found, rows = record["protocol"]["probe"], record["rows"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a probe record ({error!r})") from None
    if not isinstance(rows, dict) or not rows or not all(isinstance(row, dict) for row in rows.values()):
        raise DataError(f"{path}: rows must hold the numbers of each backbone by name, found {rows!r:.60}")
    if found != to_dict(settings):
        raise DataError(f"{path}: protocol.probe must be {to_dict(settings)}, found {found}; choose another --out")
    return record


def stamped(source: SceneSource) -> Path:
    """The folder of a generated scene's stamp, which says of what it was made.

    Args:
        source: The scene.

    Returns:
        Its own folder; of a street, whose files lie apart, that of the whole drive.
    """
    return source.path.parent / MINI_HOME / source.listed_as if source.path.name == STREETS_VERSION else source.path


def _room(source: SceneSource, encode: Encode) -> ProbeRoom:
    """A scene with the backbone's features, rounded to float16. Streets have no instances: none counts there."""
    scene = source.load()
    if scene.labels is None:
        raise DataError(f"scene {source.name}: a probe needs labels")
    none = np.full(len(scene.labels), NO_INSTANCE)
    instances = none if scene.instances is None else scene.instances
    return ProbeRoom(scene.name, encode(scene).astype(np.float16), scene.labels, instances)


def _encoder(name: str, config: ExperimentConfig, weights: Path | None, steps: int) -> tuple[Encode, dict[str, Any]]:
    """How a backbone encodes a scene, and what its row says about it (`rooms`: those it was pretrained on)."""
    if "+" in name:
        parts = [_encoder(part, config, weights, steps) for part in name.split("+")]
        about = {key: value for _, told in parts for key, value in told.items()}
        return lambda scene: join([encode(scene) for encode, _ in parts]), about | {"backbone": name}
    if name in ("descriptors", "random"):
        plain = backbones.DescriptorBackbone() if name == "descriptors" else backbones.UntrainedBackbone()
        return plain.encode, {"backbone": plain.name}
    if name in PACKAGED:
        backbone = backbones.MiniSonataBackbone(weights, name=name)
        about = {"backbone": name, "sha256": backbone.sha256, "step": backbone.step, "rooms": backbone.rooms}
        return backbone.encode, about | {"schedule": backbone.pretraining["steps"]}
    return _supervised(replace(PretrainConfig(), steps=steps), config)


def _supervised(plain: PretrainConfig, config: ExperimentConfig) -> tuple[Encode, dict[str, Any]]:
    """Train the same network on the training rooms' labels; its encoder is the backbone."""
    folders = [source.path for source in scene_sources(config.data, "train")]
    labels = [found for folder in folders if (found := scannet.load_scene(folder).labels) is not None]
    classes = len(load_label_set(config.data.label_set))
    network = train_supervised(plain, [read_cloud(folder) for folder in folders], labels, classes)

    def encode(scene: Scene) -> np.ndarray:
        encoder = cast(PointTransformerV3, network["encoder"])
        return encode_scene(encoder, scene, grid=plain.network.voxel, concat=plain.network.concat)

    return encode, {"backbone": "sonata-mini's network, trained on labels", "steps": plain.steps}
