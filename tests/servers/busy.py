"""The HTTP server under the fakes: many callers may arrive in the same moment."""

from http.server import ThreadingHTTPServer


class BusyServer(ThreadingHTTPServer):
    """Threads end with the process; the queue of connections is long enough for every test (the default is five)."""

    daemon_threads = True
    request_queue_size = 256
