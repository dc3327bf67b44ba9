"""Sockets: transports, epoll, descriptors, host names, and systemd."""
