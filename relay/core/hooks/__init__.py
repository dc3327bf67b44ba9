"""The rights of hooks and bots in a chat, and limits for programs that answer each other."""
