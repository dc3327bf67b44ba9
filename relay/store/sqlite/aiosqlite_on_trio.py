"""Just enough of asyncio for aiosqlite, carried by the trio task that waits: no second event loop runs.

aiosqlite's coroutines wait for nothing but futures that its thread resolves. So each is stepped here, in the
task that wants its result, and a future's end goes straight to trio. A whole loop inside trio (trio-asyncio)
does everything else too, and takes 270 µs instead of 100 for the way to the thread and back: a message that
comes alone waits for little else. Knows asyncio and trio; nothing of ours and nothing of SQLite.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import trio

T = TypeVar("T")


INSIST = 0.02
"""Seconds after which what was told to stop, and still runs, is told again."""


class _Loop(asyncio.AbstractEventLoop):
    """What futures ask of a loop: to be made, and to have their callbacks called, at once or from a thread."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        callback(*args)

    def call_soon_threadsafe(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        try:
            self._token.run_sync_soon(callback, *args)
        except trio.RunFinishedError:
            # Nobody waits any more: trio has ended, and with it whoever asked.
            return

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody came back for: whoever asked was cancelled."""


class Bridge:
    """Runs aiosqlite's coroutines in the trio run that it was made in."""

    def __init__(self) -> None:
        self._loop = _Loop()  # type: ignore[abstract]  # what is missing is never asked for

    async def run(self, awaitable: Awaitable[T], stop: Callable[[], None] | None = None) -> T:
        """Wait for what waits for futures only.

        Args:
            awaitable: it.
            stop: ends what the thread does for it. A cancelled task then calls this and waits until the thread is
                done. Without it cancellation takes effect at once, and the thread goes on unheard.
        """
        steps: Any = awaitable.__await__()
        while True:
            try:
                future = self._entered(steps.send, None)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            try:
                await self._resolved(future)
            except BaseException as error:
                try:
                    if stop is not None and isinstance(error, trio.Cancelled):
                        await self._stopped(future, stop)
                finally:
                    self._entered(steps.close)
                raise

    async def _stopped(self, future: asyncio.Future[Any], stop: Callable[[], None]) -> None:
        """Stop what runs, again and again until it ends: it may not have begun yet."""
        with trio.CancelScope(shield=True):
            while not future.done():
                stop()
                with trio.move_on_after(INSIST):
                    await self._resolved(future)

    def _entered(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """Call with this loop as the one that runs: that is how aiosqlite finds it."""
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - made for loops, and exported by asyncio.events
        try:
            return step(*arguments)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001

    @staticmethod
    async def _resolved(future: asyncio.Future[Any]) -> None:
        # A future marks that it was yielded by its own `__await__`; whoever drives the coroutine takes note.
        future._asyncio_future_blocking = False  # noqa: SLF001 - part of how futures are awaited
        if future.done():
            return
        task = trio.lowlevel.current_task()

        def wake(_done: asyncio.Future[Any]) -> None:
            trio.lowlevel.reschedule(task)

        def give_up(_raise_cancel: Any) -> trio.lowlevel.Abort:
            future.remove_done_callback(wake)
            return trio.lowlevel.Abort.SUCCEEDED

        future.add_done_callback(wake)
        await trio.lowlevel.wait_task_rescheduled(give_up)
