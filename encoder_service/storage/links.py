"""Links to objects in a folder: signed with a key of ours, for one method and key, until a date."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlencode

from encoder_service.errors import AccessDenied, InvalidConfiguration

PATH = "/v1/objects/"


class LinkSigner:
    """Makes and checks links.

    Args:
        secret: the signing key, at least one character.
        base_url: where our API is reachable, such as ``http://127.0.0.1:8000``.
        clock: seconds since 1970.
    """

    def __init__(
        self, secret: str, base_url: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        if not secret:
            raise InvalidConfiguration("NRV_STORAGE_LINK_SECRET is empty; links need a secret")
        self._secret = secret.encode()
        self._base_url = base_url.rstrip("/")
        self._clock = clock

    def link(self, method: str, key: str, *, seconds: int, **parameters: str) -> str:
        """A URL for one HTTP method on one key; ``parameters`` are signed as well."""
        query = {**parameters, "expires": str(int(self._clock()) + seconds)}
        query["signature"] = self._sign(method, key, query)
        return f"{self._base_url}{PATH}{quote(key)}?{urlencode(query)}"

    def check(self, method: str, key: str, query: Mapping[str, str]) -> None:
        """Accept what `link` made and nothing else.

        Raises:
            AccessDenied: the link is not ours, was changed, or has expired.
        """
        signed = {name: value for name, value in query.items() if name != "signature"}
        expected = self._sign(method, key, signed)
        if not hmac.compare_digest(expected.encode(), query.get("signature", "").encode()):
            raise AccessDenied("the link's signature is wrong; ask for a new link")
        if int(signed["expires"]) < self._clock():
            raise AccessDenied("the link has expired; ask for a new link")

    def _sign(self, method: str, key: str, query: Mapping[str, str]) -> str:
        lines = [method, key, *(f"{name}={value}" for name, value in sorted(query.items()))]
        # Lengths keep two different requests from ever giving the same text.
        text = "".join(f"{len(line)}:{line}" for line in lines)
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
