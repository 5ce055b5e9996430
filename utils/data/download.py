"""One file over HTTP, whole or not at all: from the fastest of several sources, resumed, and checked byte for byte."""
import contextlib
import http.client
import os
import queue
import threading
import time
import urllib.error
import urllib.request
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from utils.data.cifar10 import NotFound
from utils.progress import progress
from utils.storage.files import lock, md5_of

MAX_BYTES = 2**30  # a server that sends more than this sends something else
ENOUGH = 2**20  # bytes that tell how fast a source is
MUCH = 2  # times as fast: worth a change
SILENCE, TRIAL, AGAIN = 15, 3, 20  # seconds: without a byte; of comparing sources; until they are compared again
PAUSES = 1, 3, 9  # seconds between attempts
WAITING_SECONDS = 0.5  # between two looks at whether another process has ended its download


class Answer(NamedTuple):
    """What a source sends from byte `start` of the file on, or why it does not."""
    source: str
    start: int = 0
    total: Any = None  # bytes of the whole file, where the source says it
    data: bytes = b""  # of the first seconds
    speed: float = 0  # bytes a second
    response: Any = None  # gives the rest
    failure: str = ""
    may_recover: bool = False
    is_slow: bool = False  # it was reached, but has not sent the whole file


def download(sources, target, md5, say):
    """Fetch the file with this MD5 from the fastest source; TARGET.part has what a run left to resume.

    Where another process is fetching it, wait. Errors: NotFound, with the reason of each source or of the folder.
    """
    advice = f"fetch {sources[0]} and name it with --data-file, or put it at {target}"
    path, news = target.with_name(f"{target.name}.part"), [f"another process is fetching {target}: waiting for it"]
    try:
        with open(path, "a+b") as partial:
            while not lock(partial):
                while news:
                    say(news.pop())
                time.sleep(WAITING_SECONDS)
            if target.exists() and md5_of(target) == md5:  # that process has ended well
                with contextlib.suppress(OSError):  # on Windows no open file is removed
                    os.unlink(path)
                return
            failures = Download(sources, partial, md5, say).run()
            if failures:
                raise NotFound([f"{host_of(each.source)}: {each.failure}" for each in failures], advice,
                               any(each.is_slow for each in failures))
            if os.name == "nt":
                partial.close()  # Windows renames no open file
            os.replace(path, target)
    except OSError as error:
        raise NotFound([f"cannot write {target.parent}: {error.strerror or error}"], advice) from error


class Download:
    """A download that is under way: its partial file, and what is known about its sources."""

    def __init__(self, sources, partial, md5, say):
        self.sources, self.partial, self.md5, self.say = sources, partial, md5, say
        self.answers, self.failures = None, {}  # a queue of Answers; by source

    def run(self):
        """Bring the partial file to the right MD5, in several attempts -> the failures, where no source can."""
        for pause in (0, *PAUSES, None):
            if md5_of(self.partial.name) == self.md5:
                return []
            if pause is None or not self.live():
                return [self.failures[source] for source in self.sources if source in self.failures]
            if pause:
                self.say(f"  again in {pause:g} s")
                time.sleep(pause)
            answer = self.fastest(self.partial.seek(0, os.SEEK_END))
            while answer:
                answer = self.receive(answer)

    def live(self, but=None):
        """The sources that may still give the file."""
        return [each for each in self.sources if each != but
                and (each not in self.failures or self.failures[each].may_recover)]

    def ask(self, sources, start):
        """Ask sources for what follows byte `start`; their Answers come to the queue."""
        trial = TRIAL if len(self.live()) > 1 else 0
        for source in sources:  # in threads, since a name lookup may never end
            threading.Thread(target=put_answer, args=(self.answers, source, start, trial), daemon=True).start()

    def fastest(self, start):
        """Ask all sources side by side -> the Answer of the fastest; None where all have failed."""
        self.answers, best, until = queue.SimpleQueue(), None, time.monotonic() + 2 * SILENCE
        waiting = self.live()
        self.say(f"asking {' and '.join(map(host_of, waiting))}")
        self.ask(waiting, start)
        while waiting:
            try:
                answer = self.answers.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                break
            waiting.remove(answer.source)
            if answer.failure:
                self.fail(answer, answer.failure, answer.may_recover, answer.is_slow)
                continue
            best = max(best or answer, answer, key=lambda each: (each.start, each.speed))
            is_fast = len(answer.data) >= ENOUGH or answer.start + len(answer.data) == answer.total
            until = 0 if is_fast else min(until, time.monotonic() + 0.5)  # the others began as early
        if best is None:
            for source in waiting:
                self.fail(Answer(source), f"no answer within {2 * SILENCE:g} s")
            if any("answers 416" in why.failure for why in self.failures.values()):
                self.partial.truncate(0)  # it is as long as the source's file, or longer, and not that
        return best

    def receive(self, answer):
        """Write what a source sends to the partial file -> the Answer of a much faster source, if there is one."""
        block, received, speed, since = answer.data, answer.start, answer.speed, time.monotonic()
        mark = received + len(block)
        self.partial.truncate(received)
        self.tell(answer, received, speed)
        with answer.response, progress(total=answer.total, initial=received, unit="B") as bar:
            while True:
                self.partial.write(block)
                received += len(block)
                if received > MAX_BYTES:
                    self.partial.truncate(0)
                    return self.fail(answer, f"sends more than {MAX_BYTES / 1e6:.1f} MB, not the archive")
                bar.update(len(block))
                with contextlib.suppress(queue.Empty):
                    other = self.answers.get_nowait()
                    lately = (received - mark) / (time.monotonic() - since + 1)
                    if other.speed > MUCH * max(speed, lately) and other.start + len(other.data) > received:
                        return other
                if time.monotonic() - since > AGAIN:
                    speed = (received - mark) / (time.monotonic() - since)
                    mark, since = received, time.monotonic()
                    self.tell(answer, received, speed)
                    self.ask(self.live(but=answer.source), received)
                try:
                    block = answer.response.read1(2**16)
                except (OSError, http.client.HTTPException) as error:
                    return self.fail(answer, f"broke off ({error})", may_recover=True, is_slow=True)
                if not block:
                    return self.check(answer, received)

    def tell(self, answer, received, speed):
        """Say where the file comes from, how fast, and how long that will take."""
        if speed:
            left = f", {(answer.total - received) / speed:,.0f} s left" if answer.total else ""
            self.say(f"  {received / 1e6:.1f} MB, now from {host_of(answer.source)}: {speed / 1e3:,.0f} kB/s{left}")

    def check(self, answer, received):
        """See whether the file is whole, now that the source has ended."""
        self.partial.flush()
        if answer.total is not None and received < answer.total:
            text = f"broke off after {received / 1e6:.1f} of {answer.total / 1e6:.1f} MB"
            self.fail(answer, text, may_recover=True, is_slow=True)
        elif md5_of(self.partial.name) != self.md5:
            self.partial.truncate(0)
            self.fail(answer, f"sent another file ({received:,} bytes)", may_recover=answer.start > 0)

    def fail(self, answer, failure, may_recover=False, is_slow=False):
        """Note, and say, that a source has failed."""
        self.failures[answer.source] = answer._replace(failure=failure, may_recover=may_recover, is_slow=is_slow)
        self.say(f"  {host_of(answer.source)}: {failure}")


def host_of(source):
    """The name of a source's server."""
    return urlsplit(source).hostname


def put_answer(answers, source, start, trial):
    """Ask a source for the file from byte `start` on, time it for `trial` seconds, and queue its Answer."""
    headers = {"User-Agent": "image-classification", **({"Range": f"bytes={start}-"} if start else {})}
    try:  # a new opener each time: it reads the proxies from the environment
        response = urllib.request.build_opener().open(urllib.request.Request(source, headers=headers), timeout=SILENCE)
    except urllib.error.HTTPError as error:
        may_recover = error.code in (408, 416, 429) or error.code >= 500
        return answers.put(Answer(source, failure=f"answers {error.code} {error.reason}", may_recover=may_recover,
                                  is_slow=error.code == 429))  # too many requests
    except TimeoutError:  # connected, for otherwise urllib wraps it
        return answers.put(Answer(source, failure=f"no answer within {SILENCE:g} s", is_slow=True))
    except Exception as error:  # where something was received before, it may be a passing trouble
        text = f"cannot be reached ({getattr(error, 'reason', error)})"
        return answers.put(Answer(source, failure=text, may_recover=start > 0))
    length, kind = response.headers.get("Content-Length", ""), response.headers.get("Content-Type", "")
    if kind.startswith("text/"):  # of a network that wants a login first
        return answers.put(Answer(source, failure=f"sent another file ({kind})"))
    if not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        start = 0
    data, block, since = b"", None, time.monotonic()
    with contextlib.suppress(OSError, http.client.HTTPException):  # reading the rest raises it again
        while block != b"" and len(data) < ENOUGH and time.monotonic() - since < trial:
            block = response.read1(2**16)
            data += block
    total = start + int(length) if length.isdecimal() else None
    answers.put(Answer(source, start, total, data, len(data) / (time.monotonic() - since + 0.001), response))
