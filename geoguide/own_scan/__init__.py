"""A user's own scan: labelled by a trained model (`geoguide segment`), or made into a model (`geoguide fit-scan`)."""

from geoguide.datasets.scannet import is_scannet
from geoguide.own_scan.labelled import is_labelled, write_labelled
from geoguide.own_scan.scan import Scan, Segmentation, open_scan, parse_labels, report_lines, segment_scan

__all__ = [
    "Scan",
    "Segmentation",
    "is_labelled",
    "is_scannet",
    "open_scan",
    "parse_labels",
    "report_lines",
    "segment_scan",
    "write_labelled",
]
