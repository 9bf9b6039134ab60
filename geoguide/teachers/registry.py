"""2D models by name: how a config, or `--features` of the command, says which one is meant.

    transformers:NAME_OR_FOLDER        a segmentation network of Hugging Face's transformers
    litert:FILE,names=NAMES.txt        a LiteRT file; its class names, by default in a file of its name with .txt
    open_clip:MODEL                    dense features of an open_clip vision transformer
    mini:NAME                          a trained model of this package
    own:MODULE:CALLABLE                your own importable code: CALLABLE() returns an `ImageModel`
    mean:ONE+ANOTHER                   the mean of several of these

After a comma follow options, `key=value`: the fields of `ImageModelConfig` that are not hashed (names, weights, batch,
keep_frames, device, threads), and the model's own. Nothing but `own` runs code beside this package's and its
libraries'.
"""

import functools
import hashlib
import importlib
import inspect
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from geoguide.errors import ConfigError, DataError, check_known, first_line
from geoguide.frozen import check_fields, from_dict, to_dict
from geoguide.ops.devices import resolve_device
from geoguide.paths import cache_root
from geoguide.teachers.image_model import ImageModel, ImageTeacher, MeanModel, check_attributes, own_errors
from geoguide.text.encoders import TextConfig, text_encoder

Kind = Literal["transformers", "litert", "open_clip", "mini", "own", "mean", "given"]
# Fields that a spec's options may set.
_WORDS, _NUMBERS = ("names", "weights", "device"), ("batch", "keep_frames", "threads")
_OF_KINDS = {"names": ("litert",), "threads": ("litert",), "weights": ("open_clip", "mini")}  # whose fields these are
_OF_KINDS |= {"device": ("transformers", "open_clip")}
# LiteRT networks that records name as they are: of another file, class names, range or text space the digest differs.
PUBLISHED = {
    "mobile_segmenter_r4_quant_argmax_uint8 (31 classes, labels only)": "bdfc13c29a252540",
    "lite-model_deeplabv3-mobilenetv2-ade20k_1_default_1 (150 class probabilities)": "fb66495ebda83527",
    "deeplab_mobilenet_edgetpu_slim_cityscapes_quant (19 classes, labels only)": "a285e392485a1f63",
}
GIVEN = "given"  # features that are handed over as arrays, see `pipeline.stages.Stages`


@dataclass(frozen=True)
class ImageModelConfig:
    """Which 2D model looks at the images. Where its files lie is not hashed; which weights they hold is.

    Attributes:
        kind: How it is opened; "given": not at all, its features are handed over as arrays.
        source: A name on the hub, file, folder, `module:callable`, or what "given" features are called.
        names: A LiteRT network's file of class names; None for the file of the same name with .txt.
        weights: Of open_clip and mini, a file in place of the hub's or the packaged one.
        options: The model's own, each "key=value".
        space: The text space; None for the model's own (a closed-set network's: minilm).
        name: The model's true name, for records and tables; filled in by `identified`, with the start of `identity`
            where the model's own name does not say which weights, class names and settings it has.
        identity: Hash of the model's identity, likewise.
        batch: Images that it is asked about at a time.
        keep_frames: Whether what it says of each frame is kept on disk (see `ImageTeacher` for what that costs).
        device: Of transformers and open_clip, where it runs: auto, cpu, cuda or cuda:N.
        threads: Of litert, processor threads; None for one.

    Raises:
        ConfigError: An unknown kind, no source, an option that is no "key=value", `low` or `high` of litert that is no
            number, a batch or threads below 1, or what belongs to another kind.
    """

    kind: Kind
    source: str = field(metadata={"hash": False})
    names: str | None = field(default=None, metadata={"hash": False})
    weights: str | None = field(default=None, metadata={"hash": False})
    options: tuple[str, ...] = ()
    space: TextConfig | None = None
    name: str = ""
    identity: str = ""
    batch: int = field(default=4, metadata={"hash": False})
    keep_frames: bool = field(default=True, metadata={"hash": False})
    device: str = field(default="cpu", metadata={"hash": False})
    threads: int | None = field(default=None, metadata={"hash": False})

    def __post_init__(self) -> None:
        check_fields(self, "image_model", kind=get_args(Kind))
        if not self.source.strip():
            raise ConfigError(f"image_model.source must name the {self.kind} model, found {self.source!r}")
        for name, kinds in _OF_KINDS.items():
            default = "cpu" if name == "device" else None
            if getattr(self, name) != default and self.kind not in kinds:
                found = f"{getattr(self, name)!r} for {self.kind}"
                raise ConfigError(f"image_model.{name} belongs to kind {' and '.join(kinds)}, found {found}")
        for name, count in (("batch", self.batch), ("threads", self.threads)):
            if count is not None and count < 1:
                raise ConfigError(f"image_model.{name} must be at least 1, found {count}")
        wrong = [option for option in self.options if not re.fullmatch(r"\w+=.*", option)]
        if wrong:
            raise ConfigError(f"image_model.options must be key=value, found {wrong[0]!r}")
        for name in {"low", "high"} & self.values.keys() if self.kind == "litert" else ():
            value = self.values[name]
            if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
                raise ConfigError(f"image_model.options: {name} must be a finite number, found {value!r}")
        if self.kind == GIVEN and not self.name:
            object.__setattr__(self, "name", self.source)

    @property
    def values(self) -> dict[str, Any]:
        """The options by name; a value is read as JSON (number, true, null) where it is, else it is a word."""
        return {key: _value(text) for key, _, text in (option.partition("=") for option in self.options)}


def is_spec(text: str) -> bool:
    """Whether some words name a 2D model in the manner of this file's head.

    Args:
        text: Such as "litert:FILE", or the name of a folder.

    Returns:
        True where they begin with a kind and a colon.
    """
    return text.partition(":")[0] in OPENERS and ":" in text


def parse_spec(text: str, space: TextConfig | None = None) -> ImageModelConfig:
    """Read what names a 2D model; nothing is opened.

    Args:
        text: As the head of this file shows.
        space: The text space that is asked for; None for the model's own.

    Returns:
        The config, without name and identity.

    Raises:
        ConfigError: An unknown kind, no source, an option twice, or a value that it cannot have.

    Example:
        >>> config = parse_spec("litert:nets/a.tflite,names=a.txt,low=0,batch=2")
        >>> config.source, config.names, config.options, config.batch
        ('nets/a.tflite', 'a.txt', ('low=0',), 2)
    """
    kind, colon, rest = text.partition(":")
    if not colon or kind not in OPENERS:
        raise ConfigError(f"a 2D model is one of {', '.join(f'{name}:...' for name in OPENERS)}, found {text!r}")
    if kind == "mean":  # options belong to its members
        for member in _members(rest):
            parse_spec(member, space)
        return replace(from_dict(ImageModelConfig, {"kind": kind, "source": rest}, text), space=space)
    source, *options = re.split(r",(?=\w+=)", rest)
    pairs = [option.partition("=")[::2] for option in options]
    twice = [key for key, _ in pairs if [other for other, _ in pairs].count(key) > 1]
    if twice:
        raise ConfigError(f"{text}: option {twice[0]} stands there twice")
    said = {key: value if key in _WORDS else _value(value) for key, value in pairs if key in (*_WORDS, *_NUMBERS)}
    left = [f"{key}={value}" for key, value in pairs if key not in said]
    config = from_dict(ImageModelConfig, said | {"kind": kind, "source": source, "options": left}, text)
    return replace(config, space=space)


def identified(config: ImageModelConfig) -> ImageModelConfig:
    """Open a model and note who it is.

    Args:
        config: A config, with or without name and identity.

    Returns:
        The same with the model's name, identity and text space.

    Raises:
        ConfigError: As `open_image_model`.
        DataError: As `open_image_model`.

    Example:
        >>> identified(parse_spec("mini:lseg-mini")).name
        'lseg-mini'
    """
    model = open_image_model(config)
    which = digest(model)
    name = model.name if _says_all(config, model) else f"{model.name} [{which[:8]}]"
    return replace(config, name=name, identity=which, space=model.space)


def _says_all(config: ImageModelConfig, model: ImageModel) -> bool:
    """Whether a model's name says which one it is: its weights, class names and settings are those of that name."""
    match config.kind:
        case "mean":
            parts = zip(_members(config.source), model.members, strict=True)
            return all(_says_all(parse_spec(spec, config.space), member) for spec, member in parts)
        case "litert":
            return PUBLISHED.get(model.name) == digest(model)
        case "transformers":
            return not Path(config.source).is_dir() and model.space == TextConfig()
        case "mini":
            return config.weights is None or model.identity == _packaged_identity(config.source)
        case "open_clip":  # its name says what takes the place of attention
            return config.weights is None and config.values.keys() <= {"variant", "attention", "whole_block"}
    return not config.options


def _packaged_identity(name: str) -> str | None:
    """Of the packaged model of a name; None where there is none."""
    from geoguide.teachers.mini_fused import open_mini

    try:
        return open_mini(name).identity
    except DataError:
        return None


def open_image_model(config: ImageModelConfig) -> ImageModel:
    """Open the 2D model of a config; the last two stay open.

    Args:
        config: Which.

    Returns:
        The model.

    Raises:
        ConfigError: It is not the model that the config was identified with, lies in another text space than asked for,
            has another width than its text space, no such option, or is the user's own and cannot be imported.
        DataError: Its files are missing, damaged or of another kind, an extra is not installed, or the user's own code
            fails.
        InputError: Its class names do not fit, or as `check_attributes`.
    """
    if config.kind == GIVEN:
        raise ConfigError(f"image_model: features of {config.name!r} are given as arrays; there is no model to open")
    model = _opened(replace(config, name="", identity="", batch=1, keep_frames=True), _stamp(config))
    if config.identity and digest(model) != config.identity:
        raise ConfigError(
            f"image_model.identity: {config.source} must be {config.identity} ({config.name}), found {digest(model)} "
            f"({model.name}): other weights or settings"
        )
    return model


def teacher_of(config: ImageModelConfig) -> ImageTeacher:
    """Open the 2D model of a config to be asked about scenes; its frames are kept in the cache of this user.

    Args:
        config: Which, and how many images it is asked about at a time.

    Returns:
        The model as a teacher.

    Raises:
        ConfigError: As `open_image_model`.
        DataError: As `open_image_model`.
        InputError: As `open_image_model`.
    """
    return ImageTeacher(open_image_model(config), cache=cache_root() / "frames", batch=config.batch)


def digest(model: ImageModel) -> str:
    """Name a model's weights and settings shortly.

    Args:
        model: Any model.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of its identity.
    """
    return hashlib.sha256(model.identity.encode()).hexdigest()[:16]


def _members(source: str) -> list[str]:
    """The specs that a mean is of; a plus sign within a path is no end of one."""
    return re.split(rf"\+(?=(?:{'|'.join(OPENERS)}):)", source)


def _stamp(config: ImageModelConfig) -> tuple[int, ...]:
    """When the files that a config names were written, of all members of a mean: replaced ones are opened again."""
    if config.kind == "mean":
        return tuple(time for member in _members(config.source) for time in _stamp(parse_spec(member, config.space)))
    words = (config.source, config.names, config.weights, *map(str, config.values.values()))
    paths = [Path(word).expanduser() for word in words if word]
    if config.kind == "litert" and config.names is None:
        paths.append(paths[0].with_suffix(".txt"))
    files = [file for path in paths for file in (sorted(path.iterdir()) if os.path.isdir(path) else [path])]
    return tuple(file.stat().st_mtime_ns if os.path.isfile(file) else 0 for file in files)


@functools.lru_cache(maxsize=2)
def _opened(config: ImageModelConfig, _written: tuple[int, ...]) -> ImageModel:
    model = OPENERS[config.kind](config)
    check_attributes(model)
    if config.space is not None and model.space.encoder != config.space.encoder:
        found = f"its features lie in {model.space.encoder}, asked for was {config.space.encoder}"
        raise ConfigError(f"image_model: {model.name} has its own text space: {found}")
    width = text_encoder(model.space.encoder, model.space.weights).width
    if model.width != width:  # else hours of preparation end at the first comparison with text
        expected = f"must be {width}, of its text space {model.space.encoder}"
        raise ConfigError(f"image_model: width of {model.name} {expected}, found {model.width}")
    return model


def _transformers(config: ImageModelConfig) -> ImageModel:
    from geoguide.teachers.closed_set import ClosedSetModel
    from geoguide.teachers.huggingface import HuggingFaceSegmenter

    segmenter = _made(HuggingFaceSegmenter, config, config.source, device=resolve_device(config.device))
    return ClosedSetModel(segmenter, config.space)


def _litert(config: ImageModelConfig) -> ImageModel:
    from geoguide.teachers.closed_set import ClosedSetModel, read_names
    from geoguide.teachers.litert import LiteRTSegmenter, check_file

    file = check_file(Path(config.source))
    names = read_names(file.with_suffix(".txt") if config.names is None else Path(config.names))
    return ClosedSetModel(_made(LiteRTSegmenter, config, file, names, threads=config.threads or 1), config.space)


def _open_clip(config: ImageModelConfig) -> ImageModel:
    from geoguide.teachers.open_clip_dense import VARIANTS, DenseClipConfig, OpenClipModel

    values = config.values
    variant = values.pop("variant", "clearclip")
    check_known("variant of open_clip", variant, VARIANTS)
    settings = from_dict(DenseClipConfig, to_dict(VARIANTS[variant]) | values, "open_clip")
    return OpenClipModel(config.source, config.weights, settings, device=resolve_device(config.device))


def _mini(config: ImageModelConfig) -> ImageModel:
    from geoguide.teachers.mini_fused import open_mini

    return _made(open_mini, config, config.source, config.weights)


def _own(config: ImageModelConfig) -> ImageModel:
    module, _, name = config.source.partition(":")
    if not module or not name:
        raise ConfigError(f"own:{config.source}: expected own:MODULE:CALLABLE")
    origin = f"own:{config.source}"
    how = "the module must be installed, or its folder on PYTHONPATH"
    try:
        with own_errors(origin):
            imported = importlib.import_module(module)
    except DataError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        raise ConfigError(f"{origin}: cannot be imported ({first_line(error.__cause__)}); {how}") from error.__cause__
    if not hasattr(imported, name):
        raise ConfigError(f"{origin}: cannot be imported (module {module!r} has no attribute {name!r}); {how}")
    with own_errors(origin):
        model = _made(getattr(imported, name), config)
        if not isinstance(model, ImageModel):
            raise ConfigError(f"{origin}: must return an ImageModel, found {type(model).__name__}")
        model.origin = origin
        check_attributes(model)
    return model


def _mean(config: ImageModelConfig) -> ImageModel:
    return MeanModel([open_image_model(parse_spec(part, config.space)) for part in _members(config.source)])


# The registry: how a model of each kind is opened. A further kind is a line here and a name in `Kind`.
OPENERS: dict[str, Callable[[ImageModelConfig], ImageModel]] = {
    "transformers": _transformers,
    "litert": _litert,
    "open_clip": _open_clip,
    "mini": _mini,
    "own": _own,
    "mean": _mean,
}


def _made(make: Callable[..., Any], config: ImageModelConfig, *arguments: Any, **further: Any) -> Any:
    """Call what makes a model with the config's options; those that it does not take are a `ConfigError`."""
    try:
        bound = inspect.signature(make).bind(*arguments, **further, **config.values)
    except TypeError as error:
        raise ConfigError(f"{config.kind}:{config.source}: options {config.options}: {first_line(error)}") from None
    return make(*bound.args, **bound.kwargs)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
