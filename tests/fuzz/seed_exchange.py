#!/usr/bin/env python3
"""Writes corpus/exchange/: scripts for exchange_fuzzer. Operations are numbered as in tests/protocol/model_backend.hpp."""
import pathlib
import re

HERE = pathlib.Path(__file__).parent
FOLDER = HERE / "corpus" / "exchange"
MODEL = (HERE.parent / "protocol" / "model_backend.hpp").read_text()
NAMES = re.findall(r'^\s+\{"([^"]+)", \'', MODEL, re.M)
RECEIVE = b"\x80"
RULES, ANYTHING = b"\1", b"\0"
# The orders of tags and client_tags in exchange_fuzzer.cpp.
SERVER = "123CDEGHITVWZcdnstNSAEZZQ\0\xff"
CLIENT = "QPBDECSHFdcf"


def script(text):
    return RULES + b"".join(RECEIVE if word == "<" else bytes([NAMES.index(word)]) for word in text.split())


def free(sent, received):
    back = b"".join(bytes([next(b for b in range(0x80, 0x100) if SERVER[b % len(SERVER)] == tag)]) for tag in received)
    return ANYTHING + bytes(CLIENT.index(tag) for tag in sent) + back


SEEDS = {
    "query": script("Q < < < < < Qtwo"),
    "batch": script("P B Ds E S < < < P B Dn E S"),
    "error": script("P Pfail Q B S < < < Plocal B E S"),
    "block": script("Qbegin Qfail Q Qcommit"),
    "injected": script("Pproxy Plocal B E S Qproxy Qdoomed Pproxyfail S"),
    "copy": script("P B Ecopyin S < < < d d c S < <"),
    "copy_fails": script("P B Ecopyin!d S < < < d d c S < < Q"),
    "copy_fails_unread": script("Ecopyin! S d c S < < < Q"),
    "copy_query": script("Qcopyin d c Qcopyout < < < f d"),
    "function": script("B F Ffail H Plocal H S"),
    "free_query": free("Q", "TDDCZ"),
    "free_batch": free("PBDES", "12TDCZ"),
    "free_error": free("PBES", "1EZ"),
    "free_copy": free("QdcS", "GCZZ"),
    "free_copy_fails": free("PBESdcS", "12GEZZ"),
    "free_nonsense": free("", "123CDEGHITVWZcdnstNSA"),
}

FOLDER.mkdir(parents=True, exist_ok=True)
for name, content in SEEDS.items():
    (FOLDER / name).write_bytes(content)
