"""How a script ends: with one line for its reader and an exit status, never with a traceback for a foreseen error."""
import contextlib
import errno
import functools
import os
import signal
import sys
from pathlib import Path


class UserError(Exception):
    """One line that says what is wrong, where, and what to do; the scripts print it and exit with `status`."""
    status = 2


class Stopped(Exception):
    """A signal ended the work, in good order; what there is to say about it, if anything, is the text."""

    def __init__(self, number, text=""):
        super().__init__(text)
        self.status = 128 + number


class OutputLost(Exception):
    """What the script prints cannot be written: the pipe or the terminal is closed, or the disk is full."""

    def __init__(self, error):
        super().__init__(f"cannot write the output: {error.strerror or error}")
        self.is_closed = error.errno in (errno.EPIPE, errno.EIO)
        self.status = 128 + getattr(signal, "SIGPIPE", 13) if self.is_closed else UserError.status


def say(text):
    """Print a line at once. Errors: OutputLost, after which standard output is a place that takes anything."""
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more as it ends
        raise OutputLost(error) from error


def complain(program, error):
    """Print the one line about an error; where even that cannot be written, the exit status has to do."""
    with contextlib.suppress(OSError):
        print(f"{program}: error: {error}", file=sys.stderr, flush=True)


def exit_status(out_of_memory):
    """A decorator for a script's `main(arguments)`: it returns the exit status, however `main` ends.

    out_of_memory: what the user can do when memory runs out.
    Statuses: what `main` returns; 2 for a mistake to mend; 128 + n where signal n ended the work.
    """
    def decorate(main):
        program = Path(main.__code__.co_filename).name

        @functools.wraps(main)
        def run(arguments=None):
            try:
                return main(arguments)
            except UserError as error:
                complain(program, error)
                return error.status
            except MemoryError:
                complain(program, f"not enough memory: {out_of_memory}")
            except (RuntimeError, SystemError) as error:  # what Paddle makes of a failed allocation
                if "ResourceExhausted" not in str(error):
                    raise
                complain(program, f"not enough memory on the device: {out_of_memory}")
            except OutputLost as error:
                if not error.is_closed:
                    complain(program, error)
                return error.status
            except Stopped as stop:
                with contextlib.suppress(OSError):
                    print(stop, end="\n" if str(stop) else "", file=sys.stderr, flush=True)
                return stop.status
            except KeyboardInterrupt:
                return 128 + signal.SIGINT
            return UserError.status
        return run
    return decorate
