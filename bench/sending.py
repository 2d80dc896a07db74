"""Apply the rules of the current folder and print the time without start-up: `python -m bench.sending`.

The figures contain negotiation, sending and the ledger, but not imports and the plan. The output is JSON.
"""

import json
import time
from pathlib import Path

from pyconquest_rules import app
from pyconquest_rules.kinds.send import sending as _imported_before  # noqa: F401
from pyconquest_rules.network import storage_scu as _imported_too  # noqa: F401


def main() -> None:
    """Print {"wall": seconds, "cpu": seconds, "done": number of instances that the peer acknowledged}."""
    rules = app.Rules.load(Path("rules.toml").absolute())
    with app.running(rules), app.plan(rules) as made:
        wall, cpu = time.perf_counter(), time.process_time()
        result = app.apply(rules, made)
        took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    print(json.dumps({**took, "done": result.counts["done"]}))


if __name__ == "__main__":
    main()
