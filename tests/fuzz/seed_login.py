#!/usr/bin/env python3
"""Writes the seeds of login_fuzzer and scram_fuzzer: run it in the repository's root after changing their input's shape."""
import pathlib
import struct


def message(tag, body=b""):
    return tag + struct.pack("!I", len(body) + 4) + body


def authentication(kind, data=b""):
    return message(b"R", struct.pack("!I", kind) + data)


OK = authentication(0)
WELCOME = (
    message(b"S", b"server_version\0" + b"15.1\0")
    + message(b"N", b"SNOTICE\0C00000\0Mhello\0\0")
    + message(b"K", struct.pack("!II", 4711, 42))
    + message(b"Z", b"I")
)
SASL = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
FIRST = authentication(11, b"r=nonceX,s=c2FsdA==,i=4096")
FINAL = authentication(12, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
ERROR = message(b"E", b"SFATAL\0VFATAL\0C28000\0Mno\0Dwhy\0Hdo\0\0")

PLAIN, REQUIRE, KEYS, LOCAL = 0, 3, 0x80, 0x40
# With keys bit 0x80 stands for mode 128 % 6 = 2, prefer; over a Unix socket there is no TLS in any mode.
LOGIN = {
    "trust": bytes([PLAIN, 9]) + OK + WELCOME,
    "clear": bytes([LOCAL, 0]) + authentication(3) + OK + WELCOME,
    "md5": bytes([PLAIN, 30]) + authentication(5, b"salt") + OK + WELCOME,
    "scram": bytes([PLAIN, 255]) + SASL + FIRST + FINAL + OK + WELCOME,
    "scram_keys": bytes([KEYS | LOCAL, 3]) + SASL + FIRST + FINAL + OK + WELCOME,
    "tls": bytes([REQUIRE, 0]) + b"S" + SASL + FIRST + FINAL,
    "tls_stuffed": bytes([REQUIRE, 200]) + b"S" + OK + WELCOME,
    "tls_no": bytes([KEYS, 0]) + b"N" + SASL + ERROR,
    "error": bytes([PLAIN, 1]) + ERROR,
    "negotiate": bytes([PLAIN, 7]) + message(b"v", struct.pack("!II", 0x30000, 1) + b"_pq_.x\0") + OK + WELCOME,
    "protocol_2": bytes([PLAIN, 7]) + b"Ecould not fork\n\0",
}

NONCE = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
SCRAM = {
    "client_first": b"\0n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    "client_first_y": b"\0y,,n=a=2Cb,r=abc,x=1",
    "client_first_plus": b"\1p=tls-server-end-point,,n=,r=abc",
    "client_final": b"\2c=biws,r=" + NONCE + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    "server_first": b"\3r=" + NONCE + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    "server_final": b"\4v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    "server_error": b"\4e=invalid-proof",
    "verifier": b"\5SCRAM-SHA-256$4096:D9nc6Zq6QKVpuDcbbsydRQ==$CiUoqU2inctrDQj51v/v2d5uksdVYsMuXWuBk/ML5d0="
    b":fZb4FgbUAHCCR5w82tAFl0PO+WMqPbBDFYwmiWrST68=",
    "base64": b"\6Zm9vYg==",
}

for folder, seeds in {"login": LOGIN, "scram": SCRAM}.items():
    path = pathlib.Path("tests/fuzz/corpus") / folder
    path.mkdir(parents=True, exist_ok=True)
    for name, content in seeds.items():
        (path / name).write_bytes(content)
