"""`[listen.NAME]`: instances that nodes send come into a source."""
