"""Declarative batch tool for DICOM collections: rules in TOML, an index in Conquest's layout, a plan, a ledger.

The operations of the command line are a typed API in `pyconquest_rules.app`:

>>> from pyconquest_rules import app
>>> rules = app.Rules.load("rules.toml")
>>> app.index(rules)
>>> with app.running(rules), app.plan(rules) as plan:
...     result = app.apply(rules, plan, emit=print)
"""
