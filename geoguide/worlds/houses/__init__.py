"""mini-Matterport3D: houses scanned from a tripod, whose 160 names form a long tail (paper, Long tail)."""

from geoguide.worlds.houses.make import instance_counts, make_mini_matterport3d

__all__ = ["instance_counts", "make_mini_matterport3d"]
