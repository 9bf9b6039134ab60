"""A trained model: frozen backbone + adapter + text. Points and words are all it needs (paper, inference)."""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from geoguide.backbones import BackboneConfig, identity, open_backbone
from geoguide.backbones.joined import JoinedRows
from geoguide.backbones.parts import HALO, Part, Parts, encoded, is_tiled
from geoguide.datasets.normals import NO_NORMALS
from geoguide.datasets.points import Cloud, cloud_scene
from geoguide.errors import ConfigError, DataError, InputError, first_line, pass_on_shortage, refuse_foreign, require
from geoguide.frozen import from_dict, to_dict
from geoguide.ops.arrays import coordinates, number
from geoguide.ops.devices import resolve_device
from geoguide.ops.tensor_files import mismatches, tensor_digest
from geoguide.paths import WEIGHTS, replacing
from geoguide.pipeline.class_text import listed, word_text
from geoguide.pipeline.encoded import EncodedScan
from geoguide.scene import Scene, facts_html
from geoguide.students.adapter import Adapter, AdapterConfig
from geoguide.students.statistics import feature_distance
from geoguide.text.encoders import TextConfig, text_encoder
from geoguide.text_files import parse_json

if TYPE_CHECKING:  # to label needs no experiment, and starts faster without
    from geoguide.pipeline.config import ExperimentConfig
    from geoguide.pipeline.train import Fit
    from geoguide.students.frozen_backbone import FrozenBackboneStudent

_FORMAT = "geoguide-model-1"
# Times the `feature_distance` of the farthest training scene. Beyond it lie sweeps of streets for a model of rooms, and
# within it a real room and a real kitchen (benchmarks/results/domains.json).
OUT_OF_DOMAIN = 1.5
ROWS = 1 << 16  # that pass the adapter at a time
_ABOUT = "geoguide"  # the metadata field that holds the model beside its weights
_DIGEST = "digest"  # the field for that of all else; files from before 0.28 have none


@dataclass(frozen=True)
class _About:
    """What the metadata of a model file say beside its weights; files from before 0.4 have no `text`: MiniLM."""

    format: str
    adapter: AdapterConfig
    in_width: int
    out_width: int
    backbone: BackboneConfig
    prompt: str
    origin: str
    text: TextConfig = field(default_factory=TextConfig)
    scenes: dict[str, str] = field(default_factory=dict)  # fingerprint of each training scene, by name
    farthest: float | None = None  # files from before 0.12 do not say


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
        scenes: Fingerprint of each training scene, by name; empty for models of older versions.
        farthest: How far the features of a training scene lie from those of all at most (`feature_distance`); None for
            models of few scenes or of older versions, which then cannot tell that a scan is out of their domain.
    """

    adapter: Adapter
    adapter_config: AdapterConfig
    backbone: BackboneConfig
    prompt: str
    trained_on: str
    text: TextConfig = field(default_factory=TextConfig)
    scenes: dict[str, str] = field(default_factory=dict)
    farthest: float | None = None

    def student(self) -> "FrozenBackboneStudent":
        """See the model as what was trained.

        Returns:
            The student that `pipeline.evaluate` scores; it shares the adapter.
        """
        from geoguide.students.frozen_backbone import FrozenBackboneStudent

        return FrozenBackboneStudent(self.adapter, self.adapter_config, self.backbone)

    def __repr__(self) -> str:
        return f"GeoGuideModel({self.trained_on!r}: {self.backbone.name}, {self.text.encoder})"

    def _repr_html_(self) -> str:
        """What a notebook shows; a model's file keeps no scores."""
        weights = list(self.adapter.state_dict().values())
        size = sum(tensor.numel() * tensor.element_size() for tensor in weights) / 1e6
        facts: dict[str, object] = {"training scenes": f"{len(self.scenes):,}" if self.scenes else "not in its file"}
        facts |= {"backbone": self.backbone.name, "text encoder": self.text.encoder, "prompt": self.prompt}
        facts["adapter"] = f"{self.adapter.in_width} → {self.adapter.out_width}"
        facts["weights"] = f"{size:.2f} MB, {sum(tensor.numel() for tensor in weights):,} numbers"
        facts["device"] = self.device
        facts["knows its domain"] = "no" if self.farthest is None else "yes: it warns of scans that lie outside"
        facts["metrics"] = "not in its file; `geoguide evaluate` measures them"
        return facts_html("GeoGuideModel, trained on", self.trained_on, facts)

    @property
    def device(self) -> torch.device:
        """Where the adapter's weights lie, and networks run."""
        return self.adapter.last.weight.device

    def to(self, device: str | torch.device) -> "GeoGuideModel":
        """Move the adapter to a device; the backbone's network runs there too.

        Args:
            device: See `ops.devices.resolve_device`.

        Returns:
            The model itself.

        Raises:
            InputError: No such device here.
        """
        self.adapter.to(resolve_device(device))
        return self

    @torch.inference_mode()
    def features(self, scene: Scene, chunk: int = ROWS) -> Tensor:
        """F_3d^sem of every point; `encode` holds the same in far less memory.

        Args:
            scene: P points.
            chunk: Points that pass the adapter at a time: O(chunk C) working memory beside the result.

        Returns:
            float32 [P, C], unit length, on the adapter's device. A scan whose frozen features lie much farther from
            those of the training scenes than any of these does is out of the model's domain: one warning.
        """
        geometry = torch.from_numpy(open_backbone(self.backbone, self.device).encode(scene))
        self._check_domain(scene.name, geometry.mean(0), 4)
        return torch.nn.functional.normalize(self.adapter.whole(geometry, chunk), dim=-1)

    def encode(
        self, scene: Scene, *, tile: float | None = None, halo: float = HALO, progress: bool = False
    ) -> EncodedScan:
        """Encode a scan once, to ask it for words as often as wanted.

        Args:
            scene: P points, as a reader returns them: `datasets.points.load_points`, or `cloud_scene` of arrays.
            tile: Edge in metres of the tiles in which it is worked on; None to cut scenes of `ops.tiles.FROM` points
                and more into tiles that fit memory. One tile as large as the scene: nothing is cut.
            halo: Metres around a tile that its features see; less, with a warning, where no tile is named and the
                smallest one would not fit memory.
            progress: Whether to show a bar where there are tiles.

        Returns:
            Its features; a scan out of the model's domain gives one warning, as in `features`.

        Example:
            >>> from geoguide.datasets.points import Cloud, cloud_scene
            >>> points = np.random.default_rng(0).uniform(0, 2, (500, 3))
            >>> scan = load("mini").encode(cloud_scene("box", Cloud(points, np.full((500, 3), 128))))
            >>> scan.score("chair").shape, scan.label(["wall", "floor"])[0].shape
            ((500,), (500,))
        """
        return self._encoded(scene, self.tiles(scene, tile, halo), progress)

    def _encoded(self, scene: Scene, tiles: Parts | None, progress: bool) -> EncodedScan:
        index, rows, count = np.empty(len(scene), np.int32), [], 0
        for part in self._parts(scene, tiles, progress):
            index[part.rows] = part.features.index + count
            rows += self._aligned(part.features.rows)
            count += len(part.features.rows)
        return EncodedScan(torch.cat(rows), index, self.prompt, self.text)

    def tiles(self, scene: Scene, tile: float | None = None, halo: float = HALO) -> Parts | None:
        """Cut a scan as `segment_scene` and `encode` do.

        Args:
            scene: P points.
            tile: As in `encode`.
            halo: Likewise; `Parts.halo` says what it became.

        Returns:
            The tiles, whose features are made when they are asked for; None where the scan is worked on whole.

        Raises:
            InputError: A size that cannot be, or no scene.
        """
        require(isinstance(scene, Scene), f"scene must be a Scene, as readers return it, found {type(scene).__name__}")
        halo = number("halo", halo)
        if not is_tiled(scene, tile):
            return None
        return Parts(open_backbone(self.backbone, self.device), scene, tile, halo)

    def _parts(self, scene: Scene, tiles: Parts | None, progress: bool) -> Iterator[Part]:
        """The frozen features of a scene, part by part; at the end the check whether they are of the domain."""
        whole = tiles is None
        parts = [Part(slice(None), encoded(open_backbone(self.backbone, self.device), scene))] if whole else tiles
        total = np.zeros(self.adapter.in_width)
        for part in tqdm(parts, "tiles", disable=whole or not progress):
            weight = np.bincount(part.features.index, minlength=len(part.features.rows)) / len(scene)
            for start in range(0, len(weight), ROWS):
                rows = slice(start, start + ROWS)
                total += weight[rows].astype(np.float32) @ part.features.rows[rows]
            yield part
        self._check_domain(scene.name, torch.from_numpy(total).float())

    @torch.inference_mode()
    def _aligned(self, geometry: np.ndarray | JoinedRows) -> Iterator[Tensor]:
        """F_3d^sem of frozen features [R, C1], unit length, `ROWS` at a time."""
        for start in range(0, len(geometry), ROWS):
            rows = torch.from_numpy(geometry[start : start + ROWS])
            yield torch.nn.functional.normalize(self.adapter(rows.to(self.device).float()), dim=-1)

    def _check_domain(self, name: str, mean: Tensor, level: int = 5) -> None:
        """Warn of a scan whose mean frozen features, [C1], lie far from those of the training scenes."""
        if self.farthest is None:
            return
        found = feature_distance(mean[None], self.adapter.mean.cpu(), self.adapter.deviation.cpu())
        if found > OUT_OF_DOMAIN * self.farthest:
            times = f"{found / self.farthest:.1f} times as far from the training scenes as any of these"
            message = (
                f"{name}: its features lie {times}: out of the model's domain ({self.trained_on}), labels mean little"
            )
            warnings.warn(message, stacklevel=level)

    def segment(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        normals: np.ndarray | None = None,
        *,
        labels: list[str],
        unit: str | None = None,
        tile: float | None = None,
        halo: float = HALO,
        progress: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Label every point with the most similar word.

        Args:
            points: [P, 3], metres, z up; any dtype, and as far from the origin as float64 is exact.
            colors: [P, 3], on any scale of `ops.colors.color_scale` (0..255, 0..1, -1..1, 16 bits).
            normals: [P, 3], any length; None to fit them to the points, as zero or NaN for single ones.
            labels: The words, at least one.
            unit: Of the points, as in `load_points`; None for metres, if their size allows it.
            tile: As in `encode`.
            halo: Likewise.
            progress: Likewise.

        Returns:
            Ids int64 [P] into `labels`, and their cosines float32 [P].

        Raises:
            InputError: A wrong shape, points that cannot be in metres, colours on no known scale, no words, or two that
                are the same to the text encoder.
        """
        scene = _as_scene(points, colors, normals, unit)
        return self.segment_scene(scene, labels=labels, tile=tile, halo=halo, progress=progress)

    def segment_scene(
        self,
        scene: Scene,
        *,
        labels: list[str],
        tile: float | None = None,
        halo: float = HALO,
        progress: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `segment`, of a scene as its reader returns it: a mesh keeps its faces, LiDAR its intensity.

        Of each tile no more is kept than the labels: beside a tile, memory is some bytes a point (see
        benchmarks/results/large_cloud.json).

        Args:
            scene: P points.
            labels: The words, at least one.
            tile: As in `encode`.
            halo: Likewise.
            progress: Likewise.

        Returns:
            Ids int64 [P] into `labels`, and their cosines float32 [P].

        Raises:
            InputError: No words, words without an order (a set), or two that are the same to the text encoder.
        """
        names = list(listed(labels))
        word_text(names, self.prompt, self.text)  # before the work
        return self.segment_tiles(scene, self.tiles(scene, tile, halo), labels=names, progress=progress)

    def segment_tiles(
        self, scene: Scene, tiles: Parts | None, *, labels: list[str], progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `segment_scene`, of a scene that was cut before.

        Args:
            scene: P points.
            tiles: What `tiles` returned of it.
            labels: The words, at least one.
            progress: As in `encode`.

        Returns:
            As `segment_scene`.

        Raises:
            InputError: As `segment_scene`.
        """
        names = listed(labels)
        text = word_text(names, self.prompt, self.text)
        ids, scores = np.empty(len(scene), np.int64), np.empty(len(scene), np.float32)
        for part in self._parts(scene, tiles, progress):
            found = zip(*(text.classify(rows) for rows in self._aligned(part.features.rows)), strict=True)
            of_rows, cosines = (np.concatenate(each) for each in found)
            ids[part.rows], scores[part.rows] = of_rows[part.features.index], cosines[part.features.index]
        return ids, scores

    def check_labels(self, labels: Sequence[str]) -> None:
        """Make sure that the text encoder can tell words apart, before anything is done with points.

        Args:
            labels: The words, at least one.

        Raises:
            InputError: No words, or two that are the same to the encoder: it does not see case and spaces, and the
                packaged one neither accents nor what letters beyond the Latin ones say.
        """
        names = listed(labels)
        word_text(names, self.prompt, self.text)
        for name in text_encoder(self.text.encoder, self.text.weights).unknown(names):
            message = f"label {name!r}: the text encoder does not know its letters, so its points mean little"
            warnings.warn(message, stacklevel=2)

    def similarity(
        self,
        points: np.ndarray,
        colors: np.ndarray,
        normals: np.ndarray | None = None,
        *,
        text: str,
        unit: str | None = None,
    ) -> np.ndarray:
        """The heat map of one query.

        Args:
            points: [P, 3], metres, z up; any dtype, and as far from the origin as float64 is exact.
            colors: [P, 3], on any scale of `ops.colors.color_scale` (0..255, 0..1, -1..1, 16 bits).
            normals: [P, 3], any length; None to fit them to the points, as zero or NaN for single ones.
            text: Any words.
            unit: As in `segment`.

        Returns:
            The cosine of every point with the text, float32 [P] in [-1, 1].

        Raises:
            InputError: As `segment`.
        """
        return self.encode(_as_scene(points, colors, normals, unit)).score(text)

    def graph(self) -> str:
        """What inference computes from the frozen features, operation by operation (claim C8).

        Returns:
            The adapter as torch.export writes it, for any number of points; weights are named, not shown.
        """
        example = torch.zeros(2, self.adapter.in_width, device=self.device)
        points = torch.export.Dim("points")
        program = torch.export.export(self.adapter, (example,), dynamic_shapes=({0: points},))
        return f"{program.graph}\n{program.graph_signature}"

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
            "scenes": self.scenes,
            "farthest": self.farthest,
        }
        with replacing(path) as temporary:
            tensors = {name: value.cpu().contiguous() for name, value in self.adapter.state_dict().items()}
            temporary.write_bytes(save(tensors, {_ABOUT: json.dumps(about), _DIGEST: tensor_digest(about, tensors)}))
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
        InputError: Neither a path nor a name.
        ConfigError: Weights are given for a backbone that has none.

    Example:
        >>> import numpy as np
        >>> model = load("mini")
        >>> points = np.random.default_rng(0).uniform(0, 2, (500, 3))
        >>> ids, scores = model.segment(points, np.full((500, 3), 128), labels=["chair", "whiteboard"])
        >>> ids.shape, scores.dtype
        ((500,), dtype('float32'))
    """
    if not isinstance(path_or_name, str | Path):
        raise InputError(f"a model is a path or a name, found {path_or_name!r:.80}")
    path, packaged = Path(path_or_name), WEIGHTS / f"{path_or_name}.safetensors"
    if not path.suffix and (os.path.isfile(packaged) or not os.path.isfile(path)):
        path = packaged
    if not os.path.isfile(path):  # False also for a name that is too long, unlike the method of Path
        known = sorted(p.stem for p in WEIGHTS.glob("*.safetensors") if _ABOUT in _metadata(p))
        raise DataError(f"{path_or_name}: no such model file; packaged models: {', '.join(known) or 'none'}")
    try:
        refuse_foreign(path, "model")
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        about = _about(path)
        with torch.device("meta"):  # no memory is spent on widths that the weights do not have
            adapter = Adapter(about.in_width, about.out_width, about.adapter)
    # RecursionError, of json nested too deeply, is a RuntimeError; OverflowError: a width beyond 64 bits.
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError, OverflowError) as error:
        pass_on_shortage(error, path)
        raise DataError(f"{path}: not a {_FORMAT} file ({first_line(error)})") from None
    problems = mismatches(adapter.state_dict(), tensors)
    if about.farthest is not None and not about.farthest > 0:
        problems.append(f"farthest must be above 0, found {about.farthest}")
    if not problems and not (tensors["deviation"] > 0).all():  # channels would be infinite, and every label the first
        problems = ["deviation holds values that are not above 0"]
    if problems:
        raise DataError(f"{path}: does not fit its adapter: {'; '.join(problems)}")
    _check_digest(path, tensors)
    adapter.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    adapter.eval().requires_grad_(False)
    backbone = replace(about.backbone, weights=weights)
    origin = about.origin, about.text, about.scenes, about.farthest
    return GeoGuideModel(adapter, about.adapter, backbone, about.prompt, *origin)


def _metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _about(path: Path) -> _About:
    """What a model file says of itself; a ValueError where it is none of this format."""
    found = _metadata(path)
    if _ABOUT not in found:
        raise ConfigError(f"no metadata {_ABOUT!r}: weights of another program, or of one network alone")
    about = parse_json(found[_ABOUT], f"{path}: metadata {_ABOUT}")
    written = about.get("format", _FORMAT) if isinstance(about, dict) else _FORMAT
    if written != _FORMAT:
        raise ConfigError(f"its format is {written!r:.60}: made by another version of geoguide?")
    return from_dict(_About, about, _ABOUT)


def _check_digest(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuse a model whose numbers or words are not as they were written."""
    metadata = _metadata(path)
    if _DIGEST not in metadata:
        return
    digest, told = tensor_digest(json.loads(metadata[_ABOUT]), tensors), metadata[_DIGEST]
    if told != digest:
        changed = "damaged, or changed by another program"
        raise DataError(f"{path}: metadata {_DIGEST} must be {digest!r}, found {told!r:.66}: {changed}")


def from_fit(fitted: "Fit", config: "ExperimentConfig") -> GeoGuideModel:
    """What inference keeps of a training: the adapter; the three modules are discarded (paper, Total).

    Args:
        fitted: A finished training.
        config: The experiment that was trained.

    Returns:
        The model.

    Raises:
        InputError: The student has no adapter, as an entire network was trained; or its adapter reads only one of
            joined backbones.
    """
    adapter = fitted.student.saved_adapter()
    if adapter is None:
        raise InputError("only an adapter on a frozen backbone can be saved as a model, found an entire network")
    width = open_backbone(config.backbone, "cpu").width
    if adapter.in_width != width:
        raise InputError(f"the adapter reads {adapter.in_width} channels, {config.backbone.name} gives {width}")
    simulated = all(scene.provenance == "mini" for scene in fitted.trained_on)
    teacher = config.teacher_name or ("simulated teacher" if simulated else "2D features made elsewhere")
    if config.text.assumed:
        teacher += f" (text space {config.text.encoder} assumed by their width)"
    origin = f"{_place(fitted, config)}, {teacher}, {config.name}, seed {config.seed}"
    backbone = config.backbone
    if backbone.trained:  # an adapter fits these weights alone
        backbone = replace(backbone, sha256=identity(backbone)["sha256"])
    scenes = {scene.name: scene.fingerprint for scene in fitted.trained_on}
    about = origin, config.text, scenes, fitted.farthest
    return GeoGuideModel(adapter, config.adapter, backbone, config.protocol.prompt, *about)


def _place(fitted: "Fit", config: "ExperimentConfig") -> str:
    """What a model was trained on, by its scenes and not only by its config: these may have been made elsewhere."""
    from geoguide.benchmarks.named import shown

    kinds = {scene.provenance for scene in fitted.trained_on}
    if config.data.generated and kinds <= {"mini"}:
        return config.data.dataset
    kind = {"mini": "generated", "real": "real"}.get("".join(kinds), "real and generated")
    names = shown([scene.name for scene in fitted.trained_on])
    return f"{kind} {'' if config.data.generated else f'{config.data.dataset} '}scenes {names}"


def _as_scene(points: np.ndarray, colors: np.ndarray, normals: np.ndarray | None, unit: str | None) -> Scene:
    """The scene of a user's arrays; a warning says what was decided where they could be read in more than one way."""
    half = str(getattr(points, "dtype", "")).removeprefix("torch.") == "float16"
    points = coordinates("points", points, keep_single=True, filled=True)
    points = points.astype(np.float16) if half else points  # what it holds: `cloud_scene` judges its steps
    scene = cloud_scene("input", Cloud(points, colors, normals), unit)
    for said in scene.as_read:
        if not said.startswith(NO_NORMALS):  # that they may be left out is said above
            warnings.warn(said, stacklevel=3)
    return scene
