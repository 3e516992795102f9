#include "protocol/catalogue_audit.hpp"

namespace holdfast::protocol {

namespace {

// `hidden` is 1 for what writes run and 2 for what reads run as well; times four: it looks at sequences; times five: it
// may do anything. 16: it writes; 64: it asks for custom settings; 128: it takes advisory locks, which keep nobody out
// if a standby has them. Of the database itself: 32: it has sequences; 256: its blocks may have one snapshot.
// Expressions are searched for the functions in their trees (nodeToString, src/backend/nodes/outfuncs.c: ":funcid",
// ":opfuncid", …). Objects from 16384 on are users' (FirstNormalObjectId, src/include/access/transam.h). A source is
// read without its comments and strings, and without the SET of an UPDATE. Backslashes stand in dollar quotes only: a
// session may have standard_conforming_strings off.
constexpr std::string_view query =
    R"sql(SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '2s'; SET LOCAL jit = off;
WITH trees(hidden, tree) AS (
  SELECT 2, ev_action::text || ev_qual::text FROM pg_rewrite WHERE oid >= 16384
  UNION ALL SELECT 2, polqual::text FROM pg_policy UNION ALL SELECT 2, polwithcheck::text FROM pg_policy
  UNION ALL SELECT 1, adbin::text FROM pg_attrdef
  UNION ALL SELECT CASE WHEN contypid = 0 THEN 1 ELSE 2 END, conbin::text FROM pg_constraint
    WHERE conbin IS NOT NULL AND oid >= 16384
  UNION ALL SELECT 1, indexprs::text FROM pg_index WHERE indexprs IS NOT NULL
  UNION ALL SELECT 1, indpred::text FROM pg_index WHERE indpred IS NOT NULL
  UNION ALL SELECT 1, tgqual::text FROM pg_trigger WHERE tgqual IS NOT NULL
  UNION ALL SELECT 1, partexprs::text FROM pg_partitioned_table WHERE partexprs IS NOT NULL
  UNION ALL SELECT 1, typdefaultbin::text FROM pg_type WHERE typdefaultbin IS NOT NULL AND oid >= 16384
), used(hidden, oid) AS (
  SELECT DISTINCT hidden, (regexp_matches(tree, $r$:(?:funcid|opfuncid|aggfnoid|winfnoid) (\d+)$r$, 'g'))[1]::oid
    FROM trees
  UNION SELECT 2, f FROM pg_aggregate, unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn,
      aggmtransfn, aggminvtransfn, aggmfinalfn]::oid[]) f WHERE f >= 16384
  UNION SELECT 1, tgfoid FROM pg_trigger WHERE NOT tgisinternal
  UNION SELECT 1, evtfoid FROM pg_event_trigger
  UNION SELECT 2, castfunc FROM pg_cast WHERE castfunc >= 16384
  UNION SELECT 2, oprcode FROM pg_operator WHERE oprcode >= 16384
  UNION SELECT 2, amproc FROM pg_amproc WHERE amproc >= 16384
  UNION SELECT 2, p.oid FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0]
    WHERE p.oid >= 16384 AND p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND p.prokind = 'f'
      AND (t.typrelid <> 0 OR t.typtype = 'd'
           OR t.typname IN ('record', 'any', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray'))
), codes(hidden, oid, name, lang, opaque, makes, code) AS (
  SELECT u.hidden, p.oid, p.proname, l.lanname,
         p.prosqlbody IS NOT NULL OR p.prosrc ~ $r$\\'|\$\w*\$|/\*([^*]|\*+[^*/])*/\*$r$,
         p.proconfig::text ~ 'pg_temp',
         regexp_replace(lower(p.prosrc),
           $r$("[^"]*")|'([^']|'')*'|--[^\n]*|/\*([^*]|\*+[^*/])*\*+/$r$, $r$\1 $r$, 'g')
  FROM used u JOIN pg_proc p ON p.oid = u.oid JOIN pg_language l ON l.oid = p.prolang
), sources(hidden, oid, name, lang, opaque, code, src) AS (
  SELECT hidden, oid, name, lang, opaque OR (makes AND code ~ $r$\mcreate\M$r$), code,
         regexp_replace(code,
           $r$\mupdate\s+(only\s+)?(?!(loop|then|else|begin|nowait|skip|of)\M)[\w."]+$r$
             || $r$(\s+(as\s+)?(?!loop\M)[\w"]+)?\s+set\M|\mdo\s+update\s+set\M|\mdo\s+nothing\M$r$, ' ', 'g')
  FROM codes
), own(src, body) AS (
  SELECT lower(prosrc), prosqlbody::text FROM pg_proc p JOIN pg_language l ON l.oid = prolang
    WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')
), judged(bits, locks, writes) AS (
  SELECT CASE WHEN oid < 16384 THEN
      CASE WHEN name IN ('set_config', 'setseed', 'pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_try_advisory_lock',
        'pg_try_advisory_lock_shared', 'query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema',
        'cursor_to_xml', 'cursor_to_xmlschema', 'ts_stat', 'ts_rewrite', 'pg_replication_origin_session_setup')
           THEN hidden | CASE WHEN hidden = 2 AND name ~ 'advisory' THEN 128 ELSE 0 END
           WHEN name ~ '^pg_(try_)?advisory_xact_lock' AND hidden = 2 THEN 128
           WHEN name = 'current_setting' THEN 64
           WHEN name IN ('lastval', 'currval') THEN hidden * 4
           WHEN name = 'nextval' AND hidden = 2 THEN 2 ELSE 0 END
    WHEN lang IN ('c', 'internal') THEN 0
    WHEN lang NOT IN ('sql', 'plpgsql') OR opaque
      OR src ~ ($r$\m(set|set_config|reset|listen|unlisten|execute|prepare|deallocate|load|discard|do|call|temp$r$
        || $r$|temporary|pg_temp\w*|setseed|hold|pg_(try_)?advisory_lock\w*$r$
        || $r$|(query|cursor)_to_xml\w*|ts_stat|ts_rewrite)\M$r$)
      OR EXISTS (SELECT FROM regexp_matches(src, $r$(\minto\s+)?([\w$."]+)\s*\($r$, 'g') m
                 WHERE m[1] IS NULL
                   AND m[2] NOT IN (SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'C', 'T'))
                   AND m[2] NOT IN ('if', 'elsif', 'elseif', 'while', 'return', 'perform', 'assert', 'over',
                                     'filter', 'by', 'raise', 'exit', 'continue')
                   AND regexp_replace(m[2], $r$^pg_catalog\.$r$, '') NOT IN
                       (SELECT proname FROM pg_proc WHERE oid < 16384 AND pronamespace = 11))
        OR code ~ $r$\mpg_settings\M$r$
      THEN hidden * 5
    WHEN src ~ $r$\m(lastval|currval)\M$r$ THEN hidden * 4
    WHEN hidden = 2 AND src ~ $r$\mnextval\M$r$ THEN 2
    ELSE 0 END,
    hidden = 2 AND oid >= 16384 AND code ~ $r$\mpg_(try_)?advisory_(xact_)?lock$r$,
    hidden = 2 AND (oid >= 16384 OR name IN ('nextval', 'setval'))
      AND (oid < 16384 OR lang NOT IN ('sql', 'plpgsql', 'c', 'internal') OR opaque
           OR code ~ ($r$\m(insert|update|delete|merge|truncate|copy|create|alter|drop|grant|revoke|refresh|comment$r$
             || $r$|lock|import|notify|nextval|setval|lo_\w+|pg_notify|pg_logical_\w+)\M$r$))
  FROM sources
)
SELECT coalesce(bit_or(bits | CASE WHEN writes OR bits & 10 = 10 THEN 16 ELSE 0 END
    | CASE WHEN locks OR bits & 10 = 10 AND EXISTS (SELECT FROM own WHERE src ~ $r$\mpg_(try_)?advisory_(xact_)?lock$r$
        OR body ~ $r$:funcid (28[89]|30[89])\d $r$) THEN 128 ELSE 0 END), 0)
  | CASE WHEN EXISTS (SELECT FROM pg_class WHERE relkind = 'S') THEN 32 ELSE 0 END
  | CASE WHEN EXISTS (SELECT FROM own WHERE body ~ ':funcid (2077|3294) ' OR src ~ $r$\mshow\s+[\w"]+\.$r$
        OR regexp_replace(src, $r$\mcurrent_setting\s*\(\s*'[^'.]*'(::text)?\s*[,)]$r$, '', 'g') ~ $r$\mcurrent_setting\M$r$)
    THEN 64 ELSE 0 END
  | CASE WHEN EXISTS (SELECT FROM trees WHERE hidden = 2 AND tree ~ (':relid ' || 'pg_settings'::regclass::oid || ' '))
    THEN 2 ELSE 0 END
  | CASE WHEN (SELECT reset_val FROM pg_settings WHERE name = 'default_transaction_isolation') NOT LIKE 'read %'
      OR EXISTS (SELECT FROM pg_db_role_setting, unnest(setconfig) s
                 WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                   AND s ~* '^default_transaction_isolation=' AND s !~* '=read (un)?committed$')
    THEN 256 ELSE 0 END
FROM judged)sql";

}  // namespace

std::string_view audit_query() {
  return query;
}

std::optional<Hidden> read_audit(Bytes data_row) {
  Reader reader(data_row);
  if (reader.u16() != 1) return std::nullopt;
  const auto size = reader.u32();
  const auto text = as_text(reader.bytes(size));
  if (!reader.complete() || text.empty() || text.size() > 3) return std::nullopt;
  unsigned bits = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    bits = bits * 10 + static_cast<unsigned>(c - '0');
  }
  if (bits > static_cast<unsigned>(Hidden::anything)) return std::nullopt;
  return static_cast<Hidden>(bits);
}

}  // namespace holdfast::protocol
