"""What saving the form finds out: whether the server answers, what it is, whether it has the model and the endpoints.

Nothing is generated and nothing is spent.
"""

from dataclasses import dataclass

from models.backends.base import Model
from models.backends.errors import AuthorizationFailed, BadRequest
from models.backends.openai_images.detect import Detector, Finding
from models.backends.openai_images.models import Dialect, ServedModel
from models.clock import Deadline


@dataclass(frozen=True, slots=True)
class AccessCheck:
    """The check of one model's form; `deadline` is for all questions together."""

    model: Model
    detector: Detector
    deadline: Deadline

    def finding(self, chosen: Dialect | None) -> Finding:
        """What the server says about itself. A restricted key of OpenAI may generate and not list models."""
        try:
            return self.detector.ask(self.deadline)
        except AuthorizationFailed as error:
            known = self.detector.hosted or (Finding(chosen) if chosen else None)
            if known is None or "missing scopes" not in error.said.lower():
                raise
            return known

    def sentences(self, chosen: Dialect | None, finding: Finding, served: ServedModel) -> list[str]:
        """What the owner should know. Raises BadRequest where the server lacks the API or the model."""
        return [_recognised(chosen, finding), *self._model(served, finding), *self._endpoints(served, finding)]

    def _model(self, served: ServedModel, finding: Finding) -> list[str]:
        listed, remote = finding.shown, served.remote
        if served.dialect.model_name == "ignored":
            return []
        if listed and not finding.serves(remote):
            if served.dialect.model_name == "exact":
                raise BadRequest(
                    f"The server has no model {remote!r}",
                    f"it lists {listed}",
                    f"Write one of them into {self.model.access.where('remote_model')}",
                )
            return [f"{remote} is not among the models that the server lists ({listed})."]
        known = [f"{remote} is treated as {served.family.name}."] if served.family.name else []
        return known if listed else [*known, f"No models are listed, so {remote} could not be looked up."]

    def _endpoints(self, served: ServedModel, finding: Finding) -> list[str]:
        if served.dialect.fastapi:
            return self._fastapi_endpoints(served)
        if not finding.models and not self.detector.hosted:
            self._require_endpoint(served.dialect.generate.path)
        return []

    def _fastapi_endpoints(self, served: ServedModel) -> list[str]:
        """A vLLM or SGLang server for text looks the same from its model list; its missing endpoints tell."""
        dialect, path = served.dialect, self.detector.address.path
        generate, edit = dialect.generate.path, dialect.edit.path
        if not self.detector.has_endpoint(generate, self.deadline):
            raise BadRequest(
                f"{self.detector.service.base_url} has no images API",
                f"it looks like {dialect.title}, and /{path(generate)} is not there",
                "Start the server with an image model (vLLM: `vllm serve <model> --omni`)",
            )
        if served.images and not self.detector.has_endpoint(edit, self.deadline):
            return [f"The server has no /{path(edit)}: it generates and does not edit; newer versions do."]
        return []

    def _require_endpoint(self, path: str) -> None:
        if self.detector.answers_posts(path, self.deadline):
            return
        raise BadRequest(
            f"No path of {self.detector.service.base_url} answers like the OpenAI images API",
            f"neither /{self.detector.address.path('models')} nor /{self.detector.address.path(path)} is there",
            "Write the address with its version (…/v1, …/api/v3), or the whole endpoint, into "
            + self.model.access.where("base_url"),
        )


def _recognised(chosen: Dialect | None, finding: Finding) -> str:
    if chosen:
        other = finding.dialect if finding.sign and finding.dialect is not chosen else None
        doubt = f", although the server looks like {other.title} ({other.name}): {finding.sign}" if other else ""
        return f"The dialect {chosen.name} ({chosen.title}) is used as chosen{doubt}."
    if finding.sign:
        return f"The server was recognised as {finding.dialect.title} ({finding.dialect.name}): {finding.sign}."
    return (
        "The server was not recognised, so only the portable core of the OpenAI images API is used; choose a dialect "
        "for steps, seed and negative prompt."
    )
