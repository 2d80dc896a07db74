"""The kinds of action of the rules file, one folder each: `rule.py` says what is written, `do.py` carries it out."""
