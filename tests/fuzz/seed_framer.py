#!/usr/bin/env python3
"""Writes corpus/framer/: message streams, each behind a byte that the fuzzer takes as its settings."""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "corpus" / "framer"
CLIENT, SERVER, SMALL = 0, 1, 2


def message(tag, body=b""):
    return tag + struct.pack(">I", len(body) + 4) + body


SEEDS = {
    "simple_query": (CLIENT, message(b"Q", b"SELECT 1\0") + message(b"X")),
    "extended_query": (CLIENT | SMALL, message(b"P", b"s1\0SELECT $1\0\0\1\0\0\0\x17") + message(b"D", b"Ss1\0")
                       + message(b"B", b"\0s1\0\0\0\0\1\0\0\0\x01" b"7\0\0") + message(b"E", b"\0\0\0\0\0")
                       + message(b"H") + message(b"S")),
    "long_bind": (CLIENT | SMALL, message(b"B", b"portal\0statement\0" + b"v" * 100) + message(b"S")),
    "copy_in": (CLIENT, message(b"d", b"1\tone\n") + message(b"d") + message(b"c") + message(b"f", b"no\0")),
    "result": (SERVER, message(b"T", b"\0\1c\0" + b"\0" * 18) + message(b"D", b"\0\1\0\0\0\x01" b"1") * 3
               + message(b"C", b"SELECT 3\0") + message(b"Z", b"I")),
    "error": (SERVER | SMALL, message(b"E", b"SERROR\0VERROR\0C42601\0Mno\0\0") + message(b"Z", b"E")),
    "login": (SERVER, message(b"R", b"\0\0\0\0") + message(b"S", b"TimeZone\0UTC\0") + message(b"K", b"\0\0\0\1abcd")
              + message(b"Z", b"I")),
    "unknown_tag": (CLIENT, message(b"S") + message(b"!")),
}
for length in (0, 3, 4, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
    SEEDS[f"length_{length:08x}"] = (CLIENT, b"Q" + struct.pack(">I", length) + b"SELECT 1\0")

FOLDER.mkdir(parents=True, exist_ok=True)
for name, (settings, stream) in SEEDS.items():
    (FOLDER / name).write_bytes(bytes([settings | 5 << 2]) + stream)
