"""Ctrl-C, SIGTERM and a closed terminal: how a run hears them, before and while it trains."""
import os
import signal
import threading
import time

from utils.errors import STOP_SIGNALS, Stopped

TWICE = 1.0  # seconds in which a second signal is the same one: launchers pass on what the terminal sends to all


class Interrupts:
    """`with Interrupts() as interrupts:` a first signal raises Stopped; after `hold()` it only sets `signal`.

    A second signal, a second or more after the first, ends the process at once: files are whole at any moment (see
    storage/files.py). Outside of the main thread, where Python hears no signals, nothing happens.
    """

    def __init__(self):
        self.signal, self.since = None, 0.0
        self.holds = False
        self.before = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:  # nohup stays nohup
                    self.before[number] = signal.signal(number, self.hear)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def hold(self):
        """From now on the loop looks at `signal` after each batch."""
        self.holds = True

    def hear(self, number, _frame=None):
        """Remember the first signal, or raise Stopped; leave at the second."""
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
            if not self.holds:
                raise Stopped(number, "Stopped before training began")
        elif time.monotonic() - self.since > TWICE:
            os._exit(128 + number)
