"""Which prompts share an image: a table of pairs, and an embeddings endpoint that may be wrong, slow or down."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import responses
import yaml
from hypothesis import given
from hypothesis import strategies as st
from requests import ConnectTimeout, PreparedRequest

from models.backends.errors import AuthorizationFailed, BadRequest, ConnectionFailed, ServerUnavailable
from models.pipeline import Asked, Call, Finished
from models.request.conversation import Conversation
from models.settings import Settings
from models.stages.cache.entries import Neighbour
from models.stages.cache.meaning import Meaning, check_embeddings
from models.stages.cache.prompts import bag, canonical, guards
from tests.fakes import MARKER_KEY, FakeClock
from tests.stages.cache.test_cache import PaidBackend

PAIRS: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "fixtures" / "cache" / "prompt_pairs.yaml").read_text("utf-8")
)
BASE = "https://embed.example/v1"
FIELD = f"https://{MARKER_KEY}@embed.example/v1?model=text-embedding&threshold=0.95"


def by_likeness(pair: dict[str, Any]) -> Any:
    """An endpoint that says how much the two prompts of a pair are alike."""
    likeness = float(pair.get("likeness", 1))
    vectors = {pair["a"]: [1.0, 0.0], pair["b"]: [likeness, math.sqrt(1 - likeness**2)]}

    def answer(request: PreparedRequest) -> tuple[int, dict[str, str], str]:
        vector = vectors[json.loads(request.body or b"{}")["input"]]
        return 200, {}, json.dumps({"data": [{"embedding": vector}]})

    return answer


def asked(prompt: str, backend: PaidBackend, folder: Path, **form: str) -> Finished:
    settings = Settings(form, {"IMAGE_GENERATION_STATE_DIR": str(folder)})
    return Call(backend, settings).generate(Asked(Conversation(prompt), {"cache": "similar"}))


def test_the_table_is_large_and_in_two_languages() -> None:
    chinese = [pair for pair in PAIRS if not pair["a"].isascii()]
    assert len(PAIRS) >= 60
    assert min(len(chinese), len(PAIRS) - len(chinese)) >= 25
    assert {pair["hit"] for pair in PAIRS} == {"similar", "meaning", False}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['a']} / {pair['b']}")
def test_no_pair_is_a_wrong_hit_by_the_rule(pair: dict[str, Any]) -> None:
    assert (canonical(pair["a"]) == canonical(pair["b"])) == (pair["hit"] == "similar")


@responses.activate
@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair['a']} / {pair['b']}")
def test_no_pair_is_a_wrong_hit_by_meaning(pair: dict[str, Any], clock: FakeClock, tmp_path: Path) -> None:
    responses.add_callback(responses.POST, f"{BASE}/embeddings", by_likeness(pair))
    backend = PaidBackend(clock)
    first = asked(pair["a"], backend, tmp_path, embedding_url=FIELD)
    second = asked(pair["b"], backend, tmp_path, embedding_url=FIELD)
    assert not first.result.cached
    assert second.result.cached == bool(pair["hit"])
    if pair["hit"]:
        assert "for a similar prompt" in second.result.notices[-1]
        assert second.result.prompt == pair["b"]


def test_exact_takes_no_similar_prompt_and_similar_every_equal_one(clock: FakeClock, tmp_path: Path) -> None:
    backend = PaidBackend(clock)
    settings = Settings({}, {"IMAGE_GENERATION_STATE_DIR": str(tmp_path)})

    def ask(prompt: str, cache: str) -> bool:
        return Call(backend, settings).generate(Asked(Conversation(prompt), {"cache": cache})).result.cached

    assert [ask("A fox", "exact"), ask("a fox", "exact"), ask("A fox", "similar")] == [False, False, True]
    assert [ask("A dog", "similar"), ask("a dog", "similar"), ask("a dog", "exact")] == [False, True, False]


@given(st.text(), st.text())
def test_every_text_has_a_canonical_form(one: str, other: str) -> None:
    for text in (one, f'{one} "{other}", {one}'):
        assert canonical(text) == canonical(text)
        assert hash((guards(text), bag(text)))


@given(st.lists(st.sampled_from(["fox", "snow", "a dog", "狐狸", "雪地", "morning light"]), min_size=1, max_size=5))
def test_case_spaces_and_order_do_not_count(parts: list[str]) -> None:
    assert canonical(", ".join(parts)) == canonical(" ，".join(part.upper() for part in reversed(parts)) + " ")


@responses.activate
def test_an_endpoint_that_fails_costs_no_image(clock: FakeClock, tmp_path: Path) -> None:
    responses.add(responses.POST, f"{BASE}/embeddings", status=401, json={"error": {"message": f"no key {MARKER_KEY}"}})
    done = asked("a fox", PaidBackend(clock), tmp_path, embedding_url=FIELD)
    assert not done.result.cached
    (told,) = [notice for notice in done.result.notices if "could not be compared" in notice]
    assert MARKER_KEY not in told
    assert asked("A fox", PaidBackend(clock), tmp_path, embedding_url=FIELD).result.cached


@responses.activate
def test_the_request_to_the_endpoint() -> None:
    responses.add(responses.POST, f"{BASE}/embeddings", json={"data": [{"embedding": [3, 4]}]})
    meaning = Meaning.read(Settings({"embedding_url": FIELD}, {}), FakeClock())
    assert meaning.vector("a fox") == (0.6, 0.8)
    sent = responses.calls[0].request
    assert json.loads(sent.body or b"") == {"model": "text-embedding", "input": "a fox"}
    assert sent.headers["Authorization"] == f"Bearer {MARKER_KEY}"


@pytest.mark.parametrize("query", ["?treshold=0.9", "?threshold=2", "?threshold=0.0", "?threshold=high"])
def test_a_query_that_cannot_be_read_is_refused(query: str) -> None:
    with pytest.raises(BadRequest, match=r"“Embeddings URL” \(embedding_url\)"):
        Meaning.read(Settings({"embedding_url": f"{BASE}{query}"}, {}))


@responses.activate
def test_saving_a_form_asks_the_endpoint() -> None:
    responses.add(responses.POST, f"{BASE}/embeddings", status=401, json={"error": {"message": "bad key"}})
    with pytest.raises(AuthorizationFailed, match="Asking the embeddings endpoint failed"):
        check_embeddings(Settings({"embedding_url": FIELD}, {}))


@pytest.mark.parametrize(
    ("prompt", "form"),
    [
        ("A fox, in snow", ("a fox", "in snow")),
        ("a “Big Sale” sign, red", ("a “Big Sale” sign", "red")),
        ("b, a", ("a", "b")),
        ("((red)) fox, Snow", ("as written", "((red)) fox, snow")),
        ("(red:1.3) “Big” fox", ("as written", "(red:1.3) \ue000\ue001 fox", "Big")),
        ("1,000 foxes, 2.5 m", ("1,000 foxes", "2.5 m")),
        ("don’t, it's", ("dont", "its")),
        ("50% grey #1 & co", ("50% grey #1 & co",)),
        ("at -5 degrees; well-known", ("at -5 degrees well known",)),
        ("-5", ("-5",)),
        ("snow at -5", ("snow at -5",)),
        ("b-5 bombers", ("b 5 bombers",)),
        ("a fox -", ("a fox",)),
        ("a\u200b fox\u00ad", ("a fox",)),
        ("Ａ ＦＯＸ", ("a fox",)),
        ("a 2:3 fox", ("a 2:3 fox",)),
        ("狐狸 雪地、 猫", ("狐狸雪地", "猫")),
        ("", ()),
        (",,", ()),
    ],
)
def test_the_canonical_form_of_a_prompt(prompt: str, form: tuple[str, ...]) -> None:
    assert canonical(prompt) == form


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [
        ("b, a", False),
        ("b left of a tree, a", True),
        ("b, red", True),
        ("b, a red hat", False),
        ("b, 2", True),
        ("b, without a hat", True),
        ("猫，红色", True),
        ("猫，粉色", True),
        ("猫，红", True),
        ("b, two", True),
        ("b, 1/2", True),
        ("猫，狐狸", False),
    ],
)
def test_the_order_counts_where_a_part_may_refer_to_its_neighbours(prompt: str, counts: bool) -> None:
    separator = "，" if "，" in prompt else ", "
    turned = separator.join(reversed(prompt.split(separator)))
    assert (canonical(prompt) != canonical(turned)) is counts


def test_what_must_be_equal_where_meaning_decides() -> None:
    found = guards("Two red foxes and 3 cats, no hats. “Sale” left of a tree")
    assert found.numbers == (*guards("two").numbers, "3")
    assert found.quoted == ("Sale",)
    assert found.colours == guards("red").colours
    assert found.negated == ("no hats",)
    assert found.places == guards("left of").places
    assert all((found.numbers, found.colours, found.places))
    assert guards("a fox") == type(found)((), (), (), (), ())


@pytest.mark.parametrize(
    ("prompt", "negated"),
    [
        ("No hats. A fox without a tail, in snow! A dog", ("no hats", "without a tail in snow")),
        ("A fox. 没有帽子。一只狗", ("没有帽子",)),
        ("a nothingness, a knot", ()),
    ],
)
def test_a_negation_counts_to_the_end_of_its_sentence(prompt: str, negated: tuple[str, ...]) -> None:
    assert guards(prompt).negated == negated


def test_numbers_and_colours_are_told_apart() -> None:
    found = guards("第一 2 red 粉红 foxes")
    assert (found.numbers, found.colours) == (("first", "2"), ("red", "pink"))


def test_many_quoted_texts_are_told_apart() -> None:
    texts = [f"text {number}" for number in range(300)]
    assert guards(" ".join(f"“{text}”" for text in texts)).quoted == tuple(texts)
    assert canonical(" ".join(f"“{text}”" for text in texts)) == (" ".join(f"“{text}”" for text in texts),)


def test_the_words_of_a_prompt_without_their_order() -> None:
    assert bag("A dog chases 2 cats, 狐狸") == tuple(sorted(("a", "dog", "chases", "2", "cats", "狐", "狸")))


def test_the_nearest_meaning_counts_from_the_threshold_on() -> None:
    meaning = Meaning.read(Settings({"embedding_url": f"{BASE}?threshold=0.6"}, {}))
    others = [Neighbour("a", "x", (0.6, 0.8)), Neighbour("b", "y", (0.59, 0.8)), Neighbour("c", "z", (1.0,))]
    assert meaning.nearest((1.0, 0.0), "w", others) == "a"
    assert meaning.nearest((1.0, 0.0), "x", others) is None
    assert meaning.nearest((1.0, 0.0), "w", []) is None
    assert Meaning.read(Settings({"embedding_url": BASE}, {})).threshold == 0.95


@pytest.mark.parametrize(
    ("field", "base", "authorization"),
    [
        ("https://key@host/v1/embeddings", "https://host/v1", "Bearer key"),
        ("https://key:more@host/v1/embeddings/", "https://host/v1", "Bearer key:more"),
        ("https://:key@host/v1?threshold=1.0", "https://host/v1", "Bearer key"),
        ("https://host/v1?model=m&threshold=1", "https://host/v1", None),
    ],
)
def test_the_address_of_the_endpoint(field: str, base: str, authorization: str | None) -> None:
    service = Meaning.read(Settings({"embedding_url": field}, {})).service
    assert (service.base_url, service.headers.get("Authorization")) == (base, authorization)


@responses.activate
@pytest.mark.parametrize(("took", "pauses"), [(4.0, [0.5]), (4.5, [])])
def test_an_endpoint_that_is_not_there_is_asked_again_within_five_seconds(took: float, pauses: list[float]) -> None:
    clock = FakeClock()

    def late(_: PreparedRequest) -> tuple[int, dict[str, str], str]:
        clock.time += took
        raise ConnectTimeout

    responses.add_callback(responses.POST, f"{BASE}/embeddings", late)
    with pytest.raises(ConnectionFailed):
        Meaning.read(Settings({"embedding_url": BASE}, {}), clock).vector("a fox")
    assert clock.pauses == pauses


@responses.activate
@pytest.mark.parametrize("reply", [{"data": []}, {"data": [{"embedding": [1.0]}]}])
def test_a_reply_without_a_vector_is_refused(reply: dict[str, object]) -> None:
    responses.add(responses.POST, f"{BASE}/embeddings", json=reply)
    with pytest.raises(ServerUnavailable, match="Asking the embeddings endpoint"):
        Meaning.read(Settings({"embedding_url": BASE}, {}), FakeClock()).vector("a fox")


@responses.activate
def test_only_the_beginning_of_a_long_prompt_is_sent_and_a_vector_of_nothing_stays() -> None:
    responses.add(responses.POST, f"{BASE}/embeddings", json={"data": [{"embedding": [0, 0]}]})
    assert Meaning.read(Settings({"embedding_url": BASE}, {}), FakeClock()).vector("x" * 8001) == (0, 0)
    assert json.loads(responses.calls[0].request.body or b"") == {"input": "x" * 8000}
