"""What every model of Ark shares: the account, the names of models, and what refusals mean."""

from pydantic import BaseModel

from models.backends.base import Backend
from models.backends.errors import ImageError
from models.backends.refusals import Fault, RefusalTable


class ArkFault(BaseModel):
    """The error of one image or of one task."""

    code: str | None = ""
    message: str | None = ""

    @classmethod
    def of(cls, fault: object) -> "ArkFault":
        return cls.model_validate(fault) if isinstance(fault, dict) else cls()


class ArkAccount(Backend):
    name = "ark"
    title = "Ark"
    prefix = "ark"
    required = ("api_key",)
    home = "https://ark.cn-beijing.volces.com/api/v3"
    refusals = RefusalTable.beside(__file__)

    @property
    def is_international(self) -> bool:
        """Whether the address is BytePlus's, which names its models without "doubao-"."""
        return "bytepluses" in self.address

    def at_service(self, model: str) -> str:
        """A model's name at the address of the form. An endpoint `ep-...` is used as it is."""
        return model.removeprefix("doubao-") if self.is_international else model

    def fault(self, attempt: str, found: ArkFault) -> ImageError:
        code, message = found.code or "", found.message or ""
        meaning = self.refusals.explain(Fault(said=message or code, codes=(code,)), self.model.access)
        return self.service.failure(attempt, meaning)
