"""`[send.NAME]`: files of a set go to a node."""
