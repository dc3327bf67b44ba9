"""The state that follows from the log (users, devices, chats, members), its snapshot, and the log's latest entries."""
