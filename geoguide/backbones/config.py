"""Which frozen backbone an experiment uses: its config, its network (loaded once), and what identifies its features."""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from geoguide.backbones.checkpoints import RELEASES, find_weights
from geoguide.backbones.joined import RULE, JoinedBackbone
from geoguide.backbones.own import OWN
from geoguide.backbones.registry import BACKBONES, Backbone, load
from geoguide.backbones.sonata_mini import PACKAGED, WEIGHTS, read_notes
from geoguide.errors import ConfigError
from geoguide.frozen import check_fields
from geoguide.ops.devices import resolve_device

_PACKAGED = PACKAGED | {"sonata-mini-untrained": WEIGHTS}  # the latter takes its widths from the file
_CHOICES = ("weights", "sha256", "concat")  # what a constructor takes; None leaves it to the backbone
WITHOUT_WEIGHTS = ("descriptors", "sonata-mini-untrained")


@dataclass(frozen=True)
class BackboneConfig:
    """A backbone by name; what stays None is its own choice (see `SonataBackbone`, `MiniSonataBackbone`).

    Several names joined by + are one backbone (see `JoinedBackbone`); at most one of them has trained weights, which
    the options then are of.

    Example:
        >>> [part.name for part in BackboneConfig("sonata-mini+descriptors", concat=1).parts]
        ['sonata-mini', 'descriptors']
    """

    name: str = "sonata-mini"  # the paper's is Sonata, whose weights cannot be shipped
    weights: str | None = field(default=None, metadata={"hash": False})  # where the file lies on this machine
    sha256: str | None = None  # of the weights: another file is refused
    concat: int | None = None  # over how many poolings features are concatenated

    def __post_init__(self) -> None:
        check_fields(self, "backbone")
        names = self.name.split("+")
        unknown = next((name for name in names if name not in BACKBONES), None)
        if unknown is not None:
            known = ", ".join(sorted(BACKBONES))
            known += ", your own (geoguide.backbones.register)"
            raise ConfigError(f"backbone.name must be one of {known}, or several joined by +, found {unknown!r}")
        if len({*names}) < len(names) or sum(map(_has_weights, names)) > 1:
            expected = "different backbones, at most one of them with trained weights"
            raise ConfigError(f"backbone.name must join {expected}, found {self.name!r}")
        if self.concat is not None and "point-mae" in names:
            raise ConfigError(f"backbone.concat must be None for {self.name}, which pools nothing, found {self.concat}")
        given = next(iter(self.options()), None)
        if not self.trained and given is not None:
            raise ConfigError(f"backbone.{given} must be None for {self.name}, which has no trained weights")

    @property
    def trained(self) -> bool:
        """Whether it has trained weights, of which `sha256` says which."""
        return any(map(_has_weights, self.name.split("+")))

    @property
    def parts(self) -> tuple["BackboneConfig", ...]:
        """The backbones that are joined; itself alone where none are."""
        names = self.name.split("+")
        return (self,) if len(names) == 1 else tuple(replace(self, name=name, **_of(name)) for name in names)

    def options(self) -> dict[str, Any]:
        """The fields that are not None, as arguments of the backbone's constructor.

        Returns:
            Arguments by name.
        """
        return {name: getattr(self, name) for name in _CHOICES if getattr(self, name) is not None}


def open_backbone(config: BackboneConfig, device: str | torch.device = "auto") -> Backbone:
    """Make the backbone of a config; it is loaded once for all scenes.

    Args:
        config: Which backbone.
        device: Where its network runs, if it has one: see `ops.devices.resolve_device`.

    Returns:
        The backbone.

    Raises:
        DataError: Weights are missing or do not fit.
        InputError: No such device here.
    """
    if len(config.parts) > 1:
        return JoinedBackbone(tuple(open_backbone(part, device) for part in config.parts))
    if config.name in OWN:  # not kept: another may be registered under its name
        return load(config.name)
    return _opened(config, _changed(config), resolve_device(device))


def identity(config: BackboneConfig) -> dict[str, Any]:
    """What decides a backbone's features, as the key of their cache. No network is built.

    Args:
        config: Which backbone.

    Returns:
        "name", "sha256" of the weights (None without any) and "concat"; of joined ones also "parts", their identities,
        and "joined", how.

    Raises:
        DataError: Weights are missing, or have another SHA-256 than the config says.
    """
    if len(config.parts) > 1:
        parts = [identity(part) for part in config.parts]
        digest = next((held["sha256"] for part, held in zip(config.parts, parts, strict=True) if part.trained), None)
        return {"name": config.name, "sha256": digest, "concat": config.concat, "parts": parts, "joined": RULE}
    digest = None if config.name == "descriptors" or config.name in OWN else _digest(config, _changed(config))
    return {"name": config.name, "sha256": digest, "concat": config.concat}


def _has_weights(name: str) -> bool:
    """Whether a backbone has trained weights that options speak of; one of the user's own keeps its to itself."""
    return name not in WITHOUT_WEIGHTS and name not in OWN


def _of(name: str) -> dict[str, None]:
    """The options that one of several joined backbones does not take."""
    return {} if _has_weights(name) else dict.fromkeys(_CHOICES)


def _file(config: BackboneConfig) -> str | Path | None:
    """The weights file, where one is named or lies in the package."""
    return config.weights or _PACKAGED.get(config.name)


def _changed(config: BackboneConfig) -> int | None:
    """When the weights file was written: a replaced file is read again."""
    path = _file(config)
    return None if path is None or not Path(path).is_file() else Path(path).stat().st_mtime_ns


@lru_cache(maxsize=2)
def _opened(config: BackboneConfig, _changed: int | None, device: torch.device) -> Backbone:
    options = config.options()
    if config.name != "descriptors":
        options["device"] = device
    return load(config.name, **options)


@lru_cache(maxsize=8)
def _digest(config: BackboneConfig, _changed: int | None) -> str:
    if config.name in _PACKAGED:
        # A missing or foreign file is named with the command that makes one.
        read_notes(Path(config.weights or _PACKAGED[config.name]))
    release = RELEASES.get(config.name, RELEASES["sonata"])
    return find_weights(_file(config), sha256=config.sha256, release=release)[1]
