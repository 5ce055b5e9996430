"""The progress bar: tqdm's on a terminal, nothing elsewhere, and nothing where tqdm is not installed."""
import contextlib
import sys

from utils.errors import say


class Hidden:
    """What `progress` returns where nobody sees a bar."""
    disable = True

    def __init__(self, iterable):
        self.iterable = iterable

    def __iter__(self):
        return iter(self.iterable)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count=1):
        """Count more."""

    def close(self):
        """Take the bar off the terminal."""


def progress(iterable=None, total=None, initial=0, unit="it", desc=None, shown=True):
    """A tqdm bar on standard error: `for x in progress(...)`, or `with progress(total=n) as bar: bar.update(1)`.

    initial: how much of `total` there was before; unit: what is counted, " images" or "B"; desc: before the bar.
    """
    if shown and sys.stderr is not None and sys.stderr.isatty():  # None where the shell has closed it
        with contextlib.suppress(ImportError):
            from tqdm import tqdm  # only where its bar is seen: it starts a thread

            return tqdm(iterable, desc, total, leave=False, initial=initial, unit=unit, unit_scale=unit == "B",
                        dynamic_ncols=True)
    return Hidden(iterable)


def write(text):
    """Print a line above the bar, if there is one. Errors: OutputLost, as from errors.say."""
    tqdm = sys.modules.get("tqdm")
    with tqdm.tqdm.external_write_mode() if tqdm else contextlib.nullcontext():
        say(text)
