"""The page at ``/``: plain files that load nothing from elsewhere and show text only as text."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response

FOLDER = Path(__file__).parent / "page"
"""Its files: one document, one style sheet, and JavaScript modules."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""The browser runs only our own files, speaks only to this server, and asks for new files after an update."""


def add_page(app: FastAPI) -> None:
    """Serve the page at ``/`` and its files under ``/page/``, all from memory.

    Links in it are relative, so that it works below a path when the application is mounted.
    """
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in _TYPES:
            at = "/" if path.name == "index.html" else f"/page/{path.name}"
            app.add_api_route(at, _sender(path), methods=["GET", "HEAD"], include_in_schema=False)


def _sender(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {**HEADERS, "etag": tag}

    async def send(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=_TYPES[path.suffix], headers=headers)

    return send
