"""One file over HTTP, whole or not at all: several sources, retries, resuming, and a check of every byte."""
import contextlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from utils.progress import progress
from utils.storage.files import lock, md5_of

MAX_BYTES = 2**30  # a server that sends more than this sends something else
MIN_SPEED = 512  # bytes a second: a slower server has stalled
WAITING_SECONDS = 0.5  # between two looks at whether another process has ended its download


class DownloadFailed(Exception):
    """No source gave the file; `reasons` has one line for each."""

    def __init__(self, reasons):
        self.reasons = reasons


class SourceFailed(Exception):
    """One attempt failed; again: whether the same source may do better after a pause."""

    def __init__(self, reason, again):
        super().__init__(reason)
        self.again = again


def download(sources, target, md5, say, patience):
    """Fetch the file with this MD5 from the first source that gives it; TARGET.part has what a run left to resume.

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
                    if os.name == "nt":
                        partial.close()  # Windows renames no open file
                    return os.replace(partial.name, target)
                except SourceFailed as failure:
                    reasons.append(f"{urlsplit(source).hostname}: {failure}")
                    say(f"  {failure}")
    except OSError as error:
        reasons.append(f"cannot write {target.parent}: {error.strerror or error}")
    raise DownloadFailed(reasons)


@contextlib.contextmanager
def partial_file(target, say):
    """The target's partial file, open and locked; where another process has it, wait until that process ends."""
    path, news = target.with_name(f"{target.name}.part"), [f"another process is fetching {target}: waiting for it"]
    while True:
        with open(path, "a+b") as file:
            if lock(file) and os.path.exists(path) and os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                try:
                    yield file
                    return
                finally:
                    if not file.closed and file.seek(0, os.SEEK_END) == 0 and os.name != "nt":
                        os.unlink(path)  # Windows removes no open file
        while news:
            say(news.pop())
        time.sleep(WAITING_SECONDS)


def fetch_patiently(source, partial, md5, say, patience):
    """Bring the partial file to the right MD5 from one source, in several attempts, or raise SourceFailed."""
    for pause in (*patience.pauses, None):
        try:
            return fetch(source, partial, md5, patience)
        except SourceFailed as failure:
            if pause is None or not failure.again:
                raise
            say(f"  {failure}; again in {pause:g} s")
            time.sleep(pause)


def fetch(source, partial, md5, patience):
    """One attempt: append what is missing to the partial file, and check the whole; or raise SourceFailed."""
    resumed = partial.seek(0, os.SEEK_END)
    with ask(source, partial, patience) as response:
        start = resumed if response.headers.get("Content-Range", "").startswith(f"bytes {resumed}-") else 0
        partial.truncate(start)
        length, kind = response.headers.get("Content-Length", ""), response.headers.get("Content-Type")
        total = start + int(length) if length.isdecimal() else None
        received = receive(response, partial, start, total, patience.stall)
    if total is not None and received < total:
        raise SourceFailed(f"broke off after {received / 1e6:.1f} of {total / 1e6:.1f} MB", again=True)
    partial.flush()
    os.fsync(partial.fileno())
    found = md5_of(partial.name)
    if found != md5:
        partial.truncate(0)
        raise SourceFailed(f"sent another file ({kind}, {received:,} bytes, MD5 {found})", again=resumed > 0)


def ask(source, partial, patience):
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
        answer = TimeoutError(f"no answer within {patience.answer:g} s")
    if isinstance(answer, urllib.error.HTTPError):
        if answer.code == 416:  # the partial file is as long as the source's or longer, and not it
            partial.truncate(0)
        raise SourceFailed(f"answers {answer.code} {answer.reason}",
                           again=answer.code in (408, 416, 429) or answer.code >= 500) from answer
    if isinstance(answer, Exception):  # where something was received before, it may be a passing trouble
        raise SourceFailed(f"cannot be reached ({getattr(answer, 'reason', answer)})", again=start > 0) from answer
    return answer


def receive(response, partial, received, total, stall):
    """Append what the source sends; returns how many bytes the file has. SourceFailed where it stalls or never ends."""
    checked, since = received, time.monotonic()
    with progress(total=total, initial=received, unit="B") as bar:
        while received <= MAX_BYTES:
            try:
                block = response.read1(2**16)
            except (OSError, http.client.HTTPException) as error:  # a server that stalls, among others
                raise SourceFailed(f"broke off ({error})", again=True) from error
            if not block:
                return received
            partial.write(block)
            received += len(block)
            bar.update(len(block))
            if time.monotonic() - since > stall:
                if received - checked < MIN_SPEED * stall:
                    raise SourceFailed(f"is too slow: {received - checked} bytes in {stall:g} s", again=True)
                checked, since = received, time.monotonic()
    raise SourceFailed(f"sends more than {MAX_BYTES / 1e6:.1f} MB, not the archive", again=False)
