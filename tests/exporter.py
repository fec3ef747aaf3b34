"""A page in dcgm-exporter's format that can be changed, and taken away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from server_process import free_port

__all__ = ["Exporter", "scraping"]


class Exporter:
    """Serves what ``text`` gives, while it is started."""

    def __init__(self, text: Callable[[], str]) -> None:
        self.text = text
        self.port = free_port()
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = exporter.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def scraping(**exporters: Exporter) -> str:
    """A configuration for a Prometheus that scrapes each of them often, under its name."""
    jobs = "".join(
        f"- {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{one.port}']}}]}}\n"
        for name, one in exporters.items()
    )
    return f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{jobs}"
