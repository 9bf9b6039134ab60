"""`geoguide data check`: which dataset and layout a folder is, and what of it is missing or broken."""

from geoguide.datasets.check.folder import check_folder, identify

__all__ = ["check_folder", "identify"]
