"""The links of a run over HTTP, as Dify's api serves them: a model that follows links in its prompt finds the files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sandbox.files import FileStore


@contextmanager
def served(store: FileStore) -> Iterator[FileStore]:
    """Serve the store at a free port of this machine; from now on its links lead there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = store.answer(f"{store.files_url}{self.path}")
            self.send_response(answer.status_code if answer else 404)
            content = answer.content if answer else b""
            for name, value in (answer.headers if answer else {}).items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- see do_GET
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        store.files_url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield store
        finally:
            server.shutdown()
