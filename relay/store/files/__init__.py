"""Files and folders: creating, locking, owning and replacing them, so that a kill at any moment loses nothing."""
