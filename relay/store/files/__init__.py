"""Files and folders: creating, locking, owning and replacing them, safe against a kill at any moment."""
