"""How a script ends: with one line for its reader and an exit status; only unforeseen errors have a traceback."""
import argparse
import contextlib
import errno
import functools
import json
import os
import signal
import sys
from pathlib import Path

STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
NO_MEMORY = ("MemoryError", "ResourceExhausted", "could not create a memory object")  # of Python, Paddle and oneDNN


class UserError(Exception):
    """One line that says what is wrong, where, and what to do; the scripts print it and exit with `status`."""
    status = 2


class Stopped(Exception):
    """A signal ended the work, in good order; text: what there is to say about it, if anything."""

    def __init__(self, number, text=""):
        super().__init__(text)
        self.status = 128 + number


class Parser(argparse.ArgumentParser):
    """A command-line parser that reports a mistake as a UserError, in one line."""

    def error(self, message):
        raise UserError(shown(message))

    def parse_args(self, arguments=None):
        """A file whose name begins with a dash, as `*.png` may give, is no option."""
        words = sys.argv[1:] if arguments is None else arguments
        return super().parse_args([f"./{word}" if word[:1] == "-" and "." in word and os.path.isfile(word) else word
                                   for word in words])


def above_zero(kind):
    """A reader of command-line values that must be above zero, and below 3.4e38, where float32 ends."""
    def number(text):
        value = kind(text)
        if not 0 < value < 3.4e38:
            raise argparse.ArgumentTypeError(f"{text} is {'too large' if value > 0 else 'not above zero'}")
        return value
    return number


def name(text):
    """A reader of command-line names, which cannot be empty."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def shown(text):
    """`text` on one line of the terminal: line ends and bytes that are not text are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def say(text):
    """Print a line at once; where that is impossible, standard output is /dev/null from then on.

    Errors: UserError where the disk is full, Stopped where the pipe or the terminal is closed.
    """
    try:
        print(f"{text}\n", end="", flush=True)  # at once: a reader may leave after any piece
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        if error.errno in (errno.EPIPE, errno.EIO):
            raise Stopped(getattr(signal, "SIGPIPE", 13)) from error
        raise UserError(f"cannot write the output: {error.strerror or error}") from error


def complain(program, error):
    """Print the one line about an error; where even that cannot be written, only the exit status says it."""
    print_error(error if isinstance(error, Stopped) else f"{program}: error: {error}")


def report(program, error, out_of_memory, is_json=False):
    """Say in one line why a script ends -> its exit status; an unforeseen error is raised again.

    out_of_memory: what the user can do when memory runs out; is_json: whether a mistake is printed as JSON too.
    """
    if isinstance(error, KeyboardInterrupt):
        error = Stopped(signal.SIGINT)
    elif isinstance(error, (MemoryError, RuntimeError, SystemError)) and any(each in repr(error) for each in NO_MEMORY):
        error = UserError(f"not enough memory: {out_of_memory}")
    if not isinstance(error, (Stopped, UserError)):
        raise error
    if is_json and isinstance(error, UserError):
        with contextlib.suppress(Stopped, UserError):
            say(json.dumps({"error": str(error)}, indent=2))
    if str(error):
        complain(program, error)
    return error.status


def print_error(text):
    """Print a line on standard error, if it can be written."""
    if sys.stderr is not None:  # None where the shell has closed it
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def end_at_once_on_signals():
    """Until a script has something to save: the system ends it at a signal, even in the middle of an import."""
    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    hold_signals(STOP_SIGNALS, False)  # the process that started this one may have had them wait


def hold_signals(numbers, are_held):
    """Block or unblock signals in this thread; Windows cannot do that."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK if are_held else signal.SIG_UNBLOCK, numbers)


def exit_status(out_of_memory, program=None):
    """A decorator for a script's `main(arguments)`: it returns the exit status, however `main` ends.

    Statuses: what `main` returns; 2 for a mistake to correct; 128 + n where signal n ended the work. With --json the
    line about a mistake is printed as a JSON object too. program: what that line begins with; none: the file's name
    """
    def decorate(main):
        name = program or Path(main.__code__.co_filename).name

        @functools.wraps(main)
        def run(arguments=None):
            try:
                return main(arguments)
            except (Exception, KeyboardInterrupt) as error:
                return report(name, error, out_of_memory, "--json" in (sys.argv if arguments is None else arguments))
        return run
    return decorate
