"""For each service: what works, what is missing and what to do, from the plugin's own credential check."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from sandbox.credentials import Credentials
from sandbox.errors import PluginError
from sandbox.forms import CredentialField
from sandbox.host import Host
from sandbox.package import Package

_SERVICE_FIELD = re.compile(r"(?P<prefix>\w+?)_(?:api_key|base_url|username|password|region)")
_TITLE_END = re.compile(r"\s+(API key|base URL|user name|password|region|URL)$", re.IGNORECASE)
_MARKS = {"works": "✓", "failed": "✗", "empty": "·"}

type Status = Literal["works", "failed", "empty"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What is known of a service, of the plugin's other settings, or of a customizable model."""

    name: str
    status: Status
    fields: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    next_step: str = ""


def examined(
    host: Host, package: Package, credentials: Credentials, *, on_service: Callable[[str], None] = lambda _: None
) -> list[Finding]:
    """One finding per service of the form, one for all other settings, one per customizable model."""
    findings = []
    for name, fields in services_of(package.form).items():
        on_service(f"asking {name}")
        findings.append(_provider_finding(host, name, fields, credentials))
    for model, values in credentials.models.items():
        on_service(f"asking {model}")
        findings.append(_asked(host, model, tuple(values), partial(host.validate_model_credentials, model, values)))
    return findings


def services_of(form: Sequence[CredentialField]) -> dict[str, list[CredentialField]]:
    """The fields of the form by service; the plugin's own settings come last as `settings`."""
    services: dict[str, list[CredentialField]] = {}
    titles: dict[str, str] = {}
    rest = []
    names = {field.variable for field in form}
    for field in form:
        found = _SERVICE_FIELD.fullmatch(field.variable)
        if found is None or f"{found['prefix']}_url" in names:  # moderation and the like: no image service
            rest.append(field)
        else:
            title = titles.setdefault(found["prefix"], _TITLE_END.sub("", field.label.en_US) or found["prefix"])
            services.setdefault(title, []).append(field)
    return services | ({"settings": rest} if rest else {})


def _provider_finding(host: Host, name: str, fields: Sequence[CredentialField], credentials: Credentials) -> Finding:
    stored = credentials.provider
    given = {field.variable: stored[field.variable] for field in fields if field.variable in stored}
    filled = [field.variable for field in fields if given.get(field.variable) not in (None, field.default)]
    if not filled:
        return Finding(name=name, status="empty", next_step=_what_to_fill(fields))
    return _asked(host, name, tuple(filled), partial(host.validate_provider_credentials, given))


def _asked(host: Host, name: str, fields: tuple[str, ...], ask: Callable[[], object]) -> Finding:
    log = host.process(0).log_messages
    log.clear()
    try:
        ask()
    except PluginError as error:
        return Finding(name=name, status="failed", fields=fields, told=_told(log), next_step=error.message)
    return Finding(name=name, status="works", fields=fields, told=_told(log))


def _told(log: Iterable[str]) -> tuple[str, ...]:
    return tuple(line.partition(": ")[2] or line for line in log if "image_request" not in line)


def _what_to_fill(fields: Sequence[CredentialField]) -> str:
    first = fields[0]
    hint = f" ({first.placeholder.en_US})" if first.placeholder else ""
    return f"fill in {first.variable}{hint}"


def doctor_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The report: what was asked first, then the services that have no field filled."""
    for finding in findings:
        if finding.status != "empty":
            yield f"{_MARKS[finding.status]} {finding.name}  ({', '.join(finding.fields)})"
            yield from (f"    {line}" for line in (*finding.told, *finding.next_step.splitlines()))
    empty = [finding for finding in findings if finding.status == "empty" and finding.name != "settings"]
    if empty:
        yield "Not in use; to use one of them:"
    width = max((len(finding.name) for finding in empty), default=0)
    yield from (f"{_MARKS['empty']} {finding.name:<{width}}  {finding.next_step}" for finding in empty)
    yield "The models preview and contact-sheet need no service."
