#!/usr/bin/env python3
"""Writes corpus/backend/: message bodies, each behind the byte by which the fuzzer chooses the parser."""
import pathlib

FOLDER = pathlib.Path(__file__).parent / "corpus" / "backend"
CLIENT = 8
SEEDS = {
    "error": (0, b"SERROR\0VERROR\0C42601\0Msyntax error\0P8\0Fscan.l\0L1244\0Rscanner_yyerror\0\0"),
    "error_fatal": (0, b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0Dwhy\0Hhow\0Wwhere\0\0"),
    "error_constraint": (0, b"SERROR\0C23505\0Mdup\0spublic\0tt\0cc\0nn\0\0"),
    "error_no_state": (0, b"SERROR\0Mno state\0\0"),
    "error_cut": (0, b"SERROR\0Mno"),
    "error_text": (1, b"quotes a\0C00000\0 name"),
    "auth_ok": (2, b"\0\0\0\0"),
    "auth_md5": (2, b"\0\0\0\5salt"),
    "auth_sasl": (2, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
    "auth_sasl_final": (2, b"\0\0\0\x0cv=rmF9pqV8S7suAoZWja4dJRkFsKQ="),
    "parameter_status": (3, b"TimeZone\0Europe/Berlin\0"),
    "ready": (4, b"I"),
    "key_data": (5, b"\0\0\0\1\1\2\3\4"),
    "key_data_3_2": (5, b"\0\0\0\1" + b"k" * 32),
    "command_complete": (6, b"INSERT 0 1\0"),
    "notification": (7, b"\0\0\0\1jobs\0payload\0"),
    "client_query": (CLIENT | 0, b"SELECT 1\0"),
    "client_parse": (CLIENT | 1, b"s1\0SELECT $1, $2\0\0\2\0\0\0\x17\0\0\0\x19"),
    "client_describe": (CLIENT | 2, b"Ss1\0"),
    "client_close": (CLIENT | 3, b"Pc1\0"),
    "client_execute": (CLIENT | 4, b"c1\0\0\0\0\x64"),
    "client_password": (CLIENT | 5, b"secret\0"),
    "client_sasl": (CLIENT | 6, b"SCRAM-SHA-256\0\0\0\0\x0an,,n=,r=xy"),
    "client_sasl_none": (CLIENT | 6, b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
    "client_bind": (CLIENT | 7, b"c1\0s1\0\0\0\0\1\0\0\0\1" b"7\0\0"),
}

FOLDER.mkdir(parents=True, exist_ok=True)
for name, (which, body) in SEEDS.items():
    (FOLDER / name).write_bytes(bytes([which]) + body)
