"""Nothing of a patient is printed that nobody meant to print: messages of warnings and of errors may hold values of files."""

import sys
import threading
import traceback
import warnings

MISTAKE = "pyconquest-rules: this is a mistake of the program itself; please report these lines, in which there is no value"


def be_discreet() -> None:
    """From now on libraries warn in silence, and of a thread that fails it is told where, not with what text."""
    warnings.simplefilter("ignore")
    threading.excepthook = lambda failed: tell(failed.exc_value)


def tell(error: BaseException | None) -> None:
    """Prints where an error, and those that it came of, were raised and of what type they are; not their texts."""
    lines = [MISTAKE]
    while error is not None:
        kind = type(error)
        lines += [*traceback.format_tb(error.__traceback__), f"{kind.__module__}.{kind.__qualname__}\n"]
        error = error.__cause__ or error.__context__
    sys.stderr.write("\n".join(map(str.rstrip, lines)) + "\n")
