"""How much of a prompt a model reads: what is longer is cut by the service without a word.

Source: Model Studio, Qwen-Image and Wan API, lengths of `prompt` and `negative_prompt`. Tasks count characters, the
synchronous endpoint counts tokens.
"""

from collections.abc import Iterable

from models.backends.qwen_image.facts import Facts, JobApi
from models.entities import ImageRequest

NEGATIVE_PROMPT_CHARACTERS = 500
_WIDE = "\u2e80"  # from here on the scripts of East Asia, whose characters hold more
# The usual rule for Qwen's tokenizer, and rather too few tokens: a text that fits must not be called too long.
_WIDE_PER_TOKEN = 1.8
_NARROW_PER_TOKEN = 4.5


def fits_jobs(request: ImageRequest, facts: Facts) -> bool:
    """Whether a task reads the prompt to its end; the synchronous endpoint goes on where the older tasks stop."""
    return facts.prompt_characters is None or len(request.prompt) <= facts.prompt_characters


def cut_notices(request: ImageRequest, facts: Facts, jobs: JobApi | None) -> Iterable[str]:
    """What of the prompts will not be read on the way that was chosen."""
    if jobs and not fits_jobs(request, facts):
        yield f"The prompt has {len(request.prompt)} characters; the model reads the first {facts.prompt_characters}."
    tokens = estimated_tokens(request.prompt)
    if jobs is None and facts.prompt_tokens and tokens > facts.prompt_tokens:
        yield (
            f"The prompt has about {tokens} tokens; the model reads the first {facts.prompt_tokens}, so its end may be "
            "without effect."
        )
    if len(request.negative_prompt) > NEGATIVE_PROMPT_CHARACTERS:
        yield (
            f"The negative prompt has {len(request.negative_prompt)} characters; "
            f"the model reads the first {NEGATIVE_PROMPT_CHARACTERS}."
        )


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has, rather too few than too many."""
    wide = sum(char >= _WIDE for char in text)
    return int(wide / _WIDE_PER_TOKEN + (len(text) - wide) / _NARROW_PER_TOKEN)
