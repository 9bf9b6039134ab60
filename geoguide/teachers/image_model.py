"""One interface for 2D models that look at pixels: images in, per-pixel features in a named text space out.

Around any model, `ImageTeacher` reads the views of a scene, keeps what the model said of each frame, and goes on after
a kill. A model of one's own is a subclass of `ImageModel`; this file `my_model.py`, anywhere on PYTHONPATH, is enough:

    import numpy as np

    from geoguide.teachers.image_model import ImageModel
    from geoguide.text import TextConfig


    class Brightness(ImageModel):  # bright pixels are walls, dark ones floors
        name = "brightness"  # for the record
        identity = "brightness 1"  # change it whenever the answers would
        space, width = TextConfig("minilm"), 384

        def __init__(self) -> None:
            self.dark, self.bright = self.text(["floor", "wall"])  # float32 [384] each

        def encode(self, images: list[np.ndarray]) -> list[np.ndarray]:
            bright = [image.mean(axis=-1, keepdims=True) / 255 for image in images]  # [H, W, 1]
            return [share * self.bright + (1 - share) * self.dark for share in bright]

It is used as `geoguide train --features own:my_model:Brightness`, on real data with `--data PATH`; in Python:

    from geoguide.experiments.placing import placed
    from geoguide.experiments.presets import fusion
    from geoguide.pipeline.evaluate import evaluate

    config = placed(fusion(), "scannet", features="own:my_model:Brightness")
    print(evaluate(config, None).miou)

It may give `PixelFeatures(features, weight)` where pixels do not all count alike. Other kinds of models: `registry.py`.

Images are taken as stored: the intrinsics belong to stored pixels, so a rotation that EXIF data ask for is not done.
Grey, RGBA, CMYK and 16-bit files become RGB of 8 bits (`image_files.read_color`).
"""

import abc
import contextlib
import numbers
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from geoguide.errors import DataError, GeoGuideError, InputError, ReadAs, first_line, shortage
from geoguide.image_files import is_turned
from geoguide.lifting import PixelFeatures
from geoguide.ops.arrays import host
from geoguide.ops.pixel_rows import PixelRows
from geoguide.scene import Scene
from geoguide.teachers.frame_cache import FrameCache
from geoguide.text.encoder import PROMPT
from geoguide.text.encoders import TextConfig, text_encoder

HALF = float(np.finfo(np.float16).max)
LEAST = np.float32(np.finfo(np.float16).smallest_subnormal)


class ImageModel(abc.ABC):
    """A 2D model: images in, per-pixel features in a named text space out.

    A model that says less of an image than its features hold (class probabilities, maps of patches) overrides `compact`
    and `expand`, so that the cache stays small; `encode` is then one after the other (`CompactModel`).

    Attributes:
        name: For the record.
        width: C, the length of a feature.
        identity: Which weights and settings these are: caches tell models apart by it.
        space: The text space that its features lie in.
        members: The models that this one is the mean of; none of a model of its own.
        origin: "own:MODULE:CALLABLE" of a user's own model that was opened so: its errors say it. None else.
    """

    name: str
    width: int
    identity: str
    space: TextConfig
    members: tuple["ImageModel", ...] = ()
    origin: str | None = None

    @abc.abstractmethod
    def encode(self, images: Sequence[np.ndarray]) -> Sequence[np.ndarray | PixelFeatures]:
        """Describe the pixels of images.

        Args:
            images: uint8 [H, W, 3] each, of any sizes.

        Returns:
            float32 [H, W, C] for each image; `PixelFeatures` where pixels do not all count alike (weight 0: no answer).
            Pixels of an image without weights count 1.
        """

    def text(self, names: Sequence[str], prompt: str | Sequence[str] = PROMPT) -> np.ndarray:
        """Embed names in the model's text space.

        Args:
            names: K names.
            prompt: One template or several, each with `{}` where the name goes.

        Returns:
            float32 [K, C], vectors of unit length.

        Raises:
            InputError: No names, an empty name, or a prompt without `{}`.
            DataError: The text model is needed and cannot be had.
        """
        return text_encoder(self.space.encoder, self.space.weights).encode(names, prompt)

    def compact(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Say of images what the cache keeps: here the features, with their weight (if any) as one more channel.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            An array [h, w, ...] for each image: floats, which are kept as float16, or whole numbers, kept as they are.

        Raises:
            InputError: The model gives another number of maps, or one that is no array of numbers of the image's size,
                its width and float16's range.
        """
        given = self.encode(images)
        if not isinstance(given, Iterable):
            raise InputError(f"{self.name}: encode must give a list of maps, found {type(given).__name__}")
        maps = list(given)
        if len(maps) != len(images):
            raise InputError(f"{self.name}: encode must give {len(images)} maps, one for each image, found {len(maps)}")
        return [self._packed(given, image.shape[:2]) for given, image in zip(maps, images, strict=True)]

    def expand(self, kept: np.ndarray, size: tuple[int, int]) -> np.ndarray | PixelFeatures:
        """Make the features of what `compact` said, as the cache holds it.

        Args:
            kept: One array of `compact`, its floats rounded to float16.
            size: (H, W) of the image.

        Returns:
            float32 [H, W, C], or `PixelFeatures` of it.

        Raises:
            InputError: It is nothing that this model says of an image of that size.
        """
        channels = kept.shape[-1] if kept.shape[:-1] == tuple(size) else 0
        if channels not in (self.width, self.width + 1):
            expected = f"[{size[0]}, {size[1]}, {self.width} or {self.width + 1}]"
            raise InputError(f"{self.name}: a kept frame must be {expected}, found {list(kept.shape)}")
        features = np.asarray(kept[..., : self.width], np.float32)
        return features if channels == self.width else PixelFeatures(features, np.asarray(kept[..., -1], np.float32))

    def expand_rows(self, kept: np.ndarray, size: tuple[int, int]) -> np.ndarray | PixelFeatures | PixelRows:
        """`expand` for lifting, which reads the pixels alone that see a point; a model may make no others.

        Args:
            kept: As in `expand`.
            size: As in `expand`.

        Returns:
            What `expand` gives, or `PixelRows` of it.

        Raises:
            InputError: As in `expand`.
        """
        return self.expand(kept, size)

    def _packed(self, given: np.ndarray | PixelFeatures, size: tuple[int, int]) -> np.ndarray:
        """A map with its weight as the last channel, checked; 0 where the weight is 0."""
        features, weight = given if isinstance(given, PixelFeatures) else (given, None)
        features = host(f"{self.name}: a feature map", features, "fiub").astype(np.float32, copy=False)
        if features.shape != (*size, self.width):
            expected = [*size, self.width]
            raise InputError(f"{self.name}: a feature map must be {expected}, found {list(features.shape)}")
        if weight is not None:
            weight = host(f"{self.name}: weights", weight, "fiub").astype(np.float32, copy=False)
            found = list(weight.shape)
            if weight.shape == tuple(size):
                found = f"{int((~(weight >= 0)).sum())} pixels that are negative or nan"
            if weight.shape != tuple(size) or not (weight >= 0).all():
                raise InputError(f"{self.name}: weights must be {list(size)}, each at least 0, found {found}")
            weight = np.where(weight > 0, np.maximum(weight, LEAST), 0)  # below, float16 would say "no answer"
            features = np.concatenate([np.where(weight[..., None] > 0, features, 0), weight[..., None]], axis=-1)
        fits = np.abs(features) <= HALF
        if not fits.all():
            bad = f"{int((~fits).any(axis=-1).sum())} of {size[0] * size[1]} pixels are not"
            raise InputError(f"{self.name}: features and weights must be finite and at most {HALF:g} (float16), {bad}")
        return features


class CompactModel(ImageModel):
    """A 2D model that says less of an image than its features hold; a subclass says `compact` and `expand`."""

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray | PixelFeatures]:
        """Describe the pixels of images: `compact`, then `expand`.

        Args:
            images: uint8 [H, W, 3] each, of any sizes.

        Returns:
            What `expand` makes of each.

        Raises:
            GeoGuideError: As `compact` and `expand`.
        """
        return [self.expand(kept, image.shape[:2]) for kept, image in zip(self.compact(images), images, strict=True)]


class PixelModel(CompactModel):
    """A 2D model whose features of a pixel can be made without those of others; a subclass says `compact` and this."""

    @abc.abstractmethod
    def expand_rows(self, kept: np.ndarray, size: tuple[int, int]) -> PixelRows:
        """Make features of what `compact` said, for the pixels that are asked about.

        Args:
            kept: As in `expand`.
            size: (H, W) of the image.

        Returns:
            The features [H, W, C].

        Raises:
            InputError: It is nothing that this model says of an image of that size.
        """

    def expand(self, kept: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """All features of what `compact` said.

        Args:
            kept: One array of `compact`, its floats rounded to float16.
            size: (H, W) of the image.

        Returns:
            float32 [H, W, C].

        Raises:
            InputError: As `expand_rows`.
        """
        return self.expand_rows(kept, size).whole()


class MeanModel(ImageModel):
    """The mean of several models in one text space, pixel by pixel, each weighted with its weight there.

    A model without weights counts 1 everywhere; the mean's weight is the mean of the weights. So of closed-set models
    (whose feature times weight is the sum of p t over the named classes) it is the mean of these sums, and lifting it
    is lifting all of their maps together. The cache keeps each model's own frames, so they serve the models alone too.

    Args:
        members: Two models or more.

    Attributes:
        name: "mean of" their names.
        width: C.
        identity: Of all members.
        space: Theirs.
        members: As above.

    Raises:
        InputError: Fewer than two, or models of different text spaces or widths.
    """

    def __init__(self, members: Sequence[ImageModel]) -> None:
        if len(members) < 2:
            raise InputError(f"a mean needs two models or more, found {len(members)}")
        first = members[0]
        for other in members[1:]:
            if (other.space, other.width) != (first.space, first.width):
                spaces = f"{first.name} {first.space.encoder} and {other.name} {other.space.encoder}"
                raise InputError(f"the models of a mean must share their text space, found {spaces}")
        self.members, self.width, self.space = tuple(members), first.width, first.space
        self.name = f"mean of {' and '.join(model.name for model in members)}"
        self.identity = f"mean of {[model.identity for model in members]}"

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray | PixelFeatures]:
        """Describe the pixels of images by all members.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            float32 [H, W, C] for each image; `PixelFeatures` where a member has weights.
        """
        return [mean_of(maps) for maps in zip(*(model.encode(images) for model in self.members), strict=True)]


def mean_of(maps: Sequence[np.ndarray | PixelFeatures]) -> np.ndarray | PixelFeatures:
    """The mean of several models' maps of one image.

    Args:
        maps: float32 [H, W, C], or `PixelFeatures`, of each model.

    Returns:
        float32 [H, W, C]; with the mean weight where one of them has weights (0 where no model has an answer).
    """
    pairs = [m if isinstance(m, PixelFeatures) else PixelFeatures(m, np.ones(m.shape[:2], np.float32)) for m in maps]
    total = np.sum([weight for _, weight in pairs], axis=0)
    mass = np.where(total > 0, total, 1)
    mean = sum(np.where(weight > 0, weight / mass, 0)[..., None] * features for features, weight in pairs)
    weighted = any(isinstance(m, PixelFeatures) for m in maps)
    return PixelFeatures(mean, total / len(maps)) if weighted else mean


def check_attributes(model: ImageModel) -> None:
    """Make sure that a 2D model says who it is, and where its features lie.

    Args:
        model: Any model.

    Raises:
        InputError: It is no `ImageModel`, or has no name, identity, width or text space.
    """
    if not isinstance(model, ImageModel):
        raise InputError(f"a 2D model must be an ImageModel, found {type(model).__name__}")
    wanted = {"name": str, "identity": str, "width": numbers.Integral, "space": TextConfig}
    for attribute, kind in wanted.items():
        found = getattr(model, attribute, None)
        usable = found.strip() if isinstance(found, str) else not isinstance(found, numbers.Integral) or found > 0
        if not isinstance(found, kind) or not usable:
            raise InputError(f"a 2D model needs {attribute}, {kind.__name__}; {type(model).__name__} has {found!r}")


@contextlib.contextmanager
def own_errors(origin: str | None) -> Generator[None]:
    """Make errors of a user's own code one line that says whose they are; a debugger still finds their cause.

    Args:
        origin: "own:MODULE:CALLABLE"; None for this package's models, whose errors stay as they are.

    Yields:
        Nothing, once.

    Raises:
        DataError: Any error within but those of this package, and of a machine that is short of memory.
    """
    try:
        yield
    except GeoGuideError:
        raise
    except Exception as error:
        if origin is None or shortage(error) is not None:
            raise
        frames = traceback.extract_tb(error.__traceback__)
        file, line = frames[-1].filename, frames[-1].lineno
        if isinstance(error, SyntaxError) and error.filename:
            file, line = error.filename, error.lineno
        said = error.msg if isinstance(error, SyntaxError) else first_line(error)
        raise DataError(f"{origin}: raised {type(error).__name__}: {said} ({Path(file).name}:{line})") from error


class ImageTeacher:
    """A 2D model as a teacher: the views of a scene, one by one, each frame kept on disk.

    What is kept is rounded to float16, and the features that are given are made of it whether or not there is a cache,
    so that a cache never changes a result. A frame costs 2 h w K bytes of disk (K channels of `ImageModel.compact`:
    59 MB for full features of 320 x 240 pixels and 384 channels; 5 MB for 150 class probabilities of 128 x 128).

    Args:
        model: The 2D model.
        cache: Folder of kept frames, for any number of models; None keeps none.
        batch: Images that the model is asked about at a time.

    Attributes:
        name: The model's.
        width: The model's, C.
        model: The 2D model.

    Raises:
        InputError: A batch below 1, or as `check_attributes`.
    """

    def __init__(self, model: ImageModel, *, cache: str | Path | None = None, batch: int = 4) -> None:
        if not isinstance(batch, numbers.Integral) or batch < 1:
            raise InputError(f"batch must be at least 1, found {batch!r}")
        check_attributes(model)
        self.model, self.name, self.width, self._batch = model, model.name, int(model.width), int(batch)
        self._members = [ImageTeacher(member, cache=cache, batch=batch) for member in model.members]
        kept = cache is not None and not self._members
        self._cache = FrameCache(Path(cache), model.name, model.identity) if kept else None

    def features(self, scene: Scene) -> Iterator[np.ndarray | PixelFeatures]:
        """Describe the pixels of a scene's views; images are read, and answers made, a batch at a time.

        Args:
            scene: A scene whose K views have colour images.

        Yields:
            float32 [H, W, C], or `PixelFeatures` of it, for each view, in order.

        Raises:
            DataError: A colour image is missing or cannot be read (the message names it), or the cache cannot be
                written, found out before the model is asked.
            InputError: The model gives what it must not (see `ImageModel.compact`); the message names scene and views.
        """
        for said in self.pixel_rows(scene):
            yield said.whole() if isinstance(said, PixelRows) else said

    def text(self, names: Sequence[str]) -> np.ndarray:
        """Embed names in the model's text space.

        Args:
            names: K names.

        Returns:
            float32 [K, C], vectors of unit length.

        Raises:
            InputError: As `ImageModel.text`.
            DataError: As `ImageModel.text`, or a user's own model fails.
        """
        with own_errors(self.model.origin):
            return self.model.text(names)

    def pixel_rows(self, scene: Scene) -> Iterator[np.ndarray | PixelFeatures | PixelRows]:
        """`features`, of which lifting makes what points see.

        Args:
            scene: As in `features`.

        Yields:
            As `features`, or `PixelRows` of it where the model can (see `ImageModel.expand_rows`).

        Raises:
            DataError: As in `features`.
            InputError: As in `features`.
        """
        if self._members:
            yield from map(mean_of, zip(*(teacher.features(scene) for teacher in self._members), strict=True))
            return
        turned = [view.color_path for view in scene.views if is_turned(view.color_path)]
        if turned:
            rule = "images are read as stored, for which the intrinsics are"
            warnings.warn(f"{turned[0]}: EXIF data ask for a rotation, of {len(turned)} images; {rule}", ReadAs, 2)
        for start in range(0, len(scene.views), self._batch):
            views = scene.views[start : start + self._batch]
            images = [view.color() for view in views]
            where = f"scene {scene.name}, view {' or '.join(view.name for view in views)}"
            for image, (kept, read) in zip(images, self._kept(images, len(scene.views) - start, where), strict=True):
                yield self._expanded(image, kept, read, where)

    def _kept(self, images: list[np.ndarray], left: int, where: str) -> list[tuple[np.ndarray, bool]]:
        """What is kept of each image, and whether it was read from the cache; the model is asked about the others."""
        found = [None if self._cache is None else self._cache.read(image) for image in images]
        missing = [image for image, kept in zip(images, found, strict=True) if kept is None]
        made = iter(self._made(missing, left, where))
        return [(next(made), False) if kept is None else (kept, True) for kept in found]

    def _made(self, images: list[np.ndarray], left: int, where: str) -> list[np.ndarray]:
        """Ask the model, and write what it says to the cache; `left`: images of the scene that are still to come."""
        if not images:
            return []
        if self._cache is not None:
            self._cache.check_writable()
        try:
            with own_errors(self.model.origin):
                said = [self._storable(kept) for kept in self.model.compact(images)]
        except (InputError, DataError) as error:  # of a model, which does not know whose images these are
            named = type(error)(f"{where}: {error}")
            named.names_scene = True
            raise named from error.__cause__
        made = [kept.astype(np.float16) if kept.dtype.kind == "f" else kept for kept in said]
        if self._cache is not None:
            for image, kept in zip(images, made, strict=True):
                self._cache.write(image, kept)
            self._cache.check_space(made[0], left - len(images))
        return made

    def _storable(self, kept: np.ndarray) -> np.ndarray:
        """An answer that float16 can hold: what it cannot would be kept as inf, and read again in every run."""
        if kept.dtype.kind == "f" and not (np.abs(kept) <= HALF).all():
            bad = f"found {int((~(np.abs(kept) <= HALF)).sum())} of {kept.size} values that are not"
            raise InputError(f"{self.name}: compact must give finite values of at most {HALF:g} (float16), {bad}")
        return kept

    def _expanded(
        self, image: np.ndarray, kept: np.ndarray, read: bool, where: str
    ) -> np.ndarray | PixelFeatures | PixelRows:
        """The features of a kept frame; one that was read and is nothing that the model says is made again."""
        try:
            return self._rows(kept, image, where)
        except InputError as error:
            if not read or self._cache is None:
                raise
            self._cache.damaged(image, error)
        return self._rows(*self._made([image], 1, where), image, where)

    def _rows(self, kept: np.ndarray, image: np.ndarray, where: str) -> np.ndarray | PixelFeatures | PixelRows:
        origin = self.model.origin
        with own_errors(None if origin is None else f"{where}: {origin}"):
            return self.model.expand_rows(kept, image.shape[:2])
