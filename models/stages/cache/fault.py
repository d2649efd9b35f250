"""What is raised where the cache itself fails. It costs no image: the request goes on as without a cache."""


class CacheFaultError(Exception):
    """`said` completes "The cache failed: …", `next_step` is for the owner."""

    def __init__(self, said: str, next_step: str) -> None:
        super().__init__(said)
        self.said = said
        self.next_step = next_step

    @property
    def notice(self) -> str:
        return f"The cache failed: {self.said}. {self.next_step.rstrip('.')}."
