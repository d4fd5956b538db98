"""Signals that ask a run to stop: noted when they come, and acted on where the training's state is whole."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from glue_pool.errors import Interrupted

STOPPING = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)  # USR2 is what Slurm's launcher uses for preemption


class Signals:
    """Notes SIGTERM, SIGUSR2 and SIGINT (Ctrl-C) inside the `with`; a second Ctrl-C raises KeyboardInterrupt at once.

    Whoever had set a function for a signal (a cluster's launcher) is told when the `with` is left. Signals that were
    ignored stay so, and outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._came: list[signal.Signals] = []
        self._earlier: dict[signal.Signals, Any] = {}

    @property
    def came(self) -> bool:
        """Whether a signal waits to be acted on."""
        return bool(self._came)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in STOPPING}
            self._earlier = {number: h for number, h in handlers.items() if h not in (None, signal.SIG_IGN)}
            for number in self._earlier:
                signal.signal(number, self._note)
        return self

    def ending(self) -> signal.Signals | None:
        """Return the signal that ends the training, if one does; to be asked once its state is saved.

        Slurm sends SIGTERM along with the signal of a preemption, and its launcher's function for SIGTERM does nothing:
        where such a function returns, the training goes on.
        """
        while self._came:
            function = self._function(self._came[0])
            if self._came[0] != signal.SIGTERM or not function:
                return self._came[0]
            function(self._came.pop(0), None)
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        ended = error is None or isinstance(error, Exception)
        if not self._came or not (ended or isinstance(error, Interrupted)):
            return
        by = self._came[0]
        if function := self._function(by):
            function(by, None)
        elif ended:  # too late to stop the run, but not what was to follow it
            raise Interrupted(by, f"interrupted by {by.name} when the run was over") from error

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in self._came:
            raise KeyboardInterrupt
        self._came.append(signal.Signals(number))

    def _function(self, number: signal.Signals) -> Callable[[int, FrameType | None], object] | None:
        """Return the function that someone had set for a signal; None where it had Python's own handling."""
        handler = self._earlier[number]
        return None if handler in (signal.SIG_DFL, signal.default_int_handler) else handler
