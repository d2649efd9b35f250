"""The host's usage record: "completion tokens" are images, the unit price is the price of one image."""

from decimal import Decimal

from dify_plugin.entities.model.llm import LLMUsage

from models.entities import ImageResult, Price

_NOTHING = Decimal(0)


def price_of(result: ImageResult, price_per_image: Price | None) -> Price | None:
    """What the result cost: the service's own word, else the card's price for each image, else unknown."""
    if result.price is not None or price_per_image is None:
        return result.price
    return Price(price_per_image.amount * len(result.images), price_per_image.currency)


def usage_of(result: ImageResult, price_per_image: Price | None, duration: float) -> LLMUsage:
    """The usage of a result that took `duration` seconds. An unknown price counts as zero."""
    count = len(result.images)
    total = price_of(result, price_per_image) or Price(_NOTHING, "USD")
    return LLMUsage(
        prompt_tokens=0,
        prompt_unit_price=_NOTHING,
        prompt_price_unit=_NOTHING,
        prompt_price=_NOTHING,
        completion_tokens=count,
        completion_unit_price=total.amount / count if count else _NOTHING,
        completion_price_unit=Decimal(1),
        completion_price=total.amount,
        total_tokens=count,
        total_price=total.amount,
        currency=total.currency,
        latency=duration,
    )
