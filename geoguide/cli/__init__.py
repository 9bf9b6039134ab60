"""The `geoguide` command. Bad input ends with exit code 2 and one line; heavy imports wait until needed.

Every exit code is listed in `geoguide.guard` and by `geoguide --help`.
"""

import sys

from geoguide import __version__
from geoguide.cli.arguments import need_working_folder, read_arguments
from geoguide.cli.data import Data
from geoguide.cli.networks import Pretrain, Probe
from geoguide.cli.scans import FitScan, Segment, View
from geoguide.cli.tables import Cost, Grid, Replicate, Verify
from geoguide.cli.training import Evaluate, Lift, Train
from geoguide.guard import EXIT_CODES, guarded

Command = (
    Data | Train | Evaluate | Lift | Replicate | Grid | Verify | Segment | View | FitScan | Pretrain | Probe | Cost
)  # the subcommands, by their names


def main(argv: list[str] | None = None) -> None:
    """Entry point of the `geoguide` command; what it exits with is listed in `geoguide.guard`.

    Args:
        argv: The words after `geoguide`; None for the process's own.
    """
    arguments, begun = sys.argv[1:] if argv is None else argv, []
    if arguments == ["--version"]:
        print(f"geoguide {__version__}")
        sys.exit(0)

    def work() -> int | None:
        need_working_folder()
        begun.append(read_arguments(Command, arguments, EXIT_CODES))
        return begun[0].run()

    sys.exit(guarded(work, arguments, lambda: begun[0].interrupted if begun else "nothing was begun"))
