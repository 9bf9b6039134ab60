"""One file of points as a scene: ply, npz, bin (float32 columns), las, laz, e57 or OpenScene's .pth.

`cloud_scene` makes a scene of arrays, for files and for users' own: it decides unit, what is up, origin, colours and
normals, and says what it decided in `Scene.as_read`.
"""

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoguide.datasets.formats.files import need_file
from geoguide.datasets.formats.las_records import las_unit
from geoguide.datasets.formats.ply import (
    checked_faces,
    exact_points,
    ply_header,
    read_ply_records,
    respelled_columns,
)
from geoguide.datasets.formats.surveys import LAS, SHOWN_AS_GREY, grey_of, read_e57, read_las
from geoguide.datasets.formats.torch_files import as_array, read_torch
from geoguide.datasets.normals import filled_normals, mesh_normals, sided_normals
from geoguide.datasets.units import METRES, check_unit, in_metres, stated_as_read, unit_as_read, unit_of
from geoguide.datasets.upright import check_up, turned, up_as_read
from geoguide.errors import NUMPY_DAMAGES, DataError, InputError, first_line, pass_on_shortage
from geoguide.ops.arrays import host
from geoguide.ops.colors import GREY, unit_colors
from geoguide.ops.origin import far_offset
from geoguide.ops.strays import FARTHEST, apart_rows, distances, named_rows
from geoguide.scene import VOID, Scene, void_as_read

SUFFIXES = (".ply", ".npz", ".bin", ".pth", ".pt", ".las", ".laz", ".e57")
KEYS = {  # in lower case; letters in upper case count as the same
    "points": ("points", "coord", "coords", "xyz", "pos", "vertices"),
    "colors": ("colors", "color", "rgb", "colours", "colour"),
    "normals": ("normals", "normal"),
    "labels": ("labels", "label", "segment"),
}
# What other programs call the vertex properties of a ply file.
PLY_COLORS = (
    ("r", "g", "b"),
    *(
        tuple(f"{word}_{color}" for color in colors)
        for word in ("diffuse", "ambient", "scalar", "vertex", "color")
        for colors in (("red", "green", "blue"), ("r", "g", "b"))
    ),
)
PLY_INTENSITY = ("intensity", "scalar_intensity")
SPLATS, BAND = ("f_dc_0", "f_dc_1", "f_dc_2"), 0.28209479177387814  # of Gaussian splats: spherical harmonics, degree 0
PLY_NORMALS = (("normal_x", "normal_y", "normal_z"), ("normalx", "normaly", "normalz"))
COARSE = 0.02  # m, steps of rounded coordinates as wide as the backbone's voxels: nothing smaller is left
VISIBLE = 0.001  # m, the noise of a good scanner
CHANCE = 500  # points, of fewer of which all may be round numbers by intent


@dataclass(frozen=True, eq=False)
class Cloud:
    """Arrays as a file or a user gives them, nothing decided yet.

    Attributes:
        points: [P, 3], numbers of any dtype, finite, P > 0; any unit and origin.
        colors: [P, 3] on any scale of `color_scale`, or None.
        normals: [P, 3] of any length, or None.
        faces: int64 [F, 3], or None.
        labels: Class ids [P], or None.
        signed: Whether the format has colours in -1..1 by convention.
        unit: Of the points, where the file says one; a key of `METRES`.
        said: What was decided before, one sentence each.
    """

    points: np.ndarray
    colors: np.ndarray | None = None
    normals: np.ndarray | None = None
    faces: np.ndarray | None = None
    labels: np.ndarray | None = None
    signed: bool = False
    unit: str | None = None
    said: tuple[str, ...] = ()


def load_points(path: str | Path, *, columns: int | None = None, unit: str | None = None, up: str = "z") -> Scene:
    """Read one file as a cloud (or mesh) without views.

    The suffix decides what is read:
    - ply: x y z, optional red green blue (or similar names, packed, of splats), nx ny nz (or similar names), faces or
      triangle strips (which give normals when the file has none);
    - npz: points (or coord, coords, xyz), optional colors, normals, labels (or similar names, see `KEYS`);
    - bin: rows of float32, see `columns`;
    - las, laz, e57 (the extra `scans`): coordinates by scale and offset or pose, colours of 8 or 16 bits; an E57 file's
      scans together; classes are not read;
    - pth, pt: OpenScene's (coords, colors, labels) with colours in [-1, 1] and labels -100 or 255 for void, or a
      dictionary with the names of an npz file (Pointcept); no pickled code is run.

    Without colours the cloud is grey, with one warning; intensity (ply, bin, las, laz, e57) is shown as grey.
    `cloud_scene` decides what the numbers mean: unit, origin, scale of colours, normals.

    Args:
        path: The file.
        columns: Values in a row of a bin file: 3 (x y z), 4 (x y z intensity), 5 (nuScenes: x y z intensity ring) or 6
            (x y z r g b, 0..255). None: 5 or 6, when exactly one of them fits the values.
        unit: Of the coordinates: m, cm, mm, km, ft or in. None takes what the file itself says (`stated_unit`), else
            metres, if the cloud's size allows it.
        up: Which direction of the file points up: x, y, z, -x, -y or -z.

    Returns:
        The scene, named as the file without its suffix.

    Raises:
        DataError: Something is missing, truncated, empty or not finite, or the cloud cannot be in metres; the message
            names file and field.
        InputError: `columns` is another number, or is given for a file that is no bin file; an unknown unit or
            direction.
    """
    path = need_file(path, "point file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        how = "CloudCompare, MeshLab and Open3D save others as ply"
        if suffix == ".npy":
            how = "numpy.savez gives arrays their names; of a scene as Pointcept has it, name the folder"
        known = f"{', '.join(SUFFIXES)}; {how}"
        raise DataError(f"{path}: unknown point format {suffix!r}; known: {known}")
    if columns is not None and suffix != ".bin":
        raise InputError(f"columns is only for .bin files, found {path.name}")
    check_unit(unit)
    check_up(up)
    if suffix == ".bin":
        cloud = _read_bin(path, columns)
    else:
        readers = {
            ".ply": _read_ply,
            ".npz": _read_npz,
            ".las": _read_survey,
            ".laz": _read_survey,
            ".e57": _read_survey,
        }
        cloud = readers.get(suffix, _read_pth)(path)
    if unit is None:
        cloud = replace(cloud, unit=stated_unit(path), said=(*cloud.said, *_unsaid_unit(path)))
    try:
        scene = cloud_scene(path.name[: -len(path.suffix)], cloud, unit, up)
    except InputError as error:
        rows = "; or its rows do not have the columns they were read with (--columns)" if suffix == ".bin" else ""
        raise DataError(f"{path}: {error}{rows}") from None
    if cloud.colors is None:
        warnings.warn(f"{path}: has no colours, all points are grey", stacklevel=2)
    return scene


def stated_unit(path: Path) -> str | None:
    """Tell the unit of a file of points where the file itself says another than metres.

    Args:
        path: A file that `load_points` reads.

    Returns:
        A key of `METRES` that the coordinate system of a LAS or LAZ file names; None for metres, where nothing is
        said, and of all other files.

    Raises:
        DataError: x and y are in another unit than z.
    """
    if path.suffix.lower() not in LAS:
        return None
    across, upwards = map(unit_of, las_unit(path)[:2])
    if across and upwards and across != upwards:
        differ = f"by its coordinate system x and y are in {across}, z in {upwards}"
        raise DataError(f"{path}: {differ}: bring them to one unit, or say with --unit which one all of them are in")
    return None if across == "m" else across


def _unsaid_unit(path: Path) -> tuple[str, ...]:
    """A sentence where a LAS or LAZ file names its coordinate system by a number whose unit is not known here."""
    number = las_unit(path).system if path.suffix.lower() in LAS else None
    if number is None:
        return ()
    said = f"its coordinate system is EPSG {number}, the unit of which is not in the file: taken as metres"
    return (f"{said} (--unit says another; pyproj, where it is installed, knows it)",)


def cloud_scene(name: str, cloud: Cloud, unit: str | None = None, up: str = "z") -> Scene:
    """Make a scene of arrays: metres near the origin, z up, colours in [0, 1], unit normals where there are any.

    Args:
        name: The scene's name.
        cloud: The arrays.
        unit: Of the points; None takes the cloud's own, else metres, if its size allows it.
        up: As in `load_points`.

    Returns:
        The scene, with what was decided in `as_read`, and `file_points` where the cloud's coordinates are no float32
        metres near the origin, z up.

    Raises:
        InputError: A field has another shape or is not finite, the cloud cannot be in metres, or colours are on no
            known scale.
    """
    count, faces = len(cloud.points), cloud.faces
    stated = cloud.unit if unit is None else None
    points, said = _placed(cloud.points if up == "z" else turned(cloud.points, up), unit, up, stated)
    said += () if up == "z" else (f"{up} is up: turned so that it is z",)
    said += up_as_read(points, up)
    colors, normals = grey_colors(count), None
    if cloud.colors is None:
        said += ("no colours: all points are grey",)
    else:
        colors, told = unit_colors(_numbers(cloud.colors, count, "colors", "fiub"), signed=cloud.signed)
        said += () if told is None else (told,)
    told = ()
    if faces is not None:
        normals, faces, told = mesh_normals(points, faces)
    if cloud.normals is not None:
        given = _numbers(cloud.normals, count, "normals", finite=False)
        normals, heard = filled_normals(points, given if up == "z" else turned(given, up), normals)
        told = (told if faces is None else ()) + heard
    if normals is None or cloud.normals is not None:
        normals, heard = sided_normals(points, normals)
        told += heard
    labels = None if cloud.labels is None else _labels(cloud.labels, count)
    same = cloud.points.dtype == np.float32 and np.array_equal(points, cloud.points)
    file_points = None if same else cloud.points
    said = cloud.said + said + told + void_as_read(labels)
    return Scene(name, points, colors, normals, faces, labels, as_read=said, file_points=file_points)


def _placed(points: np.ndarray, unit: str | None, up: str, stated: str | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Points [P, 3] as float32 metres near the origin, and what was done to them; `stated`: the file's own unit."""
    check_unit(unit)
    farthest = np.abs(points).max(axis=1)
    if farthest.max() > np.finfo(np.float32).max:
        row = int(farthest.argmax())
        raise InputError(f"points exceed float32, found {farthest[row]:g} in point {row} (counted from 0)")
    given = unit or stated
    metre, metres = METRES[given or "m"], in_metres(points, given)
    strays = apart_rows(metres)
    others = np.delete(metres, strays, axis=0) if len(strays) else metres
    said = unit_as_read(others, unit, up) if stated is None else stated_as_read(others, stated, up)
    if len(strays):
        said += (_strays_as_read(strays, points, metres),)
        metres = metres.copy()
        metres[strays] = np.clip(metres[strays], others.min(axis=0), others.max(axis=0))
    said += _coarse(points, metre) if points.dtype == np.float16 else _rounded(points, metre)
    offset = far_offset(metres)  # [3]
    if offset.any():
        metres = metres.astype(np.float64) - offset
        said += _coarse(points, metre) if points.dtype != np.float16 else ()
        said += (
            "coordinates lie far from the origin: moved by " + ", ".join(f"{-value:.10g}" for value in offset) + " m",
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(metres, dtype=np.float32), said


def _strays_as_read(rows: np.ndarray, points: np.ndarray, metres: np.ndarray) -> str:
    """A sentence about the few rows of points [P, 3] that lie apart from all others; `InputError` where too far."""
    named = named_rows(rows, points, lambda row: f"point {row}")
    far = distances(metres)[rows[0]]
    found = f"{len(rows)} of {len(points)} points lie far from all others, by up to {far:.4g} m: {named} (from 0)"
    if far > FARTHEST:
        raise InputError(f"{found}: leave such points out")
    return f"{found}; each counts as the nearest place of the box around the others"


def grey_colors(count: int) -> np.ndarray:
    """Give points that have no colour one: mid grey.

    Args:
        count: Number of points, P.

    Returns:
        Colours, float32 [P, 3].
    """
    return np.full((count, 3), GREY, dtype=np.float32)


def _coarse(points: np.ndarray, metre: float) -> tuple[str, ...]:
    """Refuse coordinates [P, 3] that were rounded where they were written: far away, float32 has steps of its own."""
    if points.dtype.kind != "f":
        return ()
    far = np.abs(points if points.dtype == np.float16 else np.median(points, axis=0)).max()
    step = metre * float(np.spacing(far.astype(points.dtype)))
    found = f"coordinates are {points.dtype} around {far:.8g}, in steps of {step:.2g} m there"
    if step > COARSE:
        raise InputError(f"{found}: the scan's shape is lost; they need float64 (double) or an origin nearby")
    return (found,) if step > VISIBLE else ()


def _rounded(points: np.ndarray, metre: float) -> tuple[str, ...]:
    """A sentence where all coordinates [P, 3] have no more digits than a type of 16 bits holds, in visible steps."""
    if points.dtype.kind != "f" or len(points) < CHANCE:
        return ()
    single = points.astype(np.float32)
    far = float(np.abs(single).max())
    for name, bits in (("bfloat16", 16), ("float16", 13)):  # of float32's 23 these are not stored
        if not (single.view(np.uint32) & ((1 << bits) - 1)).any() and (single == points).all():
            step = metre * 2.0 ** (np.frexp(far)[1] - 24 + bits)
            found = f"coordinates have no more digits than {name}: steps of {step:.2g} m around {far:.4g}"
            return (f"{found}; were they rounded where they were written?",) if step > VISIBLE else ()
    return ()


def _read_ply(path: Path) -> Cloud:
    records, face_records = read_ply_records(path)
    points, said = respelled_columns(records, ("x", "y", "z"), (), path)
    if points is None:
        names = ", ".join(records.dtype.names or ()) or "none"
        raise DataError(f"{path}: vertex properties x, y, z are missing, found {names:.200}")
    points = exact_points(points, path, "x, y, z")
    rgb, told = _ply_colors(records, face_records, path)
    normals, heard = respelled_columns(records, ("nx", "ny", "nz"), PLY_NORMALS, path)
    faces, said = None, said + told + heard
    if rgb is not None and {"label", "score"} <= set(records.dtype.names or ()):
        said += ("a labelled scan: its colours are those of its labels, if `geoguide segment` wrote it",)
    if face_records is not None:
        faces, dropped = checked_faces(face_records, len(points), path)
        if dropped:
            said += (f"{dropped} of {len(face_records)} faces have fewer than three vertices: left out",)
    return Cloud(points, rgb, normals, faces, said=said)


def _ply_colors(
    records: np.ndarray, face_records: np.ndarray | None, path: Path
) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Colours [P, 3] of vertex records, under whatever name and packing; None without, and what was decided."""
    rgb, said = respelled_columns(records, ("red", "green", "blue"), PLY_COLORS, path)
    found = {name.lower(): name for name in records.dtype.names or ()}
    if rgb is not None:
        return rgb, said
    for name in (found[name] for name in ("rgb", "rgba") if name in found):
        bits = np.ascontiguousarray(records[name], records.dtype[name].newbyteorder("="))
        bits = bits.view(np.uint32) if bits.itemsize == 4 else np.full(1, 1 << 24, np.uint32)
        if np.isin(bits >> 24, (0, 255)).all():  # the fourth byte is alpha, or nothing
            rgb = np.stack([bits >> 16, bits >> 8, bits], axis=1).astype(np.uint8)
            return rgb, (f"red, green, blue are taken from {name}, which has them in one number",)
    if set(SPLATS) <= set(found):
        light = np.stack([records[found[name]] for name in SPLATS], axis=1)
        return np.clip(0.5 + BAND * light, 0, 1), ("Gaussian splats: their centres, coloured by f_dc_0, 1 and 2",)
    for name in (found[name] for name in PLY_INTENSITY if name in found):
        return grey_of(records[name]), (SHOWN_AS_GREY,)
    texture = re.search(rb"[\r\n]comment\s+TextureFile\s+([^\r\n]+)", ply_header(path))
    if texture:
        image = texture[1].decode("utf-8", "replace").strip()
        return None, (f"its colours are in the image {image:.200}, which is not read: transfer them to the vertices",)
    if face_records is not None and "red" in (face_records.dtype.names or ()):
        return None, ("its faces have colours, which are not read: transfer them to the vertices",)
    odd = ", ".join(name for key, name in found.items() if re.search("col|rgb|red", key))
    return None, (f"red, green, blue are missing, and {odd:.200} not read",) if odd else ()


def _read_survey(path: Path) -> Cloud:
    found = read_e57(path) if path.suffix.lower() == ".e57" else read_las(path)
    return Cloud(exact_points(found.points, path, "x, y, z"), found.colors, said=found.said)


def _read_npz(path: Path) -> Cloud:
    arrays, key = {}, None
    try:
        with np.errstate(all="ignore"):  # of a damaged header's shape
            archive = np.load(path, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is one array, saved with np.save: np.savez gives names to points and colors")
            with archive:
                key_of = _key_of(archive.files, path)
                for field, (key, *_) in key_of.items():
                    arrays[field] = archive[key]
    except (*NUMPY_DAMAGES, NotImplementedError) as error:
        pass_on_shortage(error, path)
        if key is not None and "Object arrays" in str(error):
            raise DataError(f"{path}: field {key!r} is no plain array of numbers, but of Python objects") from None
        reason = "no zip archive of arrays" if "pickle" in str(error) else first_line(error)
        raise DataError(f"{path}: not a readable npz file, truncated? ({reason})") from None
    return _named_cloud(arrays, key_of, path)


def _key_of(keys: Iterable[object], path: Path) -> dict[str, tuple[str, ...]]:
    """The names in a file of each field of `KEYS` that it has, the one to read first; points must be there."""
    lower = {str(key).lower(): str(key) for key in keys}
    found = {field: [lower[name] for name in names if name in lower] for field, names in KEYS.items()}
    if not found["points"]:
        there = ", ".join(sorted(lower.values())[:8]) or "nothing"
        raise DataError(f"{path}: field 'points' is missing (or {', '.join(KEYS['points'][1:])}), found {there:.200}")
    return {field: tuple(names) for field, names in found.items() if names}


def _named_cloud(arrays: dict[str, np.ndarray], key_of: dict[str, tuple[str, ...]], path: Path) -> Cloud:
    """The cloud of arrays that a file has by name."""
    odd = next((field for field, array in arrays.items() if not isinstance(array, np.ndarray)), None)
    if odd is not None:
        raise DataError(f"{path}: field {key_of[odd][0]} is no array")
    points = exact_points(arrays["points"], path, key_of["points"][0])
    said = tuple(f"{names[0]} is read, {' and '.join(names[1:])} is not" for names in key_of.values() if names[1:])
    return Cloud(points, arrays.get("colors"), arrays.get("normals"), labels=arrays.get("labels"), said=said)


def _read_bin(path: Path, count: int | None) -> Cloud:
    values = np.frombuffer(path.read_bytes()[: path.stat().st_size // 4 * 4], dtype="<f4")
    if path.stat().st_size % 4 or len(values) == 0:
        raise DataError(f"{path}: {path.stat().st_size} bytes are not float32 values, truncated or empty?")
    if count is None:
        count = _infer_columns(values, path)
    if count not in (3, 4, 5, 6):
        raise InputError(f"columns must be 3, 4, 5 or 6, found {count}")
    if len(values) % count:
        raise DataError(f"{path}: {len(values)} float32 values are not rows of {count} columns, truncated?")
    rows = values.reshape(-1, count)  # [P, count]
    points = exact_points(rows[:, :3], path, "columns 0..2 (x, y, z)")
    if count == 6:
        return Cloud(points, rows[:, 3:6])
    if count == 3:
        return Cloud(points)
    shade = np.clip(rows[:, 3:4], 0, 65535)  # an echo is no colour: in any unit it is shown, and never refused
    return Cloud(points, np.repeat(shade, 3, axis=1))


def _infer_columns(values: np.ndarray, path: Path) -> int:
    """How many values a row has: 6 when columns 3..5 are whole numbers 0..255, 5 when column 4 is one 0..127 (a ring).

    `DataError` when both fit or none does: it is never guessed.
    """
    fits = []
    for count, last, top in ((6, slice(3, 6), 255), (5, slice(4, 5), 127)):
        if len(values) % count == 0:
            part = values.reshape(-1, count)[:, last]  # [P, 3] or [P, 1]
            if np.isfinite(part).all() and (part == np.rint(part)).all() and part.min() >= 0 and part.max() <= top:
                fits.append(count)
    if len(fits) != 1:
        raise DataError(
            f"{path}: cannot tell how many columns a row of these {len(values)} values has; give columns= (--columns)"
        )
    return fits[0]


def _read_pth(path: Path) -> Cloud:
    value = read_torch(path)
    if isinstance(value, dict):  # as Pointcept writes it
        key_of = _key_of([key for key in value if value[key] is not None], path)
        arrays = {field: as_array(value[key], path, key) for field, (key, *_) in key_of.items()}
        return _named_cloud(arrays, key_of, path)
    if not isinstance(value, (tuple, list)) or len(value) < 2:
        found = f"{type(value).__name__} of {len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__
        raise DataError(f"{path}: expected a tuple (coords, colors, labels), found {found}")
    named = zip(value, ("coords", "colors", "labels"), strict=False)
    coords, rgb, *rest = (None if part is None else as_array(part, path, name) for part, name in named)
    points = exact_points(np.empty(0) if coords is None else coords, path, "coords")
    none = rgb is None or rgb.ndim == 0
    return Cloud(points, None if none else rgb, labels=rest[0] if rest else None, signed=True)


def _numbers(values: np.ndarray, count: int, field: str, kinds: str = "fiu", *, finite: bool = True) -> np.ndarray:
    """Values as an array [count, 3] of one of the kinds; else `InputError`, also for NaN or inf if `finite`."""
    values = host(field, values, kinds)
    if values.shape != (count, 3) or values.dtype.kind not in kinds:
        raise InputError(f"{field} must be numbers [{count}, 3], found {values.dtype} {list(values.shape)}")
    bad = ~np.isfinite(values).all(axis=1) if finite and values.dtype.kind == "f" else np.zeros(1, bool)
    if bad.any():
        where = f"{int(bad.sum())} of {count} rows, first row {int(bad.argmax())} (counted from 0)"
        raise InputError(f"{field} holds NaN or inf in {where}")
    return values


def _labels(values: np.ndarray, count: int) -> np.ndarray:
    """Class ids int64 [count]; negative (OpenScene's -100) and above 255 become void."""
    if values.shape != (count,) or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise InputError(f"labels must be class ids [{count}], found {values.dtype} {list(values.shape)}")
    return np.where((values < 0) | (values > VOID), VOID, values).astype(np.int64)
