"""The sentence for an error of a store: by its code, else its status, else its words."""

import pytest

from models.storage.failures import explained


def said(text: str, error: type[Exception] = Exception) -> str:
    return explained(error(text), field="“Storage URL”", place="the.store").said


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<Code>AccessDenied</Code>", "the store denies access (AccessDenied)"),
        ('{"code": "forbidden", "reason":"notFound"}', "there is no such bucket (forbidden, notFound)"),
        ("Client error with status 403 Forbidden", "the store denies access"),
        ("Client error with status code: 507", "the store is full"),
        ("status: 401", "the store denies access"),
        ("Status { status: 503 }", "the store is busy or out of order"),
        ("HTTP error: status 429", "the store is busy or out of order"),
        ("(os error 13)", "the folder may not be written"),
        ("(os error 2)", "the folder cannot be made"),
        ("(os error 28)", "the store is full"),
        ("operation timed out", "the store did not reply in time"),
        ("<Code>Teapot</Code>", "the store refused (Teapot)"),
        ("<Code>Teapot</Code><Code>Kettle</Code> with status 403", "the store refused (Kettle, Teapot)"),
        ("with status 418", "the store refused (HTTP 418)"),
        ("nothing known", "the store refused (ValueError)"),
    ],
)
def test_an_error_is_explained_by_its_code_its_status_or_its_words(text: str, sentence: str) -> None:
    assert said(text, ValueError) == sentence


def test_the_next_step_names_the_field_or_the_store() -> None:
    unknown = explained(ValueError("?"), field="“Storage URL”", place="the.store")
    assert unknown.next_step == "Check the store at the.store and “Storage URL”"
    full = explained(ValueError("<Code>StorageFull</Code>"), field="“Storage URL”", place="the.store")
    assert full.next_step == "Delete old images or enlarge the store at the.store"
