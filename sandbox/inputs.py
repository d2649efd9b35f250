"""Inputs of the start node, validated like in Dify."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphon.file.models import File
from graphon.variables.input_entities import VariableEntity, VariableEntityType

from sandbox.errors import UsageError
from sandbox.files import FileStore

type Given = object

_DEFAULT_MAX_LENGTH = {VariableEntityType.TEXT_INPUT: 256}


class InputError(UsageError):
    """The inputs do not fit the start node."""


def start_values(variables: Sequence[VariableEntity], given: Mapping[str, Given], store: FileStore) -> dict[str, Any]:
    """
    Convert the given inputs (text, numbers, `Path`s for files) to values of the start node.

    Raises:
        InputError: a variable is missing, unknown, too long or not one of the options.

    """
    unknown = sorted(set(given) - {variable.variable for variable in variables})
    if unknown:
        known = ", ".join(variable.variable for variable in variables) or "none"
        msg = f"the start node has no input named {', '.join(unknown)}; it has: {known}"
        raise InputError(msg)
    return {variable.variable: _value(variable, given.get(variable.variable), store) for variable in variables}


def _value(variable: VariableEntity, given: Given, store: FileStore) -> Any:
    if given is None or given == "":
        given = variable.default
    if given in (None, "", []):
        if variable.required:
            msg = f"{variable.variable} is required in input form"
            raise InputError(msg)
        return _EMPTY.get(variable.type)
    match variable.type:
        case VariableEntityType.FILE:
            return upload(given, store)
        case VariableEntityType.FILE_LIST:
            return [upload(item, store) for item in (given if isinstance(given, Sequence | list) else [given])]
        case VariableEntityType.NUMBER:
            return _number(variable, given)
        case VariableEntityType.CHECKBOX:
            return given if isinstance(given, bool) else str(given).lower() in {"true", "1", "yes"}
        case VariableEntityType.JSON_OBJECT:
            return _json_object(variable, given)
        case _ if not isinstance(given, Path | list):
            return _text(variable, str(given))
        case _:
            msg = f"{variable.variable} in input form is text and takes no file"
            raise InputError(msg)


_EMPTY: Mapping[VariableEntityType, object] = {
    VariableEntityType.TEXT_INPUT: "",
    VariableEntityType.PARAGRAPH: "",
    VariableEntityType.SELECT: "",
    VariableEntityType.CHECKBOX: False,
    VariableEntityType.FILE_LIST: [],
}


def upload(given: Given, store: FileStore) -> File:
    """A local file as a workflow file."""
    if not isinstance(given, Path):
        msg = f"{given!r} is not a file; give a path, on the command line as -i name=@path"
        raise InputError(msg)
    if not given.is_file():
        msg = f"file not found: {given}"
        raise InputError(msg)
    return store.add_upload(given)


def _number(variable: VariableEntity, given: Given) -> int | float:
    if isinstance(given, int | float):
        return given
    try:
        number = float(str(given))
    except ValueError as error:
        msg = f"{variable.variable} in input form must be a number, not {given!r}"
        raise InputError(msg) from error
    return int(number) if number.is_integer() else number


def _json_object(variable: VariableEntity, given: Given) -> Any:
    try:
        return json.loads(given) if isinstance(given, str) else given
    except ValueError as error:
        msg = f"{variable.variable} in input form must be a JSON object: {error}"
        raise InputError(msg) from error


def _text(variable: VariableEntity, given: str) -> str:
    if variable.type == VariableEntityType.SELECT and given not in variable.options:
        msg = f"{variable.variable} in input form must be one of the following: {', '.join(variable.options)}"
        raise InputError(msg)
    limit = variable.max_length or _DEFAULT_MAX_LENGTH.get(variable.type)
    if limit and len(given) > limit:
        msg = f"{variable.variable} in input form must be less than {limit} characters"
        raise InputError(msg)
    return given
