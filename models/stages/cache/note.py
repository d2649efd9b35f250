"""What the cache leaves in a job's state for its other half: no secret, no image."""

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from models.entities import ImageRequest
from models.stages.carried import Carried

STAGE = "cache"
_REQUEST = TypeAdapter(ImageRequest)


class CacheNote(BaseModel):
    """`name` is that of the entry and of its lease, `near` the group of prompts whose meaning is compared.

    `leads`: this request holds the lease. `told` are the request's own notices, which belong to no other one. `followed` are the
    holders that it waited for; `request` is the request that waits, without the `inputs` (MIME type and file name of each
    input image, the mask last), which are on the shelf.
    """

    name: str
    model: str
    n: int
    told: list[str]
    near: str = ""
    bag: str = ""
    vector: list[float] = []
    leads: bool = False
    followed: list[str] = []
    request: JsonValue = None
    inputs: list[tuple[str, str]] = []
    has_mask: bool = False

    @classmethod
    def of(cls, carried: Carried) -> "CacheNote | None":
        left = carried.notes.get(STAGE)
        return None if left is None else cls.model_validate(left)

    def leave(self, carried: Carried) -> None:
        carried.notes[STAGE] = self.model_dump(mode="json")


def dumped(request: ImageRequest) -> JsonValue:
    """A request without images as plain JSON."""
    plain: JsonValue = _REQUEST.dump_python(request, mode="json")
    return plain


def loaded(plain: JsonValue) -> ImageRequest | None:
    """None for the request of another version."""
    try:
        return _REQUEST.validate_python(plain)
    except ValidationError:
        return None
