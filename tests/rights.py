"""Files and folders that the user may not read, also where the tests run as root."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """As a user who may not read `folder`: root may read everything, so root becomes somebody else for a while."""
    names = (folder, *folder.parents) if os.geteuid() == 0 else ()
    way = 0o055  # for the group too: it is still root's
    modes = {path: mode for path in names if (mode := stat.S_IMODE(path.stat().st_mode)) & way != way}
    for path, mode in modes.items():  # the way to it, which pytest makes for its own user alone
        path.chmod(mode | way)
    before = stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        yield
    finally:
        if user == 0:
            os.seteuid(0)
        folder.chmod(before)
        for path, mode in modes.items():
            path.chmod(mode)
