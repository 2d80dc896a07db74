"""The command line: one file a command, thin: options → use case → renderer → exit code."""

import gc
import os


def main() -> None:
    """Runs the program; the console script. Every worker process imports this too, and has no need of the rest."""
    # Next to nothing of what a run makes hangs together in circles; looking for them takes 7 % of the time of an index.
    gc.set_threshold(200_000, 20, 100)
    # Looking for plugins of pydantic takes as long as reading rules; and what is installed beside us has no say in them.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    from pyconquest_rules.cli.main import main as program

    program()
