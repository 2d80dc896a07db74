"""Applies the rules of the folder that it is called in, and tells how long that took without start-up: `python -m bench.sending`.

Imports and the plan come before; negotiating, sending and the ledger are in the figures. Prints JSON.
"""

import json
import time
from pathlib import Path

from pyconquest_rules import app
from pyconquest_rules.kinds.send import sending as _imported_before  # noqa: F401
from pyconquest_rules.network import storage_scu as _imported_too  # noqa: F401


def main() -> None:
    """Prints {"wall": seconds, "cpu": seconds, "done": instances that have the status of the peer}."""
    rules = app.Rules.load(Path("rules.toml").absolute())
    with app.running(rules), app.plan(rules) as made:
        wall, cpu = time.perf_counter(), time.process_time()
        result = app.apply(rules, made)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps({**took, "done": result.counts["done"]}))


if __name__ == "__main__":
    main()
