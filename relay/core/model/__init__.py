"""The state that follows from the log: users, devices, chats and their members; and its rows in the snapshot."""
