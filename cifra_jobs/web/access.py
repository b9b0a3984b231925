"""Who may read: closed by default, opened by a token."""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import URL
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["TokenGate"]

_COOKIE = "cifra_token"
#: Probes say nothing about tasks, and whoever asks them has no token.
_OPEN = re.compile(r"/(healthz|readyz)")
_STATUS = re.compile(r"/api/tasks/[^/]+(/events)?")


class TokenGate:
    """Lets a request through that shows the token: in a header, a cookie, or once in the address.

    Args:
        app: what stands behind the gate.
        token: what has to be shown.
        public_status: let reads of one task's status through without it.
    """

    def __init__(self, app: ASGIApp, *, token: str, public_status: bool) -> None:
        self._app = app
        self._token = token
        self._public_status = public_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        given = request.query_params.get("token")
        if given is not None and self._is_token(given):
            await self._keep(request)(scope, receive, send)
        elif self._is_open(request) or self._is_token(self._shown(request)):
            await self._app(scope, receive, send)
        else:
            refusal = {"error": "a token is needed: open the address that the server printed"}
            await JSONResponse(refusal, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)

    def _is_open(self, request: HTTPConnection) -> bool:
        # Mounted in another service, the path begins with where it is mounted.
        path = request.url.path.removeprefix(request.scope.get("root_path", ""))
        if _OPEN.fullmatch(path):
            return True
        return self._public_status and _STATUS.fullmatch(path) is not None

    def _shown(self, request: HTTPConnection) -> str:
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        return value if kind.lower() == "bearer" else request.cookies.get(_COOKIE, "")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _keep(self, request: HTTPConnection) -> RedirectResponse:
        """Move the token from the address, which gets into histories and logs, into a cookie."""
        rest = [pair for pair in parse_qsl(request.url.query) if pair[0] != "token"]
        to = URL(request.url.path).replace(query=urlencode(rest))
        response = RedirectResponse(str(to), status_code=303)
        response.set_cookie(_COOKIE, self._token, httponly=True, samesite="strict")
        return response
