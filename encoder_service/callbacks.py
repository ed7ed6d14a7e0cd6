"""Callbacks over HTTP: how they are signed, and whom they may reach.

Who asks for a callback names the host that our machine connects to. So no callback reaches a host
that only we can reach, this machine, its network, the cloud's metadata service, unless a setting
says so. A name is resolved once, every address is checked, and the connection goes to an address
that was checked: a name that changes its mind in between gains nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from encoder_service.errors import AccessDenied, InvalidConfiguration, InvalidRequest
from encoder_service.settings import CallbackSettings

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

SIGNATURE_HEADER = "Nrv-Signature"
ID_HEADER = "Nrv-Callback-Id"
PORTS = {"http": 80, "https": 443}
# What Python, or some version of it, takes to be global although it is not: metadata services of
# clouds, protocol assignments, translation within a site, the old site-local addresses.
SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10"),
    )
)
NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Where a callback goes, once it may."""

    secure: bool
    host: str
    port: int
    path: str  # with the query
    addresses: tuple[str, ...]  # checked, at least one


class Targets:
    """Decides whom callbacks may reach.

    Args:
        settings: names the private networks that are allowed.
        resolve: the addresses of a host and port; the machine's own resolver by default.

    Raises:
        InvalidConfiguration: a network is none.
    """

    def __init__(self, settings: CallbackSettings, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _addresses
        try:
            self._allowed = [ipaddress.ip_network(each) for each in settings.allowed_networks]
        except ValueError as error:
            raise InvalidConfiguration(f"NRV_CALLBACKS_ALLOWED_NETWORKS: {error}") from None

    def check(self, url: str) -> None:
        """Refuse at once what can be told without asking anybody; `find` decides later.

        Raises:
            InvalidRequest: not an http(s) URL, or it contains a password.
            AccessDenied: it names an address that callbacks may not reach.
        """
        _, host, _, _ = _split(url)
        if host == "localhost" or host.endswith(".localhost"):
            host = "127.0.0.1"
        try:
            self._require_allowed(host, host)
        except ValueError:
            return  # a name: whatever it means, it may mean something else later

    def find(self, url: str) -> Target:
        """Resolve the host and check every address of it.

        Raises:
            AccessDenied: one of the addresses may not be reached.
            OSError: the name cannot be resolved.
        """
        secure, host, port, path = _split(url)
        addresses = tuple(dict.fromkeys(self._resolve(host, port)))
        for address in addresses:
            self._require_allowed(address, host)
        return Target(secure=secure, host=host, port=port, path=path, addresses=addresses)

    def _require_allowed(self, text: str, host: str) -> None:
        address = ipaddress.ip_address(text.partition("%")[0])
        if any(address in network for network in self._allowed):
            return
        if not _is_public(address):
            raise AccessDenied(
                f"callbacks may not reach {host}: {address} is not a public address "
                "(NRV_CALLBACKS_ALLOWED_NETWORKS)"
            )


def callback_secret(link_secret: str, owner_id: str) -> str:
    """What signs the callbacks of one API key; another key's owner cannot derive it."""
    return _hmac(link_secret, f"callbacks of {owner_id}".encode())


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """The value of the header: ``t=1700000000,v1=HEX``.

    HEX is the HMAC-SHA256 of the timestamp, a full stop and the body. Receivers compare it in
    constant time and refuse timestamps that are minutes old.
    """
    return f"t={timestamp},v1={_hmac(secret, f'{timestamp}.'.encode() + body)}"


def _hmac(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def _split(url: str) -> tuple[bool, str, int, str]:
    """Whether TLS is used, the host, the port, and the path with its query."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise InvalidRequest("callback_url is not an http(s) URL") from None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not parts.hostname or parts.username is not None:
        raise InvalidRequest("callback_url is not a plain http(s) URL without user and password")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme == "https", parts.hostname, port, path


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return _is_public(inner)
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special and not any(address in each for each in SPECIAL)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo is not None:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
