"""Sort names by their dependencies."""

from collections.abc import Mapping, Sequence


def in_order(needs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return the names, each after those that it needs, and the cycles.

    Otherwise names keep their order. Each cycle is returned once, as `["a", "b", "a"]`. Needed names that are not keys of
    `needs` are ignored.
    """
    order: dict[str, None] = {}
    cycles: list[list[str]] = []
    # The path of a depth-first search, each name with what it still needs. A long chain would exhaust the stack of Python.
    for first in needs:
        waiting = {first: list(needs[first])} if first not in order else {}
        while waiting:
            name, missing = next(reversed(waiting.items()))
            if not missing:
                order[name] = None
                del waiting[name]
                continue
            needed = missing.pop(0)
            if needed in waiting:
                names = [*waiting]
                cycles.append([*names[names.index(needed) :], needed])
            elif needed in needs and needed not in order:
                waiting[needed] = list(needs[needed])
    return list(order), cycles
