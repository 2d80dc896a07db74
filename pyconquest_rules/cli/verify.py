"""`verify`: compare the outputs with the ledger."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pyconquest_rules.cli.common import Json, Targets, end, renderer, rules
from pyconquest_rules.cli.output import Force, saving
from pyconquest_rules.errors import UsageError


def verify(
    context: typer.Context,
    targets: Targets = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare the SHA-256 of every file, not only size and mtime.")] = False,
    share: Annotated[
        str | None,
        typer.Option(
            "--subset",
            metavar="N/M|P%",
            help="Verify a share of the files: the N-th of M parts, so that M runs cover all, or a random P percent.",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Plan repairs and show them; the next apply carries them out.")
    ] = False,
    listed: Annotated[
        bool, typer.Option("--list", help="Print every missing, changed or extra file. On a terminal this is the default.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Save the plan of --repair, for: apply --plan FILE")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Compare the outputs with the ledger, or a release with its SHA256SUMS.

    Reports missing and changed destinations and extra files. Exits with 1 if there are any. Never writes to the outputs, even
    with --repair: apply does that. A TARGET with a slash, such as ./export, is the root of a release. It needs neither rules, nor
    index, nor ledger, and every file is read.
    """
    if targets and any(map(_is_folder, targets)):
        if len(targets) > 1 or share or repair or output:
            raise UsageError("a release is verified alone, without other targets, --subset, --repair and -o")
        _release(context, Path(targets[0]), listed=listed, json=json)
        return
    from pyconquest_rules import app
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.engine.mending import Mending
    from pyconquest_rules.engine.subset import subset
    from pyconquest_rules.engine.verify import every
    from pyconquest_rules.engine.watching import Watch

    if output and not repair:
        raise UsageError("-o saves the plan of --repair; add --repair")
    shown, looked_at = renderer(context, json), every if share is None else subset(share)
    loaded, chosen = rules(context), tuple(targets or ())
    watch = Watch(loaded.outputs)
    if not repair:
        found = watch.noted(app.verify(loaded, chosen, deep=deep, looked_at=looked_at))
        shown.verified(found, watch.vanished, listed=listed)
    else:
        with app.running(loaded), saving(loaded, output, force=force) as file:
            mending = Mending()
            found = watch.noted(app.verify(loaded, chosen, deep=deep, looked_at=looked_at, mending=mending))
            shown.verified(found, watch.vanished, listed=listed, last=False)
            with app.plan(loaded, chosen) as made:
                shown.mending(watch.counts, made, app.unmended(mending, made), listed=listed)
                if file:
                    app.save(made, file)
    end(exit_code(watch.counts))


def _is_folder(target: str) -> bool:
    """Return whether a target is the root of a release. Names of actions have no slash; words of tags may."""
    return target in (".", "..") or ("/" in target and not target.startswith("tag:"))


def _release(context: typer.Context, root: Path, *, listed: bool, json: bool) -> None:
    """Verify a release by its own evidence."""
    from pyconquest_rules.engine.findings import exit_code
    from pyconquest_rules.kinds.release.proof import verify as verified

    counts = Counter[str]()
    found = (counts.update((each.finding,)) or each for each in verified(root))
    renderer(context, json).verified(found, tuple, listed=listed)
    end(exit_code(counts))
