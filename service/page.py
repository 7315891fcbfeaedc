"""The page at `/app/`, and the API's description beside it: files, and what a browser is told."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePath

from fastapi import APIRouter, FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.types import Scope

from service.description import describe
from service.model import ConfigDep, audio_of

FOLDER = Path(__file__).parent / "app"

# The one <style> that wavesurfer.js makes: it changes with its version, and with the height of
# the waveform that js/player.js asks for.
WAVEFORM_STYLE = "sha256-Y/8t1dAKa3ay+RZEiEFEDr8dFiQhpaFvYXXUfT3p6ZU="
_OWN_ONLY = (
    "default-src 'none'",
    "script-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
_PAGE_POLICY = "; ".join(
    [
        *_OWN_ONLY,
        f"style-src 'self' '{WAVEFORM_STYLE}'",
        "img-src 'self'",
        "media-src 'self' blob:",
    ]
)
_DOCS_POLICY = "; ".join([*_OWN_ONLY, "style-src 'self'", "img-src 'self' data:"])
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Not what the machine's own table says: browsers refuse a script of another type.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_ASK_AGAIN = "no-cache"  # kept, but used only once the server has said that it is still the same
_FOR_EVER = "public, max-age=31536000, immutable"  # a folder of vendor/ has the version in its name


router = APIRouter(include_in_schema=False)


@router.get("/app/limits.json")
async def limits(request: Request, config: ConfigDep) -> dict[str, float]:
    """Say what the page may send, so that it need not send it to be refused."""
    return {
        "max_file_bytes": config.max_file_bytes,
        "max_recording_s": config.max_recording_s,
        "sample_rate_hz": audio_of(request.app).sample_rate_hz,
    }


@router.get("/docs")
async def docs() -> RedirectResponse:
    """Say where the API's description is; relative, for a proxy may serve all under a prefix."""
    return RedirectResponse("app/docs/")


def mount_page(app: FastAPI) -> None:
    """Serve the page under `/app/`, and the API's description under `/app/docs/`."""
    app.openapi = partial(describe, app)  # type: ignore[method-assign]  # FastAPI's way to say more
    app.include_router(router)
    app.mount("/app", _Page(directory=FOLDER, html=True), name="page")


class _Page(StaticFiles):
    """Files with their media types, and with headers that keep other hosts out of the page."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file, or that it has not changed, or where it is."""
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        folder = PurePath(path).parts[:1]
        policy = _DOCS_POLICY if folder == ("docs",) else _PAGE_POLICY
        response.headers["Content-Security-Policy"] = policy
        response.headers["Cache-Control"] = _FOR_EVER if folder == ("vendor",) else _ASK_AGAIN
        if isinstance(response, FileResponse):
            suffix = PurePath(response.path).suffix
            response.headers["Content-Type"] = _MEDIA_TYPES.get(suffix, "text/plain; charset=utf-8")
        return response
