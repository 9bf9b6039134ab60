"""mini-ScanNet: single furnished rooms, scanned with a hand-held RGB-D camera."""

from geoguide.worlds.rooms.make import make_mini_scannet

__all__ = ["make_mini_scannet"]
