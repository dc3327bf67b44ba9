"""The steps of a story: each is a real request, and its answer is compared with the model's."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from relay.core.rules.hooks import hook_client_id
from relay.keys import NO_DEVICE, ChatKey, DeviceKey
from relay.net.http.response import HttpError
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.rulebook import model as rules
from tests.rulebook.devices import Device
from tests.rulebook.model import GROUPS, MACHINE, Chat
from tests.rulebook.posted import Posted
from tests.rulebook.windows import WORDS, Hook
from tests.rulebook.world import BOT, PEOPLE, T0, World

NAMES = ["Zoe", "ZOE", "\uff3a\uff4f\uff45", "Ben", "BEN", "Io", "Anna B"]
OK = "ok"
MOST_GROUPS, MOST_HOOKS = 5, 4

Got = tuple[Any, str]
"""The relay's answer, and the code that the model expects."""


class Playing(World):
    """A world with steps."""

    async def _step(self, act: int, who: int, where: int, pick: int, other: int) -> bool:
        """Take a step; return whether the relay has to stop."""
        name = f"{PEOPLE[who % len(PEOPLE)]}{pick % 2}"
        whom = [*PEOPLE, BOT][other % (len(PEOPLE) + 1)]
        # Most of the rules are about groups.
        places = [*PEOPLE, BOT, *self.groups, *self.groups]
        chat_id = places[where % len(places)]
        act %= len(ACTS) + len(OTHERS) + 1
        if act == len(ACTS) + len(OTHERS):
            self._ends = pick % 3
            return True
        if act >= len(ACTS):
            found = await OTHERS[act - len(ACTS)](self, name, chat_id, whom, pick)
            did = OTHERS[act - len(ACTS)]
        else:
            device = await self.connect(name)
            if device is None:
                user = name[:-1]
                assert user in self.model.off or not self.devices[name].token
                return False
            found = await ACTS[act](self, device, chat_id, whom, pick)
            did = ACTS[act]
        if found is not None:
            got, expected = found
            code = got if isinstance(got, str) else OK
            assert code == expected, f"{name}: {did.__name__} in {chat_id}, {whom}, {pick}: {got}"
        return False

    @staticmethod
    def _expect(may: Callable[..., object], *what: Any, **more: Any) -> str:
        """Let the model do something; return `OK`, or the error's code."""
        try:
            may(*what, **more)
        except rules.Refused as refused:
            return str(refused)
        return OK

    def _text(self, pick: int) -> str:
        self.said += 1
        return f"{WORDS[pick % 3]} {self.said}"

    async def _say(self, device: Device, chat_id: str, pick: int, quoted: int = 0, file: Any = None) -> Got:
        text = self._text(pick)
        more: dict[str, Any] = {"replyTo": quoted} if quoted else {}
        if file is not None:
            more["attachments"] = [file]
        id_ = file["id"] if file is not None else ""
        expected = self._expect(self.model.send, device.user, chat_id, text, quoted, id_)
        got = await self.ask(device, "new", chatId=chat_id, clientMessageId=text, message=text, **more)
        if expected == OK and not isinstance(got, str):
            device.views.setdefault(chat_id, {})[got["messageId"]] = text
        return got, expected

    async def send(self, device: Device, chat_id: str, _whom: str, pick: int) -> Got:
        return await self._say(device, chat_id, pick)

    async def reply(self, device: Device, chat_id: str, _whom: str, pick: int) -> Got:
        return await self._say(device, chat_id, pick, quoted=self._some_id(device.user, chat_id, pick))

    async def send_file(self, device: Device, chat_id: str, whom: str, pick: int) -> Got:
        """Name a new file, or one that another user uploaded."""
        if self.model.files and pick % 3 == 0:
            id_ = sorted(self.model.files)[pick % len(self.model.files)]
        else:
            content = [b"x"]

            async def piece() -> bytes:
                return content.pop() if content else b""

            key = self.relay.state.user_keys[device.user]
            id_ = (await self.relay.files.receive(key, NO_DEVICE, "a.txt", 1, piece)).id
            self.model.files[id_] = device.user
        file = {"type": "file", "id": id_, "filename": "a.txt", "url": f"/files/{id_}", "meta": {"size": 1}}
        return await self._say(device, chat_id, pick, file=file)

    def _some_id(self, user: str, chat_id: str, pick: int) -> int:
        """Pick a message id of a chat, mostly one that exists, visible or not."""
        chat = self.model.find(user, chat_id)
        return 1 + pick % (chat.last() + 1) if chat is not None else 1

    async def edit(self, device: Device, chat_id: str, _whom: str, pick: int) -> Got:
        target, text = self._some_id(device.user, chat_id, pick), self._text(pick)
        expected = self._expect(self.model.change, device.user, chat_id, target, text)
        got = await self.ask(device, "edit", chatId=chat_id, originalMessageId=target, message=text)
        if expected == OK and target in device.views.get(chat_id, {}):
            device.views[chat_id][target] = text
        return got, expected

    async def delete(self, device: Device, chat_id: str, _whom: str, pick: int) -> Got:
        target = self._some_id(device.user, chat_id, pick)
        expected = self._expect(self.model.change, device.user, chat_id, target, None)
        got = await self.ask(device, "delete", chatId=chat_id, originalMessageId=target)
        if expected == OK and target in device.views.get(chat_id, {}):
            device.views[chat_id][target] = None
        return got, expected

    async def read(self, device: Device, chat_id: str, _whom: str, _pick: int) -> Got:
        chat = self.model.find(device.user, chat_id)
        got = await self.ask(device, "read", chatId=chat_id)
        if chat is None:
            return got, "not_found"
        self.model.mark(chat, device.user, chat.last(), read=True)
        return got, OK

    async def make(self, device: Device, _chat_id: str, whom: str, pick: int) -> Got | None:
        if len(self.groups) >= MOST_GROUPS:
            return None
        kind, others = ("group", "group", "channel")[pick % 3], [PEOPLE[pick % len(PEOPLE)], whom]
        name = f"Crew {self.said}.{len(self.groups)}"
        got = await self.ask(device, "createChat", type=kind, name=name, participants=others)
        chat_id = got if isinstance(got, str) else got["chatId"]
        return got, self._made(chat_id, device.user, kind, name, others)

    def _made(self, chat_id: str, owner: str, kind: str, name: str, others: list[str], by: str = "") -> str:
        expected = self._expect(self.model.make, owner, chat_id, kind, name, others, by)
        if expected == OK:
            self.groups.append(chat_id)
        return expected

    async def add(self, device: Device, chat_id: str, whom: str, _pick: int) -> Got:
        got = await self.ask(device, "addParticipants", chatId=chat_id, participants=[whom])
        return got, self._expect(self.model.add, device.user, chat_id, whom)

    async def remove(self, device: Device, chat_id: str, whom: str, _pick: int) -> Got:
        got = await self.ask(device, "removeParticipants", chatId=chat_id, participants=[whom])
        return got, self._expect(self.model.remove, device.user, chat_id, whom)

    async def leave(self, device: Device, chat_id: str, _whom: str, _pick: int) -> Got:
        got = await self.ask(device, "leaveChat", chatId=chat_id)
        return got, self._expect(self.model.leave, device.user, chat_id)

    async def clear(self, device: Device, chat_id: str, _whom: str, _pick: int) -> Got:
        got = await self.ask(device, "deleteChat", chatId=chat_id)
        return got, self._expect(self.model.clear, device.user, chat_id)

    async def admins(self, device: Device, chat_id: str, whom: str, _pick: int) -> Got:
        got = await self.ask(device, "updateChat", chatId=chat_id, admins=[whom])
        return got, self._expect(self.model.update, device.user, chat_id, [whom])

    async def retitle(self, device: Device, chat_id: str, _whom: str, pick: int) -> Got:
        name = f"Club {self.said}.{pick}"
        got = await self.ask(device, "updateChat", chatId=chat_id, name=name)
        return got, self._expect(self.model.update, device.user, chat_id, name=name)

    async def rename(self, device: Device, _chat_id: str, _whom: str, pick: int) -> Got:
        name = NAMES[pick % len(NAMES)]
        got = await self.ask(device, "profile", name=name)
        return got, self._expect(self.model.rename, device.user, name)

    async def revoke(self, device: Device, _chat_id: str, whom: str, pick: int) -> Got:
        """Sign a device out: this one, the user's other one, or another user's, which is refused."""
        gone = [one for one in self.devices.values() if one.user == (whom if pick % 3 == 0 else device.user)]
        if not gone or not gone[pick % 2].token:
            return {}, OK
        one = gone[pick % 2]
        got = await self.ask(device, "revokeDevice", deviceId=one.key)
        if one.user != device.user:
            return got, "not_found"
        self._is_out(one)
        return got, OK

    @staticmethod
    def _is_out(device: Device) -> None:
        assert device.subscriber is None, "a device that may not sign in any more is sent away"
        device.renew("", 0)

    # Steps of others than people on their devices.

    async def away(self, name: str, _chat_id: str, _whom: str, _pick: int) -> None:
        self.disconnect(name)

    async def back(self, name: str, _chat_id: str, _whom: str, _pick: int) -> None:
        await self.connect(name)

    async def sign_in(self, name: str, _chat_id: str, _whom: str, _pick: int) -> Got | None:
        """Give a device that was signed out another token; it starts from nothing."""
        device = self.devices[name]
        if device.token:
            return None
        got = await self._by_machine("device.add", control.AddDeviceRequest(user_id=device.user))
        if isinstance(got, str):
            return got, "not_found" if device.user in self.model.removed else "forbidden"
        device.renew(got.token, got.device_id)
        return got, "forbidden" if device.user in self.model.off else OK

    async def bring(self, name: str, chat_id: str, _whom: str, pick: int) -> None:
        """Import a message of a member."""
        user, chat = name[:-1], self.model.find(name[:-1], chat_id)
        if chat is None or chat.kind not in GROUPS:
            return
        text = self._text(pick)
        message = control.MessageImport(chat=chat_id, sender=user, client_message_id=text, text=text, at=T0)
        brought = await self.relay.admin.handle("import.messages", control.MessagesImport(messages=[message]))
        assert not brought[0].error  # type: ignore[index]
        await self.relay.admin.handle("import.end", control.Empty())
        # It counts as read for members without other unread messages.
        readers = [one for one in chat.members if not chat.missed(one)]
        item = self.model.send(user, chat_id, text, past=True)
        for reader in readers:
            self.model.mark(chat, reader, item.id, read=True)

    async def prune(self, _name: str, _chat_id: str, _whom: str, pick: int) -> None:
        """Let retention remove the oldest half, now and then."""
        if pick % 3:
            return
        relay = self.relay
        await relay.retention.keep_state()
        rows = await relay.reading.execute("SELECT seq, chat, message_id FROM log WHERE kind <= 3 ORDER BY seq")
        chats = dict(self._chats_by_key())
        # A deleted chat is in no view.
        rows = [row for row in rows if row[1] in chats]
        if len(rows) < 8:
            return
        seq, chat, message_id = rows[len(rows) // 2]
        first = await relay.reading.execute("SELECT min(seq) FROM log WHERE kind <= 5")
        self.model.prune(chats[chat].items[message_id].order)
        await relay.retention.remove_entries(first[0][0], seq)

    def _chats_by_key(self) -> list[tuple[ChatKey, Chat]]:
        state = self.relay.state
        found = []
        for chat in self.model.chats.values():
            user = next(iter(chat.members))
            key = state.chat_key(state.user_keys[user], self.model.called(chat, user))
            assert key is not None
            found.append((key, chat))
        return found

    # Programs.

    async def add_hook(self, _name: str, chat_id: str, whom: str, pick: int) -> Got | None:
        """Make an incoming or outgoing hook that acts for a user."""
        if len(self.hooks) >= MOST_HOOKS:
            return None
        out, let_in = pick % 2 == 0, pick % 3 == 0
        request = control.AddHook(chat=chat_id, user_id=whom, url="http://hook.example/" if out else None, add=let_in)
        expected = self._expect(self._hooked, chat_id, whom, writes=not out, let_in=let_in)
        got = await self._by_machine("hook.add", request)
        if expected == OK and not isinstance(got, str):
            chat = self.model.find(whom, chat_id)
            self.hooks.append(Hook(whom, chat_id, got, chat.last() if chat is not None else 0))
        return got, expected

    def _hooked(self, chat_id: str, user: str, *, writes: bool, let_in: bool) -> None:
        """Check a hook's user: a member with the needed right; only an admin may make them one for the hook."""
        model = self.model
        chat = model.chats.get(chat_id)
        if (chat is None and chat_id not in model.names) or chat_id in model.removed:
            raise rules.Refused("not_found")
        if chat_id in model.off:
            raise rules.Refused("forbidden")
        if user in model.removed:
            raise rules.Refused("not_found")
        reads_only = chat is not None and user in chat.members and chat.kind == "channel" and not chat.runs(user)
        stranger = chat is not None and user not in chat.members
        if user in model.off or ((stranger or (writes and reads_only)) and not let_in):
            raise rules.Refused("forbidden")
        if chat is not None:
            model.add(MACHINE, chat_id, user)
            if writes and chat.kind == "channel" and not chat.runs(user):
                chat.members[user].admin = True

    async def post(self, _name: str, _chat_id: str, _whom: str, pick: int) -> Got | None:
        """Post through a hook."""
        hooks = [one for one in self.hooks if not one.secret]
        if not hooks:
            return None
        hook, text = hooks[pick % len(hooks)], self._text(pick)
        # A disabled user may come back, so the sender should retry.
        expected = "not_found" if hook.user in self.model.removed else "unavailable"
        if hook.user not in self.model.off:
            expected = self._expect(self.model.send, hook.user, hook.chat_id, text)
        key = hook_client_id(self.relay.state.devices[DeviceKey(hook.device_id)], text)
        for item in (item for chat in self.model.chats.values() for item in chat.items.values() if item.key == text):
            item.key = key
        self.by_hook.add(key)
        try:
            await self.page.post(Posted(urlsplit(hook.url).path, text))  # type: ignore[arg-type]
        except HttpError as refused:
            return refused.error.code, expected
        except RelayError as error:
            return error.error.code, expected
        return {}, expected

    async def remove_hook(self, _name: str, _chat_id: str, _whom: str, pick: int) -> Got | None:
        if not self.hooks:
            return None
        hook = self.hooks.pop(pick % len(self.hooks))
        return await self._by_machine("hook.remove", control.RemoveHook(device_id=hook.device_id)), OK

    # The machine's admin.

    async def _by_machine(self, what: str, request: Any) -> Any:
        """Make a request as the machine's admin; return the answer, or the error's code."""
        try:
            return await self.relay.admin.handle(what, request)
        except RelayError as error:
            return error.error.code

    async def switch(self, _name: str, _chat_id: str, whom: str, pick: int) -> Got:
        """Disable a user, or enable them again."""
        off = pick % 3 == 0
        got = await self._by_machine("user.change", control.ChangeUser(id=whom, disabled=off))
        for device in self.devices.values():
            assert not off or device.user != whom or device.subscriber is None, "their devices are sent away"
        return got, self._expect(self.model.switch, whom, off=off)

    async def depart(self, _name: str, _chat_id: str, whom: str, pick: int) -> Got | None:
        """Remove a user for good, now and then."""
        if pick % 4:
            return None
        expected = self._expect(self.model.depart, whom)
        got = await self._by_machine("user.change", control.ChangeUser(id=whom, removed=True))
        for device in self.devices.values():
            if device.user == whom:
                self._is_out(device)
        self.hooks = [hook for hook in self.hooks if hook.user != whom]
        return got, expected

    async def machine_renames(self, _name: str, _chat_id: str, whom: str, pick: int) -> Got:
        name = NAMES[pick % len(NAMES)]
        got = await self._by_machine("user.change", control.ChangeUser(id=whom, name=name))
        if whom in self.model.removed:
            return got, "not_found"
        return got, self._expect(self.model.rename, whom, name, by_machine=True)

    async def machine_makes(self, name: str, _chat_id: str, whom: str, pick: int) -> Got | None:
        if len(self.groups) >= MOST_GROUPS:
            return None
        kind, owner, called = ("group", "channel")[pick % 2], name[:-1], f"Team {self.said}.{len(self.groups)}"
        request = control.MakeChat(name=called, owner=owner, type=kind, participants=[whom])  # type: ignore[arg-type]
        got = await self._by_machine("chat.create", request)
        chat_id = got if isinstance(got, str) else got.id
        return got, self._made(chat_id, owner, kind, called, [whom], MACHINE)

    async def machine_adds(self, _name: str, chat_id: str, whom: str, _pick: int) -> Got:
        got = await self._by_machine("chat.add", control.ChatUsers(id=chat_id, participants=[whom]))
        return got, self._expect(self.model.add, MACHINE, chat_id, whom)

    async def machine_removes(self, _name: str, chat_id: str, whom: str, _pick: int) -> Got:
        got = await self._by_machine("chat.remove", control.ChatUsers(id=chat_id, participants=[whom]))
        return got, self._expect(self.model.remove, MACHINE, chat_id, whom)

    async def machine_deletes(self, _name: str, chat_id: str, _whom: str, pick: int) -> Got | None:
        if pick % 2:
            return None
        got = await self._by_machine("chat.delete", control.OneChat(id=chat_id))
        return got, self._expect(self.model.clear, MACHINE, chat_id)


_P = Playing
ACTS: list[Callable[..., Any]] = [
    *[_P.send] * 5, _P.send_file, _P.reply, _P.reply, _P.edit, _P.edit, _P.delete, _P.delete, _P.read, _P.read, _P.make,
    _P.add, _P.add, _P.remove, _P.leave, _P.clear, _P.clear, _P.admins, _P.retitle, _P.rename, _P.revoke,
]  # fmt: skip
"""People's actions on a device."""
OTHERS: list[Callable[..., Any]] = [
    _P.away, _P.away, _P.back, _P.sign_in, _P.bring, _P.prune, _P.add_hook, _P.add_hook, _P.post, _P.post, _P.post,
    _P.remove_hook, _P.switch, _P.switch, _P.depart, _P.machine_renames, _P.machine_makes, _P.machine_adds,
    _P.machine_removes, _P.machine_deletes,
]  # fmt: skip
"""Other steps; the relay also stops and starts."""
