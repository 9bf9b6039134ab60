"""A camera out of the world is a problem of `data check`, by its name."""

from pathlib import Path

import numpy as np

from geoguide.datasets.check.report import Report, check_scene
from geoguide.scene import Scene, View


def test_a_stray_camera_is_named(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    for far, count in ((100.0, 0), (1e6, 1)):
        poses = [np.eye(4) for _ in range(6)]
        poses[4][0, 3] = far
        views = tuple(View(f"f{number}", np.eye(3), pose, (3, 4)) for number, pose in enumerate(poses))
        report = Report("scan")
        check_scene(report, tmp_path, lambda _, views=views: Scene("s", points, points, views=views), False, False)
        named = [
            problem for problem in report.problems if "cameras far from all others: f4 at (1000000, 0, 0)" in problem
        ]
        assert len(named) == count
