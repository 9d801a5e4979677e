"""GraphiQL, from the server's own files: nothing it loads comes from another host."""

import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from server.edge import edge_of

STATIC = Path(__file__).parent / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
# Best first. The build writes a file beside each text of its own for either.
PACKED = (("br", ".br"), ("gzip", ".gz"))
NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Holdfast: GraphiQL is not built</title>
<h1>GraphiQL is not built</h1>
<p>Everything else works: the API is at <code>/graphql</code>. To build this page, run <code>make web</code> in the
checkout. It needs Node 22 or newer (installed with the Python packages where the system has none) and, the first time,
the npm registry.</p></html>
"""


async def graphiql(request: Request) -> Response:
    """The page and its files."""
    if not edge_of(request.scope).settings.introspection:
        return Response("Not found.", status_code=404, media_type="text/plain")
    name = request.path_params.get("path") or "index.html"
    file = (STATIC / name).resolve()
    if not file.is_relative_to(STATIC.resolve()) or file.name.startswith(".") or not file.is_file():
        if name == "index.html":
            return HTMLResponse(NOT_BUILT, status_code=404, headers={"content-security-policy": POLICY})
        return Response("Not found.", status_code=404, media_type="text/plain")
    headers = {"content-security-policy": POLICY, "vary": "accept-encoding"}
    # The names of assets contain the hash of their content, so they never change; the page that names them may.
    immutable = name.startswith("assets/")
    headers["cache-control"] = "public, max-age=31536000, immutable" if immutable else "no-cache"
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    packed = _packed(file, request.headers.get("accept-encoding", ""))
    if packed is not None:
        file, headers["content-encoding"] = packed
    return FileResponse(file, media_type=media_type, headers=headers)


async def to_graphiql(_: Request) -> Response:
    """Where a browser that opens `/` is sent."""
    return RedirectResponse("/graphiql", status_code=303)


def _packed(file: Path, accept_encoding: str) -> tuple[Path, str] | None:
    accepted = {
        part.split(";")[0].strip().lower() for part in accept_encoding.split(",") if "q=0" not in part.split(";")
    }
    for encoding, suffix in PACKED:
        candidate = file.with_name(file.name + suffix)
        if encoding in accepted and candidate.is_file():
            return candidate, encoding
    return None
