#!/usr/bin/env python3
"""Writes corpus/startup/: first bytes of connections, each behind a byte that the fuzzer takes as its settings."""
import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "corpus" / "startup"
PLAIN, TLS = 64, 65  # TLS available or not; pieces of 33 bytes


def packet(code, body=b""):
    return struct.pack(">II", len(body) + 8, code) + body


def startup(*pairs, version=0x30000):
    return packet(version, b"".join(name + b"\0" + value + b"\0" for name, value in pairs) + b"\0")


ALICE = (b"user", b"alice")
SSL, GSS, CANCEL = packet(80877103), packet(80877104), 80877102
SEEDS = {
    "startup": (PLAIN, startup(ALICE, (b"database", b"shop"), (b"application_name", b"psql"))),
    "options": (PLAIN, startup(ALICE, (b"options", rb"-c search_path=a,\ b -cgeqo=off --work-mem=8MB --"))),
    "options_bad": (PLAIN, b"-c a=1 \\ -- word -c"),
    "options_text": (PLAIN, rb"-c a-b=c\ d --x=y -cz="),
    "version_3_2": (PLAIN, startup(ALICE, (b"_pq_.x", b"1"), version=0x30002)),
    "version_2": (PLAIN, startup(ALICE, version=0x20000)),
    "replication": (PLAIN, startup(ALICE, (b"replication", b"database"))),
    "no_user": (PLAIN, startup((b"database", b"shop"))),
    "layout": (PLAIN, packet(0x30000, b"user\0alice")),
    "cancel": (PLAIN, packet(CANCEL, b"\0\0\0\1abcd")),
    "cancel_3_2": (TLS, packet(CANCEL, b"\0\0\0\1" + b"k" * 32)),
    "ssl_then_startup": (7 << 1, SSL + startup(ALICE)),
    "ssl_stuffed": (TLS, SSL + startup(ALICE)),
    "ssl_in_tls": ((7 << 1) | 1, SSL + SSL),
    "gss_then_ssl": ((7 << 1) | 1, GSS + SSL + startup(ALICE)),
    "direct_tls": (TLS, b"\x16" + startup(ALICE)),
    "http": (PLAIN, b"GET / HTTP/1.1\r\n\r\n"),
}
for length in (0, 3, 4, 7, 10004, 10005, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
    SEEDS[f"length_{length:08x}"] = (PLAIN, struct.pack(">II", length, 0x30000))

FOLDER.mkdir(parents=True, exist_ok=True)
for name, (settings, stream) in SEEDS.items():
    (FOLDER / name).write_bytes(bytes([settings]) + stream)
