"""One module for each path that answers something."""
