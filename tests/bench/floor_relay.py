"""A yardstick, not a real relay: the cheapest possible relay in one CPython thread that stores everything.

Bare epoll, lines of text, no framing checks, no JSON, no signing in, no acknowledgements, no handling of slow readers.
All messages of one turn of the loop go into SQLite (WAL, FULL) in one transaction before any is sent, and each member
gets one write per turn.

Usage: floor_relay.py PORT FILE
"""

import select
import socket
import sqlite3
import sys


def main(port: int, path: str) -> None:
    store = sqlite3.connect(path, isolation_level=None)
    store.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
        "CREATE TABLE message (id INTEGER PRIMARY KEY, sender TEXT, recipient TEXT, text TEXT);"
    )
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    sockets: dict[int, socket.socket] = {}
    buffers: dict[int, bytes] = {}
    names: dict[int, bytes] = {}
    users: dict[bytes, int] = {}
    rooms: dict[bytes, set[int]] = {}
    while True:
        rows: list[tuple[bytes, bytes, bytes]] = []
        out: dict[int, list[bytes]] = {}
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                connected, _ = listener.accept()
                connected.setblocking(False)
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sockets[connected.fileno()], buffers[connected.fileno()] = connected, b""
                epoll.register(connected, select.EPOLLIN)
                continue
            try:
                data = sockets[fd].recv(65536)
            except OSError:
                data = b""
            if not data:
                epoll.unregister(fd)
                sockets.pop(fd).close()
                users.pop(names.get(fd, b""), None)
                for members in rooms.values():
                    members.discard(fd)
                continue
            *lines, buffers[fd] = (buffers[fd] + data).split(b"\r\n")
            for line in lines:
                command, _, rest = line.partition(b" ")
                if command == b"SAY":
                    to, _, text = rest.partition(b" ")
                    rows.append((names[fd], to, text))
                    said = b"%s SAYS %s %s\r\n" % (names[fd], to, text)
                    if to[:1] == b"#":
                        for member in rooms[to]:
                            out.setdefault(member, []).append(said)
                    elif to in users:
                        out.setdefault(users[to], []).append(said)
                elif command == b"NAME":
                    users[rest], names[fd] = fd, rest
                    out.setdefault(fd, []).append(b"OK\r\n")
                elif command == b"JOIN":
                    rooms.setdefault(rest, set()).add(fd)
                    out.setdefault(fd, []).append(b"OK\r\n")
        if rows:
            store.execute("BEGIN")
            store.executemany("INSERT INTO message (sender, recipient, text) VALUES (?, ?, ?)", rows)
            store.execute("COMMIT")
        for fd, parts in out.items():
            if fd in sockets:
                try:
                    sockets[fd].send(b"".join(parts))
                except OSError:
                    continue


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
