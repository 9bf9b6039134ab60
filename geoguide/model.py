"""A trained model: frozen backbone + adapter + text. Points and words are all it needs (paper, inference)."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from geoguide.backbones import BackboneConfig, identity
from geoguide.backbones.config import WITHOUT_WEIGHTS
from geoguide.errors import DataError, InputError, first_line
from geoguide.frozen import from_dict, to_dict
from geoguide.paths import WEIGHTS, replacing
from geoguide.pipeline.class_text import ClassText
from geoguide.pipeline.config import ExperimentConfig
from geoguide.pipeline.stages import frozen_features
from geoguide.pipeline.train import Fit
from geoguide.scene import Scene, unit_colors
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.frozen_backbone import FrozenBackboneStudent
from geoguide.text.encoders import TextConfig, text_encoder

_FORMAT = "geoguide-model-1"


@dataclass(eq=False)
class GeoGuideModel:
    """What `geoguide.load` returns: all that labels points with words, by the cosine with their embeddings.

    Attributes:
        adapter: The trained MLP.
        adapter_config: Its shape.
        backbone: The frozen features that it reads, and their weights.
        prompt: What words are put into.
        trained_on: What it was trained on; mini models say so in every summary.
        text: Whose text space it answers in.
    """

    adapter: Adapter
    adapter_config: AdapterConfig
    backbone: BackboneConfig
    prompt: str
    trained_on: str
    text: TextConfig = field(default_factory=TextConfig)

    def student(self) -> FrozenBackboneStudent:
        """The model as what was trained, for `pipeline.evaluate`."""
        return FrozenBackboneStudent(self.adapter, self.adapter_config, self.backbone)

    @property
    def device(self) -> torch.device:
        """Where the adapter's weights lie."""
        return self.adapter.last.weight.device

    def to(self, device: str | torch.device) -> "GeoGuideModel":
        """Move the adapter to a device.

        Args:
            device: Any that torch knows.

        Returns:
            The model itself.
        """
        self.adapter.to(device)
        return self

    @torch.inference_mode()
    def features(self, scene: Scene, chunk: int = 65536) -> Tensor:
        """F_3d^sem of every point.

        Args:
            scene: P points.
            chunk: Points that pass the adapter at a time: O(chunk C) working memory beside the result.

        Returns:
            float32 [P, C], unit length, on the adapter's device.
        """
        geometry = torch.from_numpy(frozen_features(scene, self.backbone))
        return torch.nn.functional.normalize(self.adapter.whole(geometry, chunk), dim=-1)

    def segment(
        self, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None = None, *, labels: list[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label every point with the most similar word.

        Args:
            points: [P, 3], metres, z up.
            colors: [P, 3], in 0..255 or 0..1.
            normals: [P, 3], unit length; None to fit them to the points.
            labels: The words, at least one.

        Returns:
            Ids int64 [P] into `labels`, and their cosines float32 [P].

        Raises:
            InputError: A wrong shape, or no words.
        """
        return self.segment_scene(_as_scene(points, colors, normals), labels=labels)

    def segment_scene(self, scene: Scene, *, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """As `segment`, of a scene as its reader returns it: a mesh keeps its faces, LiDAR its intensity.

        Args:
            scene: P points.
            labels: The words, at least one.

        Returns:
            Ids int64 [P] into `labels`, and their cosines float32 [P].

        Raises:
            InputError: No words.
        """
        return ClassText(self._text(labels)).classify(self.features(scene))

    def similarity(
        self, points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None = None, *, text: str
    ) -> np.ndarray:
        """The heat map of one query.

        Args:
            points: [P, 3], metres, z up.
            colors: [P, 3], in 0..255 or 0..1.
            normals: [P, 3], unit length; None to fit them to the points.
            text: Any words.

        Returns:
            The cosine of every point with the text, float32 [P] in [-1, 1].

        Raises:
            InputError: A wrong shape, or no words.
        """
        features = self.features(_as_scene(points, colors, normals))
        return (features @ self._text([text])[0]).cpu().numpy()

    def _text(self, names: list[str]) -> Tensor:
        if isinstance(names, str) or not len(names):
            raise InputError(f"labels must be a non-empty list of strings, found {names!r}")
        encoder = text_encoder(self.text.encoder, self.text.weights)
        return torch.from_numpy(encoder.encode(list(names), prompt=self.prompt)).to(self.device)

    def save(self, path: str | Path) -> Path:
        """Write the model as one file.

        Args:
            path: A .safetensors file: the adapter's weights, everything else in its metadata.

        Returns:
            `path`.
        """
        about = {
            "format": _FORMAT,
            "adapter": to_dict(self.adapter_config),
            "in_width": self.adapter.in_width,
            "out_width": self.adapter.out_width,
            "backbone": to_dict(self.backbone, hashed_only=True),
            "prompt": self.prompt,
            "text": to_dict(self.text, hashed_only=True),
            "origin": self.trained_on,
        }
        with replacing(path) as temporary:
            tensors = {name: value.cpu().contiguous() for name, value in self.adapter.state_dict().items()}
            temporary.write_bytes(save(tensors, metadata={"geoguide": json.dumps(about)}))
        return Path(path)


def load(path_or_name: str | Path, weights: str | None = None) -> GeoGuideModel:
    """Load a trained model.

    Args:
        path_or_name: A .safetensors file, or the name of a packaged model ("mini").
        weights: Where the backbone's file lies here; None for the packaged one or the hub's. The model says which file
            it must be.

    Returns:
        The model, on the CPU.

    Raises:
        DataError: Something is missing or does not fit.
        ConfigError: Weights are given for a backbone that has none.

    Example:
        >>> import numpy as np
        >>> model = load("mini")
        >>> points = np.random.default_rng(0).uniform(0, 2, (500, 3))
        >>> ids, scores = model.segment(points, np.full((500, 3), 128), labels=["chair", "whiteboard"])
        >>> ids.shape, scores.dtype
        ((500,), dtype('float32'))
    """
    path = Path(path_or_name)
    if not path.suffix:
        path = WEIGHTS / f"{path_or_name}.safetensors"
    if not path.is_file():
        known = sorted(p.stem for p in WEIGHTS.glob("*.safetensors"))
        raise DataError(f"{path_or_name}: no such model file; packaged models: {', '.join(known) or 'none'}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        about = json.loads(metadata["geoguide"])
        config = from_dict(AdapterConfig, about["adapter"])
        backbone = from_dict(BackboneConfig, about["backbone"])
        text = from_dict(TextConfig, about.get("text", {}))  # files from before 0.4 have none: MiniLM
        adapter = Adapter(about["in_width"], about["out_width"], config)
        adapter.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not a {_FORMAT} file ({first_line(error)})") from None
    adapter.eval().requires_grad_(False)
    backbone = replace(backbone, weights=weights)
    return GeoGuideModel(adapter, config, backbone, about["prompt"], about["origin"], text)


def from_fit(fitted: Fit, config: ExperimentConfig) -> GeoGuideModel:
    """What inference keeps of a training: the adapter; the three modules are discarded (paper, Total).

    Args:
        fitted: A finished training.
        config: The experiment that was trained.

    Returns:
        The model.

    Raises:
        InputError: The student has no adapter: an entire network was trained.
    """
    adapter = fitted.student.saved_adapter()
    teacher = "simulated teacher" if config.data.features is None else config.data.features
    origin = f"{config.data.dataset}, {teacher}, {config.name}, seed {config.seed}"
    backbone = config.backbone
    if backbone.name not in WITHOUT_WEIGHTS:  # an adapter fits these weights alone
        backbone = replace(backbone, sha256=identity(backbone)["sha256"])
    return GeoGuideModel(adapter, config.adapter, backbone, config.protocol.prompt, origin, config.text)


def _as_scene(points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None) -> Scene:
    points = np.asarray(points, np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"points must be [P, 3], found {list(points.shape)}")
    if np.shape(colors) != points.shape:
        raise InputError(f"colors must be {list(points.shape)}, found {list(np.shape(colors))}")
    normals = None if normals is None else np.asarray(normals, np.float32)
    return Scene("input", points, unit_colors(colors), normals=normals)
