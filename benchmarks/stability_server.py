"""A fake Stability server in a separate process that returns a 1 MB image; prints its address."""

import threading

from tests.fakes import MARKER_KEY, noise
from tests.servers.stability import FakeStability

SIDE = 682  # pixels; grey noise of this size is a PNG of 1 MB


def main() -> None:
    data = noise(SIDE, SIDE)
    fake = FakeStability(key=MARKER_KEY, balance=1e9, throttle=10**9, draw=lambda *_: data)
    with fake:
        print(fake.url, len(data), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
