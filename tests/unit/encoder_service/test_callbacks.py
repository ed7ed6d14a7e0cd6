from __future__ import annotations

import hashlib
import hmac
import socket

import pytest

from encoder_service.callbacks import Target, Targets, callback_secret, signature
from encoder_service.errors import AccessDenied, InvalidConfiguration, InvalidRequest
from encoder_service.settings import CallbackSettings

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104 - means this machine to a client
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "64:ff9b:1::5db8:d70e",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
]
PUBLIC = ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e"]


def targets(*addresses: str, allowed: tuple[str, ...] = ()) -> Targets:
    return Targets(CallbackSettings(allowed_networks=allowed), lambda *_: addresses)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_only_we_can_reach(address: str) -> None:
    with pytest.raises(AccessDenied, match="not a public address"):
        targets(address).find("https://example.com/told")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses(address: str) -> None:
    assert targets(address).find("https://example.com:8443/a/b?c=d").addresses == (address,)


def test_every_address_is_checked() -> None:
    with pytest.raises(AccessDenied, match=r"10\.0\.0\.1"):
        targets("93.184.215.14", "10.0.0.1").find("http://example.com")


def test_a_target_says_where_to_connect_and_what_to_ask() -> None:
    found = targets("93.184.215.14", "93.184.215.14").find("https://Example.com/a?b=c#d")
    assert found == Target(
        secure=True,
        host="example.com",
        port=443,
        path="/a?b=c",
        addresses=("93.184.215.14",),
    )


def test_a_setting_allows_a_private_network_and_no_other() -> None:
    allowing = targets("10.1.2.3", allowed=("10.1.0.0/16", "fd12::/16"))
    assert allowing.find("http://hooks.internal:8080").port == 8080
    allowing.check("http://10.1.9.9/")
    with pytest.raises(AccessDenied):
        allowing.check("http://10.2.0.1/")


def test_a_network_that_is_none() -> None:
    with pytest.raises(InvalidConfiguration, match="NRV_CALLBACKS_ALLOWED_NETWORKS"):
        targets(allowed=("10.1.2.3/8",))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost:9/",
        "http://a.localhost",
        "https://[::1]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_what_can_be_told_at_once_is_refused_at_once(url: str) -> None:
    with pytest.raises(AccessDenied):
        targets().check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http://user:password@example.com",
        "http://example.com:99999",
        "http://example.com/a b",
        "http://example.com/\r\nX: y",
        "http://[::1",
        "gopher://127.0.0.1",
    ],
)
def test_what_is_no_plain_url(url: str) -> None:
    with pytest.raises(InvalidRequest, match="callback_url"):
        targets().check(url)


def test_a_name_is_decided_about_later() -> None:
    targets("127.0.0.1").check("https://example.com/told")


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1"])
def test_other_spellings_of_an_address_are_seen_through(host: str) -> None:
    try:
        socket.getaddrinfo(host, 80)
    except OSError:
        pytest.skip("this system's resolver does not know the spelling")
    with pytest.raises(AccessDenied):
        Targets(CallbackSettings()).find(f"http://{host}/")


def test_a_signature_can_be_checked_with_the_standard_library() -> None:
    secret = callback_secret("link secret", "key_1")
    body = b'{"id": "cbk_1"}'
    stamp, version = signature(secret, 1_700_000_000, body).split(",")
    expected = hmac.new(secret.encode(), b"1700000000." + body, hashlib.sha256).hexdigest()
    assert (stamp, version) == ("t=1700000000", f"v1={expected}")


def test_every_key_has_a_secret_of_its_own() -> None:
    secrets = {callback_secret(link, key) for link in ("a", "b") for key in ("key_1", "key_2")}
    assert len(secrets) == 4
