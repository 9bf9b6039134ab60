"""A user's own scan: labelled by a trained model (`geoguide segment`), or made into a model (`geoguide fit-scan`)."""

from geoguide.datasets.formats.surveys import LAS
from geoguide.datasets.scannet import is_scannet
from geoguide.own_scan.labelled import default_name, is_labelled, need_writer, write_labelled
from geoguide.own_scan.page import render_page, write_page
from geoguide.own_scan.scan import Scan, Segmentation, open_scan, parse_labels, report_lines, segment_scan

__all__ = [
    "LAS",
    "Scan",
    "Segmentation",
    "default_name",
    "is_labelled",
    "is_scannet",
    "need_writer",
    "open_scan",
    "parse_labels",
    "render_page",
    "report_lines",
    "segment_scan",
    "write_labelled",
    "write_page",
]
