"""Programs and chats: what is posted to a hook in words, and what a chat posts to an address."""
