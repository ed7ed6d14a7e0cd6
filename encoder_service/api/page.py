"""``/``: a page for people. Static files of our own; it works through the API like anybody else."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

from encoder_service.errors import NotFound

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {"html": "text/html", "css": "text/css", "mjs": "text/javascript"}
NAMES = ("index.html", "page.css", "page.mjs", "service.mjs", "words.mjs")
# Scripts of ours only, nothing from anywhere else, and nobody may put the page into theirs.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src blob: data:",
        "media-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


@router.get("/")
async def index() -> Response:
    """The page itself."""
    return await part("index.html")


@router.get("/page/{name}")
async def part(name: str) -> Response:
    """One of its files."""
    if name not in NAMES:
        raise NotFound(f"there is no /page/{name}")
    content = (files("encoder_service") / "page" / name).read_bytes()
    media_type = f"{MEDIA_TYPES[name.rsplit('.', 1)[1]]}; charset=utf-8"
    return Response(content, media_type=media_type, headers=HEADERS)
