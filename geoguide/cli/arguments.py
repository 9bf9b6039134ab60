"""What the command is given, checked before the work: numbers, words, and the places where results are written.

A file that the user names is replaced, unless it is read from. A file that only follows from another (the summary
beside it, a name that was chosen for the user) is replaced only where this program wrote it.
"""

import contextlib
import dataclasses
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from geoguide.errors import ConfigError, InputError, WriteError
from geoguide.paths import check_file_writable, check_writable
from geoguide.text_files import read_names

NARROWEST = 40  # columns of a terminal: below 6 tyro breaks lines of help for ever, below 24 they fill pages
LARGEST = 2**63 - 1  # of whole numbers: what numpy, torch and the system take


@dataclasses.dataclass(frozen=True)
class Within:
    """The range of a numeric option; it stands in the `Annotated` type of the option's field.

    Attributes:
        least: The smallest number allowed.
        most: The largest number allowed.

    Example:
        >>> Within(1)("--steps", 0)
        Traceback (most recent call last):
        geoguide.errors.InputError: --steps must be at least 1, found 0
    """

    least: float
    most: float = math.inf

    def __call__(self, option: str, value: float) -> None:
        """Refuse another value.

        Args:
            option: The option's name.
            value: What it was given.

        Raises:
            InputError: It lies outside, is not finite, or is a whole number of more than 64 bits.
        """
        most = min(self.most, LARGEST) if isinstance(value, int) else self.most
        # Python compares whole numbers of any size with floats; `math.isfinite` would make a float of them first.
        if not self.least <= value <= most or value == math.inf:
            bounded = self.most < math.inf or self.least <= value < math.inf
            allowed = f"{self.least:g} to {int(most)}" if bounded else f"at least {self.least:g}"
            raise InputError(f"{option} must be {allowed}, found {value}")


def need_working_folder() -> None:
    """Refuse to start in a folder that is gone: paths cannot be found from it, and torch ends the process.

    Raises:
        InputError: The working folder was removed.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(f"the working folder is gone ({error.strerror}): go to another one") from None


def check_device(option: str, name: str) -> None:
    """Refuse a device that is not there.

    Args:
        option: The option that names it.
        name: See `ops.devices.resolve_device`.

    Raises:
        InputError: There is no such device.
    """
    from geoguide.ops.devices import resolve_device  # imports torch

    try:
        resolve_device(name)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None


Seed = Annotated[int, Within(0, 2**32 - 1)]  # numpy takes no less, torch no more than 64 bits of a seed times its steps
Steps = Annotated[int | None, Within(1)]
Workers = Annotated[
    int | None,
    Within(1),
    tyro.conf.arg(help="Processes; default one for each core, or as many as there is memory for."),
]
Device = Annotated[str, check_device, tyro.conf.arg(help="auto, cpu, cuda or cuda:N.")]

# Which trained model, for each command that takes one.
_WEIGHTS = "Of the model's backbone, if others released it; default the hub's (Sonata's alone)."
Model = Annotated[str, tyro.conf.arg(help="A .safetensors file, or the name of a packaged model.")]
Weights = Annotated[str | None, tyro.conf.arg(help=_WEIGHTS)]

# How a scan or a recording is read, for each command that reads one.
_UNIT = "Of a file's coordinates, or of a recording's poses; default what a las or laz says, else metres."
_UP = "Which direction points up in a file (default z), or in a recording (default: as its cameras were held)."
_SCALE = "Units of a recording's depth images per metre: 1000 (mm, the default), 5000 (TUM), 4000, 256."
_DEPTH = "Metres beyond which a recording's depth is not used; default 5."
_VOXEL = "Voxel size in metres when a recording is reconstructed."
Unit = Annotated[Literal["m", "cm", "mm", "km", "ft", "in"] | None, tyro.conf.arg(help=_UNIT)]
Up = Annotated[Literal["x", "y", "z", "-x", "-y", "-z"] | None, tyro.conf.arg(help=_UP)]
DepthScale = Annotated[float | None, Within(0.001), tyro.conf.arg(help=_SCALE)]
MaxDepth = Annotated[float | None, Within(0.1), tyro.conf.arg(help=_DEPTH)]
Voxel = Annotated[float, Within(0.001), tyro.conf.arg(help=_VOXEL)]  # depth counts millimetres: nothing is finer


def read_arguments(kind: Any, arguments: Sequence[str], about: str) -> Any:
    """Read the arguments of the command line.

    Args:
        kind: The subcommands, dataclasses joined by |.
        arguments: Those after the command's name.
        about: What the help says of the whole command.

    Returns:
        One of the dataclasses, with each value within its range.

    Raises:
        InputError: They cannot be read, or a value is refused; the message names the option.
        SystemExit: Help was asked for, and printed.
    """
    box = io.StringIO()
    if shutil.get_terminal_size().columns < NARROWEST:
        os.environ["COLUMNS"] = str(NARROWEST)
    try:
        with contextlib.redirect_stderr(box):
            config = (tyro.conf.OmitArgPrefixes,)
            command = tyro.cli(kind, prog="geoguide", description=about, args=arguments, config=config)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise InputError(f"{_reason(box.getvalue())} (see `geoguide --help`)") from None
    check_options(command)
    return command


def _reason(box: str) -> str:
    """The title and the first paragraph of the framed message that tyro prints."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()]
    end = lines.index("", 1) if "" in lines[1:] else len(lines)
    return f"{lines[0]}: {' '.join(lines[1:end])}"


def check_options(command: Any) -> None:
    """Refuse a command with an empty word, or a value that the check in its field's `Annotated` type refuses.

    Args:
        command: A dataclass with one field for each option.

    Raises:
        InputError: A value is refused; the message names the option.
    """
    for field in dataclasses.fields(command):
        option, value = f"--{field.name.replace('_', '-')}", getattr(command, field.name)
        if isinstance(value, str) and not value.strip():
            raise InputError(f"{option} must not be empty")
        for check in getattr(field.type, "__metadata__", ()):
            if callable(check) and value is not None:
                check(option, value)


def refuse_unread(command: Any, names: Collection[str], belong: str) -> None:
    """Refuse a command in which options are set that nothing reads.

    Args:
        command: A dataclass with one field for each option.
        names: Of the fields.
        belong: What the options belong to, for the message.

    Raises:
        ConfigError: One of them is not at its default.
    """
    for field in dataclasses.fields(command):
        if field.name in names and getattr(command, field.name) != field.default:
            raise ConfigError(f"--{field.name.replace('_', '-')} belongs to {belong}")


def named_scenes(value: str | None) -> tuple[str, ...]:
    """Read which scenes an option names.

    Args:
        value: Names separated by commas, the path of a list with a name a line, or "none"; None where it was not given.

    Returns:
        The names, in order.

    Raises:
        DataError: The list is no text.

    Example:
        >>> named_scenes("scene0000_00, scene0113_00"), named_scenes("none")
        (('scene0000_00', 'scene0113_00'), ())
    """
    if value is None or value.strip().lower() in ("", "none"):
        return ()
    if os.path.isfile(value):
        return read_names(value, "list of scenes")
    return tuple(name.strip() for name in value.split(",") if name.strip())


def output_file(
    named: Path | None,
    default: Path,
    suffix: str | Sequence[str],
    *,
    option: str = "--out",
    inputs: Sequence[Path] = (),
    summary: Collection[str] = (),
    own: Callable[[Path], bool] | None = None,
) -> Path:
    """Decide which file a result is written to, and make sure that it can be.

    Args:
        named: The file that the user named; its folder must be there.
        default: The file where the user named none; its folder is made when it is written.
        suffix: What the name must end in, such as ".ply", or several of which it must end in one.
        option: The option that names it, for messages.
        inputs: The files that are read; folders count as no files.
        summary: Where a JSON of the same name is written beside it: the fields by which an earlier one is known.
        own: Whether an earlier file of the default's name was written by this program; None: nobody else writes there.

    Returns:
        The file.

    Raises:
        InputError: Another suffix, no file but a folder or device, a folder that is not there, or a file that is read
            from or that somebody else wrote.
        WriteError: Nothing can be written there.
    """
    out = default if named is None else named
    allowed = [suffix] if isinstance(suffix, str) else suffix
    if out.suffix.lower() not in allowed:
        raise InputError(f"{option} must name a file that ends in {' or '.join(allowed)}, found {str(out)!r}")
    if named is not None and not os.path.isdir(out.parent):
        raise InputError(f"{option} {out}: no such folder: {out.parent}")
    try:
        check_writable(out.parent)
    except WriteError as error:
        raise WriteError(f"{error}; {option} names another place") from None
    foreign = named is None and own is not None and os.path.isfile(out) and not own(out)
    _check_target(out, option, str(out), inputs, foreign)
    if summary:
        beside = out.with_suffix(".json")
        foreign = not _is_summary(beside, summary)
        _check_target(beside, option, f"{out}: its summary {beside}", inputs, foreign)
    return out


def output_folder(folder: Path, option: str) -> Path:
    """Make sure that a folder can be written to, or made.

    Args:
        folder: The folder.
        option: The option that names it, for messages.

    Returns:
        The folder.

    Raises:
        InputError: It is a file.
        WriteError: Nothing can be written there.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise InputError(f"{option} must name a folder, found the file {folder}")
    try:
        check_writable(folder)
    except WriteError as error:
        raise WriteError(f"{error}; {option} names another place") from None
    return folder


def _check_target(path: Path, option: str, what: str, inputs: Sequence[Path], foreign: bool) -> None:
    """Refuse to write over a folder, an input (under whatever name) or somebody else's file."""
    if os.path.exists(path):  # False also for a name that is too long, unlike the method of Path
        if not path.is_file():
            raise InputError(f"{option} {what} is {'a folder' if path.is_dir() else 'a device'}, expected a file")
        if any(os.path.isfile(given) and path.samefile(given) for given in inputs):
            raise InputError(f"{option} {what} would replace the input; choose another {option}")
        if foreign:
            raise InputError(f"{option} {what} would replace a file of another program; choose another {option}")
        if not os.access(path, os.W_OK):
            raise InputError(f"{option} {what} is read-only")
    if os.path.isdir(path.parent):
        check_file_writable(path)


def _is_summary(path: Path, fields: Collection[str]) -> bool:
    """Whether a file is a JSON object with these fields."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and set(fields) <= set(found)
