"""What is so: users, devices, chats and their members, as the log has them, and as the snapshot's rows."""
