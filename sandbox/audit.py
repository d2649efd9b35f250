"""Read audit lines or records back as a table: `python -m sandbox audit [FILE or FOLDER ...]`.

A file is a log with `image_request {...}` somewhere in its lines, plain or inside a JSON string, or one record of
the store; a folder is searched for `*.json` and `*.log`. Nothing is asked of a plugin.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

_MARK = "image_request "
_JSON = json.JSONDecoder(strict=False)
COLUMNS = ("day", "user", "model")


class AuditRecord(BaseModel):
    """The fields of a record that the table needs."""

    model_config = ConfigDict(extra="ignore")

    id: str
    time: float
    user: str
    model: str
    answered_by: str | None = None
    n: int = 0
    price: Decimal | None = None
    currency: str | None = None
    outcome: Literal["succeeded", "failed", "refused"]
    cached: bool = False

    @property
    def day(self) -> str:
        """The day of UTC in which the request began."""
        return f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%d}"


@dataclass
class Sum:
    """What the requests of one row come to. `costs` are by currency."""

    counts: Counter[str] = field(default_factory=Counter)
    costs: dict[str, Decimal] = field(default_factory=dict)

    def add(self, record: AuditRecord) -> None:
        self.counts.update(["requests", record.outcome])
        if record.outcome == "succeeded":
            self.counts["images"] += record.n
        self.counts["cached"] += record.cached
        self.counts["fallbacks"] += record.answered_by not in {None, record.model}
        if record.price:
            currency = record.currency or ""
            self.costs[currency] = self.costs.get(currency, Decimal(0)) + record.price

    @property
    def fields(self) -> dict[str, object]:
        names = ("requests", "images", "failed", "refused", "cached", "fallbacks")
        costs = {currency: f"{amount.normalize():f}" for currency, amount in sorted(self.costs.items())}
        return {**{name: self.counts[name] for name in names}, "cost": costs}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="*", type=Path, metavar="FILE", help="logs, records or folders (standard input)")
    parser.add_argument("--by", type=_columns, default=COLUMNS, help="columns to sum up by (day,user,model)")
    parser.add_argument("--json", action="store_true", help="one JSON object per row instead of a table")
    parser.set_defaults(command=run_audit)


def run_audit(arguments: argparse.Namespace) -> int:
    """Print the table; returns 0, or 1 if there is no record. Raises OSError for a file that cannot be read."""
    found = Found()
    records = {record.id: record for record in found.records(arguments.paths)}  # a line and its object count once
    if found.unreadable:
        print(f"{found.unreadable} records could not be read", file=sys.stderr)
    if not records:
        print("no audit record was found", file=sys.stderr)
        return 1
    rows = list(_rows(records.values(), arguments.by))
    lines = (json.dumps(row, ensure_ascii=False) for row in rows) if arguments.json else _table(rows)
    print("\n".join(lines))
    return 0


def _columns(text: str) -> Sequence[str]:
    names = tuple(name.strip() for name in text.split(","))
    if not set(names) <= set(COLUMNS):
        msg = f"expected some of {', '.join(COLUMNS)}, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return names


@dataclass
class Found:
    """What was found so far. `unreadable` counts lines and files that are no record."""

    unreadable: int = 0

    def records(self, paths: Sequence[Path]) -> Iterator[AuditRecord]:
        """The records of logs, of single objects and of whole folders; without a path, of standard input."""
        if not paths:
            yield from self._lines(sys.stdin)
        for path in paths:
            files = (
                sorted(file for kind in ("*.json", "*.log") for file in path.rglob(kind)) if path.is_dir() else [path]
            )
            for file in files:
                yield from self._file(file)

    def _file(self, path: Path) -> Iterator[AuditRecord]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.lstrip().startswith("{") and _MARK not in text:
            yield from self._record(text)
        else:
            yield from self._lines(text.splitlines())

    def _lines(self, lines: Iterable[str]) -> Iterator[AuditRecord]:
        for line in lines:
            _, found, rest = line.partition(_MARK)
            if found:
                yield from self._record(rest)

    def _record(self, text: str) -> Iterator[AuditRecord]:
        try:
            if text.startswith('{\\"'):  # inside a JSON string, as some collectors of logs write it
                text, _ = _JSON.raw_decode(f'"{text}')
            fields, _ = _JSON.raw_decode(text.strip())
            yield AuditRecord.model_validate(fields)
        except (ValueError, ValidationError):
            self.unreadable += 1


def _rows(records: Iterable[AuditRecord], by: Sequence[str]) -> Iterator[dict[str, object]]:
    sums: dict[tuple[str, ...], Sum] = {}
    total = Sum()
    for record in records:
        sums.setdefault(tuple(getattr(record, name) for name in by), Sum()).add(record)
        total.add(record)
    for key in sorted(sums):
        yield {**dict(zip(by, key, strict=True)), **sums[key].fields}
    yield {**dict.fromkeys(by, ""), by[0]: "total", **total.fields}


def _table(rows: Sequence[dict[str, object]]) -> Iterator[str]:
    cells = [list(rows[0]), *([_shown(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    numbers = [isinstance(value, int) for value in rows[0].values()]
    for row in cells:
        padded = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        yield "  ".join(padded).rstrip()


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{amount} {currency}" for currency, amount in value.items())
    return str(value)
