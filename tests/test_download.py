"""A download ends with the whole file or with a reason, whatever the server does."""
import gzip
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import loopback
from conftest import ROOT
from utils.data import download as module
from utils.data.cifar10 import NotFound
from utils.data.download import download

CONTENT = gzip.compress(np.random.default_rng(0).bytes(50_000), mtime=0)
MD5 = hashlib.md5(CONTENT).hexdigest()
PAUSES = 0.01, 0.02


@pytest.fixture
def server(no_proxies):
    """A loopback server, asked without a proxy."""
    with loopback.running() as running:
        yield running


@pytest.fixture
def target(tmp_path, no_proxies):
    """Where the file is to be, in a folder of its own; no proxy is asked for it."""
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache" / "file.gz"


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """Less patience than in real life."""
    patience(monkeypatch, WAITING_SECONDS=0.05, SILENCE=0.4, TRIAL=0.3, AGAIN=0.3, PAUSES=PAUSES)


def patience(monkeypatch, **seconds):
    """Set how long a download waits."""
    for name, value in seconds.items():
        monkeypatch.setattr(module, name, value)


def fetch(target, *sources):
    """Download in silence."""
    download(sources, target, MD5, lambda line: None)


def failure(target, *sources):
    """The reasons for which a download fails; the target is not there afterwards."""
    with pytest.raises(NotFound) as caught:
        fetch(target, *sources)
    assert not target.exists()
    assert all("\n" not in reason for reason in caught.value.reasons)
    return caught.value.reasons


PROGRAM = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from utils.data.download import download
from utils.errors import Stopped
def stop(number, frame):
    raise Stopped(number)
signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGINT, signal.default_int_handler)
download(sys.argv[2:3], Path(sys.argv[3]), sys.argv[4], print)
"""


def start(source, target):
    """Download in a process of its own, in which SIGTERM raises Stopped, as it does in train.py."""
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(ROOT), source, str(target), MD5],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def assert_whole(target):
    """The file is right, and nothing else is in its folder."""
    assert target.read_bytes() == CONTENT
    assert os.listdir(target.parent) == [target.name]


def assert_nothing_kept(target):
    """At most an empty file to go on with lies there."""
    assert [path.stat().st_size for path in target.parent.iterdir()] in ([], [0])


@pytest.mark.parametrize("length", [True, False])
def test_file_arrives(server, target, length):
    fetch(target, server.serve("/a", loopback.whole(CONTENT, length=length)))
    assert_whole(target)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_missing_page_goes_to_the_second_source_at_once(server, target, code):
    fetch(target, server.serve("/a", loopback.status(code)), server.serve("/b", loopback.whole(CONTENT)))
    assert_whole(target)
    assert sorted(path for path, _ in server.asked) == ["/a", "/b"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_passing_trouble_is_tried_again(server, target, code):
    trouble = loopback.status(code)
    fetch(target, server.serve("/a", trouble, trouble, loopback.whole(CONTENT)))
    assert_whole(target)


def test_attempts_end(server, target):
    (reason,) = failure(target, server.serve("/a", loopback.status(503)))
    assert "503" in reason
    assert len(server.asked) == 1 + len(PAUSES)
    assert_nothing_kept(target)


@pytest.mark.parametrize("behavior, word", [
    (loopback.broken_off(CONTENT, 20_000), "broke off"), (loopback.stalled(CONTENT, 20_000), "broke off (timed out)"),
], ids=["broken off", "stalled"])
def test_what_was_received_is_not_fetched_twice(server, target, behavior, word):
    lines = []
    source = server.serve("/a", behavior, loopback.whole(CONTENT))
    download([source], target, MD5, lines.append)
    assert_whole(target)
    assert [asked for _, asked in server.asked] == [None, "bytes=20000-"]
    assert any(word in line for line in lines)


def test_server_without_ranges_starts_again(server, target):
    broken = loopback.broken_off(CONTENT, 20_000)
    fetch(target, server.serve("/a", broken, loopback.whole(CONTENT, ranges=False)))
    assert_whole(target)


def test_second_source_goes_on_where_the_first_broke_off(server, target):
    first = server.serve("/a", loopback.broken_off(CONTENT, 20_000), loopback.status(404))
    fetch(target, first, server.serve("/b", loopback.status(503), loopback.whole(CONTENT)))
    assert_whole(target)
    assert ("/b", "bytes=20000-") in server.asked


def test_next_run_goes_on_where_this_one_broke_off(server, target, monkeypatch):
    source = server.serve("/a", loopback.broken_off(CONTENT, 20_000))
    patience(monkeypatch, PAUSES=())
    failure(target, source)
    assert os.listdir(target.parent) == ["file.gz.part"]
    server.serve("/a", loopback.whole(CONTENT))
    fetch(target, source)
    assert server.asked[-1] == ("/a", "bytes=20000-")
    assert_whole(target)


@pytest.mark.parametrize("left", [b"\x1f\x8bwrong", CONTENT + b"more", b"x" * len(CONTENT), CONTENT],
                         ids=["wrong start", "too long", "wrong", "whole"])
@pytest.mark.parametrize("ranges", [True, False])
def test_wrong_remains_of_another_run_do_no_harm(server, target, left, ranges):
    Path(f"{target}.part").write_bytes(left)
    fetch(target, server.serve("/a", loopback.whole(CONTENT, ranges=ranges)))
    assert len(server.asked) <= (2 if ranges else 1)
    assert_whole(target)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_run_that_a_signal_ends_is_resumed(server, target, number):
    source = server.serve("/a", loopback.stalled(CONTENT, 20_000), loopback.whole(CONTENT))
    run = start(source, target)
    partial, until = target.with_name("file.gz.part"), time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size > 10_000) and time.monotonic() < until:
        time.sleep(0.01)
    run.send_signal(number)
    _, errors = run.communicate(timeout=20)
    assert {signal.SIGINT: "KeyboardInterrupt", signal.SIGTERM: "Stopped"}.get(number, "") in errors
    assert os.listdir(target.parent) == ["file.gz.part"]
    received = partial.stat().st_size
    assert received == 20_000 if number != signal.SIGKILL else 10_000 < received <= 20_000
    fetch(target, source)
    assert server.asked[1:] == [("/a", f"bytes={received}-")]
    assert_whole(target)


@pytest.mark.parametrize("behavior, word", [
    (loopback.page(), "text/html"), (loopback.whole(CONTENT[:-1] + b"x"), "sent another file"),
    (loopback.silent(), "no answer within"), (loopback.whole(b""), "sent another file"),
], ids=["page", "other file", "silent", "empty"])
def test_wrong_file_is_never_kept(server, target, behavior, word):
    (reason,) = failure(target, server.serve("/a", behavior))
    assert word in reason
    assert_nothing_kept(target)
    assert len(server.asked) == 1


def test_server_that_never_ends_is_cut(server, target, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 10_000)
    (reason,) = failure(target, server.serve("/a", loopback.whole(CONTENT)))
    assert "sends more than" in reason


def test_nobody_there_is_not_tried_again(target, monkeypatch):
    patience(monkeypatch, SILENCE=15, PAUSES=(60, 60))
    start = time.monotonic()
    reasons = failure(target, "http://127.0.0.1:9/a", "http://no-such-host.invalid/b")
    assert [reason.split(":")[0] for reason in reasons] == ["127.0.0.1", "no-such-host.invalid"]
    assert time.monotonic() - start < 10


def test_slow_name_lookup_is_cut(target, monkeypatch):
    over = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **more: over.wait(20))
    start = time.monotonic()
    (reason,) = failure(target, "http://example.invalid/a")
    over.set()
    assert "no answer within 0.8 s" in reason
    assert time.monotonic() - start < 5


def test_proxy_of_the_environment_is_asked(server, target, monkeypatch):
    proxy = server.serve("http://far-away.invalid/file.gz", loopback.whole(CONTENT))
    monkeypatch.setenv("http_proxy", proxy.split("http://far")[0])
    fetch(target, "http://far-away.invalid/file.gz")
    assert_whole(target)


def test_folder_that_is_gone(server, tmp_path):
    (reason,) = failure(tmp_path / "gone" / "file.gz", server.serve("/a", loopback.whole(CONTENT)))
    assert "cannot write" in reason


def test_disk_that_is_full(server, target):
    """A limit on the size of files stands for it: the write itself fails, half way."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        reasons = failure(target, server.serve("/a", loopback.whole(CONTENT)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in reasons[-1] and str(target.parent) in reasons[-1]


def test_three_processes_at_once(server, target):
    """One fetches, and the others wait for it."""
    source = server.serve("/a", loopback.whole(CONTENT, pause=0.01))
    runs = [start(source, target) for _ in range(3)]
    assert [run.communicate(timeout=30) and run.returncode for run in runs] == [0, 0, 0]
    assert len(server.asked) == 1
    assert_whole(target)


def test_who_waits_goes_on_where_the_other_process_failed(server, target):
    """That one holds the file as this one begins, and ends without the rest of it."""
    lines, path = [], target.with_name("file.gz.part")
    with open(path, "ab") as other:
        assert module.lock(other)
        other.write(CONTENT[:20_000])
        other.flush()
        threading.Timer(0.3, other.close).start()
        download([server.serve("/a", loopback.whole(CONTENT))], target, MD5, lines.append)
    assert sum("waiting" in line for line in lines) == 1
    assert server.asked == [("/a", "bytes=20000-")]
    assert_whole(target)


def test_a_file_that_was_wrong_before_is_replaced(server, target):
    target.write_bytes(b"damaged")
    fetch(target, server.serve("/a", loopback.whole(CONTENT)))
    assert_whole(target)


def test_terminal_gets_a_bar(server, target, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fetch(target, server.serve("/a", loopback.whole(CONTENT, pause=0.005)))
    assert "/50.0k" in capsys.readouterr().err


# ---------------------------------------------------------------- several sources side by side

LARGE = np.random.default_rng(1).bytes(3_000_000)


def fetch_large(target, *sources):
    """Download 3 MB -> (the lines said, seconds)."""
    lines, start = [], time.monotonic()
    download(sources, target, hashlib.md5(LARGE).hexdigest(), lines.append)
    assert target.read_bytes() == LARGE and os.listdir(target.parent) == [target.name]
    return lines, time.monotonic() - start


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["slow first", "slow last"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_the_fast_source_gives_the_file_wherever_it_is_listed(server, target, order, ranges, monkeypatch):
    """The slow one sends 20 kB a second: 150 s."""
    patience(monkeypatch, SILENCE=15, TRIAL=3, AGAIN=20)
    behaviors = loopback.whole(LARGE, pause=0.05), loopback.whole(LARGE, ranges)
    lines, seconds = fetch_large(target, *(server.serve(f"/{number}", behaviors[number]) for number in order))
    assert seconds < 10
    assert any("kB/s" in line and "s left" in line for line in lines)


def slow_to_answer(behavior, seconds):
    """Do what the behavior does, but later."""
    return lambda handler: (handler.server.over.wait(seconds), behavior(handler))


def test_a_fast_source_that_answers_late_takes_over(server, target, monkeypatch):
    patience(monkeypatch, SILENCE=15, AGAIN=60)
    slow = server.serve("/slow", loopback.whole(LARGE, pause=0.05))
    late = server.serve("/late", slow_to_answer(loopback.whole(LARGE), 1.2))
    _, seconds = fetch_large(target, slow, late)
    assert seconds < 10 and sorted(server.asked) == [("/late", None), ("/slow", None)]


def throttled(content, after, pause):
    """Send the beginning at once, and the rest a kilobyte at a time."""
    def act(handler):
        loopback.head(handler, 200, len(content))
        handler.wfile.write(content[:after])
        for position in range(after, len(content), 1000):
            handler.wfile.write(content[position:position + 1000])
            if handler.server.over.wait(pause):
                return
    return act


def test_a_source_that_becomes_slow_is_left_and_what_it_sent_is_kept(server, target, monkeypatch):
    patience(monkeypatch, SILENCE=15, AGAIN=0.5)
    first = server.serve("/first", throttled(LARGE, 1_500_000, 0.05))
    other = server.serve("/other", slow_to_answer(loopback.status(503), 0.2), loopback.whole(LARGE))
    _, seconds = fetch_large(target, first, other)
    starts = [int(asked[len("bytes="):-1]) for path, asked in server.asked if path == "/other" and asked]
    assert seconds < 10 and starts and min(starts) >= 1_500_000


@pytest.mark.parametrize("behavior, is_slow", [
    (loopback.silent(), True), (loopback.stalled(CONTENT, 20_000), True), (loopback.status(403), False),
    (loopback.page(), False)], ids=["silent", "stalled", "refused", "page"])
def test_a_slow_source_is_told_from_one_that_cannot_be_reached(server, target, behavior, is_slow, monkeypatch):
    patience(monkeypatch, PAUSES=())
    source = server.serve("/a", behavior)
    with pytest.raises(NotFound) as caught:
        fetch(target, source, "http://127.0.0.1:9/b")
    assert caught.value.is_slow == is_slow and len(caught.value.reasons) == 2
