"""mini-Matterport3D: generated multi-room houses whose 160 names form a long tail (paper, Long tail)."""

from geoguide.datasets.mini.houses.write import default_houses_root, instance_counts, make_mini_matterport3d

__all__ = ["default_houses_root", "instance_counts", "make_mini_matterport3d"]
