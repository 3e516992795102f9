#!/usr/bin/env python3
"""Writes the corpora of prepared_fuzzer and parameters_fuzzer: scripts of the model's choices, lists of settings."""
import pathlib
import random

here = pathlib.Path(__file__).parent / "corpus"

# The model reads: the limit, the policy, then client, action and what the action asks for (tests/protocol/prepared_model.hpp).
PARSE, BIND, DESCRIBE, CLOSE, QUERY, EXECUTE, SYNC, DELIVER, MOVE, DISTURB, FINISH = 0, 2, 4, 5, 6, 7, 8, 10, 11, 12, 13
scripts = {
    "two_syncs": [2, 0, 0, PARSE, 0, 0, 0, DESCRIBE, 0, 0, SYNC, 0, FINISH, 0, MOVE, 1, 0, BIND, 0, 0, SYNC],
    "failed_parse": [2, 0, 0, PARSE, 2, 2, 0, BIND, 2, 0, SYNC, 0, PARSE, 2, 0, 0, SYNC],
    "skipped_close": [0, 0, 0, PARSE, 2, 0, 0, SYNC, 0, EXECUTE, 2, 0, CLOSE, 2, 0, SYNC, 0, PARSE, 2, 1, 0, SYNC],
    "eviction": [0, 0, 0, PARSE, 2, 0, 0, SYNC, 0, FINISH, 0, PARSE, 4, 1, 0, SYNC, 0, FINISH, 0, BIND, 2, 0, SYNC],
    "query_drops": [2, 1, 0, PARSE, 0, 0, 0, QUERY, 0, 0, BIND, 0, 0, SYNC],
    "discard": [2, 0, 0, PARSE, 2, 0, 0, DISTURB, 1, 0, BIND, 2, 0, SYNC],
    "server_dies": [2, 0, 0, PARSE, 2, 0, 0, DISTURB, 2, 0, SYNC, 0, BIND, 2, 0, SYNC],
    "client_leaves": [2, 1, 0, PARSE, 2, 0, 1, PARSE, 2, 0, 0, DISTURB, 3, 1, BIND, 2, 1, SYNC],
}
for seed in range(8):
    rng = random.Random(seed)
    scripts[f"random_{seed}"] = [rng.randrange(256) for _ in range(300)]
for name, script in scripts.items():
    (here / "prepared" / name).write_bytes(bytes(script))

settings = {
    "ordinary": ["search_path", '"A b", c', "DateStyle", "German, DMY", "", "datestyle", "ISO", "TimeZone", "UTC"],
    "quotes": ["app.user", "O'Hara", "a", "\\'; DROP TABLE x; --", "", "app.user", "''", "b'", "\\"],
    "bytes": ["a", "\udcc3\udca4", "\udc95'", "\udc95'", "", "a", "\udcff"],
    "role": ["role", "x", "work_mem", "1MB", "", "session_authorization", "y", "role", "z"],
    "repeated": ["A", "1", "a", "2", "a", "", "", "a", "1", "A", "3"],
}
for name, words in settings.items():
    (here / "parameters" / name).write_bytes("\0".join(words).encode("utf-8", "surrogateescape"))
