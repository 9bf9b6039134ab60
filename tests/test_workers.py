"""The pool of worker processes: what a worker begins with, and how it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from geoguide.errors import LostWorkerError
from geoguide.guard import guarded
from geoguide.ops import devices, workers
from geoguide.ops.workers import worker_pool
from geoguide.signals import deferred


def about(_: int) -> tuple[int, bool, object]:
    """Of the process that is asked: its threads, whether it has torch, and what Ctrl-C does to it."""
    with_torch = "torch" in sys.modules
    return torch.get_num_threads() if with_torch else 0, with_torch, signal.getsignal(signal.SIGINT)


def touch(path: Path) -> None:
    time.sleep(0.02)
    path.touch()


def fail(path: Path) -> None:
    raise ValueError(path)


def end(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_has_one_thread_and_leaves_ctrl_c_to_who_waits() -> None:
    with worker_pool(1) as pool:
        assert pool.submit(about, 0).result() == (1, True, signal.SIG_IGN)
    assert not multiprocessing.active_children()


def test_each_worker_has_the_next_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As three of them begin where there are two."""
    taken, begun = [], multiprocessing.get_context("spawn").Value("i", 0)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: taken.append(f"{count} thread"))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(devices.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(devices.torch.cuda, "set_device", taken.append)
    for computing in (True, True, True, False):
        workers._begin(begun, computing)
    assert taken == ["1 thread", 0, "1 thread", 1, "1 thread", 0]


def test_an_error_drops_what_has_not_begun(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), worker_pool(1, computing=False) as pool:
        first = pool.submit(fail, Path("broken"))
        rest = [pool.submit(touch, tmp_path / str(number)) for number in range(50)]
        first.result()
    assert len([*tmp_path.iterdir()]) < 50 == len(rest) and rest[-1].cancelled()


def lack(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("error", [MemoryError("8 EiB"), torch.OutOfMemoryError("CUDA out of memory. Tried ...")])
def test_memory_that_several_workers_lack_is_told_as_theirs(error: Exception) -> None:
    where = "" if isinstance(error, MemoryError) else " on the GPU"
    said = f"^not enough memory{where} .*: 2 processes share it, fewer --workers need less"
    with pytest.raises(LostWorkerError, match=said), worker_pool(2) as pool:
        pool.submit(lack, error).result()
    with pytest.raises(type(error)), worker_pool(1) as pool:
        pool.submit(lack, error).result()


def test_a_killed_worker_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        with worker_pool(2, computing=False) as pool:
            [*pool.map(end, range(4))]

    with pytest.raises(LostWorkerError, match="a worker process was ended from outside"):
        work()
    assert guarded(work, [], lambda: "again") == 71
    said = capsys.readouterr().err
    assert said.startswith("geoguide: a worker process was ended from outside") and said.endswith("need less; again\n")
    assert said.count("\n") == 1


UNGUARDED = {
    "data": """
from geoguide.worlds.rooms.make import make_mini_scannet
make_mini_scannet("rooms", rooms=(2, 0, 0), workers=2, progress=False)
""",
    "pool": """
from geoguide.ops.workers import worker_pool
with worker_pool(2, computing=False) as pool:
    [*pool.map(abs, range(4))]
""",
}


@pytest.mark.parametrize("kind", UNGUARDED)
def test_a_script_that_its_workers_would_run_again_is_told(tmp_path: Path, kind: str) -> None:
    """Where data are made the worker waited for the folder that the script held for it, for ever."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED[kind])
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    ended = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
    )
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 1 and "no worker process could begin" in last and 'if __name__ == "__main__":' in last


# Whoever calls the package from Python, without the command's guard.
SCRIPT = """
import time
from tqdm import tqdm
from geoguide.ops.workers import worker_pool
def hold(number):
    tqdm([], disable=True)
    print("ready", flush=True)
    time.sleep(60)
if __name__ == "__main__":
    with worker_pool(2, computing=False) as pool:
        [*pool.map(hold, range(8))]
"""


def _started(folder: Path, text: str) -> subprocess.Popen[str]:
    """A script that runs in a group of its own, as in a terminal."""
    script = folder / "script.py"
    script.write_text(text)
    return subprocess.Popen(
        [sys.executable, str(script)], cwd=folder, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")
def test_ctrl_c_ends_the_workers_at_once_and_they_say_nothing(tmp_path: Path) -> None:
    """Those that waited for a job said so in a traceback each, and those at work went on to their end.

    Of each that had shown a bar Python said at the end that it had left a semaphore.
    """
    process = _started(tmp_path, "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n" + SCRIPT)
    assert [process.stdout.readline() for _ in range(2)] == ["ready\n", "ready\n"]
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=50)  # a job takes longer
    assert process.returncode and error.count("Traceback") == 1 and error.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")
def test_ctrl_c_while_workers_import_is_one_line(tmp_path: Path) -> None:
    """Each said so in a traceback of its own."""
    process = _started(
        tmp_path,
        "import os, signal, sys, time\nfrom geoguide.guard import guarded\n"
        "from geoguide.ops.workers import worker_pool\n"
        "if __name__ == '__mp_main__':\n    os.write(1, b'importing\\n')\n    time.sleep(60)\n"
        "def work():\n    with worker_pool(2, computing=False) as pool:\n        [*pool.map(abs, range(4))]\n"
        "if __name__ == '__main__':\n    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "    sys.exit(guarded(work, [], lambda: 'again'))\n",
    )
    assert [process.stdout.readline() for _ in range(2)] == ["importing\n", "importing\n"]
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=50)
    assert process.returncode == 130 and error == "geoguide: interrupted; again\n"


# The signal comes when a worker's process is there, and what it is to do has not been sent to it.
HALF_BEGUN = """
import os, signal, sys
from multiprocessing import util
from geoguide.guard import guarded
from geoguide.ops.workers import worker_pool
start = util.spawnv_passfds
def interrupted(path, arguments, handles):
    process = start(path, arguments, handles)
    if any(b"spawn_main" in os.fsencode(word) for word in arguments):
        os.kill(os.getpid(), signal.{name})
    return process
def work():
    util.spawnv_passfds = interrupted
    with worker_pool(2, computing=False) as pool:
        [*pool.map(abs, range(4))]
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(guarded(work, [], lambda: "again"))
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "said"), [(signal.SIGINT, "interrupted; again"), (signal.SIGTERM, "ended by SIGTERM; again")]
)
def test_a_signal_while_a_worker_is_started_is_one_line(tmp_path: Path, number: signal.Signals, said: str) -> None:
    """The worker, of which nobody knew, said in a traceback that it was sent nothing."""
    process = _started(tmp_path, HALF_BEGUN.replace("{name}", number.name))
    _, error = process.communicate(timeout=50)
    assert (process.returncode, error) == (128 + number, f"geoguide: {said}\n")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
def test_signals_that_are_deferred_come_after() -> None:
    came: list[str] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append("signal"))
    try:
        with deferred():
            signal.raise_signal(signal.SIGTERM)
            came.append("work")
        assert came == ["work", "signal"]
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with deferred():
            signal.raise_signal(signal.SIGTERM)
        assert came == ["work", "signal"] and signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
