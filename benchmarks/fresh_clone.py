"""What the two commands cost a newcomer: minutes of `make setup` and `make book` in a fresh clone, and disk.

    python benchmarks/fresh_clone.py            # in a temporary folder that goes with it
    python benchmarks/fresh_clone.py --folder DIR      # the clone stays there, with the built book

Each step is a command of its own, as a newcomer types them; `make data` is the part of `make book` that generates. The
README's line on what is needed is made of these figures (`geoguide.report.readme`).
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from _measure import report

ROOT = Path(__file__).resolve().parents[1]
STEPS = ("setup", "data", "book")
QUICK = "runs/verify-quick.json"  # written when the quick profile is done, with which `make book` begins
FOLDERS = {"packages": ".venv", "data and cache": "data", "runs": "runs", "book": "book/_build"}


def timed(step: str, clone: Path, log: Path) -> dict:
    """Run one step and time it."""
    begin = time.perf_counter()
    with log.open("a") as told:
        subprocess.run(["make", step], cwd=clone, stdout=told, stderr=subprocess.STDOUT, check=True)
    return {"step": f"make {step}", "seconds": round(time.perf_counter() - begin)}


def size_gb(folder: Path) -> float:
    """Disk that a folder takes; none where it is not there."""
    blocks = sum(path.lstat().st_blocks for path in folder.rglob("*")) if folder.is_dir() else 0
    return round(512 * blocks / 1e9, 2)


def main(folder: Path) -> None:
    """Clone what is committed here into an empty folder, run the steps, write the results."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    rows = [timed(step, clone, folder / "make.log") for step in STEPS]
    begun = time.time() - rows[-1]["seconds"]
    rows.append({"of make book": "quick profile", "seconds": round((clone / QUICK).stat().st_mtime - begun)})
    rows += [{"part": part, "gb": size_gb(clone / name)} for part, name in FOLDERS.items()]
    report("fresh_clone", rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to clone to; default: a temporary folder")
    asked = parser.parse_args().folder
    if asked is None:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
    else:
        asked.mkdir(parents=True, exist_ok=True)
        main(asked)
