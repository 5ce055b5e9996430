"""One file over HTTP, whole or not at all: from the fastest of several sources, resumed, and checked byte for byte."""
import contextlib
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from typing import NamedTuple
from urllib.parse import urlsplit

from utils.progress import progress
from utils.storage.files import lock, md5_of

MAX_BYTES = 2**30  # a server that sends more than this sends something else
MIN_SPEED = 512  # bytes a second: a slower server has stalled
ENOUGH = 2**20  # bytes that tell how fast a source is
MUCH = 2  # times as fast: worth a change of the source
WAITING_SECONDS = 0.5  # between two looks at whether another process has ended its download


class Patience(NamedTuple):
    """Seconds: without a byte; for which sources are compared; until they are again; between attempts."""
    silence: float = 15
    trial: float = 3
    check: float = 30
    pauses: tuple[float, ...] = (1, 3, 9)


class DownloadFailed(Exception):
    """No source gave the file; `reasons` has one line for each. is_slow: whether a source was reached, but too slow."""

    def __init__(self, reasons, is_slow=False):
        self.reasons, self.is_slow = reasons, is_slow


class SourceFailed(Exception):
    """A source failed; again: whether it may do better after a pause; is_slow: whether it was there, but too slow."""

    def __init__(self, reason, again, is_slow=False):
        super().__init__(reason)
        self.again, self.is_slow = again, is_slow


def download(sources, target, md5, say, patience=Patience()):
    """Fetch the file with this MD5 from the fastest source; TARGET.part has what a run left to resume.

    Errors: DownloadFailed, also where the target's folder cannot be written.
    """
    try:
        with partial_file(target, say) as partial:
            if target.exists() and md5_of(target) == md5:
                return  # another process has fetched it in the meantime
            fetch_patiently(sources, partial, md5, say, patience)
            if os.name == "nt":
                partial.close()  # Windows renames no open file
            os.replace(partial.name, target)
    except OSError as error:
        raise DownloadFailed([f"cannot write {target.parent}: {error.strerror or error}"]) from error


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


def fetch_patiently(sources, partial, md5, say, patience):
    """Bring the partial file to the right MD5, in several attempts. Errors: DownloadFailed."""
    failed, pauses, live = {}, iter(patience.pauses), sources
    while md5_of(partial.name) != md5:
        start, race = partial.seek(0, os.SEEK_END), Race(partial, say, patience)
        try:
            race.run(live, md5, failed)
        finally:
            race.drop(race.streams)
        if partial.seek(0, os.SEEK_END) - start > ENOUGH:
            pauses = iter(patience.pauses)
        live = [source for source in sources if source not in failed or failed[source].again]
        if race.is_done:
            return
        pause = next(pauses, None) if live else None
        if pause is None:
            reasons = [f"{urlsplit(source).hostname}: {failed[source]}" for source in sources if source in failed]
            raise DownloadFailed(reasons, any(failure.is_slow for failure in failed.values()))
        say(f"  again in {pause:g} s")
        time.sleep(pause)
