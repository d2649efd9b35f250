"""What is special about the service's refusals: the advice about keys, regions and models, and the pace of an account.

`refusals.yaml` knows the error codes.
"""

from dataclasses import dataclass, replace

from models.backends.errors import BadRequest, RateLimited
from models.backends.qwen_image.account import REGIONS, TOKEN_PLAN_URLS, Account
from models.backends.qwen_image.wire import StudioFailure
from models.backends.refusals import Fault, RefusalTable
from models.backends.reply import Explanation, Reply

TABLE = RefusalTable.beside(__file__)
_PER_MINUTE_WAIT = 15.0  # seconds; for models whose limit counts by the minute
_FAST = 60  # requests a minute from which on a slot is a matter of the caller's own short waits


@dataclass(frozen=True, slots=True)
class RefusalContext:
    """Who asked for what: the words that an advice needs."""

    account: Account
    model: str
    regions: tuple[str, ...]
    requests_per_minute: int


def explain(asked: RefusalContext, reply: Reply) -> Explanation:
    """The reading of any refusal, whatever a gateway in between made of it."""
    failure = StudioFailure.read(reply.json())
    return explain_failure(asked, failure, reply.status) if failure.code else _explained(asked, Fault.read(reply))


def explain_failure(asked: RefusalContext, failure: StudioFailure, status: int) -> Explanation:
    """The reading of a code, from an answer's envelope or from inside a task."""
    return _explained(asked, Fault(said=failure.words, status=status, codes=(failure.code,)))


def _explained(asked: RefusalContext, fault: Fault) -> Explanation:
    account = asked.account
    meaning = TABLE.explain(
        fault,
        account.access,
        key_advice=key_advice(account),
        model_advice=model_advice(asked),
        region=account.place,
    )
    if meaning.error is RateLimited and meaning.retry_after is not None:
        return replace(meaning, retry_after=max(meaning.retry_after, _slot(asked.requests_per_minute)))
    return meaning


def _slot(requests_per_minute: int) -> float:
    if requests_per_minute >= _FAST:
        return 0.0
    return max(_PER_MINUTE_WAIT, 60 / requests_per_minute)


def key_advice(account: Account) -> str:
    """What to do about a key that was not accepted."""
    access = account.access
    key, region, base = (access.words(name) for name in ("api_key", "region", "base_url"))
    if account.token_plan_key and not account.host.startswith("token-plan."):
        return (
            f"A key that starts with sk-sp- belongs to a Token Plan or Coding Plan, which has its own address: "
            f"write {' or '.join(TOKEN_PLAN_URLS)} in {base} (a Coding Plan makes no images)"
        )
    if access.base_url:
        return (
            f"Key, address and model must belong to the same region: this key was refused by {account.place}; "
            f"check {key} and {base} {access.place}"
        )
    others = [r for name, r in REGIONS.items() if name != account.region]
    return (
        f"Keys belong to a region and this one was refused by {account.place}: if it was made in "
        f"{' or '.join(r.title for r in others)}, choose that in {region}; otherwise check {key} {access.place}"
    )


def model_advice(asked: RefusalContext) -> str:
    """What to do about a model that the service does not know."""
    where = " and ".join(REGIONS[name].title for name in asked.regions)
    return (
        f"Check the model's name ({asked.model}); models like it are offered in {where}, and this account asks "
        f"{asked.account.place}"
    )


def answered_in_words(text: str) -> BadRequest:
    """The refusal of a model that answered with text in place of an image."""
    return BadRequest(
        "The model answered without an image",
        text,
        "Change what it objects to in the prompt or the input images, and say plainly what the image shows",
    )
