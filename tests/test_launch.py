"""The launcher: how many workers, on which cores, and how their ends, failures and signals become one exit status.

The workers here are small programs without Paddle; tests/test_workers.py starts workers that train.
"""
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT
from utils.parallel import launch

CPU_SHARES = launch.CPU_SHARES


@pytest.fixture(autouse=True)
def no_container(monkeypatch):
    """As if the suite had no share of the cores, but all."""
    monkeypatch.setattr(launch, "CPU_SHARES", ())
    monkeypatch.setattr(launch, "before_pinning", [])


PROGRAM = f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from utils import errors
from utils.parallel import launch
launch.GRACE = 0.5
if not launch.is_worker():
    sys.exit(launch.start_workers([sys.executable, *sys.argv], int(sys.argv[1]), lambda: "; resume"))
rank = int(os.environ["PADDLE_TRAINER_ID"])
errors.end_at_once_on_signals()
"""


def begin(folder, body, count=2):
    """Start a program as workers, each of which does what `body` says, with its `rank`."""
    path = folder / "program.py"
    path.write_text(PROGRAM + body, encoding="utf-8")
    return subprocess.Popen([sys.executable, str(path), str(count)], cwd=folder, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def finish(process, seconds=30):
    """Wait for a process -> (exit status, standard output, standard error, seconds waited)."""
    began = time.monotonic()
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, out, err, time.monotonic() - began


def test_workers_that_succeed(tmp_path):
    """Rank 0 has the terminal; what the others print is not shown."""
    assert finish(begin(tmp_path, "print('rank', rank, 'of', os.environ['PADDLE_TRAINERS_NUM'])", 3))[:3] == (
        0, "rank 0 of 3\n", "")


def test_a_killed_worker_ends_the_run(tmp_path):
    """It is the cause, though worker 0 ends first of having lost it."""
    body = """
if rank == 0:
    sys.exit(launch.LOST)
time.sleep(0.5)
os.kill(os.getpid(), signal.SIGKILL)
"""
    status, _, err, seconds = finish(begin(tmp_path, body))
    assert status == 128 + signal.SIGKILL and seconds < 8
    assert err == ("program.py: error: worker 1 was ended by signal 9, SIGKILL, perhaps because memory ran out (then "
                   "try a smaller --batch-size, or fewer --workers), so the run ends; resume\n")


def test_what_a_failed_worker_said_is_shown(tmp_path):
    status, out, err, _ = finish(begin(tmp_path, """
if rank == 1:
    errors.complain("program.py", "this worker cannot go on")
    sys.exit(2)
time.sleep(60)
"""))
    assert (status, out) == (2, "")
    assert err == ("program.py: error: this worker cannot go on\n"
                   "program.py: error: worker 1 failed (exit status 2), so the run ends; resume\n")


def test_what_all_workers_stumble_over_is_said_once(tmp_path):
    status, _, err, _ = finish(begin(tmp_path, """
time.sleep(0.3 * (rank == 0))
errors.complain("program.py", "this worker cannot go on")
sys.exit(2)
""", 3))
    assert (status, err) == (2, "program.py: error: this worker cannot go on\n")


@pytest.mark.parametrize("statuses, status, named", [
    ([3, 2, 0], 2, 1), ([3, 3, 0], 3, 0), ([0, 3, 3], 3, 1), ([0, 1, 3], 1, 1), ([130, 3, 130], 130, None),
    ([143, 1, 143], 1, 1), ([0, 0, 141], 141, None),
])
def test_the_worker_to_name(tmp_path, statuses, status, named):
    """One that failed of itself, before one that was asked to stop, before one that lost the others."""
    ended, _, err, _ = finish(begin(tmp_path, f"sys.exit({statuses}[rank])", 3))
    assert ended == status
    assert re.findall(r"worker (\d) failed", err) == ([] if named is None else [str(named)])


def test_a_worker_that_does_not_end_when_asked_is_killed(tmp_path):
    body = """
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
if rank == 1:
    time.sleep(1)  # until worker 0 ignores signals
    sys.exit(1)
while True:
    time.sleep(1)
"""
    status, _, _, seconds = finish(begin(tmp_path, body))
    assert status == 1 and seconds < 15


STOPPABLE = """
def stop(number, _frame):
    open(f"stopped-{rank}", "x").close()
    sys.exit(128 + number)

for number in errors.STOP_SIGNALS:
    signal.signal(number, stop)
open(f"ready-{rank}", "x").close()
if rank == 0:
    while not os.path.exists("ready-1"):
        time.sleep(0.01)
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_on_to_all_workers(tmp_path, number):
    process = begin(tmp_path, STOPPABLE)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert finish(process)[:3] == (128 + number, "", "")
    assert len(list(tmp_path.glob("stopped-*"))) == 2


@pytest.mark.parametrize("closed", ["<&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_become_the_memory_that_is_shared(tmp_path, closed):
    (tmp_path / "program.py").write_text(PROGRAM + """
file = int(os.environ[launch.MEMORY_FILE])
os.ftruncate(file, 100)
open(f"ready-{rank}", "w").write(str((file > 2, os.fstat(file).st_size)))
print("said", flush=True)
""", encoding="utf-8")
    subprocess.run(["sh", "-c", f"{sys.executable} program.py 2 {closed}"], cwd=tmp_path, timeout=30)
    assert [(tmp_path / f"ready-{rank}").read_text() for rank in (0, 1)] == ["(True, 100)"] * 2


def test_a_second_signal_ends_workers_that_hear_none(tmp_path):
    process = begin(tmp_path, """
for number in errors.STOP_SIGNALS:
    signal.signal(number, signal.SIG_IGN)  # as one that is inside of Paddle, which never answers
open(f"ready-{rank}", "x").close()
while True:
    time.sleep(1)
""")
    while len(list(tmp_path.glob("ready-*"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    time.sleep(launch.TWICE + 0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process, 15)[:3] == (130, "", "")


def test_an_interrupt_reaches_a_run_in_the_background(tmp_path):
    """A shell without job control has what it starts with `&` ignore SIGINT."""
    (tmp_path / "program.py").write_text(PROGRAM + STOPPABLE, encoding="utf-8")
    process = subprocess.Popen(["sh", "-c", f"{sys.executable} program.py 2 & echo $!; wait $!"], cwd=tmp_path,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    number, ready = int(process.stdout.readline()), process.stdout.readline()
    assert ready == "ready\n"
    os.kill(number, signal.SIGINT)
    assert finish(process)[0] == 130 and len(list(tmp_path.glob("stopped-*"))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's end")
def test_workers_end_with_a_killed_watcher(tmp_path):
    process = begin(tmp_path, STOPPABLE)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate(timeout=15)  # its pipes close when the last worker has ended
    assert len(list(tmp_path.glob("stopped-*"))) == 2


@pytest.mark.parametrize("world, cores, shares", [
    (2, [0, 1, 2, 3, 4], [[0, 1], [2, 3, 4]]), (3, [6, 9], [[6], [6], [9]]), (4, [6, 9], [[6], [6], [9], [9]]),
    (1, [0, 1], [None]),
])
def test_cores_are_dealt_out(monkeypatch, world, cores, shares):
    monkeypatch.setattr(launch, "usable_cores", lambda: cores)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", str(world))
    for rank, share in enumerate(shares):
        pinned = []
        monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores, pinned=pinned: pinned.append(cores))
        monkeypatch.setenv("PADDLE_LOCAL_RANK", str(rank))
        launch.pin_to_cores()
        assert pinned == ([] if share is None else [share])


def test_each_core_has_a_worker_while_shares_are_fair(monkeypatch):
    monkeypatch.setattr(launch, "usable_cores", lambda: list(range(16)))
    monkeypatch.setattr(launch, "memory_limit", lambda: 64 << 10)
    assert [launch.default_worker_count(batch) for batch in (1, 8, 15, 16, 127, 128, 4096)] == [1, 1, 1, 2, 15, 16, 16]
    monkeypatch.setattr(launch, "usable_cores", lambda: list(range(64)))
    assert launch.default_worker_count(128) == 16


@pytest.mark.parametrize("gigabytes, batch_size, memory, for_an_image, count", [
    (1, 128, 470, 9, 1), (3, 128, 470, 9, 2), (4, 128, 470, 9, 4), (8, 128, 470, 9, 10), (16, 128, 470, 9, 16),
    (16, 128, 1040, 8, 10), (8, 1024, 670, 3.5, 3), (16, 1024, 670, 3.5, 12), (2, 128, 9000, 0, 1),
])
def test_workers_fit_into_three_quarters_of_the_memory(monkeypatch, gigabytes, batch_size, memory, for_an_image,
                                                       count):
    """By hand, of 4 GB: (0.75 * 4096 - 128 * 9) / 470 = 4.1."""
    monkeypatch.setattr(launch, "usable_cores", lambda: list(range(16)))
    monkeypatch.setattr(launch, "memory_limit", lambda: gigabytes << 10)
    assert launch.default_worker_count(batch_size, memory, for_an_image) == count


@pytest.mark.parametrize("text, megabytes", [
    ("max", None), ("3221225472", 3072), (None, None), ("9223372036854771712", None),
])
def test_a_containers_memory_is_what_counts(monkeypatch, tmp_path, text, megabytes):
    limit = tmp_path / "memory.max"
    if text:
        limit.write_text(text + "\n", encoding="ascii")
    monkeypatch.setattr(launch, "LIMITS", [str(limit)])
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    assert launch.memory_limit() == pytest.approx(megabytes or whole, rel=0.01)


@pytest.mark.parametrize("version, texts, count", [
    (2, ["200000 100000\n"], 2), (2, ["max 100000\n"], 16), (2, ["150000 100000\n"], 1), (2, ["50000 100000\n"], 1),
    (2, ["6400000 100000\n"], 16), (1, ["300000\n", "100000\n"], 3), (1, ["-1\n", "100000\n"], 16), (1, [], 16),
])
def test_a_containers_share_of_the_cores_is_what_counts(monkeypatch, tmp_path, version, texts, count):
    """As docker run --cpus=2 sets it, in both versions of Linux's control groups."""
    monkeypatch.setattr(launch, "usable_cores", lambda: list(range(16)))
    monkeypatch.setattr(launch, "memory_limit", lambda: 64 << 10)
    files = [tmp_path / "cpu.max"] if version == 2 else [tmp_path / "quota", tmp_path / "period"]
    for path, text in zip(files, texts):
        path.write_text(text, encoding="ascii")
    monkeypatch.setattr(launch, "CPU_SHARES", [(tmp_path / "none",), files])
    assert launch.default_worker_count(128) == launch.core_share() == count


def test_the_files_of_both_versions_are_looked_at():
    assert [path for paths in CPU_SHARES for path in paths] == [
        "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"]


def test_cores_that_a_container_does_not_let_choose_are_left_to_the_system(monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    launch.pin_to_cores()


def test_a_worker_has_one_thread_unless_the_user_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    body = "print(os.environ['OMP_NUM_THREADS'])"
    assert finish(begin(tmp_path, body))[1] == "1\n"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert finish(begin(tmp_path, body))[1] == "3\n"


def test_where_cores_cannot_be_chosen_one_process_trains(monkeypatch):
    """And workers that the user asks for stay where the system puts them."""
    monkeypatch.setenv("PADDLE_LOCAL_SIZE", "2")
    for name in ("sched_setaffinity", "sched_getaffinity"):
        monkeypatch.delattr(os, name)
    assert launch.default_worker_count(4096) == 1 and len(launch.usable_cores()) == os.cpu_count()
    launch.pin_to_cores()
