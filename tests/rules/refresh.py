"""Writes anew what `check` says of each file of bad/: PYTHONPATH=. python tests/rules/refresh.py, then look at the difference."""

from tests.rules.bad_files import BAD, said

for rules in sorted(BAD.glob("*.toml")):
    rules.with_suffix(".txt").write_text(said(rules), encoding="utf-8")
