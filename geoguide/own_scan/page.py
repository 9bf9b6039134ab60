"""A labelled scan as one web page that needs no network: `geoguide segment --html`, or `write_page` from Python."""

import base64
import html
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from geoguide.errors import InputError, require
from geoguide.own_scan.scan import Segmentation, palette
from geoguide.paths import write_text

TEMPLATE = Path(__file__).with_name("page.html")
MOST_POINTS = 150_000  # 13 bytes each, and a third more as text: the page stays below 3 MB
LEVELS = 65_535  # of quantised coordinates and scores: 16 bits


def render_page(result: Segmentation, *, max_points: int = MOST_POINTS) -> str:
    """Write a labelled scan as HTML: the cloud by label, own colour or score, and a legend that switches labels.

    Coordinates are rounded to 1/65535 of the scan's longest side, scores to 1/65535 of their range.

    Args:
        result: What `segment_scan` returns.
        max_points: Points that are shown at most, at least 1; of a larger scan a random choice, which the page says.

    Returns:
        The page. It holds its data and its program, loads nothing, and asks nobody.

    Raises:
        InputError: `max_points` is below 1, or there are more labels than 16 bits can number.
    """
    require(max_points >= 1, f"max_points must be at least 1, found {max_points}")
    require(len(result.labels) <= LEVELS, f"a page holds at most {LEVELS} labels, found {len(result.labels)}")
    chosen = _chosen(len(result.ids), max_points)
    points, scores = result.scene.points[chosen].astype(np.float64), result.scores[chosen].astype(np.float64)
    origin, top = points.min(0), points.max(0)
    step = float((top - origin).max()) / LEVELS or 1.0  # metres; all points in one place need none
    low, high = float(scores.min()), float(scores.max())
    quantised = [  # in the order in which page.html reads them: 16 bits first, so that all are aligned
        np.rint((points - origin) / step).astype("<u2"),
        result.ids[chosen].astype("<u2"),
        np.rint((scores - low) / ((high - low) or 1.0) * LEVELS).astype("<u2"),
        np.rint(255 * result.scene.colors[chosen]).astype(np.uint8),
    ]
    facts = {
        "title": result.scene.name,
        "about": _about(result, len(chosen)),
        "said": list(result.scene.as_read),
        "points": len(chosen),
        "origin": origin.tolist(),
        "step": step,
        "middle": ((origin + top) / 2).tolist(),
        "diagonal": float(np.linalg.norm(top - origin)) or 1.0,
        "spacing": _spacing(points, origin, top),
        "scores": [low, high],
        "labels": _legend(result),
    }
    packed = base64.b64encode(zlib.compress(b"".join(array.tobytes() for array in quantised), 9)).decode()
    return _filled({"title": html.escape(result.scene.name), "facts": _inside_script(facts), "data": packed})


def write_page(path: Path, result: Segmentation) -> None:
    """Write the page of a labelled scan.

    Args:
        path: The file; an older one is replaced when the new one is whole.
        result: What `segment_scan` returns.

    Raises:
        InputError: As `render_page`, or the name does not end in .html.
        WriteError: The file cannot be written.
    """
    if Path(path).suffix.lower() != ".html":
        raise InputError(f"a page's name must end in .html, found {str(path)!r}")
    write_text(path, render_page(result))


def _chosen(count: int, most: int) -> np.ndarray:
    """Which points are shown, in their order: all, or a random choice that is the same every time."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _about(result: Segmentation, shown: int) -> str:
    """One line under the title: how many points, and whose labels."""
    total = len(result.ids)
    points = f"{total:,} points" if shown == total else f"{shown:,} of {total:,} points, chosen at random"
    return f"{points}; model {result.summary['model']}; {result.summary['backbone']}"


def _spacing(points: np.ndarray, origin: np.ndarray, top: np.ndarray) -> float:
    """Typical metres between neighbours of a surface that fills the box, for the size at which points are drawn."""
    sides = np.sort(top - origin)[1:]
    return float(np.sqrt(max(sides.prod(), 1e-12) / len(points)))


def _legend(result: Segmentation) -> list[dict[str, Any]]:
    """Name, colour and share of each label."""
    counts = np.bincount(result.ids, minlength=len(result.labels)) / len(result.ids)
    rows = zip(result.labels, palette(len(result.labels)), counts, strict=True)
    return [
        {"name": name, "color": f"#{color.tobytes().hex()}", "share": round(float(share), 4)}
        for name, color, share in rows
    ]


def _inside_script(value: object) -> str:
    """JSON that can stand in a script element, whatever its texts hold."""
    text = json.dumps(value)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _filled(parts: dict[str, str]) -> str:
    """The template with its parts filled in; what a part holds is never taken for another's place."""
    pieces = TEMPLATE.read_text(encoding="utf-8").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        filled.append(parts[name] + rest)
    return "".join(filled)
