"""Receive the plugin's webhook: `pip install standardwebhooks`, then `WEBHOOK_SECRET=whsec_... python webhook_receiver.py 8000`.

Every event whose signature is right is printed as one line; any other is answered with 401. Answer quickly and with 2xx,
and work afterwards: anything else is sent again. The same event may come twice; its header `webhook-id` is the same then.
"""

import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

MAX_BODY = 1_000_000


class Receiver(BaseHTTPRequestHandler):
    """One request. `webhook` verifies the signature over id, time and the exact bytes of the body."""

    webhook: Webhook

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length <= MAX_BODY else b""
        try:
            event = self.webhook.verify(body, dict(self.headers.items()))
        except (WebhookVerificationError, ValueError):  # ValueError: the header or the body is no text of the scheme
            self._reply(401)
            return
        self._reply(204)
        data = event["data"]
        print(
            event["type"], data["id"], data["user"], data["model"], data["image_url"] or data["error_class"], flush=True
        )

    def _reply(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it so
        """Only events are printed."""


def server(port: int, secret: str) -> ThreadingHTTPServer:
    """A receiver that is ready to serve; port 0 takes any free one."""
    handler = type("Handler", (Receiver,), {"webhook": Webhook(secret)})
    return ThreadingHTTPServer(("", port), handler)


if __name__ == "__main__":
    server(int(sys.argv[1]), os.environ["WEBHOOK_SECRET"]).serve_forever()
