"""The price of a reply of OpenAI or Azure OpenAI, from the tokens that its `usage` reports and `prices.yaml`."""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ValidationError

from models.entities import Price, StrictModel
from models.parameters import read_yaml

_MILLION = 1_000_000


class _TokenPrices(StrictModel):
    """USD per million tokens, for the models whose whole name `pattern` fits."""

    pattern: str
    text_in: Decimal
    image_in: Decimal
    image_out: Decimal
    text_out: Decimal = Decimal(0)


class _Tokens(BaseModel):
    text_tokens: int = 0
    image_tokens: int = 0


class _Usage(BaseModel):
    """Of OpenAI's reply. Without details every token out belongs to images; those of the input must be told apart."""

    input_tokens_details: _Tokens
    output_tokens: int
    output_tokens_details: _Tokens | None = None

    def cost(self, prices: _TokenPrices) -> Decimal:
        made = self.output_tokens_details or _Tokens(image_tokens=self.output_tokens)
        read = self.input_tokens_details
        into = read.text_tokens * prices.text_in + read.image_tokens * prices.image_in
        return (into + made.text_tokens * prices.text_out + made.image_tokens * prices.image_out) / _MILLION


@cache
def _table() -> Sequence[_TokenPrices]:
    return [_TokenPrices.model_validate(entry) for entry in read_yaml(Path(__file__).with_name("prices.yaml"))]


def price_of(usage: object, model: str) -> Price | None:
    """The price by the `usage` of a reply; None where the model's is unknown or the reply does not report its tokens."""
    prices = next((row for row in _table() if re.fullmatch(row.pattern, model.lower())), None)
    if prices is None:
        return None
    try:
        return Price(_Usage.model_validate(usage).cost(prices), "USD")
    except ValidationError:
        return None
