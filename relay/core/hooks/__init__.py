"""What programs may do in a chat, and brakes on those that answer each other."""
