"""What comes before what."""

from collections.abc import Mapping, Sequence


def in_order(needs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The names, each after those that it needs, else as they stand; and the rings, as `["a", "b", "a"]`, each once.

    Needed names that `needs` does not have are passed over.
    """
    order: dict[str, None] = {}
    rings: list[list[str]] = []
    # The names that wait for the one after them, each with what it still needs; no recursion, as a chain may be long.
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
                rings.append([*names[names.index(needed) :], needed])
            elif needed in needs and needed not in order:
                waiting[needed] = list(needs[needed])
    return list(order), rings
