#!/usr/bin/env python3
"""Writes the corpus of config_fuzzer: byte 0 is `y` for a configuration, `u` for a users' file."""
import pathlib

CORPUS = pathlib.Path(__file__).parent / "corpus" / "config"

VALID = """listen: [ { address: 127.0.0.1:6432 } ]
clusters:
  main: { members: [ { name: pg1, host: 10.0.0.11 } ] }
databases: { "*": { cluster: main } }
auth: { method: trust }
"""
VERIFIER = ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
            "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")

CONFIGS = {
    "valid": VALID,
    "full": VALID + """workers: 4
pool: { mode: session, size: 20, hold_timeout: 30s, wait_timeout: 500ms, hold_limit: off, idle_timeout: 5m }
reads: { consistency: { bounded: 5s }, max_lag: 16MB, balance: weighted, functions: [ f, s.g ] }
timeouts: { query: 1h, client_idle: 0 }
route: replica_or_primary
http: { address: "[::1]:9632" }
log: { level: warn, format: json }
limits: { statement_cache: 16MiB, shutdown_timeout: 1d }
users: { joe: { password: x, server_password: y, route: primary, max_clients: 3 } }
""",
    "blocks": """listen:
  - address: /run/holdfast:6433
    route: replica
clusters:
  a:
    members:
      - name: pg1
        host: fe80::1
        port: 5433
        zone: b
        priority: 0
    monitor: &watch
      user: eye
      interval: 2s
    failover: {mode: follow, authority: sql}
  b: {members: [{name: pg1, host: b}], monitor: *watch, tls: {mode: require}, system_identifier: 7}
databases:
  app: {cluster: a, database: live, pool: {size: 3}}
  other: {cluster: b}
users: {joe: {password: x}}
""",
    "bounded_scalar": VALID + "reads: { consistency: 'bounded: 5s' }\n",
    "unknown_keys": VALID + "pol: 1\npool: { sise: 2 }\nhold_timeout: 3s\n",
    "dotted_key": VALID + "pool: { size: 1 }\npool.size: 2\n",
    "duplicates": VALID + "pool: { size: 1, size: 2 }\nauth: {}\n",
    "not_available": VALID + "pool: { mode: statement, on_session_state: reject }\n",
    "bare_numbers": VALID + "pool: { hold_timeout: 30 }\nreads: { max_lag: 16 }\n",
    "merge_key": VALID + "pool: { <<: { size: 3 } }\n",
    "tag": VALID + "workers: !!int 3\n",
    "two_documents": VALID + "---\nworkers: 1\n",
    "self_alias": "a: &a [ *a ]\n",
    "deep": "a: " + "[" * 200,
    "deep_mappings": "{" * 200,
    "deep_blocks": "- " * 200 + "x\n",
    "laughs": "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
        f"{n}: &{n} [{','.join(['*' + p] * 8)}]\n" for p, n in zip("abcdefgh", "bcdefghi")),
    "scalars": VALID + "log: { level: \"in\\x66o\", format: 'text' }\nroute: >-\n  auto\nworkers: |-\n  3\n",
    "clash": VALID.replace("} ]\nc", "}, { address: 0.0.0.0:6432 } ]\nc", 1),
    "empty": "",
    "null": "~",
    "comment": "# nothing\n",
    "eof_byte": VALID + "\x04pool: x\n",
    "monitor_env": VALID.replace("] }", "], monitor: { password_env: NOT_SET, password: x } }"),
}
USERS = {
    "plain": '; comment\n"app" "secret" # more\n"a""b" "c""d"\n',
    "verifier": f'"app" "{VERIFIER}"\r\n',
    "damaged": f'"app" "{VERIFIER[:-4]}"\n',
    "md5": '"app" "md5aee7a0bb0bbd6b5c76f4fdb1d75f0e8a"\n',
    "broken": '"app\n"app"\n"app" "x"y\n"" ""\n"x" "1"\n"x" "2"\n',
}

CORPUS.mkdir(parents=True, exist_ok=True)
for name, text in CONFIGS.items():
    (CORPUS / f"yaml_{name}").write_bytes(b"y" + text.encode())
for name, text in USERS.items():
    (CORPUS / f"users_{name}").write_bytes(b"u" + text.encode())
