"""What a reader decided about a scene, but for its normals, which clouds rarely have."""

from geoguide.datasets.normals import NO_NORMALS
from geoguide.scene import Scene


def decided(scene: Scene) -> tuple[str, ...]:
    return tuple(said for said in scene.as_read if not said.startswith(NO_NORMALS))
