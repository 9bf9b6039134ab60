"""Ray casting: the rays through a camera's pixels, and the triangle of a mesh that each ray meets first."""

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

NO_OBJECT = -1  # object number of a pixel, an echo or a vertex that belongs to no object


class RayCaster:
    """Casts rays at one triangle mesh; the search tree is built once.

    Args:
        vertices: Points of the mesh, float [N, 3], metres.
        faces: Triangles, int64 [F, 3], rows of `vertices`.

    Attributes:
        face_normals: Unit normals of the faces, float32 [F, 3]; 0 for a face without area.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        vertices = np.ascontiguousarray(vertices, dtype=np.float32)  # [N, 3]
        self._scene = EmbreeScene()
        self._mesh = TriangleMesh(self._scene, vertices, np.ascontiguousarray(faces, dtype=np.int32))
        corners = vertices[faces]  # [F, 3, 3]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # [F, 3]
        length = np.linalg.norm(normals, axis=1, keepdims=True)  # [F, 1]
        self.face_normals = normals / np.maximum(length, 1e-12)  # [F, 3]

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the first face that each ray meets.

        Args:
            origins: Where the rays start, float [R, 3], in the frame of the mesh.
            directions: Where they go, float [R, 3], of any length.

        Returns:
            The face, int64 [R], -1 where a ray meets none, and the distance, float32 [R], in lengths of the direction.
        """
        hit = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        return hit["primID"].astype(np.int64), hit["tfar"]


def pixel_rays(intrinsics: np.ndarray, size: tuple[int, int], scale: float = 1.0) -> np.ndarray:
    """Rays through the centres of an image's pixels, in the camera's axes (x right, y down, z forward).

    Args:
        intrinsics: Camera matrix float64 [3, 3].
        size: (H, W) of the image that is ray-cast.
        scale: Edge of a pixel of this image in pixels of the image that `intrinsics` is for, above 1 in smaller copies.

    Returns:
        Float64 [H, W, 3] with z = 1, so that a distance in lengths of the ray is a depth.
    """
    height, width = size
    rows, cols = np.mgrid[:height, :width]  # [H, W] each
    u, v = (cols + 0.5) * scale - 0.5, (rows + 0.5) * scale - 0.5  # pixels of the image that `intrinsics` is for
    k = intrinsics
    return np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((height, width))], axis=-1)
