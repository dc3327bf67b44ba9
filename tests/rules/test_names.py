"""Allowed names of people, chats, hooks and devices: visible characters, and look-alikes."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.cli.importers.base import fit_name
from relay.core.files import filenames
from relay.core.rules import commands
from relay.net.http.routes.session import Credentials
from relay.protocol import control, requests
from relay.protocol.base import NAME_PATTERN
from relay.text import fold
from relay.unicode import lookalikes
from relay.unicode.lookalikes import looks
from relay.unicode.tables import ALIKE
from relay.unicode.unseen import can_be_seen
from tests.support.sessions import house

NAMES = json.loads((Path(__file__).parents[1] / "data/names.json").read_text("utf-8"))
DOORS: list[tuple[Any, dict[str, Any]]] = [
    (requests.CreateChat, {"type": "group", "participants": []}),
    (requests.UpdateChat, {"chatId": "x"}),
    (requests.ProfileRequest, {}),
    (requests.InviteRequest, {}),
    (Credentials, {}),
    (control.AddUser, {"id": "x"}),
    (control.ChangeUser, {"id": "x"}),
    (control.AddInvite, {"userId": "x"}),
    (control.MakeChat, {"type": "group", "owner": "x"}),
    (control.UserImport, {"id": "x", "at": 1}),
    (control.ChatImport, {"at": 1}),
    (control.AddHook, {"chat": "x", "userId": "x"}),
]
PAGE = Path(__file__).parents[2] / "relay/web/model/looks.js"


@pytest.mark.parametrize(("one", "other"), NAMES["alike"])
def test_names_that_look_alike_share_a_look(one: str, other: str) -> None:
    assert not looks(one).isdisjoint(looks(other))


@pytest.mark.parametrize(("one", "other"), NAMES["different"])
def test_names_that_look_different_share_no_look(one: str, other: str) -> None:
    assert looks(one).isdisjoint(looks(other))


def test_page_has_the_relays_table_of_look_alikes() -> None:
    said = PAGE.read_text("utf-8").partition("export const LOOKS = `")[2].removesuffix("`;\n")
    assert said.replace("\\`", "`").replace("\\$", "$").replace("\\\\", "\\") == ALIKE


def test_look_is_short_however_long_its_name_becomes() -> None:
    (look,) = looks("\ufdfa" * 128)
    assert len(look) <= lookalikes.LONGEST_LOOK
    assert looks("\ufdfa" * 128) != looks("\ufdfa" * 127)


def test_name_with_every_character_fills_no_memory() -> None:
    table = lookalikes.Looks(caseless=False, most=100)
    assert "".join(map(chr, range(0x400, 0x800))).translate(table)
    assert len(table) <= 100


@pytest.mark.parametrize(("door", "others"), DOORS, ids=lambda one: getattr(one, "__name__", ""))
def test_invisible_name_is_refused_everywhere(door: Any, others: dict[str, Any]) -> None:
    for name in (*NAMES["blank"], *NAMES["hidden"]):
        with pytest.raises(msgspec.ValidationError, match=r"\$\.name"):
            msgspec.convert({**others, "name": name}, door)
    for name in NAMES["seen"]:
        assert msgspec.convert({**others, "name": name}, door).name == name


@pytest.mark.parametrize("name", NAMES["blank"])
def test_invisible_name_leaves_nothing(name: str) -> None:
    assert not can_be_seen(name)
    assert fit_name(name) == ""
    assert filenames.clean(f"{name}.txt", "application/octet-stream") in ("file.txt", "txt")
    assert filenames.clean(name, "application/octet-stream") == "file"


@pytest.mark.parametrize("name", NAMES["seen"])
def test_visible_name_is_imported_unchanged(name: str) -> None:
    assert fit_name(name) == name
    assert filenames.clean(f"{name}.txt", "application/octet-stream") == f"{unicodedata.normalize('NFC', name)}.txt"


@given(
    st.text(
        st.sampled_from("aB李😀 \u00a0\u3000\u2009\u2800\t\n\x85\u2028\u2029\u200b\u200d\u202e\ufe0f"), max_size=140
    )
)
@example("Ben  B.")
@example("山田\u3000太郎\n")
@example("a" * 128)
@example(" a" * 65)
def test_a_name_stays_as_it_is_when_imported_and_another_text_becomes_one_or_nothing(text: str) -> None:
    is_name = re.search(NAME_PATTERN, text) is not None
    fitting = fit_name(text)
    assert fitting == text if is_name else fitting == "" or re.search(NAME_PATTERN, fitting) is not None


@pytest.mark.parametrize("name", NAMES["hidden"])
def test_hidden_characters_are_left_out_of_imported_names_and_of_files(name: str) -> None:
    assert fit_name(name).replace(" ", "").lower() in ("anna", "nna")
    assert filenames.clean(f"{name}.txt", "application/octet-stream").replace(" ", "").lower() in (
        "anna.txt",
        "nna.txt",
    )


def test_search_ignores_invisible_characters() -> None:
    letters = (one for one in map(chr, range(0x20000)) if unicodedata.category(one) in ("Mn", "Lo", "Cf"))
    counted = {one for one in letters if not can_be_seen(one) and fold(one)}
    # Two vowels of Khmer that Unicode advises against, and rare blanks: dropping them too would rebuild every index.
    assert counted <= {"\u17b4", "\u17b5", "\U00013441", "\U00013442", "\U00016fe4", "\U0001bc9d"}


async def test_copy_of_another_users_name_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "cara") as here, here.device("cara") as cara:
        await here.relay.admin.handle("user.change", control.ChangeUser(id="anna", name="Ivan Google"))
        for one, other in NAMES["alike"]:
            if one == "Ivan Google":
                code = (await cara.refused("profile", name=other))["code"]
                assert code in ("conflict", "bad_request"), ascii(other)


@pytest.mark.parametrize(
    "name",
    ["Anna @anna", "A (@anna)", "@anna", "X @ anna", "\uff20anna", "@\u0430nna", "@an\u200dna", "X@Anna.", "@b @anna"],
)  # fmt: skip
async def test_name_with_another_users_id_after_an_at_sign_is_refused(tmp_path: Path, name: str) -> None:
    async with house(tmp_path, "anna", "cara") as here, here.device("cara") as cara:
        refused = await cara.refused("profile", name=name)
    assert refused["code"] == "conflict"
    assert "stands for somebody else" in refused["message"] or name == "@anna"


@pytest.mark.parametrize("name", ["Cara @cara", "cara@example.org", "Cara @ work", "@", "Cara @ben"])
async def test_a_name_with_another_at_sign_is_allowed(tmp_path: Path, name: str) -> None:
    async with house(tmp_path, "anna", "cara") as here, here.device("cara") as cara:
        assert (await cara.request("profile", name=name))["name"] == name


async def test_a_user_keeps_a_name_that_an_older_relay_allowed(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "cara") as here:
        for user_id, name in (("anna", "Ivan Google"), ("cara", "Ivan Goo\u0261le @anna")):
            await here.relay.admin.handle("user.change", control.ChangeUser(id=user_id, name=name))
        async with here.device("cara") as cara:
            assert (await cara.request("profile", name="Ivan Goo\u0261le @anna"))["name"] == "Ivan Goo\u0261le @anna"
            await cara.request("profile", name="Cara")
            assert (await cara.refused("profile", name="Ivan Goo\u0261le"))["code"] == "conflict"


async def test_taken_name_is_refused_to_a_user_named_like_its_owners_id(tmp_path: Path) -> None:
    async with house(tmp_path, "guest", "guest2") as here:
        for user_id, name in (("guest", "Newcomer"), ("guest2", "Guest")):
            await here.relay.admin.handle("user.change", control.ChangeUser(id=user_id, name=name))
        async with here.device("guest2") as second:
            assert (await second.refused("profile", name="Newcomer"))["code"] == "conflict"
            assert (await second.refused("profile", name="Guest @guest"))["code"] == "conflict"
            assert (await second.request("profile", name="GUEST"))["name"] == "GUEST"


@pytest.mark.parametrize("name", ["Anna", "\u0410nn\u0430", "Max @anna"])
async def test_user_cannot_invite_by_the_name_of_another_user(tmp_path: Path, name: str) -> None:
    async with house(tmp_path, "anna", "boss") as here:
        relay = here.relay
        await relay.admin.handle("user.change", control.ChangeUser(id="anna", name="Anna"))
        await relay.admin.handle("user.change", control.ChangeUser(id="boss", admin=True))
        async with here.device("boss") as boss:
            assert (await boss.refused("invite", name=name))["code"] == "conflict"
            await boss.request("invite", name="Bert")
            await boss.request("invite", userId="anna", name=name)
        await relay.service.signing_in.invite(commands.ADMIN, name=name)


async def test_newcomer_joins_as_guest_if_the_invited_name_was_taken_meanwhile(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "boss") as here:
        relay = here.relay
        await relay.admin.handle("user.change", control.ChangeUser(id="boss", admin=True))
        async with here.device("boss") as boss, here.device("anna") as anna:
            invite = await boss.request("invite", name="Bert")
            await anna.request("profile", name="Bert")
        await relay.service.signing_in.by_invite(invite["code"], "phone", "10.0.0.1")
        assert sorted(user.name for user in relay.state.users.values()) == ["Bert", "Guest", "boss"]


async def test_name_cannot_turn_into_another_users_in_small_steps(tmp_path: Path) -> None:
    async with house(tmp_path, "vera", "cara") as here, here.device("cara") as cara:
        await cara.request("profile", name="Nera")
        # A capital that looks like `N`, and whose small letter looks like `v`.
        assert (await cara.refused("profile", name="\u039dera"))["code"] == "conflict"


async def test_device_label_loses_invisible_characters(tmp_path: Path) -> None:
    async with house(tmp_path, "anna") as here:
        for label in ("Pho\u202ene\n1\u3164", "\u3164", ""):
            await here.relay.admin.handle("device.add", control.AddDeviceRequest(user_id="anna", label=label))
        labels = [device.label for device in here.relay.state.devices.values()]
    assert labels[-3:] == ["Phone 1", "", ""]


async def test_store_with_now_forbidden_names_opens_and_keeps_them(tmp_path: Path) -> None:
    given = {"anna": "Anna\u3164", "ben": "\U000e0100", "cara": "Anna", "dora": "\u0251nna @anna"}
    async with house(tmp_path, *given) as here:
        for user_id, name in given.items():
            await here.relay.admin.handle("user.change", control.ChangeUser(id=user_id, name=name))
    async with house(tmp_path) as here:
        assert {user.id: user.name for user in here.relay.state.users.values()} == given
        await here.add_device("ben")
        async with here.device("ben") as ben:
            assert {one["id"]: one["name"] for one in await ben.request("users")} == given
            assert (await ben.request("profile", name="Ben"))["name"] == "Ben"
