"""Keep patient data out of crash reports and warnings, whose messages may hold values of files."""

import sys
import threading
import traceback
import warnings

MISTAKE = "pyconquest-rules: this is a bug in the program; please report these lines, which contain no patient data"


def be_discreet() -> None:
    """Silence warnings of libraries, and report failed threads without the text of their errors."""
    warnings.simplefilter("ignore")
    threading.excepthook = lambda failed: tell(failed.exc_value)


def tell(error: BaseException | None) -> None:
    """Print where an error and its causes were raised, and their types, but not their texts."""
    lines = [MISTAKE]
    while error is not None:
        kind = type(error)
        lines += [*traceback.format_tb(error.__traceback__), f"{kind.__module__}.{kind.__qualname__}\n"]
        error = error.__cause__ or error.__context__
    sys.stderr.write("\n".join(map(str.rstrip, lines)) + "\n")
