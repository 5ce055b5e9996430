"""Ctrl-C and SIGTERM: the first asks the loop to stop after its batch, the second ends the process at once."""
import os
import signal
import time

TWICE = 1.0  # seconds in which a second signal is the same one: launchers pass on what the terminal sends to all


class Interrupts:
    """`with Interrupts() as interrupts:` then look at `interrupts.asked` each batch; `signal`: its number, or None."""

    def __init__(self):
        self.signal, self.since = None, 0.0
        self.before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.ask)
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    @property
    def asked(self):
        """Whether a signal has come."""
        return self.signal is not None

    def ask(self, number, _frame):
        """Remember the first signal; leave at the second. Files are whole at any moment (see files.py)."""
        if self.signal is None:
            self.signal, self.since = number, time.monotonic()
        elif time.monotonic() - self.since > TWICE:
            os._exit(128 + number)
