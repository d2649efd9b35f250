"""The parts of a sentence, found in a text."""

from models.messages.catalogue import places


def test_places_may_overlap() -> None:
    assert list(places("aaaa", "aa", 0)) == [0, 1, 2]
    assert list(places("aaaa", "aa", 1)) == [1, 2]
    assert list(places("a fox", "dog", 0)) == []
