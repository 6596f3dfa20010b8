"""The options of `serve`: values out of range are refused."""

from __future__ import annotations

import pytest

from harp_app import server


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 70000}, "port is 70000; allowed is 0 to 65535"),
        ({"secret": "a b"}, "the secret word is 'a b'; allowed are"),
        ({"secret": "../x"}, "letters, digits"),
        ({"waiting": 99}, "allowed are 1 to 8 and 0 to 30"),
        ({"tls_cert": "x.pem"}, "TLS needs both files"),
        ({"max_seconds": 0}, "max_seconds is 0; allowed is above 0"),
        ({"max_mb": float("inf")}, "max_mb is inf; allowed is above 0, finite"),
        ({"keep_s": float("nan")}, "keep_s is nan; allowed is above 0"),
        ({"root_path": "vampnet"}, "the root path is 'vampnet'; allowed is a path like /vampnet"),
        ({"root_path": "example.org/vampnet"}, "or an address like https://"),
        ({"root_path": "ftp://example.org"}, "or an address like https://"),
    ],
)
def test_options_out_of_range_are_told(options, text):
    with pytest.raises(ValueError, match=text):
        server.Options(**options)
