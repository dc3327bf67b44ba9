"""What people can see of a text: characters that cannot be seen, and letters that look alike. Pure."""
