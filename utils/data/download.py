"""One file over HTTP, whole or not at all: several sources, retries, resuming, and a check of every byte."""
import contextlib
import hashlib
import http.client
import os
import queue
import secrets
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import NamedTuple, Tuple
from urllib.parse import urlsplit

GZIP = b"\x1f\x8b"
MOST_BYTES = 2**30  # a server that sends more than this sends something else
SLOWEST = 512  # bytes a second; a server that trickles slower than this has stalled
ABANDONED = 24 * 3600  # seconds after which a partial file belongs to a run that was killed
SPARSE = 10  # seconds between two lines of progress where no terminal shows a bar


class Patience(NamedTuple):
    """How long to wait, in seconds: for a source to answer, for more bytes, and between attempts."""

    answer: float = 15
    stall: float = 30
    pauses: Tuple[float, ...] = (1, 3, 9)


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

    What was received stays beside the target as *.part; the next attempt, or run, goes on from there.
    Errors: DownloadFailed, also where the target's folder cannot be written.
    """
    reasons = []
    try:
        partial = claim_partial(target)
        try:
            for source in sources:
                say(f"fetching {source}")
                try:
                    fetch_patiently(source, partial, md5, say, patience)
                except SourceFailed as failure:
                    reasons.append(f"{urlsplit(source).hostname}: {failure}")
                    say(f"  {failure}")
                else:
                    os.replace(partial, target)
                    return
        finally:
            leave_partial(partial, target)
    except OSError as error:
        reasons.append(f"cannot write {target.parent}: {error.strerror or error}")
        raise DownloadFailed(reasons) from error
    raise DownloadFailed(reasons)


def claim_partial(target):
    """A partial file of this process's own, with what an earlier run left; two runs never share one."""
    for path in target.parent.glob(f"{target.name}.*.part"):
        with contextlib.suppress(FileNotFoundError):  # another run cleared it away
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
    own = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    with contextlib.suppress(FileNotFoundError):  # nothing was left
        os.rename(f"{target}.part", own)  # atomic: one of two runs gets it
    own.touch()
    return own


def leave_partial(partial, target):
    """Leave a partial file that holds something to the next run."""
    with contextlib.suppress(FileNotFoundError):  # it became the target
        if partial.stat().st_size:
            os.replace(partial, f"{target}.part")
        else:
            partial.unlink()


def fetch_patiently(source, partial, md5, say, patience):
    """Bring the partial file to the right MD5 from one source, in several attempts, or raise SourceFailed."""
    for number, pause in enumerate((*patience.pauses, None)):
        resumed = partial.stat().st_size > 0
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
    with open(partial, "rb+") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
        if digest.hexdigest() != md5:
            file.truncate(0)
            raise SourceFailed(f"sent a file with MD5 {digest.hexdigest()}, not {md5}", again)
        os.fsync(file.fileno())


def fetch(source, partial, say, patience, reached):
    """One attempt: append what is missing to the partial file.

    reached: the source has answered before, so silence may be a passing trouble.
    """
    start = partial.stat().st_size
    headers = {"User-Agent": "image-classification"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with open_within(urllib.request.Request(source, headers=headers), partial, patience, reached) as response:
        if response.status != 206:
            start = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            empty(partial)
            raise SourceFailed("sent another part of the file than it was asked for", again=True)
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        with open(partial, "rb+") as file, Progress(start, total, say) as progress:
            file.seek(start)
            file.truncate()
            for block in blocks(response, patience.stall):
                if file.tell() == 0 and not block.startswith(GZIP[:len(block)]):
                    kind = response.headers.get("Content-Type", "something else")
                    raise SourceFailed(f"sends {kind}, not the archive", again=False)
                file.write(block)
                progress.advance(len(block))
            received = file.tell()
    if total is not None and received < total:
        raise SourceFailed(f"broke off after {megabytes(received)} of {megabytes(total)} MB", again=True)


def empty(partial):
    """Forget what the partial file holds."""
    os.truncate(partial, 0)


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
            empty(partial)
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
        if received > MOST_BYTES:
            raise SourceFailed(f"sends more than {megabytes(MOST_BYTES)} MB, not the archive", again=False)
        if time.monotonic() - since > stall:
            if received - checked < SLOWEST * stall:
                raise SourceFailed(f"trickles: {received - checked} bytes in {stall:g} s", again=True)
            checked, since = received, time.monotonic()
        yield block


def megabytes(count):
    """A count of bytes as the reader sees it."""
    return f"{count / 1e6:.1f}"


class Progress:
    """A bar on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, start, total, say):
        self.done, self.total, self.say = start, total, say
        self.spoken = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm  # only where its bar is seen

            self.bar = tqdm(initial=start, total=total, unit="B", unit_scale=True, leave=False)

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        if self.bar is not None:
            self.bar.close()

    def advance(self, count):
        """Count more bytes."""
        self.done += count
        if self.bar is not None:
            self.bar.update(count)
        elif time.monotonic() - self.spoken > SPARSE:
            self.spoken = time.monotonic()
            self.say(f"  {megabytes(self.done)} of {megabytes(self.total) if self.total else '?'} MB")
