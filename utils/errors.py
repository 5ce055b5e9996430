"""The one exception that is meant for the reader of the terminal."""


class UserError(Exception):
    """One line that says what is wrong, where, and what to do; the scripts print it and exit with status 2."""
