"""What a reader made of a folder: a value whose parts can be compared, or a refusal; anything else fails the test."""

import contextlib
import dataclasses
import resource
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from damage import Files
from PIL import Image
from readers import Reader

from geoguide.errors import GeoGuideError, ReadAs
from geoguide.scene import NO_INSTANCE, VOID, Scene, View

SECONDS = 20  # of the processor; the slowest valid input takes 0.4 s: a reader that needs more hangs
WAIT = 300  # by the clock, for a reader that waits without computing; other work on the machine must not count
MEMORY = 1 << 30  # bytes above what the process has: no input here is larger than 4 MB
POSES = ("pose", "poses", "cam_to_world")  # may hold nan or inf: a lost pose
# Python shows these to no user, but for the last: pillow's, rightly shown, about an image of 90 to 180 megapixels.
HIDDEN = (ResourceWarning, DeprecationWarning, PendingDeprecationWarning, Image.DecompressionBombWarning)
WARNINGS = 3  # of one reading, each about another thing


class TooSlow(BaseException):
    """The reader did not come back; no `except Exception` may catch this."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one reading: the value as plain parts, or the error's message; and what was said beside."""

    value: Any = None
    refusal: str | None = None
    told: tuple[str, ...] = ()


def load_files(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def save_files(files: Files, folder: Path) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def outcome(reader: Reader, files: Files, original: Files | None = None) -> Outcome:
    """Read a folder of these files under limits of time and memory, and check how that went.

    Args:
        reader: The reader.
        files: What the folder holds.
        original: What it held before it was mutated: a refusal may also name a file that is gone.

    Raises:
        AssertionError: The files were changed, there were too many warnings or one of numpy's, or a refusal does not
            name a file or takes more than one line.
        Exception: Whatever else than a GeoGuideError the reader raised.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        save_files(files, folder)
        with warnings.catch_warnings(record=True) as caught, limits():
            warnings.simplefilter("always")
            try:
                value = reader.read(folder)
                found = Outcome(plain(value), told=tuple(getattr(value, "as_read", ())))
            except GeoGuideError as error:
                found = Outcome(refusal=str(error))
        assert reader.repairs or load_files(folder) == files, "the reader changed its input"
        check_warnings(caught)
        if found.refusal is not None:
            check_refusal(reader, found.refusal, folder, files, original or files)
        return dataclasses.replace(found, told=found.told + tuple(str(w.message) for w in caught))
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """At most `SECONDS` and `WAIT`, and `MEMORY` more than now: what asks for more gets MemoryError."""

    def late(*_: object) -> None:
        raise TooSlow(f"not done after {SECONDS} s of the processor or {WAIT} s")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    timers = ((signal.ITIMER_PROF, signal.SIGPROF, SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAIT))
    handlers = [signal.signal(alarm, late) for _, alarm, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    if pages is not None:  # Linux
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        for (timer, alarm, _), handler in zip(timers, handlers, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(alarm, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def check_warnings(caught: list[warnings.WarningMessage]) -> None:
    shown = [warning for warning in caught if not issubclass(warning.category, HIDDEN)]
    texts = [f"{warning.category.__name__}: {warning.message}" for warning in shown]
    many = [text for warning, text in zip(shown, texts, strict=True) if warning.category is not ReadAs]  # one a file
    assert len(many) <= WARNINGS, f"{len(many)} warnings: {many[:5]}"
    strange = [
        text for warning, text in zip(shown, texts, strict=True) if not issubclass(warning.category, UserWarning)
    ]
    assert not strange, f"a library's warning reaches the user: {strange}"


def check_refusal(reader: Reader, message: str, folder: Path, files: Files, original: Files) -> None:
    assert "\n" not in message.strip(), f"more than one line: {message!r}"
    names = {Path(name).name for name in (*files, *original)} | {
        Path(name).stem for name in original.keys() - files.keys()
    }
    known = [reader.named] if reader.named is not None else [*names, str(folder)]
    assert any(name in message for name in known), f"no file is named: {message!r}"


def plain(value: Any) -> Any:
    """A value as dictionaries, tuples and arrays; of views the pixels; of paths the names."""
    if isinstance(value, View):
        kinds = [kind for kind in ("color", "depth") if value.pixel_files[("color", "depth").index(kind)] is not None]
        kinds += [f"{kind}s" for kind in ("label", "instance") if getattr(value, f"{kind}_path") is not None]
        fields = {name: getattr(value, name) for name in ("name", "intrinsics", "cam_to_world", "image_size")}
        return {
            **{name: plain(part) for name, part in fields.items()},
            **{kind: getattr(value, kind)() for kind in kinds},
        }
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        apart = ("as_read", "file_points", "raw", "facts")  # how it was written, not what it says
        names = [field.name for field in dataclasses.fields(value) if field.name not in apart]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, torch.nn.Module):
        return plain(value.state_dict())
    if isinstance(value, torch.Tensor):
        return value.detach().float().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return value.name if isinstance(value, Path) else value


def same(a: Any, b: Any, where: str = "value") -> None:
    """Fail where two plain values differ, and say where."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6, err_msg=where)
    elif isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, tuple) and isinstance(b, tuple):
        assert len(a) == len(b), where
        for number, pair in enumerate(zip(a, b, strict=True)):
            same(*pair, f"{where}[{number}]")
    else:
        assert type(a) is type(b) and a == b, f"{where}: {a!r} is not {b!r}"


def check_valid(found: Outcome, right: Any) -> None:
    """Fail where what was read is no valid value, or is empty or void without a word where the original is not.

    Args:
        found: What came of the mutated input.
        right: The plain value of the original.
    """
    if not isinstance(found.value, dict) or "views" not in found.value:
        assert found.told or not isinstance(found.value, (dict, tuple)) or found.value, "it is empty, without a word"
        check_alike(found.value, right)
        return
    scene = found.value
    Scene(**{name: scene[name] for name in ("name", "points", "colors", "normals", "faces", "labels", "instances")})
    assert np.isfinite(scene["colors"]).all() and scene["colors"].min() >= 0 and scene["colors"].max() <= 1, "colors"
    if scene["normals"] is not None:
        assert np.allclose(np.linalg.norm(scene["normals"], axis=1), 1, atol=1e-3), "normals are not of unit length"
    for view in scene["views"]:
        assert np.isfinite(view["intrinsics"]).all(), "intrinsics"
    for field, nothing in (("labels", VOID), ("instances", NO_INSTANCE)):
        lost = scene[field] is not None and (scene[field] == nothing).all() and (right[field] != nothing).any()
        assert not lost or found.told, f"all {field} are {nothing}, without a word"


def check_alike(value: Any, right: Any, where: str = "value") -> None:
    """Fail where a value that is no scene is of another kind than the original, or not finite (a pose may be)."""
    if isinstance(right, dict) and isinstance(value, dict):
        for key in right.keys() & value.keys():
            check_alike(value[key], right[key], f"{where}.{key}")
    elif isinstance(right, np.ndarray) and right.dtype.kind == "f":
        assert isinstance(value, np.ndarray) and value.dtype.kind == "f", where
        assert np.isfinite(value).all() or not np.isfinite(right).all() or where.endswith(POSES), (
            f"{where} is not finite"
        )
    elif isinstance(right, tuple) and isinstance(value, tuple):
        for number, (part, expected) in enumerate(zip(value, right, strict=False)):
            check_alike(part, expected, f"{where}[{number}]")
    elif right is not None and value is not None:
        kinds = (int, float) if isinstance(right, (int, float)) and not isinstance(right, bool) else type(right)
        assert isinstance(value, kinds), f"{where}: {value!r} is no {type(right).__name__}"


def check_shapes(found: Outcome, right: Any) -> None:
    """Fail where what a cache holds is not of the kind that was put there; its values cannot be told from others."""
    pairs = [(found.value[name], right[name]) for name in right] if isinstance(right, dict) else [(found.value, right)]
    for part, expected in pairs:
        assert type(part) is type(expected), part
        if isinstance(expected, np.ndarray):
            assert (part.shape, part.dtype) == (expected.shape, expected.dtype), (part.shape, part.dtype)
