"""What is done to a request before it is written down: images made acceptable, the mask given its form, a seed drawn."""

import random
from dataclasses import replace

from models.backends.openai_images.dialects import Route
from models.backends.openai_images.server import Server
from models.entities import ImageRequest, InputImage
from models.images.inputs import as_alpha, fit, mask_of, same_size

_RANDOM = random.SystemRandom()
_LARGEST_DRAWN = 2**31 - 1  # every server takes a seed up to here


def prepared(request: ImageRequest, server: Server) -> ImageRequest:
    """The request as `build` can write it; what was changed is among its notices.

    Raises BadRequest for an image that cannot be brought within the server's limits.
    """
    fitted = [fit(image, server.dialect.inputs) for image in request.images]
    images = tuple(image for image, _ in fitted)
    route = server.dialect.route(edits=bool(images), masked=request.mask is not None)
    return replace(
        request,
        images=images,
        mask=_formed(request.mask, images[0], route) if request.mask and images else request.mask,
        seed=_seed(request, server),
        notices=(*request.notices, *(notice for _, notices in fitted for notice in notices)),
    )


def _formed(mask: InputImage, image: InputImage, route: Route) -> InputImage:
    sized = same_size(mask_of(mask), image)
    return as_alpha(sized) if route.mask_form == "alpha" else sized


def _seed(request: ImageRequest, server: Server) -> int | None:
    """A seed chosen here can be told, and SGLang paints the same image again and again without one."""
    alike = server.dialect.seeds == "repeated" and request.n > 1  # one seed would make n equal images
    if request.seed is not None or server.dialect.seed is None or alike:
        return request.seed
    return _RANDOM.randint(0, _LARGEST_DRAWN)
