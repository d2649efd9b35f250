"""Run the whole test suite in several processes: `uv run python -m tools.tests [--processes 4]`.

The tests change the process they run in (gevent's patches, caches), so pytest's own plugins for parallel runs do not fit.
Each folder of tests is one run of pytest; the largest start first. Prints the output of each run and a sum at the end.
"""

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
_SPLIT = "backends"
"""The folder whose folders are runs of their own, because it is the largest."""
_SLOW = "plugin"
"""The folder whose files are runs of their own: each starts processes of the plugin."""
_COUNTED = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed)")
_PER_CORE = 2  # processes: half of the time is waiting for servers and processes
_NO_TESTS = 5  # pytest's exit code


def units() -> list[list[str]]:
    """The arguments of each run, the longest first as far as sizes tell."""
    return sorted(_units(TESTS), key=lambda unit: _size(unit) * (10 if _SLOW in unit[0] else 1), reverse=True)


def _units(folder: Path) -> Iterator[list[str]]:
    """A folder's own test files together, and each of its folders."""
    own = sorted(str(path.relative_to(ROOT)) for path in folder.glob("test_*.py"))
    if folder.name == _SLOW:
        yield from ([path] for path in own)
    elif own:
        yield own
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if folder == TESTS and inner.name in {_SPLIT, _SLOW}:
            yield from _units(inner)
        elif any(inner.rglob("test_*.py")):
            yield [str(inner.relative_to(ROOT))]


def _size(unit: list[str]) -> int:
    paths = [ROOT / name for name in unit]
    files = (file for path in paths for file in (path.rglob("test_*.py") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files)


def run(unit: list[str]) -> tuple[int, str]:
    """The exit code and the output of one run."""
    command = [sys.executable, "-m", "pytest", "-q", *unit]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    print(f"== {' '.join(unit)[:100]}\n{ended.stdout[-4000:]}{ended.stderr[-2000:]}", flush=True)
    return ended.returncode, ended.stdout


def main() -> int:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--processes", type=int, default=_PER_CORE * (os.cpu_count() or 1))
    processes = options.parse_args().processes
    with ThreadPoolExecutor(processes) as pool:
        outcomes = list(pool.map(run, units()))
    counts: Counter[str] = Counter()
    for _, output in outcomes:
        last = output.strip().splitlines()[-1:] or [""]
        counts.update({kind.rstrip("s"): int(number) for number, kind in _COUNTED.findall(last[0])})
    print(", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) + f" in {len(outcomes)} runs")
    return 0 if all(code in {0, _NO_TESTS} for code, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
