"""Which spellings of an address are the same: RFC 3986 section 6.2, and RFC 9449 section 4.3 for the query."""

from __future__ import annotations

import pytest

from services.identity.device_proof.addresses import is_same_address

SAME = [
    ("https://club.example/mint", "https://club.example/mint"),
    ("HTTPS://club.example/mint", "https://club.example/mint"),
    ("https://CLUB.Example/mint", "https://club.example/mint"),
    ("https://club.example:443/mint", "https://club.example/mint"),
    ("https://club.example:/mint", "https://club.example/mint"),
    ("https://club.example/mint", "https://club.example:443/mint"),
    ("http://localhost:80/mint", "http://localhost/mint"),
    ("http://[::1]:3000/mint", "http://[::1]:3000/mint"),
    ("http://[::A]/mint", "http://[::a]/mint"),
    ("https://club.example/mint?a=b", "https://club.example/mint"),
    ("https://club.example/mint#part", "https://club.example/mint"),
    ("https://club.example/%6Dint", "https://club.example/mint"),
    ("https://club.example/a%2fb%20c", "https://club.example/a%2Fb%20c"),
    ("https://club.example/%7euser", "https://club.example/~user"),
    ("https://club.example/a/../mint", "https://club.example/mint"),
    ("https://club.example/./mint", "https://club.example/mint"),
    ("https://club.example/%2e%2E/mint", "https://club.example/mint"),
    ("https://club.example", "https://club.example/"),
    ("https://club.example?a=b", "https://club.example/"),
    ("/vyris.mint.v1.MintService/Mint", "/vyris.mint.v1.MintService/Mint"),
]
DIFFERENT = [
    ("http://club.example/mint", "https://club.example/mint"),
    ("https://club.example.evil.test/mint", "https://club.example/mint"),
    ("https://club.example@evil.test/mint", "https://club.example/mint"),
    ("https://ada@club.example/mint", "https://club.example/mint"),
    ("https://club.example:444/mint", "https://club.example/mint"),
    ("http://club.example:443/mint", "http://club.example/mint"),
    ("https://club.example:99999/mint", "https://club.example/mint"),
    ("https://club.example/Mint", "https://club.example/mint"),
    ("https://club.example/mint/", "https://club.example/mint"),
    ("https://club.example//mint", "https://club.example/mint"),
    ("https://club.example/a/b", "https://club.example/a%2Fb"),
    ("https://club.example/mint%", "https://club.example/mint"),
    ("https://club.example/mi\nnt", "https://club.example/mint"),
    (" https://club.example/mint", "https://club.example/mint"),
    ("https://club.example/mint ", "https://club.example/mint"),
    ("https://club.example\\mint", "https://club.example/mint"),
    ("//club.example/mint", "https://club.example/mint"),
    ("/mint", "https://club.example/mint"),
    ("mint", "https://club.example/mint"),
    ("https:///mint", "https://club.example/mint"),
    ("https://[::1/mint", "https://[::1]/mint"),
    ("https://clüb.example/mint", "https://club.example/mint"),
    ("/vyris.mint.v1.MintService/mint", "/vyris.mint.v1.MintService/Mint"),
    ("/vyris.mint.v1.MintService/Mint?x", "/vyris.mint.v1.MintService/Mint"),
    (["https://club.example/mint"], "https://club.example/mint"),
    (None, "https://club.example/mint"),
]


@pytest.mark.parametrize(("claimed", "expected"), SAME)
def test_equal_addresses_are_recognized(claimed: str, expected: str) -> None:
    assert is_same_address(claimed, expected)


@pytest.mark.parametrize(("claimed", "expected"), DIFFERENT)
def test_different_addresses_are_recognized(claimed: object, expected: str) -> None:
    assert not is_same_address(claimed, expected)
