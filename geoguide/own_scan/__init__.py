"""A user's own scan: labelled by a trained model (`geoguide segment`), or made into a model (`geoguide fit-scan`)."""

from geoguide.own_scan.explore import Exploration
from geoguide.own_scan.page import render_page, write_page
from geoguide.own_scan.scan import (
    Scan,
    Segmentation,
    is_labelled,
    open_scan,
    parse_labels,
    report_lines,
    segment_scan,
    write_labelled,
)

__all__ = [
    "Exploration",
    "Scan",
    "Segmentation",
    "is_labelled",
    "open_scan",
    "parse_labels",
    "render_page",
    "report_lines",
    "segment_scan",
    "write_labelled",
    "write_page",
]
