"""The one progress bar of this program: on a terminal, where tqdm is there; nothing elsewhere."""
import contextlib
import sys


class Bar:
    """Counts towards `total`, on standard error.

    done: how much of it there was before; unit: what is counted, " images" or "B"; title: before the bar.
    """

    def __init__(self, total, done, unit, title=None, shown=True):
        self.bar = None
        if shown and sys.stderr is not None and sys.stderr.isatty():
            with contextlib.suppress(ImportError):
                from tqdm import tqdm  # only where its bar is seen

                self.bar = tqdm(total=total, initial=done, desc=title, unit=unit, unit_scale=unit == "B", leave=False,
                                dynamic_ncols=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def is_seen(self):
        """Whether anybody sees it."""
        return self.bar is not None

    def advance(self, count):
        """Count more."""
        if self.bar is not None:
            self.bar.update(count)

    @contextlib.contextmanager
    def paused(self):
        """Meanwhile, a line may be printed above the bar."""
        if self.bar is not None:
            self.bar.clear()
        yield
        if self.bar is not None:
            self.bar.refresh()

    def close(self):
        """Take the bar off the terminal."""
        if self.bar is not None:
            self.bar.close()
