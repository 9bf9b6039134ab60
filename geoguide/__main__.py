"""The process of the `geoguide` command: a signal is one line even before the imports, which take seconds, are done."""

import signal

from geoguide.signals import leave, unclaimed


def main() -> None:
    """Run the command; `guard` says what a signal does while it works, and `leave` before and after."""
    for number in unclaimed():
        signal.signal(number, leave)
    from geoguide import cli

    cli.main()


if __name__ == "__main__":
    main()
