"""Just enough of asyncio for aiosqlite, in the trio task that waits: no second event loop runs.

aiosqlite's coroutines wait for nothing but futures that its thread resolves. So each is stepped here, in the task that
wants its result, and a resolved future wakes that task. A whole asyncio loop inside trio (trio-asyncio) takes 270 µs
instead of 100 for the way to the thread and back, which is most of the time that a single message takes. Knows asyncio
and trio, but neither the relay nor SQLite.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
Future = asyncio.Future[object]
"""A future of aiosqlite, whatever its result: the coroutine that waits for it takes that."""

STOP_AGAIN_SECONDS = 0.02
"""Seconds after which a statement that is still running is stopped again."""


class _Loop(asyncio.AbstractEventLoop):
    """The part of an event loop that futures use: making them, and calling their callbacks, also from a thread."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()

    def create_future(self) -> Future:
        return asyncio.Future(loop=self)

    def get_debug(self) -> bool:
        return False

    def call_soon(  # type: ignore[override]  # nobody uses the handle
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,  # noqa: ARG002
    ) -> None:
        callback(*args)

    def call_soon_threadsafe(  # type: ignore[override]  # as above
        self,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,  # noqa: ARG002
    ) -> None:
        try:
            self._token.run_sync_soon(callback, *args)
        except trio.RunFinishedError:
            # No task is waiting: trio has ended.
            return

    def call_exception_handler(self, context: dict[str, object]) -> None:
        """Ignore an error whose caller was cancelled."""


class Bridge:
    """Runs aiosqlite's coroutines in the trio run in which it was made."""

    def __init__(self) -> None:
        self._loop = _Loop()  # type: ignore[abstract]  # what is missing is never called

    async def run(self, awaitable: Awaitable[T], stop: Callable[[], None] | None = None) -> T:
        """Run a coroutine that waits for futures only, and return its result.

        Args:
            awaitable: the coroutine.
            stop: stops the thread's work for it. On cancellation it is called, and the task waits for the thread.
                Without it, cancellation takes effect at once, and the thread goes on.
        """
        steps: Generator[Future, None, T] = awaitable.__await__()
        while True:
            try:
                future = self._entered(steps.send, None)
            except StopIteration as done:
                result: T = done.value
                return result
            try:
                await self._resolved(future)
            except BaseException as error:
                try:
                    if stop is not None and isinstance(error, trio.Cancelled):
                        await self._stopped(future, stop)
                finally:
                    self._entered(steps.close)
                raise

    async def _stopped(self, future: Future, stop: Callable[[], None]) -> None:
        """Stop the statement again and again until it ends: the thread may not have begun yet."""
        with trio.CancelScope(shield=True):
            while not future.done():
                stop()
                with trio.move_on_after(STOP_AGAIN_SECONDS):
                    await self._resolved(future)

    def _entered(self, step: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
        """Call a step with this loop as the running one, which is how aiosqlite finds it."""
        asyncio._set_running_loop(self._loop)  # noqa: SLF001 - made for loops, and exported by asyncio.events
        try:
            return step(*arguments)
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001

    @staticmethod
    async def _resolved(future: Future) -> None:
        # A future notes that its `__await__` has yielded it; the driver of the coroutine clears the note.
        future._asyncio_future_blocking = False  # noqa: SLF001 - part of how futures are awaited
        if future.done():
            return
        task = trio.lowlevel.current_task()

        def wake(_done: Future) -> None:
            trio.lowlevel.reschedule(task)

        def give_up(_raise_cancel: object) -> trio.lowlevel.Abort:
            future.remove_done_callback(wake)
            return trio.lowlevel.Abort.SUCCEEDED

        future.add_done_callback(wake)
        await trio.lowlevel.wait_task_rescheduled(give_up)
