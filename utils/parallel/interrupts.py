"""Ctrl-C, SIGTERM and a closed terminal: how a run and the process that watches it hear them."""
import contextlib
import os
import signal
import threading
import time

from utils.errors import STOP_SIGNALS, Stopped

TWICE = 1.0  # seconds in which a second signal is the same one: launchers pass on what the terminal sends to all


@contextlib.contextmanager
def signals_to(handle):
    """In the block, `handle(number, frame)` gets the signals that ask a process to stop.

    Outside of the main thread, where Python hears no signals, nothing happens.
    """
    before = {}
    for number in STOP_SIGNALS if threading.current_thread() is threading.main_thread() else ():
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:  # nohup stays nohup
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupts:
    """`with signals_to(interrupts.hear):` a first signal raises Stopped; while `holds` is True it only sets `signal`.

    A second signal, a second or more after the first, ends the process at once: files are whole at any moment (see
    storage/files.py).
    """

    def __init__(self):
        self.signal, self.since, self.holds = None, 0.0, False

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
