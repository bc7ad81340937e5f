"""The page's files: read once at start, served under the digest of all of them, so that a browser keeps them for good.

The one document is the same for everybody: nothing of what the agent knows is ever written into HTML.
"""

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

POLICY = "; ".join(
    (
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'", "connect-src 'self'"),
        *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"),
    )
)
KINDS = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".json": "application/json",
}
FIRST = "index.html"
PLACE = b"/static/HASH/"
FOR_GOOD = "public, max-age=31536000, immutable"


def add_to(application: web.Application) -> None:
    """Serve the page at / and its files under /static/."""
    found, digest = _pages()
    documents = {name: body.replace(PLACE, f"/static/{digest}/".encode()) for name, body in found.items()}

    async def page(_: web.Request) -> web.Response:
        if FIRST not in documents:
            raise web.HTTPNotFound
        headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache", **_ISOLATED}
        return web.Response(body=documents[FIRST], content_type="text/html", charset="utf-8", headers=headers)

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        kind = KINDS.get("." + name.rpartition(".")[2])
        if request.match_info["digest"] != digest or name not in documents or kind is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": FOR_GOOD, **_ISOLATED}
        charset = "utf-8" if kind.startswith("text/") else None
        return web.Response(body=documents[name], content_type=kind, charset=charset, headers=headers)

    application.add_routes([web.get("/", page), web.get("/static/{digest}/{name:.+}", file)])


_ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"}


@cache
def _pages() -> tuple[dict[str, bytes], str]:
    """Each file by its path, and the digest of all."""
    found = dict(_walk(files("agent.console") / "page", ""))
    digest = hashlib.sha256()
    for name, body in sorted(found.items()):
        digest.update(f"{name}\n{len(body)}\n".encode() + body)
    return found, digest.hexdigest()[:12]


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, bytes]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, bytes]] = []
    for each in folder.iterdir():
        if each.is_dir():
            found += _walk(each, f"{prefix}{each.name}/")
        elif "." + each.name.rpartition(".")[2] in KINDS:
            found.append((prefix + each.name, each.read_bytes()))
    return found
