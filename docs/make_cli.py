"""Makes docs/cli.md out of what the program says of itself: `python docs/make_cli.py > docs/cli.md`."""

import os
import subprocess
import sys

HEAD = """\
# The command line

Made by `docs/make_cli.py` from the program's own help.

Exit codes: **0** done or nothing to do, or the rest waits for its window · **1** some steps failed or are blocked, DICOM
files could not be indexed and the rules do not accept that, or `verify` found something · **2** the rules or the usage are wrong · **3** changes are pending
(`plan --detailed-exitcode` only) · **5** the saved plan is stale · **6** another run holds the lock · **130** interrupted.

`-f`, `--json` and `--quiet` stand before or after the command. With `--quiet` a command prints nothing on success: only what makes
its exit code other than 0, on standard error. Warnings, and steps that wait for their window, are no problems. Rows that were asked
for (`query`, `find`, `summary`, `history`, `explain`) are printed all the same. `--quiet` and `--json` exclude each other.

In text, equal messages of an action are one line: the first SOPInstanceUID, the message, and `(and 249 more)`. `--json` has a line for
each step.

With `--json` a command writes one JSON object a line to standard output, the last one `{"event": "summary", …}`, or
`{"event": "error", "message": …, "exit_code": …}` where it could not do its work. Data goes to standard output, all else
to standard error. `-f` and `--json` may stand before the command or after it.

| command | its summary |
|---|---|
| `check` | `sources, sets, actions` |
| `index` | `seen, read, indexed, unchanged, rejected, skipped, duplicate, conflict, vanished, kept, reasons, notes, refused, accepted`; `refused`: of all DICOM files that could not be indexed the numbers by reason, `accepted`: those that the rules accept; before it a `warning` line (`source`, `message`) for sources that overlap or hold archives, which `plan` and `apply` print too; `read`: files opened; `kept`: files that stay in the index although their folder, link or status cannot be read now; `conflict`: those of the rejected that have other bytes than the indexed file of their SOPInstanceUID |
| `query` | `rows`; before it a `row` line each |
| `summary` | `patients`; before it a `patient` line each, whose `PatientID` is null if it is missing |
| `plan` | `todo, unchanged, blocked, actions: {NAME: {todo, unchanged, blocked, bytes}}, reasons: {"STATUS:REASON": n}, contradictions: {NAME: n}, findings: [{finding, output, message, …}]`; `finding` is `vanished` (with `gone, known, why`) or `no-room` (with `needed, free`); before it a `refused` line (`files, reasons, accepted`) if DICOM files could not be indexed, a `warning` line for each action of `contradictions` (`apply` prints both too), and with `--list` a `step` line each; a step that retrieves has `node, StudyInstanceUID, SeriesInstanceUID` too. `contradictions`: instances that a set of studies or series selects, but whose PatientID is another one |
| `apply` | `done, copied, adopted, removed, released, sent, confirmed, retrieved, unchanged, failed, blocked, waiting, bytes, run, interrupted`; `done` is the sum of the seven that follow it; `released`: files that left a set with `prune` and stay on the disk because they were not made but adopted, or that were gone already; before it a `failed` or `warning` line for each such step, a `warning` line without a SOPInstanceUID for what a node did otherwise, a `warning` line with `finding: "no-room"` if not all will fit, and a `waiting` line for each action of which steps are left for a later run, as outside its window |
| `echo` | `node, seconds` |
| `find` | `rows`; before it a `row` line each, and a `warning` line if matches were skipped |
| `listen` | `listener, associations, rejected, aborted, received, duplicates, refused, bytes`; before it a `listening` line, a `ran` line for each run of `then`, a `then_waits` line (`listener, reason, seconds`) if it is tried again, a `health` line each minute, and a line for each `instance_refused` (`time, SOPInstanceUID, status, reason, calling_ae_title, address`), `instance_noted` (`note` instead of status and reason) and `peer_refused` (`time, what, reason, calling_ae_title, address`; `what` is `connection`, `association`, `context`, `commitment` or `abort`) |
| `verify` | `ok, missing, changed, extra, outside`; before it a `finding` line for each that is not ok, and a `warning` line with `finding: "vanished"` for each output that most files are missing from. With `--repair` also `unmended`, and `plan`: the summary of the plan; before it an `unmended` line for each destination that the plan does not mend |
| `status` | `actions, due, blocked, refused`; before it an `action` line each, and a `refused` line as in `plan` |
| `history`, `explain` | counts; before it a `run` or `instance` line each. The `ending` of a run is `done`, `interrupted`, `killed`, `not begun` (locked, a missing source, a stale plan, invalid rules …) or `failed`, the last two with a `reason`; null if it goes on. An `instance` line has `SOPInstanceUID, source_b64, sets, not_in: [{set, has: {COLUMN: value}}], steps`; a step that others block has `partners: [{action, SOPInstanceUID, source_b64, destination}]` and `others`, the number of more |
| `forget` | `images, files, deleted, failed, folders`; before it a `to_forget` line; with `--undo` `decisions` |

`index --report FILE` writes a line for every file seen, each once: `{"path": …, "path_b64": …, "outcome":
"indexed|unchanged|duplicate|rejected|skipped", "reason": CODE}`. The path is text, and in base64 as it is on the disk. The reason of an
indexed file is null, or the codes of its notes joined by commas: oddities that cost no more than a value. The summary counts them
as `notes`. [safety.md](safety.md#files-that-are-not-as-they-should-be) lists the reasons and the notes.
"""  # noqa: E501 - a row of a table is one line


def help_of(*command: str) -> str:
    """What `--help` says, at one width for everybody."""
    environment = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    asked = [sys.executable, "-m", "pyconquest_rules", *command, "--help"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment).stdout
    return said.replace("python -m pyconquest_rules", "pyconquest-rules").rstrip()


def page() -> str:
    """The whole page."""
    top = help_of()
    commands = [line.split()[0] for line in top.partition("Commands:")[2].splitlines() if line.strip()]
    sections = [f"## {name}\n\n```\n{help_of(name)}\n```\n" for name in commands]
    return "\n".join([HEAD, f"```\n{top}\n```\n", *sections])


if __name__ == "__main__":
    sys.stdout.write(page())
