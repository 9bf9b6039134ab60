"""Scripts of book/, which is no package, as modules."""

import importlib.util
from pathlib import Path
from types import ModuleType

BOOK = Path(__file__).resolve().parents[1] / "book"


def load_script(name: str) -> ModuleType:
    """The script `name` of book/, such as "pdf.py", executed anew."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, BOOK / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
