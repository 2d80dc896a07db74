"""The rows of the table: what is compared with what, how a run is made ready and checked, and the targets."""
