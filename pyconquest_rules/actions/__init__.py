"""The kinds of action, one a file: from selected instances to wishes, without I/O."""
