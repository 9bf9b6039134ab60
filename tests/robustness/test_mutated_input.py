"""Every reader of the package, on mutated copies of a valid input: an equal value, a valid one, or one clear refusal.

`make test` tries a few mutations of each reader, always the same ones. `make fuzz` ($GEOGUIDE_FUZZ: how many over all
readers) tries many, others each time. What failed is kept in `.hypothesis/`: the examples, which are tried first next
time, and under `.hypothesis/failed/` the files that the reader was given.
"""

import functools
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import pytest
from damage import Dice, NotHere, damaged, suffix
from hypothesis import HealthCheck, assume, given, note, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from outcome import Outcome, check_shapes, check_valid, load_files, outcome, same, save_files
from readers import READERS, Reader
from rewrites import BY_OTHERS, REWRITES, Rewrite, rewritten, with_litter
from tqdm import tqdm

KEPT = Path(".hypothesis")
FUZZ = int(os.environ.get("GEOGUIDE_FUZZ", "0"))
EXAMPLES = -(-FUZZ // len(READERS)) if FUZZ else 10  # of each reader; `make test`: 430 over all, in 20 s of one core
Example = tuple[dict[str, bytes], Outcome]


@functools.cache
def original(reader: Reader) -> Example:
    """The valid input of a reader, and what is read from it."""
    folder = Path(tempfile.mkdtemp())
    try:
        reader.write(folder)
        files = load_files(folder)
    finally:
        shutil.rmtree(folder)
    found = outcome(reader, files)
    assert found.refusal is None, found.refusal
    return files, found


def suffixes(reader: Reader) -> set[str]:
    return {suffix(name) for name in original(reader)[0]}


def pairs() -> list:
    """Each reader with each way to write its files otherwise."""
    found = [
        (reader, kind, rewrite)
        for reader in READERS
        for kind in sorted(suffixes(reader) & set(REWRITES))
        for rewrite in REWRITES[kind]
        if reader.named is None and not (reader.ours and rewrite in BY_OTHERS)
    ]
    return [pytest.param(*pair, id=f"{pair[0].name}-{pair[2].__name__}-{pair[1][1:]}") for pair in found]


def keep(reader: Reader, files: dict[str, bytes]) -> Path:
    """Save the files of a failure, so that they can be looked at; the smallest that was found is the last."""
    folder = KEPT / "failed" / reader.name
    shutil.rmtree(folder, ignore_errors=True)
    save_files(files, folder)
    return folder


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_reading_twice_gives_the_same(reader: Reader):
    files, found = original(reader)
    same(outcome(reader, files).value, found.value)


@pytest.mark.parametrize(("reader", "kind", "rewrite"), pairs())
def test_another_way_to_write_the_same_is_read_as_equal(reader: Reader, kind: str, rewrite: Rewrite):
    files, right = original(reader)
    found = outcome(reader, rewritten(files, kind, rewrite))
    assert found.refusal is None, found.refusal
    same(found.value, right.value)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_other_systems_leave_in_folders_is_not_read(reader: Reader):
    files, right = original(reader)
    found = outcome(reader, with_litter(files))
    assert found.refusal is None, found.refusal
    same(found.value, right.value)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_no_input_breaks_a_reader(reader: Reader):
    files, right = original(reader)
    bar = tqdm(total=EXAMPLES, desc=reader.name, file=sys.stderr, disable=not FUZZ)

    def one(data: st.DataObject) -> None:
        mutated, done, field = _mutated(reader, files, Dice(data))
        assume(mutated != files)
        note(done)
        bar.update()
        try:
            _check(reader, outcome(reader, mutated, files), field, right)
        except BaseException:
            if FUZZ:
                note(f"the files are kept in {keep(reader, mutated)}")
            raise

    with bar:
        _prepared(reader, one)()


def _mutated(reader: Reader, files: dict[str, bytes], dice: Dice) -> tuple[dict[str, bytes], str, str]:
    try:
        return damaged(files, dice, by_hand=not reader.repairs)
    except NotHere:
        reject()


def _check(reader: Reader, found: Outcome, field: str, right: Outcome) -> None:
    if found.refusal is None:
        (check_shapes if reader.repairs else check_valid)(found, right.value)
        return
    assert not reader.repairs, f"a cache must be made again: {found.refusal}"
    assert field in found.refusal, f"field {field} is gone and not named: {found.refusal}"


def _prepared(reader: Reader, test):
    """The property test of one reader: seeded by its name, or, for fuzzing, by time and what failed before."""
    checks = [
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ]
    common = {"max_examples": EXAMPLES, "deadline": None, "suppress_health_check": checks}
    test.__qualname__ = test.__name__ = (
        f"one_{reader.name.replace('-', '_')}"  # the database tells the readers apart by it
    )
    drawn = given(st.data())(test)
    if not FUZZ:
        return seed(zlib.crc32(reader.name.encode()))(settings(database=None, **common)(drawn))
    return settings(database=DirectoryBasedExampleDatabase(KEPT / "examples" / reader.name), **common)(drawn)
