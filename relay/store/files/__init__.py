"""Files and folders: made, locked, owned and replaced, so that being killed at any moment loses nothing."""
