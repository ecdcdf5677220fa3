"""What the user can mend: the one exception that says so, and the faults of the machine."""

import errno
import os


class UserError(ValueError):
    """A user's mistake: its message is one line that names the file, row or setting and what to do.

    `main.py` prints the message on stderr without a traceback and exits with code 2.
    """


def first_line(error: object) -> str:
    """What an error of a library says, in one line; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# How libraries name, in the text of errors of their own, what the operating system told them.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_TEXTS = {os.strerror(number): number for number in (*_FULL, errno.EROFS, errno.EACCES, errno.EIO)}


def machine_fault(error: BaseException | None) -> str | None:
    """One line for an error that comes from the disk or from too little memory, else None.

    What a library made of the operating system's error counts too, by its text or its cause.
    """
    while error is not None:
        text = str(error)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED: Out of memory" in text:
            return (
                "out of memory: lower train.batch_size, eval.batch_size or model.max_length, or "
                "use a larger machine"
            )
        number = error.errno if isinstance(error, OSError) else None
        if number is None:
            number = next((code for words, code in _TEXTS.items() if words in text), None)
        if number is not None:
            name = getattr(error, "filename", None)
            where = f"{os.fsdecode(name)}: " if isinstance(name, str | bytes) else ""
            reason = os.strerror(number)
            if number in _FULL:
                return f"{where}{reason}: free some space; the same command then goes on"
            return f"{where}{reason}: choose another place, or mend this one"
        error = error.__cause__
    return None
