"""GeoGuide-Replicated: hierarchical geometric guidance for open-vocabulary 3D semantic segmentation."""

from typing import TYPE_CHECKING, Any

__version__ = "0.29.0"
__all__ = ["Scene", "View", "load"]

if TYPE_CHECKING:
    from geoguide.model import load
    from geoguide.scene import Scene, View

_LAZY = {"load": "model", "Scene": "scene", "View": "scene"}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `import geoguide` and the command line start without torch."""
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"geoguide.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'geoguide' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What is imported on first use is listed too."""
    return sorted({*globals(), *_LAZY})
