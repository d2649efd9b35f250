"""The provider's credential form: its fields, and the values that the host would store."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, JsonValue

from sandbox.parameters import Localized


class Option(BaseModel):
    """A choice of a field."""

    value: str
    label: Localized = Localized()


class Condition(BaseModel):
    """Another field that must have this value for the field to be shown."""

    variable: str
    value: str


class CredentialField(BaseModel):
    """A field of the form, as in the provider's YAML."""

    variable: str
    label: Localized = Localized()
    type: str
    required: bool = True
    default: str | None = None
    options: tuple[Option, ...] = ()
    placeholder: Localized | None = None
    max_length: int = 0
    show_on: tuple[Condition, ...] = ()

    @property
    def secret(self) -> bool:
        return self.type == "secret-input"

    def is_shown(self, values: Mapping[str, object]) -> bool:
        return all(values.get(other.variable) == other.value for other in self.show_on)

    def stored(self, value: object) -> JsonValue:
        """
        What the host stores for a given value, following the engine's `CommonValidator`; None for nothing.

        Raises ValueError with the name of the field and without the value.
        """
        if not value:
            if self.required:
                raise ValueError(f"Variable {self.variable} is required")
            return self.default
        if not isinstance(value, str):
            raise ValueError(f"Variable {self.variable} should be string")  # noqa: TRY004 - one class for the caller
        if self.max_length and len(value) > self.max_length:
            raise ValueError(f"Variable {self.variable} length should not be greater than {self.max_length}")
        if self.options and value not in {option.value for option in self.options}:
            raise ValueError(f"Variable {self.variable} is not in options")
        return self._switched(value) if self.type == "switch" else value

    def _switched(self, value: str) -> bool:
        if value.lower() not in {"true", "false"}:
            raise ValueError(f"Variable {self.variable} should be true or false")
        return value.lower() == "true"


class CredentialForm(BaseModel):
    """The fields in the order of the form."""

    credential_form_schemas: tuple[CredentialField, ...] = ()


def stored_values(form: Sequence[CredentialField], values: Mapping[str, object]) -> dict[str, JsonValue]:
    """The values of all shown fields, defaults included. Raises ValueError, see `CredentialField.stored`."""
    found = {field.variable: field.stored(values.get(field.variable)) for field in form if field.is_shown(values)}
    return {name: value for name, value in found.items() if value}
