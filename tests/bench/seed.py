"""Fill a data directory with users, a device each, and a group: a script, so that it uses the measured tree.

Usage: seed.py DIR USERS MEMBERS. Prints {"tokens": {id: token}, "group": id}; in it are u0 and MEMBERS more.
"""

import json
import sys
from pathlib import Path

import trio

from relay.core.relay import open_relay
from relay.protocol import control


async def seed(data: Path, users: int, members: int) -> dict[str, object]:
    async with open_relay(data) as relay:
        admin = relay.admin
        ids = [f"u{number}" for number in range(users)]
        for user in ids:
            await admin.handle("user.add", control.AddUser(id=user))
        tokens = {}
        for user in ids:
            made = await admin.handle("device.add", control.AddDeviceRequest(user_id=user))
            assert isinstance(made, control.Token)
            tokens[user] = made.token
        group = None
        if members:
            made = await admin.handle(
                "chat.create",
                control.MakeChat(name="hall", owner="u0", participants=ids[1 : members + 1]),
            )
            assert isinstance(made, control.ChatInfo)
            group = made.id
        return {"tokens": tokens, "group": group}


if __name__ == "__main__":
    print(json.dumps(trio.run(seed, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
