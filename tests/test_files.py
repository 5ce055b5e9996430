"""Files are written whole or not at all; a folder is held by one run at a time."""
import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT
from utils.errors import UserError
from utils.storage.files import folder_lock, whole_file


def test_a_failed_block_leaves_the_file_before(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"good")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"good" and [p.name for p in tmp_path.iterdir()] == ["model.bin"]


def test_a_good_block_replaces_it_with_ordinary_permissions(tmp_path):
    path = tmp_path / "new" / "model.bin"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    plain = tmp_path / "plain"
    plain.touch()
    assert path.read_bytes() == b"whole" and path.stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line_and_keeps_the_file_before(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"good")
    with pytest.raises(UserError, match="model.bin.*No space left.*kept"), whole_file(path), \
            open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert path.read_bytes() == b"good"


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), whole_file(tmp_path / "file" / "below"):
        pass


HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from utils.storage.files import folder_lock
with folder_lock(sys.argv[2]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_run_says_who_holds_the_folder_and_a_killed_one_lets_go(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"in use by process {holder.pid}"):
        folder_lock(tmp_path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    time.sleep(0.1)
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_cannot_be_held_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot use the folder .*Not a directory; choose another with --model-dir"):
        folder_lock(tmp_path / "file" / "below").__enter__()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match=r"cannot use the folder .*Permission denied; choose another with --model-dir"):
        folder_lock(tmp_path).__enter__()


def test_a_full_disk_under_the_lock_is_one_line(tmp_path):
    """A limit on the size of files stands for it."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(UserError, match="cannot use the folder"):
            folder_lock(tmp_path).__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_system_without_locks_is_not_taken_for_another_process(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="No locks available; choose another"):
        folder_lock(tmp_path).__enter__()


def test_the_lock_file_stays_and_nothing_else_does(tmp_path):
    for _ in range(2):
        with folder_lock(tmp_path):
            assert (tmp_path / ".run.lock").read_text() == f"process {os.getpid()}\n"
    assert [path.name for path in tmp_path.iterdir()] == [".run.lock"]


def refuse(monkeypatch, name, number, refused=lambda path: True):
    """Have a function of `os` fail with this error: a file system that does not know it, or a full disk."""
    real = getattr(os, name)

    def fail(path, *arguments, **options):
        if refused(os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path):
            raise OSError(number, os.strerror(number))
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, name, fail)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are looked up in /proc")
@pytest.mark.parametrize("name, number", [("fsync", errno.EINVAL), ("fsync", errno.ENOTSUP), ("chmod", errno.EPERM)])
def test_a_file_system_that_cannot_make_files_safer_still_takes_them(tmp_path, monkeypatch, name, number):
    refuse(monkeypatch, name, number)
    with folder_lock(tmp_path), whole_file(tmp_path / "model.bin") as temporary:
        temporary.write_bytes(b"whole")
    assert (tmp_path / "model.bin").read_bytes() == b"whole"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="descriptors are looked up in /proc")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_loses_a_file_while_it_is_flushed_is_one_line(tmp_path, monkeypatch, number):
    (tmp_path / "model.bin").write_bytes(b"good")
    refuse(monkeypatch, "fsync", number)
    with pytest.raises(UserError, match="cannot write .*kept"), whole_file(tmp_path / "model.bin") as temporary:
        temporary.write_bytes(b"half")
    assert (tmp_path / "model.bin").read_bytes() == b"good"


def test_a_folder_in_which_no_file_is_replaced_is_noticed_when_it_is_locked(tmp_path, monkeypatch):
    refuse(monkeypatch, "replace", errno.EPERM, os.path.exists)
    with pytest.raises(UserError, match="cannot write .*not permitted"), folder_lock(tmp_path):
        pytest.fail("the run began")
