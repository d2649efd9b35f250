"""A status line on the terminal with the elapsed time."""

import sys
import threading
import time
from types import TracebackType
from typing import Self, TextIO

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ERASE = "\r\x1b[2K"


class StatusLine:
    """
    A live line on stderr while its block runs; not shown if stderr is not a terminal.

    `text` can be changed from any thread.
    """

    def __init__(self, text: str, stream: TextIO = sys.stderr, *, period: float = 0.1) -> None:
        self.text = text
        self._stream = stream
        self._period = period
        self._done = threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._draw, daemon=True)

    def __enter__(self) -> Self:
        if self._stream.isatty():
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
            self._stream.write(_ERASE)
            self._stream.flush()

    def show(self, text: str) -> None:
        """A new text, for a call that reports its progress."""
        self.text = text

    def _draw(self) -> None:
        frame = 0
        while not self._done.wait(self._period):
            seconds = time.monotonic() - self._started
            self._stream.write(f"{_ERASE}{_FRAMES[frame % len(_FRAMES)]} {self.text}  {seconds:.1f} s")
            self._stream.flush()
            frame += 1
