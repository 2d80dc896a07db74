"""Doing what a plan says, remembering it in the ledger, and proving it later."""
