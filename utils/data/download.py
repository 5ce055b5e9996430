"""One file over HTTP, whole or not at all: several sources, retries, resuming, and a check of every byte."""
import contextlib
import hashlib
import http.client
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

MAX_BYTES = 2**30  # a server that sends more than this sends something else
MIN_SPEED = 512  # bytes a second; a server slower than this has stalled
PROGRESS_SECONDS = 10  # between two lines of progress where no terminal shows a bar
WAITING_SECONDS = 0.5  # between two looks at whether another process has ended its download


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

    What was received stays in TARGET.part, however the run ends; the next attempt, or run, resumes it.
    Errors: DownloadFailed, also where the target's folder cannot be written.
    """
    reasons = []
    try:
        with partial_file(target, say) as partial:
            if target.exists() and md5_of(target) == md5:
                return  # another process has fetched it in the meantime
            for source in sources:
                say(f"fetching {source}")
                try:
                    fetch_patiently(source, partial, md5, say, patience)
                except SourceFailed as failure:
                    reasons.append(f"{urlsplit(source).hostname}: {failure}")
                    say(f"  {failure}")
                else:
                    if os.name == "nt":
                        partial.close()  # Windows renames no open file
                    os.replace(partial.name, target)
                    return
    except OSError as error:
        reasons.append(f"cannot write {target.parent}: {error.strerror or error}")
        raise DownloadFailed(reasons) from error
    raise DownloadFailed(reasons)


@contextlib.contextmanager
def partial_file(target, say):
    """The target's partial file, open and locked; where another process has it, wait until that process ends.

    The system's lock ends with the process, so what a killed run received is there for the next one.
    """
    path, is_said = target.with_name(f"{target.name}.part"), False
    while True:
        with open(path, "a+b") as file:
            if lock(file) and os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                try:
                    yield file
                finally:
                    if not file.closed and file.seek(0, os.SEEK_END) == 0:
                        with contextlib.suppress(PermissionError):  # Windows removes no open file
                            os.unlink(path)
                return
        if not is_said:
            say(f"another process is fetching {target}: waiting for it")
            is_said = True
        time.sleep(WAITING_SECONDS)


def fetch_patiently(source, partial, md5, say, patience):
    """Bring the partial file to the right MD5 from one source, in several attempts, or raise SourceFailed."""
    for number, pause in enumerate((*patience.pauses, None)):
        try:
            return fetch(source, partial, md5, say, patience, has_answered=number > 0)
        except SourceFailed as failure:
            if pause is None or not failure.again:
                raise
            say(f"  {failure}; again in {pause:g} s")
            time.sleep(pause)


def fetch(source, partial, md5, say, patience, has_answered):
    """One attempt: append what is missing to the partial file, and check the whole; or raise SourceFailed.

    has_answered: whether the source has answered before, so that silence may be a passing trouble.
    """
    resumed = partial.seek(0, os.SEEK_END)
    with ask(source, partial, patience, has_answered) as response:
        start = resumed if response.headers.get("Content-Range", "").startswith(f"bytes {resumed}-") else 0
        partial.truncate(start)
        length, kind = response.headers.get("Content-Length", ""), response.headers.get("Content-Type")
        total = start + int(length) if length.isdecimal() else None
        received = receive(response, partial, start, total, say, patience.stall)
    if total is not None and received < total:
        raise SourceFailed(f"broke off after {received / 1e6:.1f} of {total / 1e6:.1f} MB", again=True)
    partial.flush()
    os.fsync(partial.fileno())
    found = md5_of(partial.name)
    if found != md5:
        partial.truncate(0)
        raise SourceFailed(f"sent another file ({kind}, {received:,} bytes, MD5 {found})", again=resumed > 0)


def ask(source, partial, patience, has_answered):
    """The source's answer, for what is missing in the partial file; SourceFailed after patience.answer seconds."""
    start, answers = partial.tell(), queue.Queue()
    headers = {"User-Agent": "image-classification", **({"Range": f"bytes={start}-"} if start else {})}

    def put_answer():
        try:  # a new opener each time: it reads the proxies from the environment
            request = urllib.request.Request(source, headers=headers)
            answers.put(urllib.request.build_opener().open(request, timeout=patience.stall))
        except Exception as error:  # for the caller, who raises it
            answers.put(error)

    threading.Thread(target=put_answer, daemon=True).start()  # a daemon, for nothing can interrupt a name lookup
    try:
        answer = answers.get(timeout=patience.answer)
    except queue.Empty:
        raise SourceFailed(f"no answer within {patience.answer:g} s", again=has_answered) from None
    if isinstance(answer, urllib.error.HTTPError):
        if answer.code == 416:  # the partial file is as long as the source's or longer, and not it
            partial.truncate(0)
        raise SourceFailed(f"answers {answer.code} {answer.reason}",
                           again=answer.code in (408, 416, 429) or answer.code >= 500) from answer
    if isinstance(answer, Exception):
        reason = getattr(answer, "reason", answer)
        reason = getattr(reason, "strerror", None) or reason
        raise SourceFailed(f"cannot be reached ({reason})", again=has_answered) from answer
    return answer


def receive(response, partial, received, total, say, stall):
    """Append what the source sends; returns how many bytes the file has. SourceFailed where it stalls or never ends."""
    checked, since, spoken = received, time.monotonic(), time.monotonic()
    with progress(total=total, initial=received, unit="B") as bar:
        while received <= MAX_BYTES:
            try:
                block = response.read1(2**16)
            except socket.timeout as error:
                raise SourceFailed(f"stalled for {stall:g} s", again=True) from error
            except (OSError, http.client.HTTPException) as error:
                raise SourceFailed(f"broke off ({error})", again=True) from error
            if not block:
                return received
            partial.write(block)
            received += len(block)
            bar.update(len(block))
            now = time.monotonic()
            if now - since > stall:
                if received - checked < MIN_SPEED * stall:
                    raise SourceFailed(f"is too slow: {received - checked} bytes in {stall:g} s", again=True)
                checked, since = received, now
            if now - spoken > PROGRESS_SECONDS and bar.disable:
                say(f"  {received / 1e6:.1f} of {(total or 0) / 1e6:.1f} MB")
                spoken = now
    raise SourceFailed(f"sends more than {MAX_BYTES / 1e6:.1f} MB, not the archive", again=False)


def md5_of(path):
    """MD5 of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
