"""The credentials of the page: in memory, or in credentials.json on request."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from sandbox.credentials import Credentials
from sandbox.forms import CredentialField, stored_values
from sandbox.host import Values
from sandbox.playground.exchange import secrets_of


@dataclass
class CredentialStore:
    """The credentials that calls of the page use. Thread-safe."""

    form: Sequence[CredentialField]
    current: Credentials
    file: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, model: str) -> Values:
        return self.current.of(model)

    def use(self, given: Mapping[str, str]) -> None:
        """Add filled fields. Raises ValueError, without any value, if the form does not allow one."""
        with self._lock:
            filled = {name: value.strip() for name, value in given.items() if value and value.strip()}
            provider = stored_values(self.form, {**self.current.provider, **filled})
            self.current = Credentials(provider=provider, models=self.current.models)

    def forget(self) -> None:
        with self._lock:
            self.current = Credentials(provider=stored_values(self.form, {}))

    def save(self) -> Path:
        """Write everything to the file, readable by its owner alone."""
        with self._lock:
            document = {**self.current.provider, **({"models": self.current.models} if self.current.models else {})}
            self.file.touch(mode=0o600)
            self.file.chmod(0o600)
            self.file.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", "utf-8")
        return self.file

    @property
    def secrets(self) -> list[str]:
        """Every secret value of the provider and of the customizable models."""
        names = [field.variable for field in self.form if field.secret] + ["api_key", "password", "headers"]
        sources: list[Mapping[str, JsonValue]] = [self.current.provider, *self.current.models.values()]
        return [secret for source in sources for secret in secrets_of(source, names)]
