"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A user's mistake: its message is one line that names the file, row or setting and what to do.

    `main.py` prints the message on stderr without a traceback and exits with code 2.
    """
