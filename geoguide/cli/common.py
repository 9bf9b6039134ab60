"""What several commands share: which scenes and whose 2D features, and a trained model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

from geoguide.benchmarks import NAMES
from geoguide.cli.arguments import named_scenes
from geoguide.datasets.config import GENERATED, Edition, Splits
from geoguide.errors import ConfigError

Positional = tyro.conf.Positional
GO_ON = "run the same command again to go on"
START_AGAIN = "nothing is half-written; the same command starts again"
READING = ("unit", "up", "depth_scale", "max_depth")  # options of whatever reads recordings
if TYPE_CHECKING:  # the choices are the registry's, which a type checker cannot know
    from geoguide.model import GeoGuideModel
    from geoguide.pipeline.config import ExperimentConfig

    Dataset = GeneratedDataset = str
else:
    Dataset = Literal[NAMES]
    GeneratedDataset = Literal[tuple(GENERATED + name for name in NAMES)]


@dataclass(frozen=True)
class Place:
    """Which scenes, and whose 2D features."""

    dataset: Dataset = "scannet"
    data: str = "mini"
    """mini (generated), or the folder of the real dataset, in its official layout or as OpenScene published it; ScanNet
    also as Pointcept preprocesses it."""
    edition: Edition = "small"
    """Of mini data: small, or large with more and harder scenes (`geoguide data make --edition large`)."""
    features: str = "OpenSeg-like"
    """A 2D model that looks at the images: transformers:NAME_OR_FOLDER, litert:FILE, open_clip:MODEL, mini:NAME, or
    your own code as own:MODULE:CALLABLE. Else mini: OpenSeg-like, LSeg-like or "persistent errors" (simulated); real
    data: the folder of OpenScene's fused features inside --data, or none (scenes that are only scored; what `evaluate`
    takes there unless --mode asks for 2D features)."""
    text: str | None = None
    """The text space, such as minilm or clip-vit-b32; default that of the 2D model, or of the features' width."""
    weights: str | None = None
    """Weights of the backbone that --backbone names, or of Sonata on real data; default packaged or the hub's."""
    protocol: Literal["strict", "openscene", "openscene-ensemble"] | None = None
    """How it is scored; default openscene on real data, and the book's own on mini data."""
    prompt: str | None = None
    """What class names are put into, "a {} in a scene"; several joined by |, or ensemble:imagenet or ensemble:short
    (CLIP's, extra clip): their mean. Default the protocol's; a trained model keeps it for words."""
    train: str | None = None
    """The training scenes by name, separated by commas, or a file with a name a line."""
    val: str | None = None
    """Likewise the scenes of the validation curve; none where others are named and these are not."""
    test: str | None = None
    """Likewise the scored scenes; without any of the three the dataset's own splits."""

    def place(self, config: "ExperimentConfig") -> "ExperimentConfig":
        """Bring an experiment to these scenes.

        Args:
            config: An experiment on generated rooms.

        Returns:
            The same experiment here.
        """
        from geoguide.experiments.placing import placed

        return placed(config, self.dataset, self.data, self.features, **self.options)

    def need_features(self, what: str) -> None:
        """Refuse --features none where that would be found out when every scene has been prepared.

        Args:
            what: What needs 2D features.

        Raises:
            ConfigError: None are asked for.
        """
        if self.features == "none":
            raise ConfigError(f"--features none: expected a 2D model or fused features, which {what} needs")

    @property
    def options(self) -> dict[str, Any]:
        """What `placing.placed` takes beside scenes and features, by name.

        Raises:
            ConfigError: A scene is named twice.
            DataError: A list of scenes cannot be read.
        """
        named = ("protocol", "prompt", "weights", "text", "backbone", "steps", "edition")
        held = {name: getattr(self, name) for name in named if hasattr(self, name)}
        return held | {"splits": named_splits(self.train, self.val, self.test)}


def named_splits(*names: str | None) -> Splits | None:
    """The scenes that --train, --val and --test name.

    Args:
        names: What the three say; None where one is not given.

    Returns:
        They; None, which stands for the dataset's own splits, where none is given.
    """
    return None if set(names) == {None} else Splits(*map(named_scenes, names))


def loaded(model: str, weights: str | None, device: str) -> "GeoGuideModel":
    """The model of a command; the weights of its backbone are there, and the right ones.

    Args:
        model: A .safetensors file, or the name of a packaged model.
        weights: Of its backbone, if others released them.
        device: Where it works.

    Returns:
        It.
    """
    import geoguide
    from geoguide.backbones.config import identity

    found = geoguide.load(model, weights).to(device)
    identity(found.backbone)
    return found
