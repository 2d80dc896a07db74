"""The command line. One file per command, thin: options → use case → renderer → exit code."""

import gc
import os


def main() -> None:
    """Run the program; the console script. Worker processes import this module too, so it imports nothing else."""
    # A run creates almost no reference cycles; looking for them takes 7 % of the time of an index.
    gc.set_threshold(200_000, 20, 100)
    # Looking for plugins of pydantic takes as long as reading rules, and other installed packages must not change rules.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    from pyconquest_rules.cli.main import main as program

    program()
