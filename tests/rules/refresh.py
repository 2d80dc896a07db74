"""Write the golden messages of `check` for each file of bad/: `python -m tests.rules.refresh`. Then review the difference."""

from tests.rules.bad_files import BAD, said

for rules in sorted(BAD.glob("*.toml")):
    rules.with_suffix(".txt").write_text(said(rules), encoding="utf-8")
