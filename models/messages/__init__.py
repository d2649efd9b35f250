"""What leaves the plugin in words: English as the code makes it, or Chinese where the owner's `limits` say `language zh`.

Sentences are made in English everywhere and translated at the doors, whole sentence by whole sentence, from the catalogue
in `zh_Hans/`. What it does not have stays English. Without Chinese nothing of it is read.
"""

from models.backends.errors import ImageError
from models.limits import language_of
from models.settings import Settings


def in_words(error: ImageError, settings: Settings) -> str:
    """An error as the user reads it."""
    if language_of(settings) == "en":
        return str(error)
    from models.messages.chinese import composed  # noqa: PLC0415 -- see the module's docstring

    return composed(error.attempted, error.said, error.next_step)


def say(text: str, settings: Settings) -> str:
    """A notice, the state of a job, or another sentence as the user reads it."""
    if language_of(settings) == "en":
        return text
    from models.messages.chinese import translated  # noqa: PLC0415 -- see the module's docstring

    return translated(text)


def about(title: str, sentence: str, settings: Settings) -> str:
    """A sentence that is ready to be read, behind the name of the service that it is about."""
    name = say(title, settings)
    return f"{name[:1].upper()}{name[1:]}{': ' if language_of(settings) == 'en' else '：'}{sentence}"
