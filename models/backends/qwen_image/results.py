"""From the service's addresses to images, at once: the addresses die after 24 hours."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

from models.backends.download import download_result, is_public
from models.backends.errors import ServerUnavailable
from models.backends.partial import Made, each
from models.backends.qwen_image.facts import Prices
from models.backends.qwen_image.wire import Picture
from models.clock import Clock, Deadline
from models.entities import GeneratedImage, Price
from models.images.sniff import NotAnImageError, sniff

EXPIRY = "The address in `image_url` is public and expires 24 hours after the image was made."
LARGEST_1K = 2_250_000  # pixels; a larger image is billed as 2K
_ATTEMPT = "Downloading the image from Model Studio"


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Downloads results; `base_url` is the service's own address.

    A service on the public internet is asked over https, at public addresses only; one on a private address (a gateway, a
    test double) may name what it likes.
    """

    clock: Clock
    base_url: str

    def fetch_all(self, pictures: Sequence[Picture], *, seed: int, deadline: Deadline) -> Made:
        """Every image that can be had, and the failures of the rest. Raises nothing of its own."""
        return each(lambda picture: self._fetch(picture, seed, deadline), pictures)

    def _fetch(self, picture: Picture, seed: int, deadline: Deadline) -> GeneratedImage:
        private = not is_public(urlsplit(self.base_url).hostname or "")
        # The signature of an address does not cover its scheme, and a paid image is not given up for it.
        url = picture.url if private else re.sub("^http:", "https:", picture.url)
        data = download_result(
            url,
            attempt=_ATTEMPT,
            clock=self.clock,
            deadline=deadline,
            allow_private=private,
            next_step="Generate it again: the service keeps images for 24 hours",
        )
        try:
            sniff(data)
        except NotAnImageError as error:
            raise ServerUnavailable(f"{_ATTEMPT} failed", str(error), "Try again") from None
        return GeneratedImage(data, url=url, seed=seed, revised_prompt=picture.actual_prompt)


def price_of(prices: Prices | None, images: Iterable[GeneratedImage], input_images: int) -> Price | None:
    """What the images cost by the price list of the account's region, None where that is not known."""
    if prices is None:
        return None
    pictures = sum((_price(prices, *image.size) for image in images), Decimal(0))
    return Price(pictures + input_images * prices.input_image, "CNY")


def _price(prices: Prices, width: int, height: int) -> Decimal:
    return prices.image_2k if prices.image_2k is not None and width * height > LARGEST_1K else prices.image
