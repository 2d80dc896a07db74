"""`[copy.NAME]`: files of a set go where a template says."""
