"""The appearance of texts: invisible characters, and letters that look alike. Pure."""
