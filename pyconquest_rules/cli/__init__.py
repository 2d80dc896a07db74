"""The command line: one file a command, thin: options → use case → renderer → exit code."""


def main() -> None:
    """Runs the program; the console script. Every worker process imports this too, and has no need of the rest."""
    from pyconquest_rules.cli.main import main as program

    program()
