"""The last line of defence: exit codes, one line, a report, and output streams that nobody reads."""

import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from geoguide.errors import DataError
from geoguide.guard import HANDLES, guarded
from geoguide.pipeline.prepare import OPEN_SCENES, open_scenes

# Work that writes a file, prints much and then writes another: what a lost stream must not stop.
WORK = """
import sys
from pathlib import Path
from geoguide.guard import guarded
def work():
    Path("first.txt").write_text("1")
    for number in range(20000):
        print("line", number, "Tür \\udcff")
        print("progress", number, file=sys.stderr)
    sys.stdout.flush()
    Path("second.txt").write_text("2")
sys.exit(guarded(work, [], lambda: ""))
"""

# Tests may run in the background, which ignores the signal.
DEFAULT = "signal.signal(signal.SIGINT, signal.default_int_handler)"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GEOGUIDE_DATA", str(tmp_path / "home"))
    monkeypatch.delenv("GEOGUIDE_DEBUG", raising=False)
    return tmp_path / "home"


def fail(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("redirect", "code"),
    [
        ("| head -1", 0),
        ("2>&1 | head -1", 0),
        ("> /dev/full", 74),
        ("2> /dev/full >/dev/null", 0),
        (">&- 2>&- <&-", 0),
        ("2>&- | tail -1", 0),
    ],
)
def test_files_are_written_whatever_becomes_of_the_streams(tmp_path: Path, redirect: str, code: int) -> None:
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "ascii"}
    line = f'"{sys.executable}" -c "$WORK" {redirect}; echo "${{PIPESTATUS[0]}}" > code'
    command = ["bash", "-c", line]
    done = subprocess.run(command, cwd=tmp_path, env=environment | {"WORK": WORK}, capture_output=True, check=False)
    assert (tmp_path / "code").read_text().strip() == str(code)
    assert [(tmp_path / name).read_text() for name in ("first.txt", "second.txt")] == ["1", "2"]
    said = [row for row in done.stderr.decode().splitlines() if not row.startswith("progress")]
    assert len(said) == (code != 0) and "Traceback" not in str(said)


def test_an_error_that_nobody_expected_is_one_line_and_a_report(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    assert guarded(fail(RuntimeError("first\nsecond \udcff")), ["segment", "Tür.ply"], str) == 70
    line = capsys.readouterr().err.strip()
    report = next((home / "runs" / "errors").iterdir())
    assert (
        line.count("\n") == 0 and "RuntimeError: first" in line and str(report) in line and "GEOGUIDE_DEBUG=1" in line
    )
    text = report.read_text()
    assert "Traceback" in text and "second" in text and "Tür.ply" in text and "numba " in text and "hunter2" not in text


def test_the_report_finds_another_place(home: Path, capsys, tmp_path: Path, monkeypatch) -> None:
    home.write_text("a file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert guarded(fail(KeyError("name")), [], str) == 70
    assert str(next((tmp_path / "temporary").glob("geoguide-*/*.txt"))) in capsys.readouterr().err
    monkeypatch.setattr("tempfile.tempdir", str(home))
    assert guarded(fail(LookupError()), [], str) == 70
    assert "LookupError" in (said := capsys.readouterr().err) and "no report could be written" in said


@pytest.mark.parametrize("what", ["list", "numpy", "torch", "open files"])
def test_what_the_machine_lacks_is_one_line_without_a_report(home: Path, capsys, what: str) -> None:
    size, held = 10**15, []
    take = {"list": lambda: [0] * size, "numpy": lambda: np.empty(size), "torch": lambda: torch.empty(size)}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        while what == "open files":
            held.append(os.dup(0))
        take[what]()

    try:
        assert guarded(work, [], lambda: "try again") == 71
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in held:
            os.close(number)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].endswith("; try again") and not home.exists()
    assert ("too many open files" if what == "open files" else "not enough memory") in said[0]


@pytest.mark.parametrize("words", ["failed to map segment from shared object", "cannot map zero-fill pages"])
def test_a_library_that_cannot_be_loaded_for_want_of_memory_is_said(home: Path, capsys, words: str) -> None:
    """As torch under the limit that a scheduler sets on addresses (`ulimit -v`)."""
    assert guarded(fail(ImportError(f"libtorch_cpu.so: {words}")), [], lambda: "try again") == 71
    said = capsys.readouterr().err
    assert said == f"geoguide: not enough memory (libtorch_cpu.so: {words}); try again\n" and not home.exists()


def test_a_report_for_which_memory_is_short_is_left_out(home: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("geoguide.guard._version", lambda _: fail(MemoryError())())
    assert guarded(fail(LookupError()), [], str) == 70
    assert "LookupError (no report could be written" in capsys.readouterr().err


def test_the_command_may_open_as_many_files_as_scenes_need(capsys) -> None:
    """Of 1,024, which many systems give, three splits of 85 scenes left none: the training died in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < HANDLES:
        pytest.skip(f"this system allows {hard}")
    found = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        few = open_scenes()
        guarded(lambda: found.append(open_scenes()), [], str)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert few == 2 and found == [106 if sys.platform == "darwin" else OPEN_SCENES]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_full_gpu_is_said(home: Path, capsys: pytest.CaptureFixture, error: Exception) -> None:
    assert guarded(fail(error), [], lambda: "try again") == 71
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("geoguide: not enough memory on the GPU (CUDA") and line.endswith("; try again")
    assert not home.exists()


def test_debug_shows_the_traceback(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOGUIDE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0, [], str)
    assert not home.exists()


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("a\nb.ply: broken"), 2, "geoguide: a\\nb.ply: broken\n"),
        (KeyboardInterrupt(), 130, "geoguide: interrupted; try again\n"),
        (SystemExit(3), 3, ""),
    ],
)
def test_what_is_expected(home: Path, capsys, error: BaseException, code: int, said: str) -> None:
    assert guarded(fail(error), [], lambda: "try again") == code
    assert capsys.readouterr().err == said and not home.exists()


# Work in the middle of a file, with a worker process that would write another one; both begin with "ready".
HALF = """
import signal, sys, time
from pathlib import Path
from geoguide.guard import guarded
from geoguide.ops.workers import worker_pool
from geoguide.paths import replacing
def hold(path):
    with replacing(Path(path)) as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)
def work():
    with worker_pool(1, computing=False) as pool:
        pool.submit(hold, "of-a-worker.txt")
        hold("mine.txt")
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run in the background, which ignores signals
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    sys.exit(guarded(work, [], lambda: "again"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGTERM, "geoguide: ended by SIGTERM; again"),
        (signal.SIGHUP, "geoguide: ended by SIGHUP; again"),
        (signal.SIGINT, "geoguide: interrupted; again"),
    ],
)
def test_what_is_ended_from_outside_cleans_up(tmp_path: Path, number: signal.Signals, said: str) -> None:
    """A job scheduler's SIGTERM left working folders behind and no word of what is complete."""
    script = tmp_path / "script.py"
    script.write_text(HALF)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    process = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "ready\n"]
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)  # a terminal sends Ctrl-C to workers too
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and error.splitlines() == [said]
    left = {path.name for path in tmp_path.iterdir() if path != script}
    # A worker has no time to clean up; what it leaves is swept by whoever writes there next.
    assert all(name.startswith(".making-of-a-worker") for name in left)


# A slow import stands for those of the command; a library may catch what is raised in it.
SLOW = """
import time
try:
    print("ready", flush=True)
    time.sleep(60)
except BaseException as error:
    raise ImportError("of a library") from error
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "geoguide: interrupted\n"), (signal.SIGTERM, "geoguide: ended by SIGTERM\n")]
)
def test_a_signal_before_the_command_is_imported_is_one_line(tmp_path: Path, number: signal.Signals, said: str) -> None:
    """Ctrl-C in the first second gave a traceback of an import."""
    (tmp_path / "tyro.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[1]}"}
    process = subprocess.Popen(
        [sys.executable, "-c", f"import signal; {DEFAULT}; import geoguide.__main__ as m; m.main()"],
        cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (128 + number, said)


def test_a_signal_in_text_that_is_run_has_its_exit_code_too(tmp_path: Path) -> None:
    """`python -m` died of SIGINT after its line where it had come while a dataclass was made."""
    text = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(10**6): pass"
    (tmp_path / "command.py").write_text(
        f"import signal, sys\nfrom geoguide.guard import guarded\n{DEFAULT}\n"
        f"sys.exit(guarded(lambda: exec({text!r}), [], lambda: 'again'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-m", "command"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "geoguide: interrupted; again\n")


def test_a_second_interrupt_while_the_first_is_told_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def told() -> str:
        signal.raise_signal(signal.SIGINT)
        return "again"

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert guarded(lambda: signal.raise_signal(signal.SIGINT), [], told) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "geoguide: interrupted; again\n"


def test_whoever_calls_from_python_keeps_its_handlers() -> None:
    ended, held = [], {}

    def note(number: int, frame: object) -> None:
        ended.append(number)

    def work() -> None:
        held.update({number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)})

    before = {number: signal.signal(number, handler) for number, handler in
              ((signal.SIGTERM, note), (signal.SIGINT, signal.default_int_handler))}  # fmt: skip
    try:
        assert guarded(work, [], str) == 0 and held[signal.SIGTERM] is note
        assert held[signal.SIGINT] not in (note, signal.default_int_handler)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        thread = threading.Thread(target=guarded, args=(work, [], str))
        thread.start()
        thread.join()
        assert held[signal.SIGINT] is signal.default_int_handler
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_warning_is_one_line(home: Path) -> None:
    """Asked how it would be printed: pytest takes warnings for itself."""
    before, found = warnings.formatwarning, []
    guarded(lambda: found.append(warnings.formatwarning("a.ply: two\nlines", UserWarning, "x.py", 1)), [], lambda: "")
    assert found == ["geoguide: a.ply: two\\nlines\n"] and warnings.formatwarning is before
