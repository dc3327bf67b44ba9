"""Random people on two devices each, programs and an admin; every window of everybody is compared with the model.

After each step. Run it for longer with --rulebook-steps, and elsewhere with --rulebook-seed.
"""

import ast
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, Phase, example, given, seed, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from relay.core.relay import open_relay
from relay.net import hooks
from relay.protocol import control
from rulebook import model
from rulebook.steps import ACTS, OTHERS, Playing
from rulebook.world import BOT, PEOPLE, T0

STEPS = 60
"""Steps of one story."""
Story = list[tuple[int, int, int, int, int]]
number = st.integers(0, 59)
stories = st.lists(st.tuples(number, number, number, number, number), min_size=STEPS, max_size=STEPS)


def step(what: str, who: int = 0, where: int = 0, pick: int = 0, other: int = 0) -> tuple[int, int, int, int, int]:
    """Write a step by its name."""
    names = [one.__name__ for one in (*ACTS, *OTHERS)]
    return ([*names, "restart"].index(what), who, where, pick, other)


PRUNED: Story = [
    step("send", 1, 1),
    *[step("send")] * 12,
    step("edit", 1, 1),
    step("prune"),
    step("edit", 1, 1, 1),
]
"""Of a message that was removed its edit is left, and is edited."""


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
                    made = await ask("device.add", control.AddDevice(user_id=user))
                    assert isinstance(made, control.Token)
                    self.tokens[user].append(made)
            crew = control.MakeChat(name="Crew", owner="ann", participants=["ben", "cem"], admins=["ben"])
            news = control.MakeChat(name="News", owner="ben", participants=["ann", BOT], type="channel")
            self.chats = {}
            for chat in (crew, news):
                shown = await ask("chat.create", chat)
                assert isinstance(shown, control.ChatInfo)
                self.chats[shown.id] = chat


async def play(template: Template, story: Story, clock: MockClock) -> None:
    """Play one story in a relay of its own."""
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory,
        pytest.MonkeyPatch.context() as patch,
    ):
        data = Path(directory) / "data"
        shutil.copytree(template.data, data)
        world = Playing(data, template.tokens, template.chats, clock)
        patch.setattr(hooks, "post", world.posted)
        await world.live(iter(story))


def test_every_window_of_everybody_shows_what_the_model_says(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    template = Template()
    trio.run(template.make, tmp_path / "template")
    steps = int(request.config.getoption("--rulebook-steps"))

    @example(story=PRUNED)
    @settings(
        max_examples=max(1, steps // STEPS),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    @given(story=stories)
    def act(story: Story) -> None:
        clock = MockClock(rate=1.0)
        trio.run(play, template, story, clock, clock=clock)

    chosen = request.config.getoption("--rulebook-seed")
    (act if chosen is None else seed(int(chosen))(act))()


def test_the_model_is_small_enough_to_be_read_beside_the_contract() -> None:
    text = Path(model.__file__).read_text()
    documented = {
        line
        for one in ast.walk(ast.parse(text))
        if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for line in range(one.lineno, (one.end_lineno or one.lineno) + 1)
    }
    lines = [line for at, line in enumerate(text.splitlines(), 1) if at not in documented]
    assert sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines) <= 200
