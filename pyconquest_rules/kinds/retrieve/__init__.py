"""`[retrieve.NAME]`: what a node has and the index lacks comes into a source."""
