"""The owner's rules for editing images: which files, how large, how long an instruction.

They apply to every request with input images, whatever the backend. They are this plugin's own: services have limits of
their own, and say so themselves.
"""

from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ImageRequest, InputImage
from models.limits import FIELD, Limits
from models.settings import Settings

_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class InputRules:
    """`where` names the field that holds the rules."""

    limits: Limits
    where: str

    def __call__(self, request: ImageRequest) -> ImageRequest:
        if request.images:
            for image in (*request.images, *filter(None, (request.mask,))):
                self._check_format(image)
                self._check_size(image)
            self._check_length(request.prompt)
        return request

    def _check_format(self, image: InputImage) -> None:
        allowed = self.limits.formats
        if not allowed or image.mime_type in allowed:
            return
        names, kind = " ".join(map(_short, allowed)), _short(image.mime_type)
        # The entry replaces the defaults, so the sentence names the whole list to write.
        raise _refusal(
            f"{_name(image)} is a {kind.upper()} file; only {names.upper().replace(' ', ', ')} may be edited here",
            f"Send it in one of these formats, or let the owner write `formats {names} {kind}` into {self.where}",
        )

    def _check_size(self, image: InputImage) -> None:
        size, most = len(image.data) / _MB, self.limits.input_mb
        if most and size > most:
            raise _refusal(
                f"{_name(image)} has {size:.1f} MB; at most {most:g} MB may be edited here",
                f"Send a smaller file, or let the owner change `input {most:g} MB` in {self.where}",
            )

    def _check_length(self, instruction: str) -> None:
        length, most = len(instruction), self.limits.instruction
        if most and length > most:
            raise _refusal(
                f"The instruction has {length} characters; at most {most} are allowed here",
                f"Shorten it, or let the owner change `instruction {most}` in {self.where}",
            )


def _refusal(what: str, next_step: str) -> BadRequest:
    return BadRequest("The edit was refused", what, next_step)


def _short(mime_type: str) -> str:
    return mime_type.removeprefix("image/")


def _name(image: InputImage) -> str:
    return image.filename[:100] or "The input image"


def stage(settings: Settings, limits: Limits) -> InputRules:
    return InputRules(limits, settings.where(FIELD))
