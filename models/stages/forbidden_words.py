"""The owner's forbidden words: a prompt with one of them is refused, for generation and for editing.

The text of a stamp and the further texts of a workflow count as well. The negative prompt does not: it keeps things out.
"""

import re
import unicodedata
from dataclasses import dataclass

from models.backends.errors import BadRequest
from models.entities import ImageRequest
from models.settings import Settings
from models.stages.carried import Carried

FIELD = "forbidden_words"
_SEPARATORS = re.compile(r"[,;，、；\n]")


@dataclass(frozen=True, slots=True)
class ForbiddenWords:
    """`where` names the field that lists the words."""

    words: tuple[str, ...]
    where: str

    @classmethod
    def read(cls, settings: Settings) -> "ForbiddenWords":
        listed = (word.strip() for word in _SEPARATORS.split(settings.text(FIELD)) if _folded(word))
        return cls(tuple(dict.fromkeys(listed)), settings.where(FIELD))

    def __call__(self, request: ImageRequest, _: Carried) -> ImageRequest:
        prompt, others = _folded(request.prompt), _folded("\n".join(request.texts))
        for word in self.words:
            pattern = _pattern(word)
            if pattern.search(others):
                place = "prompt" if pattern.search(prompt) else "stamp or another text"
                raise BadRequest(
                    f"The {place} contains “{word}”, which is not allowed here",
                    next_step=f"Leave it out, or let the owner change {self.where}",
                )
        return request


def _pattern(word: str) -> re.Pattern[str]:
    """A word in Latin letters counts as a whole word ("ass" is not in "glass"); Chinese has no spaces and counts anywhere."""
    folded = _folded(word)
    before = r"(?<!\w)" if re.match(r"\w", folded, re.ASCII) else ""
    after = r"(?!\w)" if re.search(r"\w$", folded, re.ASCII) else ""
    return re.compile(before + re.escape(folded) + after, re.ASCII)


def _folded(text: str) -> str:
    """Case, full-width letters, white space and invisible characters do not hide a word."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
    return " ".join(visible.casefold().split())
