"""The rules file: its model, its mistakes at their places, and what becomes of it."""
