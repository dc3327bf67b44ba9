"""What hooks and bots may do in a chat, and limits for those that answer each other."""
