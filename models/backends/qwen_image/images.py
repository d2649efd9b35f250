"""Input images as Model Studio takes them: as data URLs, which bounds their bytes.

Source: Model Studio, Qwen-Image editing API and Wan image editing API, input images.
"""

from dataclasses import replace

from models.backends.qwen_image.facts import Facts
from models.entities import ImageRequest
from models.images.inputs import Limits, fit, hard_edged, same_size

MAX_DATA_URL = 10_485_760  # characters, the head included
_HEAD = 64  # more than `data:image/jpeg;base64,` and padding take
MAX_BYTES = (MAX_DATA_URL - _HEAD) * 3 // 4


def fitted(request: ImageRequest, facts: Facts) -> ImageRequest:
    """The request with its images brought within the model's limits, in their order, and notices about changes.

    The mask follows the size of its image. Raises BadRequest for an image that cannot be brought within them.
    """
    limits = Limits(max_bytes=MAX_BYTES, min_side=facts.min_input_side, max_side=facts.max_input_side)
    results = [fit(image, limits) for image in request.images]
    images = tuple(image for image, _ in results)
    notices = tuple(notice for _, told in results for notice in told)
    mask = hard_edged(same_size(request.mask, images[0])) if request.mask and images else request.mask
    return replace(request, images=images, mask=mask, notices=(*request.notices, *notices))
