"""Files and folders: read, write and identify them. This package knows nothing of rules."""
