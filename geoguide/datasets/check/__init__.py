"""`geoguide data check`: which datasets and layouts a folder holds, and what of them is missing or broken."""

from geoguide.datasets.check.folder import check_folder, identify

__all__ = ["check_folder", "identify"]
