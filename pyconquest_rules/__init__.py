"""Declarative batch tool for DICOM collections: rules in TOML, an index in Conquest's layout, a plan, a ledger."""
