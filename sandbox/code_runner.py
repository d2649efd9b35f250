"""
Code nodes in a child process.

The program around the node's `main` and the reading of its result are the engine's own; only the remote sandbox
service is replaced. There is no isolation beyond the process: run only workflows you trust.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

from graphon.dsl.code_runtime import SandboxCodeExecutionError, SandboxCodeExecutor, _SandboxProgram

_SECONDS = 60.0  # Dify's CODE_EXECUTION_READ_TIMEOUT


@dataclass(frozen=True)
class _ChildProcess:
    """Replaces the HTTP client of the sandbox service."""

    timeout: float

    def run(self, program: _SandboxProgram) -> str:
        with tempfile.TemporaryDirectory() as folder:
            try:
                done = subprocess.run(  # noqa: S603 - running the workflow's code is the purpose
                    _command(program.language),
                    input=program.code,
                    capture_output=True,
                    text=True,
                    cwd=folder,
                    env={},
                    timeout=self.timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                msg = f"the code ran longer than {self.timeout:g} s"
                raise SandboxCodeExecutionError(msg) from error
        if done.returncode:
            raise SandboxCodeExecutionError(done.stderr.strip() or f"the code exited with {done.returncode}")
        return done.stdout


def _command(language: str) -> list[str]:
    if language == "python3":
        return [sys.executable, "-I", "-"]
    node = shutil.which("node")
    if node is None:
        msg = "JavaScript code nodes need `node` on the path"
        raise SandboxCodeExecutionError(msg)
    return [node, "-"]


def code_executor(timeout: float = _SECONDS) -> SandboxCodeExecutor:
    """An executor for Code nodes; `timeout` in seconds per run."""
    executor = SandboxCodeExecutor()
    executor._client = _ChildProcess(timeout)  # type: ignore[assignment]  # noqa: SLF001 - the engine has no public parameter for it
    return executor
