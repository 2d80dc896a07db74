"""The members of zip and tar archives, read where they are: nothing is ever unpacked to the disk."""
