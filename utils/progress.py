"""The progress bar: tqdm's, on a terminal alone."""
import sys

from tqdm import tqdm

from utils.errors import say


def progress(iterable=None, desc=None, total=None, initial=0, unit="it", shown=True):
    """A tqdm bar on standard error, with tqdm's arguments; for a range, the bar begins where it does."""
    if isinstance(iterable, range):
        initial, total = iterable.start, iterable.stop
    tqdm.monitor_interval = 0  # no thread that looks after bars
    is_seen = shown and sys.stderr is not None and sys.stderr.isatty()  # None where the shell has closed it
    return tqdm(iterable, desc, total, initial=initial, unit=unit, unit_scale=unit == "B", leave=False,
                dynamic_ncols=True, disable=not is_seen)


def write(text):
    """Print a line above the bar, if there is one. Errors: as from errors.say."""
    with tqdm.external_write_mode():
        say(text)


def close_all():
    """Take bars off the terminal that an error has left there."""
    for bar in list(tqdm._instances):
        bar.close()
