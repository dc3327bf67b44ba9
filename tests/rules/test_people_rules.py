"""Users' own choices: names, pictures, passwords; and the visibility of their last-seen time."""

from collections import Counter
from pathlib import Path

import pytest
import trio

from relay.core.auth.passwords import check_new
from relay.core.service import users
from relay.core.tuning import ServiceTuning, Tuning
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from tests.support.http_relay import http_relay
from tests.support.sessions import house
from tests.support.tunings import cheap

# Names.


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ben", "conflict"),
        ("Ben Berg", "conflict"),
        ("BEN\u200d  berg", "conflict"),
        ("\u202enna", "bad_request"),
        ("An\u200bna", "bad_request"),
        ("\u200d", "bad_request"),
        ("\u3164", "bad_request"),
    ],
)
async def test_invisible_name_or_look_alike_is_refused(tmp_path: Path, name: str, code: str) -> None:
    async with house(tmp_path, "anna") as here:
        await here.relay.admin.handle("user.add", control.AddUser(id="ben", name="Ben Berg"))
        async with here.device("anna") as anna:
            assert (await anna.refused("profile", name=name))["code"] == code


async def test_own_name_is_allowed_and_a_former_name_is_free(tmp_path: Path) -> None:
    async with house(tmp_path, "anna") as here:
        for user_id in ("ben", "carl"):
            await here.relay.admin.handle("user.add", control.AddUser(id=user_id, name="Alex"))
        await here.add_device("ben")
        async with here.device("anna") as anna, here.device("ben") as ben:
            assert (await ben.request("profile", name="Alex"))["name"] == "Alex"
            await ben.request("profile", name="Alex B")
            assert (await anna.refused("profile", name="Alex"))["code"] == "conflict"
            await here.relay.admin.handle("user.change", control.ChangeUser(id="carl", removed=True))
            assert (await anna.request("profile", name="Alex"))["name"] == "Alex"


# Pictures.


@pytest.mark.parametrize("url", ["https://evil.example/x.png", "javascript:alert(1)", "//evil.example/x", "x.png", "/"])
async def test_a_picture_must_be_a_file_of_the_relay(tmp_path: Path, url: str) -> None:
    async with house(tmp_path, "anna") as here, here.device("anna") as anna:
        assert "photoUrl" in (await anna.refused("profile", photoUrl=url))["message"]
        asked = {"type": "group", "name": "Crew", "participants": [], "photoUrl": url}
        assert (await anna.refused("createChat", **asked))["code"] == "bad_request"


async def test_outside_picture_accepted_by_an_older_relay_is_not_shown(tmp_path: Path) -> None:
    async with house(tmp_path, "anna") as here, here.device("anna") as anna:
        user = here.relay.state.user("anna")
        assert user is not None
        user.photo_url = "https://evil.example/x.png"
        assert "avatarUrl" not in await anna.request("profile")


# Last-seen times.


async def test_last_seen_is_shown_only_to_users_who_share_a_chat(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "ben", "carl") as here:
        async with here.device("ben"):
            pass
        async with here.device("anna") as anna, here.device("carl") as carl:
            await anna.request("new", chatId="ben", clientMessageId="1", message="hi")
            seen = {one["id"]: one.get("lastSeen") for one in await anna.request("users")}
            hidden = {one["id"]: one.get("lastSeen") for one in await carl.request("users")}
    assert seen["ben"]
    assert hidden["ben"] is None


# Passwords.


@pytest.mark.parametrize(
    "password",
    [
        "short", "123456789", "1234567890", "0987654321", "aaaaaaaaaaaa", "abababababab", "abcdefghijkl", "password123",
        "Password2026!", "QWERTYUIOP", "iloveyou1234", "passw0rd!!!", "Anna Berg", "Anna Berg 12", "contraseña1",
        "x" * 1_025, "raspberrypi1", "with a \0 in it",
    ],
)  # fmt: skip
def test_a_common_password_is_refused(password: str) -> None:
    with pytest.raises(RelayError) as refused:
        check_new(password, "anna", "Anna Berg")
    assert refused.value.error.code == "bad_request"


@pytest.mark.parametrize(
    ("user_id", "name", "password"),
    [
        ("User1", "User1", "User1User1"), ("User1", "User1", "user1-USER1"), ("User1", "User1", "User1user1user1!"),
        ("User1", "Ada", "adaUSER1ada"), ("anna", "Anna Berg", "bergannaberg"), ("anna", "Anna Berg", "anna.berg.2026"),
        ("anna", "Anna Berg", "12anna34berg56"), ("anna", "Anna Berg", "anna19840512x"),
        ("müller", "Jürgen", "JÜRGENMÜLLER"),
        ("müller", "Jürgen", "ju\u0308rgen-2026"), ("bartholomäus", "Maximilian Mustermann", "an-mustermann"),
        ("mustermannsson", "M", "mustermann"),
    ],
)  # fmt: skip
def test_password_made_of_the_users_names_is_refused(user_id: str, name: str, password: str) -> None:
    with pytest.raises(RelayError, match="own name"):
        check_new(password, user_id, name)


@pytest.mark.parametrize(
    ("user_id", "name", "password"),
    [
        ("User1", "User1", "User1 likes tea"), ("a", "Al", "a balalaika"), ("lin", "Lin", "violin and cello"),
        ("anna", "Anna Berg", "2749 5810 33"), ("anna", "", "correct horse"),
    ],
)  # fmt: skip
def test_a_password_with_more_than_the_users_name_is_accepted(user_id: str, name: str, password: str) -> None:
    check_new(password, user_id, name)


@pytest.mark.parametrize(
    "password", ["correct horse", "kaffee um vier", "x7Kq2-pWv9z", "пять слов подряд", "一二三四五六七八九十"]
)
def test_a_password_of_a_few_words_or_signs_is_accepted(password: str) -> None:
    check_new(password, "anna", "Anna Berg")


async def test_user_changes_their_password_and_ends_other_sessions_on_request(tmp_path: Path) -> None:
    async with http_relay(tmp_path, tuning=cheap()) as relay, relay.browser() as browser:
        phone = await relay.user("anna")
        laptop = (await relay.ask("device.add", control.AddDeviceRequest(user_id="anna"))).token
        hook = await relay.ask("hook.add", control.AddHook(chat="anna", user_id="anna"))

        async def status(token: str) -> int:
            return (await browser.get("/session", headers={"Authorization": f"Bearer {token}"})).status_code

        async with relay.socket(phone) as socket:
            first: requests.PasswordChanged = await socket.request(
                requests.PASSWORD, requests.Password(new="correct horse")
            )
            kept = await status(laptop)
            for old in (None, "", "wrong horse"):
                with pytest.raises(RelayError) as refused:
                    await socket.request(requests.PASSWORD, requests.Password(old=old, new="battery staple"))
                assert refused.value.error.code == "unauthorized"
            with pytest.raises(RelayError) as weak:
                await socket.request(requests.PASSWORD, requests.Password(old="correct horse", new="password12"))
            changed: requests.PasswordChanged = await socket.request(
                requests.PASSWORD, requests.Password(old="correct horse", new="battery staple", sign_out_others=True)
            )
            assert (await status(phone), await status(laptop)) == (200, 401)
        signed_in = await browser.post("/session", json={"userId": "anna", "password": "battery staple"})
        posted = await browser.post(hook.url.partition(relay.url)[2], json={"text": "still here"})
    assert (first.signed_out, kept) == (0, 200)
    assert weak.value.error.code == "bad_request"
    assert changed.signed_out == 1
    assert (signed_in.status_code, posted.status_code) == (200, 200)


async def test_guesses_at_the_old_password_are_throttled(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        await relay.ask("user.password", control.SetPasswordRequest(id="anna", password="correct horse"))
        codes = []
        async with relay.socket(token) as socket:
            for _ in range(7):
                with pytest.raises(RelayError) as refused:
                    await socket.request(requests.PASSWORD, requests.Password(old="guess", new="battery staple"))
                codes.append(refused.value.error.code)
    assert codes[0] == "unauthorized"
    assert codes[-1] == "rate_limited"


async def test_an_admin_ends_all_sessions_with_a_new_password(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        token = await relay.user("anna")
        answer = await relay.ask(
            "user.password", control.SetPasswordRequest(id="anna", password="correct horse", sign_out=True)
        )
        gone = await browser.get("/session", headers={"Authorization": f"Bearer {token}"})
    assert (answer.count, gone.status_code) == (1, 401)


# A new sign-in.


async def test_new_sign_in_is_sent_to_the_users_other_version_2_devices(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "ben") as here:
        async with (
            here.device("anna", path="/ws?v=2") as phone,
            here.device("anna") as old,
            here.device("ben", path="/ws?v=2") as other,
        ):
            for one in (phone, old, other):
                await one.rest()
            added = await here.relay.admin.handle(
                "device.add", control.AddDeviceRequest(user_id="anna", label="stolen")
            )
            assert isinstance(added, control.Token)
            await here.relay.admin.handle("hook.add", control.AddHook(chat="anna", user_id="anna"))
            device_events = [frame for frame in await phone.rest() if frame.get("eventType") == "device"]
            assert [frame["payload"]["label"] for frame in device_events] == ["stolen"]
            assert device_events[0]["payload"]["deviceId"] == added.device_id
            assert "id" not in device_events[0]
            for one in (old, other):
                assert "device" not in [frame.get("eventType") for frame in await one.rest()]


@pytest.mark.parametrize(
    ("name", "typed"),
    [("Jos\u00e9", "JOSE"), ("Jose\u0301", "jos\u00e9"), ("\uff21nna", "anna"), ("Ёжик", "ежик"), ("مُحَمَّد", "محمد")],
)
async def test_user_is_found_in_the_directory_in_any_spelling(tmp_path: Path, name: str, typed: str) -> None:
    async with house(tmp_path, "alice") as made, made.device("alice") as alice:
        await made.relay.admin.handle("user.add", control.AddUser(id="x", name=name))
        assert [one["id"] for one in await alice.request("users", query=typed)] == ["x"]
        assert await alice.request("users", query="nobody") == []


@pytest.mark.parametrize("typed", ["Berg ", " anna", "anna berg\t", "Berg\u00a0", "berg\u3000"])
async def test_spaces_around_a_query_of_the_directory_make_no_difference(tmp_path: Path, typed: str) -> None:
    async with house(tmp_path, "alice") as made, made.device("alice") as alice:
        await made.relay.admin.handle("user.add", control.AddUser(id="x", name="Anna Berg"))
        assert [one["id"] for one in await alice.request("users", query=typed)] == ["x"]


async def test_search_of_a_long_directory_yields_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = Tuning(service=ServiceTuning(slice_users=10))
    async with house(tmp_path, "anna", tuning=tuning) as here:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                added = control.AddUser(id=f"u{number:03}", name=f"Ünal {number}")
                nursery.start_soon(here.relay.admin.handle, "user.add", added)
        turns = 0
        looked: list[int] = []
        fold = users.folded_name

        def folded_name(name: str) -> str:
            looked.append(turns)
            return fold(name)

        monkeypatch.setattr(users, "folded_name", folded_name)

        async def take_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with here.device("anna") as anna, trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            assert await anna.request("users", query="nobody") == []
            nursery.cancel_scope.cancel()
        assert len(looked) == 201
        # Trio shuffles the order, so one task may be last in one turn and first in the next.
        assert max(Counter(looked).values()) <= 20
        async with here.device("anna") as anna:
            assert [one["id"] for one in await anna.request("users", query="ÜNAL 19", count=3)] == [
                "u019",
                "u190",
                "u191",
            ]
            assert (await anna.request("users", query="unal", after="u198"))[0]["id"] == "u199"


@pytest.mark.parametrize("query", ["\u200d", "\u00ad\u200b", "\u0640"])
async def test_query_of_the_directory_without_a_visible_character_is_refused(tmp_path: Path, query: str) -> None:
    async with house(tmp_path, "anna") as here, here.device("anna") as anna:
        assert (await anna.refused("users", query=query))["code"] == "bad_request"
        assert len(await anna.request("users", query="")) == 1
