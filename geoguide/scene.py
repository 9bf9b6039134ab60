"""One typed, frozen `Scene` with its `View`s: what every reader returns and every stage takes."""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from geoguide.errors import DataError, InputError
from geoguide.image_files import read_color, read_image

VOID = 255  # label of points that are not scored
NO_INSTANCE = -1


def is_lost(cam_to_world: np.ndarray) -> bool:
    """Tell whether a pose says that tracking was lost, rather than where the camera was.

    Args:
        cam_to_world: [4, 4].

    Returns:
        Whether it holds inf or nan, as ScanNet writes it, or a rotation of zeros only, as other tools do.
    """
    return not np.isfinite(cam_to_world).all() or not np.any(np.asarray(cam_to_world)[:3, :3])


@dataclass(frozen=True, eq=False)
class View:
    """A posed image. Pixels stay on disk until asked for, so a scene of a thousand views costs nothing.

    Attributes:
        name: The view's name in the recording.
        intrinsics: [3, 3] pixels, for images of `image_size`.
        cam_to_world: [4, 4] metres, OpenCV axes (x right, y down, z forward); may hold inf or nan as real ScanNet poses
            do, or zeros, and `has_pose` is then False.
        image_size: (H, W).
        color_path: The colour image's file; None where the view has none, as for the files below.
        depth_path: The depth image's file, integers with `depth_scale` units per metre, where 0, 65535 and negative
            ones mean no reading; or floats, where anything but a positive finite number means none.
        depth_scale: Units of the depth file per metre.
        label_path: The file of the official `label-filt` image.
        instance_path: The file of the official `instance-filt` image.
        color_white: As in `read_color`, the same for all frames of a recording; None: each image by itself.

    Raises:
        InputError: Intrinsics are not [3, 3], or the pose is not [4, 4].
    """

    name: str
    intrinsics: np.ndarray
    cam_to_world: np.ndarray
    image_size: tuple[int, int]
    color_path: Path | None = None
    depth_path: Path | None = None
    depth_scale: float = 1000.0
    label_path: Path | None = None
    instance_path: Path | None = None
    color_white: int | None = None

    def __post_init__(self) -> None:
        for field, expected in (("intrinsics", (3, 3)), ("cam_to_world", (4, 4))):
            shape = np.shape(getattr(self, field))
            if shape != expected:
                raise InputError(f"view {self.name}: {field} must be {list(expected)}, found {list(shape)}")

    @property
    def has_pose(self) -> bool:
        """False where tracking was lost (see `is_lost`)."""
        return not is_lost(self.cam_to_world)

    @property
    def pixel_files(self) -> tuple[Path | None, ...]:
        """The files that decide what this view shows: colour, depth, labels; None for those it does not have."""
        return self.color_path, self.depth_path, self.label_path

    def color(self) -> np.ndarray:
        """Read the colour image (see `read_color`), resized (bilinear) to `image_size` where the file's is another.

        Returns:
            uint8 [H, W, 3].

        Raises:
            DataError: There is none, or it is no readable colour image.
        """
        image, (height, width) = np.ascontiguousarray(self._pixels("color")), self.image_size
        if image.shape[:2] == (height, width):
            return image
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))

    def depth(self) -> np.ndarray:
        """Read the depth image, resized (nearest) to `image_size`.

        Returns:
            float32 [H, W] metres, 0 where there is no reading.

        Raises:
            DataError: There is none, or it is no readable image of 16-bit integers or floats.
        """
        raw = self._single("depth", "iuf")
        if raw.dtype.kind == "f":
            with np.errstate(over="ignore"):
                values = raw.astype(np.float32)
            return np.where(np.isfinite(values) & (values > 0), values, 0) / np.float32(self.depth_scale)
        if raw.dtype.itemsize == 1:
            raise DataError(f"{self._path('depth')}: expected depth of 16 bits, found {raw.dtype}")
        return np.where((raw == 65535) | (raw < 0), 0, raw).astype(np.float32) / np.float32(self.depth_scale)

    def labels(self) -> np.ndarray:
        """Read the official `label-filt` image, resized (nearest) to `image_size`.

        Returns:
            int64 [H, W], raw ids of the dataset; 0 means unlabelled.

        Raises:
            DataError: There is none, or it is no readable image of integers.
        """
        return self._integers("label").astype(np.int64)

    def instances(self) -> np.ndarray:
        """Read the official `instance-filt` image, resized (nearest) to `image_size`.

        Returns:
            int64 [H, W], instance ids; 0 means none.

        Raises:
            DataError: There is none, or it is no readable image of integers.
        """
        return self._integers("instance").astype(np.int64)

    def _path(self, kind: str) -> Path:
        path = getattr(self, f"{kind}_path")
        if path is None:
            raise DataError(f"view {self.name}: has no {kind} image")
        return path

    def _pixels(self, kind: str) -> np.ndarray:
        """The image as stored, colour as RGB. Views of a `.sens` recording override this (`datasets.formats`)."""
        path = self._path(kind)
        return read_color(path, self.color_white) if kind == "color" else read_image(path)

    def _integers(self, kind: str) -> np.ndarray:
        return self._single(kind, "iu")

    def _single(self, kind: str, types: str) -> np.ndarray:
        """The image [H, W], its pixels of one of numpy's kinds `types`."""
        image = self._pixels(kind)
        if image.ndim != 2 or image.dtype.kind not in types:
            found = f"{image.dtype} {list(image.shape)}"
            what = "integers or floats" if "f" in types else "integers"
            raise DataError(f"{self._path(kind)}: expected a single-channel {kind} image of {what}, found {found}")
        if image.shape == tuple(self.image_size):
            return image
        rows, columns = (_nearest(*sizes) for sizes in zip(image.shape, self.image_size, strict=True))
        return image[rows[:, None], columns]  # never blended: these are measurements and ids


@dataclass(frozen=True, eq=False)
class HeldView(View):
    """A view that reads each of its images of one channel once, and holds it as it is stored.

    For work that looks at depth, labels and instances of every view several times; a view of 160 x 120 pixels then
    takes 0.1 MB.

    Attributes:
        origin: The view itself; None where this is it.
        held: The images by kind, [H, W] of `image_size`; one that was just written can be given, and is not read.
    """

    origin: View | None = None
    held: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def pixel_files(self) -> tuple[Path | None, ...]:
        """(see `View.pixel_files`)."""
        return super().pixel_files if self.origin is None else self.origin.pixel_files

    def _pixels(self, kind: str) -> np.ndarray:
        return super()._pixels(kind) if self.origin is None else self.origin._pixels(kind)

    def _single(self, kind: str, types: str) -> np.ndarray:
        if kind not in self.held:
            self.held[kind] = super()._single(kind, types)
        return self.held[kind]


def hold_images(views: Sequence[View], most: int | None = None) -> tuple[View, ...]:
    """The same views for work that looks several times at their depth, labels and instances.

    Args:
        views: K views.
        most: How many of them hold what they read, the first; None for all.

    Returns:
        `HeldView`s, and the others as they are; images are held as long as these are.
    """
    common = [part.name for part in dataclasses.fields(View)]
    held = (HeldView(**{name: getattr(view, name) for name in common}, origin=view) for view in views[:most])
    return (*held, *(() if most is None else views[most:]))


@dataclass(frozen=True, eq=False)
class Scene:
    """A point cloud (or mesh) with colours, posed views, and labels that serve scoring only; z is up.

    Attributes:
        name: The scene's name in its dataset.
        points: float32 [P, 3] metres.
        colors: float32 [P, 3] in [0, 1].
        normals: float32 [P, 3], unit length, or None.
        faces: int64 [F, 3], vertex numbers of a mesh, or None.
        labels: int64 [P], 0..C-1 or 255 (void), or None.
        instances: int64 [P], -1 where there is none, or None.
        views: K posed images.
        provenance: "mini" (generated) or "real"; it follows every result into its record.
        intensity: float32 [P], a LiDAR's echo in the sensor's own units (nuScenes: 0..255), or None.
        as_read: What the reader decided where the input could be read in more than one way (units, colours, normals,
            a shift to the origin, frames left out), one sentence each. Users see all of them.
        file_points: [P, 3], the points in the file's own coordinates, unit and precision, where they are not `points`.

    Raises:
        InputError: A field has another shape or dtype, points is empty or not finite, faces name vertices that do not
            exist, or `provenance` is neither "mini" nor "real".
    """

    name: str
    points: np.ndarray
    colors: np.ndarray
    normals: np.ndarray | None = None
    faces: np.ndarray | None = None
    labels: np.ndarray | None = None
    instances: np.ndarray | None = None
    views: tuple[View, ...] = ()
    provenance: str = "real"
    intensity: np.ndarray | None = None
    as_read: tuple[str, ...] = ()
    file_points: np.ndarray | None = None

    def __post_init__(self) -> None:
        count = len(self.points)
        expected: dict[str, tuple[tuple[int, ...], type]] = {}
        expected |= dict.fromkeys(("points", "colors", "normals"), ((count, 3), np.float32))
        expected |= dict.fromkeys(("labels", "instances"), ((count,), np.int64))
        expected |= {"intensity": ((count,), np.float32)}
        for field, (shape, dtype) in expected.items():
            value = getattr(self, field)
            if value is not None and (value.shape != shape or value.dtype != dtype):
                found = f"{value.dtype} {list(value.shape)}"
                raise InputError(f"scene {self.name}: {field} must be {np.dtype(dtype)} {list(shape)}, found {found}")
        if count == 0:
            raise InputError(f"scene {self.name}: points is empty")
        if self.file_points is not None and self.file_points.shape != (count, 3):
            found = list(self.file_points.shape)
            raise InputError(f"scene {self.name}: file_points must be [{count}, 3], found {found}")
        if not np.isfinite(self.points).all():
            bad = int((~np.isfinite(self.points)).any(axis=1).sum())
            raise InputError(f"scene {self.name}: points holds NaN or inf in {bad} of {count} rows")
        if self.faces is not None:
            if self.faces.ndim != 2 or self.faces.shape[1] != 3 or self.faces.dtype != np.int64:
                found = f"{self.faces.dtype} {list(self.faces.shape)}"
                raise InputError(f"scene {self.name}: faces must be int64 [F, 3], found {found}")
            if self.faces.size and (self.faces.min() < 0 or self.faces.max() >= count):
                raise InputError(f"scene {self.name}: faces name vertices outside 0..{count - 1}")
        if self.provenance not in ("mini", "real"):
            raise InputError(f"scene {self.name}: provenance must be 'mini' or 'real', found {self.provenance!r}")

    def __len__(self) -> int:
        return len(self.points)

    def with_poses(self) -> "Scene":
        """The same scene without the views whose pose was lost, so that nobody asks for their images.

        Returns:
            A copy; `lifting.fuse` skips such views, and names them, in the scene itself.
        """
        return replace(self, views=tuple(view for view in self.views if view.has_pose))

    def holding_images(self) -> "Scene":
        """The same scene for work that looks several times at the depth, labels and instances of its views.

        Returns:
            A copy whose views are `HeldView`; what they read is held as long as the copy is.
        """
        return replace(self, views=hold_images(self.views))

    def __repr__(self) -> str:
        parts = [f"{len(self):,} points", f"{len(self.views):,} views"]
        parts += [name for name in ("faces", "labels", "instances", "intensity") if getattr(self, name) is not None]
        return f"Scene({self.name!r}: {', '.join(parts)})"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        low, high = self.points.min(0), self.points.max(0)
        lost = sum(not view.has_pose for view in self.views)
        facts: dict[str, object] = {"points": f"{len(self):,}", "source": self.provenance}
        facts["bounding box"] = f"{' × '.join(f'{side:.2f}' for side in high - low)} m"
        facts["corner"] = f"{', '.join(f'{value:.2f}' for value in low)} m"
        facts["faces"] = None if self.faces is None else f"{len(self.faces):,}"
        facts["views"] = f"{len(self.views):,}{f', {lost:,} of them without a pose' if lost else ''}"
        facts["normals"] = "none" if self.normals is None else "yes"
        for name, none in (("labels", VOID), ("instances", NO_INSTANCE)):
            values = getattr(self, name)
            held = None if values is None else values[values != none]
            said = "none" if held is None else f"{len(np.unique(held)):,}, on {len(held) / len(self):.1%} of the points"
            facts[name] = said
        facts["as read"] = "; ".join(self.as_read) or None
        return facts_html("Scene", self.name, facts)


def _nearest(count: int, size: int) -> np.ndarray:
    """Of `size` pixels in a line, which of `count` pillow takes for each (nearest): so of any dtype, not of its own."""
    line = Image.fromarray(np.arange(count, dtype=np.int32)[None])
    return np.asarray(line.resize((size, 1), Image.Resampling.NEAREST))[0]


def facts_html(kind: str, title: str, facts: Mapping[str, object]) -> str:
    """Show an object in a notebook: a table without colours of its own, so that it is read on dark ground too.

    Args:
        kind: What it is, such as "Scene".
        title: Its name.
        facts: Values by what they are called; those that are None are left out.

    Returns:
        HTML in which every text is escaped; bytes of file names that are no text become escapes of Python.

    Example:
        >>> facts_html("Scene", "a<b", {"points": 3, "labels": None})
        '<table><caption>Scene <b>a&lt;b</b></caption><tr><th>points</th><td>3</td></tr></table>'
    """

    def text(value: object) -> str:
        return html.escape(str(value).encode("utf-8", "backslashreplace").decode())

    told = {name: value for name, value in facts.items() if value is not None}
    rows = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in told.items())
    return f"<table><caption>{text(kind)} <b>{text(title)}</b></caption>{rows}</table>"


def void_as_read(labels: np.ndarray | None, instances: np.ndarray | None = None) -> tuple[str, ...]:
    """Say for `Scene.as_read` that annotation is there and says nothing, which is rarely meant.

    Args:
        labels: int64 [P], or None.
        instances: int64 [P], or None.

    Returns:
        A sentence for each of the two that has no point; none for what a scene does not have.
    """
    said = ()
    if labels is not None and (labels == VOID).all():
        said += ("the labels name no class of the label set: all points are void",)
    if instances is not None and (instances == NO_INSTANCE).all():
        said += ("the annotation has no point in an object",)
    return said
