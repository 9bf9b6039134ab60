"""mini-nuScenes: streets that a car drives through with a LiDAR and six cameras."""

from geoguide.worlds.streets.make import make_mini_nuscenes

__all__ = ["make_mini_nuscenes"]
