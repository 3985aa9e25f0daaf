"""The page at ``/``: one document, no outside resource, values inserted as text only."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files


def _hash(source: bytes) -> str:
    return f"'sha256-{b64encode(sha256(source).digest()).decode('ascii')}'"


def _read(name: str) -> bytes:
    return files("mizu.web").joinpath("static", name).read_bytes()


def _page() -> tuple[bytes, bytes]:
    style, script = _read("page.css"), _read("page.js")
    page = _read("page.html").replace(b"/*STYLE*/", style).replace(b"/*SCRIPT*/", script)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy.encode("ascii")


#: the document, and the Content-Security-Policy that allows exactly its own style and script
PAGE, PAGE_POLICY = _page()
