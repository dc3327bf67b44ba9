"""People's actions with groups: create, add, leave, delete. One change of a group at a time."""

from typing import Any

import trio

from tests.long_run.checker import Chat
from tests.long_run.crowd import RETRIED_CODES
from tests.long_run.phones import Person, Phone
from tests.long_run.wire import Lost, Refused
from tests.long_run.world import GROUPS, World

SMALLEST, LARGEST = 4, 14
PAUSE_SECONDS = 1.5
"""Seconds after which a request with a lost answer either took effect or never will."""


async def gather(world: World, person: Person, phone: Phone) -> None:
    """Do one of these actions."""
    dice = world.dice
    own = [chat for chat in world.groups if chat.owner == person.user and chat.type == "group"]
    others = [chat for chat in world.groups if chat.type == "group" and chat.stay(person.user) is not None]
    if len(world.groups) < GROUPS and dice.random() < 0.3:
        await make(world, person, phone)
    elif own and dice.random() < 0.8:
        chat = dice.choice(own)
        async with world.lock(chat):
            if not chat.gone:
                await _change(world, phone, chat)
    elif others:
        chat = dice.choice(others)
        async with world.lock(chat):
            if chat.owner != person.user and chat.stay(person.user) is not None and not chat.gone:
                await _take_out(world, phone, chat, person.user)


async def make(world: World, person: Person, phone: Phone, type_: str = "group") -> None:
    """Make a group with a unique name, by which it is found again if the answer is lost."""
    dice, checker = world.dice, world.checker
    number = world.counts["groups made"]
    world.counts["groups made"] += 1
    others = [one.user for one in world.people if one is not person]
    if type_ == "group":
        others = dice.sample(others, min(len(others), dice.randint(SMALLEST, LARGEST)))
    chat = checker.group(f"group {number}", type_, [person.user, *others])
    payload = {"type": type_, "name": chat.name, "participants": others}
    while True:
        socket = await phone.online()
        try:
            made = await socket.request("createChat", payload)
        except Lost:
            checker.doubtful.add(chat.name)
            await trio.sleep(PAUSE_SECONDS)
            listed = await world.insist(phone, "chats", {})
            found = [item["id"] for item in listed if item["name"] == chat.name]
            if not found:
                continue
            checker.group_made(chat, found[0])
        except Refused as refused:
            if refused.code not in RETRIED_CODES:
                checker.fail(f"{person.user}: createChat was refused: {refused}")
            await trio.sleep(0.5)
            continue
        else:
            checker.group_made(chat, made["chatId"])
        world.groups.append(chat)
        return


async def _change(world: World, phone: Phone, chat: Chat) -> None:
    dice = world.dice
    members = [user for user in chat.members() if user != chat.owner]
    what = dice.choices(["add", "remove", "name", "delete"], [5, 4, 2, 1])[0]
    if what == "add" or len(members) < SMALLEST:
        others = [one.user for one in world.people if chat.stay(one.user) is None]
        if others:
            await _bring_in(world, phone, chat, dice.choice(others))
    elif what == "remove":
        await _take_out(world, phone, chat, dice.choice(members))
    elif what == "name":
        await _settle(world, phone, "updateChat", {"chatId": chat.id, "admins": dice.sample(members, 1)})
    elif len(world.groups) > GROUPS / 2:
        world.groups.remove(chat)
        chat.gone = True
        await _settle(world, phone, "deleteChat", {"chatId": chat.id})
        world.counts["groups deleted"] += 1


async def _settle(world: World, phone: Phone, name: str, payload: Any) -> Any:
    """Make a repeatable change that its author may make."""
    try:
        return await world.insist(phone, name, payload)
    except Refused as refused:
        # A user who has left or deleted the chat is refused on a repeat.
        if not (refused.repeated and refused.code == "not_found" and name in ("leaveChat", "deleteChat")):
            world.checker.fail(f"{phone.user}: {name} was refused: {refused}")
        return {}


async def _bring_in(world: World, phone: Phone, chat: Chat, user: str) -> None:
    world.checker.joining(chat, user)
    answer = await _settle(world, phone, "addParticipants", {"chatId": chat.id, "participants": [user]})
    world.checker.joined(chat, user, answer.get("lastMessageId", 0))
    world.counts["joined"] += 1


async def _take_out(world: World, phone: Phone, chat: Chat, user: str) -> None:
    """Let a person leave, or remove one."""
    world.checker.leaving(chat, user)
    if user == phone.user:
        await _settle(world, phone, "leaveChat", {"chatId": chat.id})
        # The answer does not name the message; other members see it.
        other = next(one for one in chat.members() if one != user)
        phone = world.by_name[other].phone(world.dice)
        answer = await _settle(world, phone, "chat", {"chatId": chat.id})
    else:
        answer = await _settle(world, phone, "removeParticipants", {"chatId": chat.id, "participants": [user]})
    world.checker.left(chat, user, answer.get("lastMessageId", 0))
    world.counts["left"] += 1
