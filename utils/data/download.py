"""One file over HTTP, whole or not at all: several sources, retries, resuming, and a check of every byte."""
import contextlib
import hashlib
import http.client
import itertools
import os
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import NamedTuple
from urllib.parse import urlsplit

from utils.progress import progress
from utils.storage.files import lock

GZIP = b"\x1f\x8b"
MAX_BYTES = 2**30  # a server that sends more than this sends something else
MIN_SPEED = 512  # bytes a second; a server that trickles slower than this has stalled
PROGRESS_SECONDS = 10  # between two lines of progress where no terminal shows a bar


class Patience(NamedTuple):
    """How long to wait, in seconds: for a source to answer, for more bytes, and between attempts."""

    answer: float = 15
    stall: float = 30
    pauses: tuple[float, ...] = (1, 3, 9)


class DownloadFailed(Exception):
    """No source gave the file; reasons has one line for each."""

    def __init__(self, reasons):
        super().__init__("; ".join(reasons))
        self.reasons = reasons


class SourceFailed(Exception):
    """One attempt failed; again: whether the same source may do better after a pause."""

    def __init__(self, reason, again):
        super().__init__(reason)
        self.again = again


def download(sources, target, md5, say=print, patience=Patience()):
    """Fetch the file with this MD5 from the first source that gives it; it gets its name once it is whole.

    What was received stays beside the target as *.part, however the run ends; the next attempt, or run, resumes it.
    Errors: DownloadFailed, also where the target's folder cannot be written.
    """
    reasons = []
    try:
        with partial_file(target) as partial:
            for source in sources:
                say(f"fetching {source}")
                try:
                    fetch_patiently(source, partial, md5, say, patience)
                except SourceFailed as failure:
                    reasons.append(f"{urlsplit(source).hostname}: {failure}")
                    say(f"  {failure}")
                else:
                    publish(partial, target)
                    return
    except OSError as error:
        reasons.append(f"cannot write {target.parent}: {error.strerror or error}")
        raise DownloadFailed(reasons) from error
    raise DownloadFailed(reasons)


@contextlib.contextmanager
def partial_file(target):
    """An open partial file that no other run holds: one that an earlier run left, or a new one.

    The system's lock on it ends with the process, so what a killed run received is there for the next one.
    """
    new = (target.with_name(f"{target.name}.{number}.part") for number in itertools.count(1))
    for path in itertools.chain(partials(target), [f"{target}.part"], new):
        file = claim(path)
        if file is None:
            continue
        with file:
            try:
                yield file
            finally:
                if not file.closed and file.seek(0, os.SEEK_END) == 0:
                    with contextlib.suppress(PermissionError):  # Windows removes no open file
                        os.unlink(path)
        return


def partials(target):
    """Partial files beside the target, whoever they belong to."""
    return sorted(target.parent.glob(f"{target.name}.*part"))


def claim(path):
    """Open a partial file and lock it; None where another run holds it, or has just made it the target."""
    file = open(path, "a+b")  # noqa: SIM115  it is returned open: its lock lasts as long
    with contextlib.suppress(FileNotFoundError):
        if lock(file) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            return file
    file.close()
    return None


def publish(partial, target):
    """Give the whole file its name, and remove what killed runs left of it."""
    if os.name == "nt":
        partial.close()  # Windows renames no open file
    os.replace(partial.name, target)
    for path in partials(target):
        with contextlib.suppress(OSError):
            file = claim(path)
            if file is not None:
                os.unlink(path)
                file.close()


def fetch_patiently(source, partial, md5, say, patience):
    """Bring the partial file to the right MD5 from one source, in several attempts, or raise SourceFailed."""
    for number, pause in enumerate((*patience.pauses, None)):
        resumed = partial.seek(0, os.SEEK_END) > 0
        try:
            fetch(source, partial, say, patience, reached=number > 0)
            verify(partial, md5, again=resumed)
            return
        except SourceFailed as failure:
            if pause is None or not failure.again:
                raise
            say(f"  {failure}; again in {pause:g} s")
            time.sleep(pause)


def verify(partial, md5, again):
    """SourceFailed, and an empty file, where the file's MD5 is another."""
    digest = hashlib.md5(usedforsecurity=False)
    partial.seek(0)
    for block in iter(lambda: partial.read(2**20), b""):
        digest.update(block)
    if digest.hexdigest() != md5:
        partial.truncate(0)
        raise SourceFailed(f"sent a file with MD5 {digest.hexdigest()}, not {md5}", again)
    os.fsync(partial.fileno())


def fetch(source, partial, say, patience, reached):
    """One attempt: append what is missing to the partial file.

    reached: the source has answered before, so silence may be a passing trouble.
    """
    start = partial.seek(0, os.SEEK_END)
    headers = {"User-Agent": "image-classification"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with open_within(urllib.request.Request(source, headers=headers), partial, patience, reached) as response:
        if response.status != 206:
            partial.truncate(0)
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.truncate(0)
            raise SourceFailed("sent another part of the file than it was asked for", again=True)
        length = response.headers.get("Content-Length", "")
        received, total = start, start + int(length) if length.isdecimal() else None
        last_line = time.monotonic()
        with progress(total=total, initial=start, unit="B") as bar:
            for block in blocks(response, patience.stall):
                if received == 0 and not block.startswith(GZIP[:len(block)]):
                    kind = response.headers.get("Content-Type", "something else")
                    raise SourceFailed(f"sends {kind}, not the archive", again=False)
                partial.write(block)
                received += len(block)
                bar.update(len(block))
                if bar.disable and time.monotonic() - last_line > PROGRESS_SECONDS:
                    last_line = time.monotonic()
                    say(f"  {megabytes(received)} of {megabytes(total) if total else '?'} MB")
    if total is not None and received < total:
        raise SourceFailed(f"broke off after {megabytes(received)} of {megabytes(total)} MB", again=True)


def open_within(request, partial, patience, reached):
    """The source's answer, or SourceFailed after patience.answer seconds, however slow the name lookup."""
    answers = queue.Queue()

    def ask():
        try:  # a new opener each time: it reads the proxies from the environment
            answers.put(urllib.request.build_opener().open(request, timeout=patience.stall))
        except Exception as error:  # handed to the caller, who raises it
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()  # a daemon, for nothing can interrupt a name lookup
    try:
        answer = answers.get(timeout=patience.answer)
    except queue.Empty:
        raise SourceFailed(f"no answer within {patience.answer:g} s", again=reached) from None
    if not isinstance(answer, Exception):
        return answer
    if isinstance(answer, urllib.error.HTTPError):
        if answer.code == 416:  # the partial file is as long as the source's or longer, and not it
            partial.truncate(0)
        passing = answer.code in (408, 416, 429) or answer.code >= 500
        raise SourceFailed(f"answers {answer.code} {answer.reason}", again=passing) from answer
    if isinstance(answer, urllib.error.URLError):
        reason = getattr(answer.reason, "strerror", None) or answer.reason
        raise SourceFailed(f"cannot be reached ({reason})", again=reached) from answer
    if isinstance(answer, (OSError, http.client.HTTPException)):
        raise SourceFailed(f"broke off ({answer})", again=True) from answer
    raise answer


def blocks(response, stall):
    """Yield what the source sends; SourceFailed where it stalls, trickles, breaks off or never ends."""
    received, checked, since = 0, 0, time.monotonic()
    while True:
        try:
            block = response.read1(2**16)
        except socket.timeout as error:
            raise SourceFailed(f"stalled for {stall:g} s", again=True) from error
        except (OSError, http.client.HTTPException) as error:
            raise SourceFailed(f"broke off ({error})", again=True) from error
        if not block:
            return
        received += len(block)
        if received > MAX_BYTES:
            raise SourceFailed(f"sends more than {megabytes(MAX_BYTES)} MB, not the archive", again=False)
        if time.monotonic() - since > stall:
            if received - checked < MIN_SPEED * stall:
                raise SourceFailed(f"trickles: {received - checked} bytes in {stall:g} s", again=True)
            checked, since = received, time.monotonic()
        yield block


def megabytes(count):
    """A count of bytes as the reader sees it."""
    return f"{count / 1e6:.1f}"
