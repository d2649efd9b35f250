"""The HTTP server of the fakes, for many simultaneous requests."""

from http.server import ThreadingHTTPServer


class BusyServer(ThreadingHTTPServer):
    """Threads end with the process; the queue of connections is long enough for every test (the default is five)."""

    daemon_threads = True
    request_queue_size = 256
