"""Random people on two devices each, programs and an admin; each view is compared with the model.

The comparison follows each step. Run it for longer with --rulebook-steps, and elsewhere with --rulebook-seed.
"""

import ast
import os
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from relay.core.relay import open_relay
from relay.net.webhooks import outgoing
from relay.protocol import control
from tests.rulebook import model
from tests.rulebook.steps import ACTS, OTHERS, Playing
from tests.rulebook.world import BOT, PEOPLE, T0

STEPS = 60
"""Steps of one story."""
SHORT = 300
"""The number of steps up to which the usual time limit applies: see `tests/conftest.py`."""
Story = list[tuple[int, int, int, int, int]]
number = st.integers(0, 59)
stories = st.lists(st.tuples(number, number, number, number, number), min_size=STEPS, max_size=STEPS)


def step(what: str, who: int = 0, where: int = 0, pick: int = 0, other: int = 0) -> tuple[int, int, int, int, int]:
    """Make a step by its name."""
    names = [one.__name__ for one in (*ACTS, *OTHERS)]
    return ([*names, "restart"].index(what), who, where, pick, other)


ANN, BEN, CEM, ROBOT, CREW, NEWS = range(6)
"""Users and chats by number. Ann owns the crew, with ben as an admin; ben owns the news, which ann reads."""
AGAIN, FROM_LOG, KILLED = range(3)
OFF, ON = 0, 1
OUT, IN = 0, 3
"""An outgoing and an incoming hook; both add their user to the chat. 1 is an incoming one that adds nobody."""


def dialog(*more: tuple[int, int, int, int, int]) -> Story:
    """Start with a message from ann to ben."""
    return [step("send", ANN, BEN), *more]


STORIES: dict[str, Story] = {
    "the edit of a removed message is left, and is edited": [
        step("send", BEN, BEN),
        *[step("send")] * 12,
        step("edit", BEN, BEN),
        step("prune"),
        step("edit", BEN, BEN, 1),
    ],
    "retention takes what was not read": [*[step("send", ANN, CREW)] * 12, step("prune")],
    "an admin removes no admin": [step("remove", BEN, CREW, 0, BEN)],
    "a member deletes what another wrote": [step("send", ANN, CREW), step("delete", CEM, CREW)],
    "a reader of the channel, no longer an author, edits nothing there": [
        step("admins", BEN, NEWS, 0, ANN),
        step("send", ANN, NEWS),
        step("admins", BEN, NEWS, 0, BEN),
        step("edit", ANN, NEWS),
    ],
    "nobody writes to who is switched off": dialog(step("switch", 0, 0, OFF, BEN), step("send", ANN, BEN)),
    "a cleared message is quoted": dialog(step("clear", BEN, ANN), step("reply", ANN, BEN)),
    "a cleared message is edited": dialog(step("clear", BEN, ANN), step("edit", ANN, BEN)),
    "a cleared message was not read": dialog(step("clear", BEN, ANN)),
    "a user who is enabled again counts from then on, after each kind of start": [
        step("switch", 0, 0, OFF, BEN),
        step("send", ANN, CREW),
        step("switch", 0, 0, ON, BEN),
        *[step("restart", 0, 0, how) for how in (AGAIN, FROM_LOG, KILLED)],
    ],
    "a bot holds up no status": [step("send", BEN, NEWS)],
    "an admin inherits before a member who was there earlier": [
        step("admins", ANN, CREW, 0, CEM),
        step("leave", ANN, CREW),
    ],
    "only the machine's admin lets a disabled user in": [
        step("switch", 0, 0, OFF, CEM),
        step("add", BEN, NEWS, 0, CEM),
        step("machine_adds", 0, NEWS, 0, CEM),
    ],
    "a file goes with the chat": [step("send_file", ANN, CREW, 1), step("remove", ANN, CREW, 0, CEM)],
    "a user who shares no chat any more is not online": [step("remove", ANN, CREW, 0, CEM)],
    "imported messages are read for users who had nothing else unread": [
        step("bring", ANN, CREW),
        step("send", ANN, CREW),
        step("bring", BEN, CREW),
    ],
    "a name is taken": [step("rename", ANN, 0, 3)],
    "a name changes": dialog(step("rename", ANN, 0, 5)),
    "a device is somebody else's": [step("revoke", ANN, 0, 0, BEN)],
    "a device is signed out, and another begins": dialog(step("revoke", BEN, 0, 1), step("sign_in", BEN, 0, 1)),
    "somebody is removed, and the relay starts from its log": [
        step("send", CEM, CREW),
        step("depart", 0, 0, 0, CEM),
        step("restart", 0, 0, FROM_LOG),
    ],
    "a deletion is exported": [step("send", ANN, CREW), step("delete", ANN, CREW)],
    "a hook lets nobody in by itself": [step("add_hook", 0, NEWS, 1, CEM), step("add_hook", 0, NEWS, 1, ANN)],
    "a hook does not hear itself": [
        step("add_hook", 0, CREW, OUT, ROBOT),
        step("add_hook", 0, CREW, IN, ROBOT),
        step("post"),
        step("send", ANN, CREW),
    ],
    "a hook hears its chat and no other": [
        step("add_hook", 0, CREW, OUT, ROBOT),
        step("send", ANN, ROBOT),
        step("send", ANN, CREW),
        step("edit", ANN, CREW),
    ],
    "a hook rests and goes on from where it was": [
        step("add_hook", 0, CREW, OUT, ROBOT),
        step("switch", 0, 0, OFF, ROBOT),
        step("send", BEN, NEWS),
        step("send", ANN, CREW),
        step("restart", 0, 0, KILLED),
        step("switch", 0, 0, ON, ROBOT),
    ],
    "a hook of who is disabled asks its sender to try again": [
        step("add_hook", 0, CREW, IN, BEN),
        step("switch", 0, 0, OFF, BEN),
        step("post"),
    ],
    "a hook of who is removed is gone": [
        step("add_hook", 0, CREW, IN, BEN),
        step("depart", 0, 0, 0, BEN),
        step("post"),
    ],
    "a hook posts nowhere once its user is taken out": [
        step("add_hook", 0, CREW, IN, ROBOT),
        step("remove", ANN, CREW, 0, ROBOT),
        step("post"),
    ],
}
"""One story for each rule, as short as possible: they find at once what random stories find eventually."""


class Template:
    """A data directory with all people, a group and a channel in it, made once."""

    data: Path
    tokens: dict[str, list[control.Token]]
    chats: dict[str, control.MakeChat]

    async def make(self, data: Path) -> None:
        """Make it."""
        self.data = data
        self.tokens = {}
        data.mkdir()
        async with open_relay(data, clock=lambda: T0) as relay:
            ask = relay.admin.handle
            await ask("user.add", control.AddUser(id=BOT, bot=True))
            for user in PEOPLE:
                await ask("user.add", control.AddUser(id=user))
                self.tokens[user] = []
                for _ in range(2):
                    made = await ask("device.add", control.AddDeviceRequest(user_id=user))
                    assert isinstance(made, control.Token)
                    self.tokens[user].append(made)
            crew = control.MakeChat(name="Crew", owner="ann", participants=["ben", "cem"], admins=["ben"])
            news = control.MakeChat(name="News", owner="ben", participants=["ann", BOT], type="channel")
            self.chats = {}
            for chat in (crew, news):
                shown = await ask("chat.create", chat)
                assert isinstance(shown, control.ChatInfo)
                self.chats[shown.id] = chat


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    made = Template()
    trio.run(made.make, tmp_path_factory.mktemp("rulebook") / "template")
    return made


async def play(template: Template, story: Story, clock: MockClock) -> None:
    """Play one story in a relay of its own."""
    with (
        tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        data = Path(directory) / "data"
        shutil.copytree(template.data, data)
        world = Playing(data, template.tokens, template.chats, clock)
        patch.setattr(outgoing, "post", world.posted)
        await world.live(iter(story))


def test_every_view_of_every_user_matches_the_model(template: Template, request: pytest.FixtureRequest) -> None:
    steps = int(request.config.getoption("--rulebook-steps"))

    # Shrinking a failure takes minutes, so only long runs do it.
    phases = [Phase.explicit, Phase.reuse, Phase.generate, *([Phase.shrink] if steps > SHORT else [])]

    @settings(
        max_examples=max(1, steps // STEPS),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )
    @given(story=stories)
    def act(story: Story) -> None:
        clock = MockClock(rate=1.0)
        trio.run(play, template, story, clock, clock=clock)

    chosen = request.config.getoption("--rulebook-seed")
    (act if chosen is None else seed(int(chosen))(act))()


@pytest.mark.parametrize("name", STORIES)
def test_story_of_one_rule_matches_the_model(template: Template, name: str) -> None:
    clock = MockClock(rate=1.0)
    trio.run(play, template, STORIES[name], clock, clock=clock)


def test_model_is_short_enough_to_read_beside_the_contract() -> None:
    text = Path(model.__file__).read_text()
    documented = {
        line
        for one in ast.walk(ast.parse(text))
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for line in range(one.lineno, (one.end_lineno or one.lineno) + 1)
    }
    lines = [line for at, line in enumerate(text.splitlines(), 1) if at not in documented]
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 210
