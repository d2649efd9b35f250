"""The Chinese of every message, and the pages of all errors: `uv run python -m tools.messages [--check | --missing]`.

Without an option the pages in `docs/` are written.
"""

import argparse
import sys

from tools.messages.catalogue_check import missing, unused, written
from tools.messages.sentences import ROOT
from tools.messages.tables import PAGES, stale


def main() -> int:
    options = argparse.ArgumentParser(prog="tools.messages", description=(__doc__ or "").splitlines()[0])
    options.add_argument(
        "--check", action="store_true", help="write nothing; fail if Chinese is missing or a page outdated"
    )
    options.add_argument(
        "--missing", action="store_true", help="print entries for what the catalogue lacks, to be filled in"
    )
    asked = options.parse_args()
    lacking, left = missing(), unused()
    if asked.missing or lacking:
        print(written(lacking))
    for text in left:
        print(f"the code has no such sentence any more: {text}")
    if asked.missing or lacking or left:
        return 1 if lacking or left else 0
    outdated = stale()
    for page in PAGES:
        if page.path in outdated:
            print(f"{'outdated' if asked.check else 'written'}: {page.path.relative_to(ROOT)}")
            if not asked.check:
                page.path.write_text(page.text(), "utf-8")
    return 1 if asked.check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
