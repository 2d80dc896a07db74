"""Plan, then carry out: requests become steps, steps are done once and remembered in the ledger, and proved later."""
