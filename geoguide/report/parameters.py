"""What papermill hands to a chapter where that is a list (`-p` makes numbers and text alone), and one file of runs/."""

from collections.abc import Collection, Iterable
from typing import Any

from geoguide.errors import DataError, require
from geoguide.paths import runs_root
from geoguide.pipeline.config import SEEDS, ExperimentConfig
from geoguide.text_files import parse_json, read_text


def several_seeds(given: Any, known: Collection[int] | None = None) -> tuple[int, ...]:
    """The seeds that a parameter `seeds` names.

    Args:
        given: A seed, several in a list, or either as text.
        known: Those that the chapter's rows have; None where rows of any seed are computed.

    Returns:
        They, each once.

    Raises:
        InputError: There is none, or something that is no seed, or not known.

    Example:
        >>> several_seeds(0), several_seeds([2, 0, 2]), several_seeds("0, 1"), several_seeds("[3]")
        ((0,), (2, 0), (0, 1), (3,))
        >>> several_seeds("all", known=(0, 1))
        Traceback (most recent call last):
        geoguide.errors.InputError: seeds must be one or more of 0, 1, such as 0 or [0, 1], found 'all'
    """
    parts = given.strip().strip("[]()").split(",") if isinstance(given, str) else given
    parts = list(parts) if isinstance(parts, (list, tuple, range)) else [parts]
    seeds = [int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in parts]
    whole = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= SEEDS for seed in seeds)
    allowed = f"whole numbers from 0 to {SEEDS}" if known is None else f"of {', '.join(map(str, known))}"
    met = seeds and whole and (known is None or set(seeds) <= set(known))
    require(met, f"seeds must be one or more {allowed}, such as 0 or [0, 1], found {given!r:.60}")
    return tuple(dict.fromkeys(seeds))


def of_seeds(
    configs: Iterable[ExperimentConfig], seeds: Collection[int], *, needed: bool = False
) -> list[ExperimentConfig]:
    """The experiments of some seeds.

    Args:
        configs: Experiments.
        seeds: Of trainings; 2D fusion, which trains nothing, stands beside any.
        needed: Whether a training must be among them; some rows, such as most of the large edition, have few seeds.

    Returns:
        Those, in their order.

    Raises:
        InputError: No training of these seeds, though it is needed.
    """
    configs = [*configs]
    there = sorted({config.seed for config in configs if config.protocol.mode != "fusion"})
    met = not needed or set(seeds) & set(there)
    require(met, f"seeds must be one or more of {', '.join(map(str, there))}, which these rows have, found {[*seeds]}")
    return [config for config in configs if config.seed in seeds or config.protocol.mode == "fusion"]


def several_names(parameter: str, given: Any, known: Collection[str] | None = None) -> tuple[str, ...]:
    """The names that a parameter gives.

    Args:
        parameter: Its name, for messages.
        given: A name, several in a list, or nothing ("" or None).
        known: The names that there are; None for any.

    Returns:
        They, each once.

    Raises:
        InputError: Something that is no name, or not known.
    """
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, (list, tuple)) else [given]
    names = [] if given is None or given == "" else names
    for name in names:
        met = isinstance(name, str) and name.strip() and (known is None or name in known)
        expected = "a name, or a list of names" if known is None else f"one or more of {', '.join(known)}"
        require(met, f"{parameter} must be {expected}, found {name!r:.60}")
    return tuple(dict.fromkeys(names))


def need_text(**given: Any) -> None:
    """Refuse parameters of which each must be one text.

    Args:
        given: What is given, by the name of the parameter; None where a chapter has its own.

    Raises:
        InputError: Something that is neither text nor None.
    """
    for name, value in given.items():
        require(value is None or isinstance(value, str), f"{name} must be one text, found {value!r:.60}")


def read_report(name: Any, fields: Collection[str]) -> dict[str, Any] | None:
    """What a command noted in the folder of runs.

    Args:
        name: Of the file.
        fields: That it holds.

    Returns:
        Its values by name; None where there is no such file.

    Raises:
        InputError: No name of a JSON file, or one of another folder.
        DataError: It is no such report.
    """
    met = isinstance(name, str) and name.endswith(".json") and "/" not in name and "\\" not in name
    require(met, f"report must name a .json file in {runs_root()}, found {name!r:.100}")
    path = runs_root() / name
    if not path.is_file():
        return None
    held = parse_json(read_text(path, "report"), path)
    lacking = [field for field in fields if not isinstance(held, dict) or field not in held]
    if lacking:
        raise DataError(f"{path}: no report of `geoguide verify`: it has no {lacking[0]!r}")
    return held
