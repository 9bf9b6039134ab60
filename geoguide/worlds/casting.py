"""A simulated hand-held RGB-D camera: rays through a mesh room, with the faults of a structured-light sensor."""

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene


class RayCaster:
    """Rays against one triangle mesh; the search tree is built once."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        corners = np.ascontiguousarray(vertices[faces], dtype=np.float32)  # [F, 3, 3]
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, corners)
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        self.face_normals = normals / np.maximum(length, 1e-12)  # [F, 3]

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First hit of each ray: (face int64 [R], -1 where none; distance float32 [R] in units of the direction)."""
        hit = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        return hit["primID"].astype(np.int64), hit["tfar"]
