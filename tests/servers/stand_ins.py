"""Every fake service of the contract suite at once, with scenes as images: `python -m tests.servers.stand_ins`.

Prints one line of JSON, `{"provider": {...}, "models": {...}}`, the credentials that lead to them, and serves until
its parent process ends.
"""

import json
import os
import time
from contextlib import ExitStack

from tests.contract_cases import CASES
from tests.servers.scenes import SWITCH


def main() -> None:
    SWITCH.on = True
    provider: dict[str, str] = {}
    models: dict[str, dict[str, str]] = {}
    with ExitStack() as running:
        for case in CASES.values():
            if case.serve is None or case.credentials is None:
                continue
            values = case.credentials(running.enter_context(case.serve()).url)
            if "backend" in values:
                models[case.model] = values
            else:
                provider |= values
        print(json.dumps({"provider": provider, "models": models}), flush=True)  # noqa: T201 - the result
        parent = os.getppid()
        while os.getppid() == parent:
            time.sleep(1)  # patched by gevent, as are the servers' threads: a blocking read would stop them all


if __name__ == "__main__":
    main()
