#include "protocol/sql/analyze.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <string>

#include "protocol/parameters.hpp"

namespace holdfast::protocol::sql {
namespace {

using Index = ParseTree::Index;
constexpr Index none = ParseTree::none;

// CURSOR_OPT_HOLD of nodes/parsenodes.h.
constexpr unsigned cursor_hold = 0x0020;

// What the walk over a statement's tree takes into account.
struct Walk {
  bool executes = true;   // false under EXPLAIN without ANALYZE: row locks, DML, INTO don't happen
  bool functions = true;  // false in definitions: the functions of a view run when it is read
};

// One statement at a time; results gather in `verdict`.
class Analysis {
 public:
  Analysis(const ParseTree& tree, const ReadFunctions& read_functions) : tree_(tree), read_functions_(read_functions) {}

  // `node` is the value whose key is the node's type: "SelectStmt": {…}.
  void statement(Index node);

  [[nodiscard]] Verdict verdict() const {
    Verdict verdict = verdict_;
    verdict.only_asks = verdict.only_asks && verdict.access == Access::write;
    return verdict;
  }

 private:
  void at_least(Access access) { verdict_.access = std::max(verdict_.access, access); }
  void writes(Effect effects = Effect::none) {
    at_least(Access::write);
    verdict_.effects |= effects;
    verdict_.only_asks = false;
  }
  // It is for the primary, but what others see stays as it is.
  void asks(Effect effects = Effect::none) {
    at_least(Access::write);
    verdict_.effects |= effects;
  }
  void reads(Effect effects = Effect::none) {
    at_least(Access::read);
    verdict_.effects |= effects;
  }

  void utility(Index node, std::string_view type);
  void definition(Index node, std::string_view type);
  [[nodiscard]] bool is_shared(Index node, std::string_view type) const;
  void explain(Index node);
  void copy(Index node);
  void transaction(Index node);
  void variable(Index node);
  struct Modes {
    bool for_standby = true;  // neither SERIALIZABLE nor READ WRITE is among them
    bool read_only = false;
  };
  Modes modes(Index list);

  void walk(Index node, Walk how);
  void relation(Index at, Walk how);
  void call(Index node);
  void operator_name(Index list);
  [[nodiscard]] std::string_view string_at(Index item) const;
  [[nodiscard]] bool stays_local(Index node) const;

  const ParseTree& tree_;
  const ReadFunctions& read_functions_;
  Verdict verdict_{.access = Access::nothing, .only_asks = true};
  bool names_settings_ = false;  // the view pg_settings
  bool changes_rows_ = false;    // there is an INSERT, UPDATE, DELETE or MERGE in it
};

bool same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

// pg_temp, and pg_temp_3 as the catalogue calls it.
bool is_temp_schema(std::string_view name) {
  return name.starts_with("pg_temp");
}

// A setting of an application or an extension: app.user.
bool is_custom(std::string_view name) {
  return name.find('.') != std::string_view::npos;
}

void Analysis::statement(Index node) {
  std::string_view type = tree_[node].key;
  if (type == "SelectStmt") {
    reads();
    walk(node, {});
  } else if (type == "InsertStmt" || type == "UpdateStmt" || type == "DeleteStmt" || type == "MergeStmt") {
    writes();
    changes_rows_ = true;
    walk(node, {});
  } else if (type == "ExplainStmt") {
    explain(node);
  } else if (type == "CopyStmt") {
    copy(node);
  } else if (type == "TransactionStmt") {
    transaction(node);
  } else if (type == "VariableSetStmt") {
    variable(node);
  } else {
    utility(node, type);
  }
  // The rule of that view calls set_config().
  if (names_settings_ && changes_rows_) writes(Effect::set | Effect::custom_setting | Effect::unknown_function);
  // A pinned session must have a server of the primary, or its next write would have nowhere to go.
  constexpr auto tracked = static_cast<std::uint32_t>(Effect::set | Effect::role);
  if (has(verdict_.effects, static_cast<Effect>(static_cast<std::uint32_t>(pinning) & ~tracked)))
    at_least(Access::write);
}

void Analysis::utility(Index node, std::string_view type) {
  if (type == "VariableShowStmt") {
    return asks(Effect::role_question | (is_custom(tree_.text(node, "name")) ? Effect::asks_setting : Effect::none));
  }
  if (type == "DiscardStmt") {
    const bool all = tree_.text(node, "target") == "DISCARD_ALL";
    return reads(Effect::discard | (all ? Effect::drops_names : Effect::none));
  }
  if (type == "UnlistenStmt") return reads(Effect::discard);
  if (type == "DeallocateStmt") {
    return reads(Effect::drops_names |
                 (tree_.member(node, "name") == none ? Effect::discard : Effect::sql_deallocate));
  }
  if (type == "FetchStmt") return reads(Effect::cursor);
  if (type == "ClosePortalStmt") return reads(Effect::cursor | Effect::discard);
  if (type == "DeclareCursorStmt") {
    unsigned long options = std::strtoul(std::string(tree_.text(node, "options")).c_str(), nullptr, 10);
    reads(Effect::cursor | ((options & cursor_hold) != 0 ? Effect::hold_cursor : Effect::none));
    return walk(node, {});
  }
  if (type == "PrepareStmt") {
    asks(Effect::sql_prepare);
    return walk(node, {});
  }
  if (type == "ExecuteStmt") {
    // Only the session knows which statement it runs; the effects were those of its PREPARE, which pins.
    writes(Effect::sql_deallocate);
    return walk(node, {});
  }
  if (type == "ListenStmt") return asks(Effect::listen);
  if (type == "LoadStmt") return asks(Effect::load);
  if (type == "DoStmt") return writes(Effect::unknown_function | Effect::shared_object);
  if (type == "CallStmt") {
    writes(Effect::unknown_function);
    return walk(node, {});
  }
  if (type == "ConstraintsSetStmt") {
    reads();
    verdict_.control = TransactionControl::other;
    return;
  }
  constexpr auto plain = std::to_array<std::string_view>(
      {"NotifyStmt", "LockStmt", "TruncateStmt", "CheckPointStmt", "RefreshMatViewStmt"});
  if (std::ranges::find(plain, type) != plain.end()) return writes();
  // Some forms of these end transactions of their own (PreventInTransactionBlock, src/backend/access/transam/xact.c).
  constexpr auto committing =
      std::to_array<std::string_view>({"VacuumStmt", "ClusterStmt", "ReindexStmt", "AlterSystemStmt"});
  if (std::ranges::find(committing, type) != committing.end()) return writes(Effect::commits_itself);
  definition(node, type);
}

// Whether it concerns something that all databases of a cluster share (IsSharedRelation,
// src/backend/catalog/catalog.c).
bool Analysis::is_shared(Index node, std::string_view type) const {
  constexpr auto statements = std::to_array<std::string_view>({"Role", "TableSpace", "Tablespace", "Subscription"});
  if (type == "ReassignOwnedStmt" || type == "DropOwnedStmt") return true;
  if (std::ranges::any_of(statements, [&](std::string_view what) { return type.find(what) != type.npos; })) return true;
  // GRANT, COMMENT, ALTER … OWNER TO, ALTER … RENAME, SECURITY LABEL.
  for (const std::string_view member : {"objtype", "objectType", "renameType"}) {
    const std::string_view object = tree_.text(node, member);
    for (const std::string_view shared :
         {"OBJECT_DATABASE", "OBJECT_ROLE", "OBJECT_TABLESPACE", "OBJECT_SUBSCRIPTION", "OBJECT_PARAMETER_ACL"}) {
      if (object == shared) return true;
    }
  }
  return false;
}

// CREATE, ALTER, DROP, GRANT, COMMENT and whatever else is left.
void Analysis::definition(Index node, std::string_view type) {
  writes(Effect::ddl);
  bool of_database = type == "CreatedbStmt" || type == "DropdbStmt" || type.starts_with("AlterDatabase") ||
                     ((type == "RenameStmt" && tree_.text(node, "renameType") == "OBJECT_DATABASE") ||
                      (type == "AlterOwnerStmt" && tree_.text(node, "objectType") == "OBJECT_DATABASE"));
  if (of_database) verdict_.effects |= Effect::database_ddl;
  if (of_database || is_shared(node, type)) verdict_.effects |= Effect::shared_object;

  constexpr auto stored =
      std::to_array<std::string_view>({"ViewStmt", "RuleStmt", "CreateFunctionStmt", "CreatePolicyStmt",
                                       "AlterPolicyStmt", "CreateTrigStmt", "CreateEventTrigStmt"});
  bool runs_later = std::ranges::find(stored, type) != stored.end();
  Effect before = verdict_.effects;
  walk(node, {.executes = true, .functions = !runs_later});
  // A temporary table changes nobody else's catalogue.
  const bool table = type == "CreateStmt" || type == "CreateTableAsStmt";
  if (table && has(verdict_.effects, Effect::temp_object) && !has(before, Effect::temp_object)) {
    verdict_.effects = static_cast<Effect>(static_cast<std::uint32_t>(verdict_.effects) &
                                           ~static_cast<std::uint32_t>(Effect::ddl));
    verdict_.effects |= Effect::local_setting;  // its name means something else from now on
  }
  // ON COMMIT DROP: gone with the transaction.
  std::string_view on_commit = tree_.text(node, "oncommit");
  if (on_commit.empty()) on_commit = tree_.text(tree_.member(node, "into"), "onCommit");
  if (on_commit == "ONCOMMIT_DROP" && !has(before, Effect::temp_object)) {
    verdict_.effects = static_cast<Effect>(static_cast<std::uint32_t>(verdict_.effects) &
                                           ~static_cast<std::uint32_t>(Effect::temp_object));
  }
  // Objects named by lists of strings: CREATE FUNCTION pg_temp.f, DROP TABLE pg_temp.t, CREATE TYPE pg_temp.t.
  for (Index at = node; at < tree_[node].end; ++at) {
    if (tree_[at].key == "sval" && tree_[at].kind == ParseTree::Kind::string && is_temp_schema(tree_[at].text)) {
      verdict_.effects |= Effect::temp_object;
    }
  }
}

void Analysis::explain(Index node) {
  bool analyze = false;
  Index options = tree_.member(node, "options");
  for (Index at = tree_.first(options); at != none; at = tree_.next(options, at)) {
    Index option = tree_.first(at);
    if (tree_.text(option, "defname") != "analyze") continue;
    // True without an argument, or with one that is not literally false or off. Words and strings look alike in the
    // tree, but the only string in a folded text is '', which is neither.
    std::string_view argument = string_at(tree_.member(option, "arg"));
    analyze |= !same_word(argument, "false") && !same_word(argument, "off");
  }
  Index inner = tree_.first(tree_.member(node, "query"));
  reads();
  if (inner == none) return writes();
  if (analyze || tree_[inner].key == "ExecuteStmt") return statement(inner);
  walk(inner, {.executes = false});
}

void Analysis::copy(Index node) {
  bool to_client = tree_.member(node, "filename") == none && tree_.member(node, "is_program") == none;
  bool from = tree_.text(node, "is_from") == "true";
  if (from || !to_client) {
    writes();
  } else {
    reads();
  }
  verdict_.copy_from_client |= from && to_client;
  walk(node, {});
}

// Reads the transaction modes of BEGIN and SET TRANSACTION.
Analysis::Modes Analysis::modes(Index list) {
  Modes modes;
  for (Index at = tree_.first(list); at != none; at = tree_.next(list, at)) {
    Index mode = tree_.first(at);
    std::string_view name = tree_.text(mode, "defname");
    Index constant = tree_.first(tree_.member(mode, "arg"));
    if (name == "transaction_isolation") {
      const std::string_view level = tree_.text(tree_.member(constant, "sval"), "sval");
      if (level == "serializable") modes.for_standby = false;
      const bool per_statement = level == "read committed" || level == "read uncommitted";
      verdict_.isolation =
          std::max(verdict_.isolation, per_statement ? Isolation::per_statement : Isolation::one_snapshot);
    } else if (name == "transaction_read_only") {
      bool on = tree_.text(tree_.member(constant, "ival"), "ival") == "1";
      modes.read_only |= on;
      if (!on) modes.for_standby = false;
    }
  }
  return modes;
}

void Analysis::transaction(Index node) {
  std::string_view kind = tree_.text(node, "kind");
  if (kind == "TRANS_STMT_BEGIN" || kind == "TRANS_STMT_START") {
    const auto [for_standby, read_only] = modes(tree_.member(node, "options"));
    if (for_standby) {
      verdict_.deferrable = kind == "TRANS_STMT_BEGIN" ? Deferrable::begin : Deferrable::start_transaction;
    }
    if (read_only && for_standby) {
      verdict_.control = TransactionControl::begin_read_only;
      return reads();
    }
    verdict_.control = TransactionControl::begin;
    return asks();
  }
  verdict_.chains = tree_.text(node, "chain") == "true";
  if (kind == "TRANS_STMT_COMMIT") {
    verdict_.control = TransactionControl::commit;
  } else if (kind == "TRANS_STMT_ROLLBACK") {
    verdict_.control = TransactionControl::rollback;
  } else if (kind == "TRANS_STMT_SAVEPOINT" || kind == "TRANS_STMT_RELEASE" || kind == "TRANS_STMT_ROLLBACK_TO") {
    verdict_.control = TransactionControl::savepoint;
  } else {
    // COMMIT PREPARED and ROLLBACK PREPARED are no control of the session's own transaction.
    if (kind == "TRANS_STMT_PREPARE") {
      verdict_.control = TransactionControl::prepare_transaction;
      return writes();
    }
    return writes(Effect::commits_itself);
  }
}

void Analysis::variable(Index node) {
  std::string_view kind = tree_.text(node, "kind");
  std::string_view name = tree_.text(node, "name");
  Index arguments = tree_.member(node, "args");
  if (kind == "VAR_RESET_ALL") return reads(Effect::discard);
  if (kind == "VAR_SET_MULTI") {
    const auto [for_standby, read_only] = modes(arguments);
    if (name == "SESSION CHARACTERISTICS") return for_standby ? reads(Effect::set) : writes(Effect::set);
    verdict_.control = TransactionControl::other;
    // SET TRANSACTION SNAPSHOT: the snapshot was exported on the primary.
    if (!for_standby || name != "TRANSACTION") return writes();
    verdict_.makes_read_only = read_only;
    return reads();
  }
  // Whether a standby refuses it depends on the value, which is not part of the shape.
  bool of_transaction = same_word(name, "transaction_read_only") || same_word(name, "transaction_isolation") ||
                        same_word(name, "transaction_deferrable");
  if (of_transaction) at_least(Access::write);
  if (is_custom(name)) verdict_.effects |= Effect::custom_setting;
  // Nothing resets the generator of random(): whoever is next would see the same numbers.
  if (same_word(name, "seed")) return writes(Effect::load);
  if (tree_.text(node, "is_local") == "true") {
    verdict_.control = TransactionControl::other;
    return reads(decides_meaning(name) ? Effect::local_setting : Effect::none);
  }
  if (same_word(name, "role") || same_word(name, "session_authorization")) return reads(Effect::role);
  reads(Effect::set);
}

std::string_view Analysis::string_at(Index item) const {
  if (item == none) return {};
  Index string = tree_[item].key == "String" ? item : tree_.member(item, "String");
  return string == none ? std::string_view{} : tree_.text(string, "sval");
}

// Visits everything inside a node, at any depth: the tree is a flat list.
void Analysis::walk(Index node, Walk how) {
  for (Index at = node; at < tree_[node].end; ++at) {
    std::string_view key = tree_[at].key;
    if (key.empty()) continue;
    if (key == "relname" || key == "relpersistence" || key == "schemaname") {
      relation(at, how);
    } else if (key == "FuncCall" || key == "funccall") {
      if (how.functions) call(at);
    } else if (key == "operName" || key == "useOp") {
      if (how.functions) operator_name(at);
    } else if (key == "A_Expr") {
      if (how.functions) operator_name(tree_.member(at, "name"));
    } else if (key == "intoClause") {
      if (how.executes) writes(Effect::ddl);
    } else if (key == "lockingClause" || key == "InsertStmt" || key == "UpdateStmt" || key == "DeleteStmt" ||
               key == "MergeStmt") {
      if (key != "lockingClause") changes_rows_ = true;
      if (how.executes) writes();
    }
  }
}

void Analysis::relation(Index at, Walk how) {
  std::string_view key = tree_[at].key;
  std::string_view text = tree_[at].text;
  if (key == "relpersistence") {
    if (text == "t" && how.executes) writes(Effect::temp_object);
  } else if (key == "schemaname") {
    if (is_temp_schema(text)) writes(Effect::temp_object);
  } else if (is_server_relation(text)) {
    names_settings_ |= text == "pg_settings";
    asks(Effect::role_question);
  }
}

void Analysis::operator_name(Index list) {
  // OPERATOR(schema.+). One without a schema is taken for PostgreSQL's own.
  if (list == none || tree_.count(list) < 2) return;
  if (string_at(tree_.first(list)) != "pg_catalog") writes(Effect::unknown_function);
}

// set_config(name, value, TRUE): undone at the end of the transaction.
bool Analysis::stays_local(Index node) const {
  Index arguments = tree_.member(node, "args");
  if (arguments == none || tree_.count(arguments) != 3) return false;
  Index first = tree_.first(arguments);
  Index second = tree_.next(arguments, first);
  Index third = tree_.next(arguments, second);
  for (Index argument : {first, second, third}) {
    if (tree_.member(argument, "NamedArgExpr") != none) return false;
  }
  return tree_.text(tree_.member(tree_.member(third, "A_Const"), "boolval"), "boolval") == "true";
}

void Analysis::call(Index node) {
  Index names = tree_.member(node, "funcname");
  std::size_t parts = names == none ? 0 : tree_.count(names);
  if (parts == 0) return writes(Effect::unknown_function);
  Index last = tree_.first(names);
  std::string_view schema;
  for (std::size_t i = 1; i < parts; ++i) {
    schema = string_at(last);
    last = tree_.next(names, last);
  }
  std::string_view name = string_at(last);

  FunctionFacts facts;
  if (schema.empty() || schema == "pg_catalog") {
    facts = find_builtin_function(name);
    if (facts.kind == FunctionClass::unknown && is_builtin_type(name) && tree_.count(tree_.member(node, "args")) == 1) {
      facts.kind = FunctionClass::safe;
    }
    if (name == "set_config" && stays_local(node)) {
      facts = {.kind = FunctionClass::safe};
      verdict_.effects |= Effect::local_setting | Effect::custom_setting;
    }
  } else if (schema == "information_schema" && name.starts_with("_pg_")) {
    facts.kind = FunctionClass::safe;
  }
  switch (facts.kind) {
    case FunctionClass::safe: return;
    case FunctionClass::primary_only:
    case FunctionClass::node_local: return asks(facts.effects);
    case FunctionClass::write:
    case FunctionClass::runs_text: return writes(facts.effects);
    case FunctionClass::unknown:
      if (!read_functions_.contains(schema, name)) writes(Effect::unknown_function);
      return;
  }
}

// What a string of several statements leaves behind, whatever was open in front of it. It runs in one transaction until
// a statement ends that; a BEGIN makes a block of it, with what ran before (exec_simple_query, tcop/postgres.c;
// BeginTransactionBlock, access/transam/xact.c). Within a block nothing commits by itself: a procedure's COMMIT, a
// VACUUM and their like fail there.
class Course {
 public:
  void runs(const Verdict& verdict) {
    switch (verdict.control) {
      case TransactionControl::begin:
      case TransactionControl::begin_read_only: controls_ = open_ = true; return;
      case TransactionControl::commit:
      case TransactionControl::prepare_transaction: commits_ = true; [[fallthrough]];
      case TransactionControl::rollback:
        controls_ = true;
        open_ = verdict.chains;
        ran_ = false;
        return;
      case TransactionControl::none:
      case TransactionControl::savepoint:
      case TransactionControl::other: break;
    }
    if (verdict.access != Access::nothing) ran_ = true;  // a read may write, behind a view
    constexpr auto by_itself =
        Effect::ddl | Effect::unknown_function | Effect::unparsed | Effect::database_ddl | Effect::commits_itself;
    if (!open_ && has(verdict.effects, by_itself)) commits_ = true;
  }
  // A block is open behind it.
  [[nodiscard]] bool leaves_open() const { return open_; }
  [[nodiscard]] bool ends_or_begins() const { return controls_; }
  [[nodiscard]] bool commits_nothing() const { return controls_ && !commits_ && (open_ || !ran_); }

 private:
  bool open_ = false;
  bool controls_ = false;  // blocks, not savepoints
  bool commits_ = false;   // or may have, on the way
  bool ran_ = false;       // something, since the last end of a transaction
};

}  // namespace

Verdict unite(const Verdict& a, const Verdict& b) {
  Verdict both = a;
  both.access = std::max(a.access, b.access);
  both.only_asks = both.access == Access::write && !a.may_change() && !b.may_change();
  both.control = TransactionControl::none;
  both.effects = a.effects | b.effects;
  both.statements = static_cast<std::uint16_t>(
      std::min<unsigned>(a.statements + b.statements, std::numeric_limits<std::uint16_t>::max()));
  both.copy_from_client = a.copy_from_client || b.copy_from_client;
  both.returns_after_commit = a.returns_after_commit || b.returns_after_commit;
  both.commits_nothing = false;
  both.makes_read_only = false;
  both.bends_block = a.bends_block || b.bends_block || a.control == TransactionControl::other ||
                     b.control == TransactionControl::other;
  both.isolation = std::max(a.isolation, b.isolation);
  both.chains = false;
  both.deferrable = Deferrable::no;
  return both;
}

Verdict analyze(const ParseTree& tree, const ReadFunctions& read_functions) {
  Verdict all{.access = Access::nothing, .statements = 0};
  Index statements = tree.member(0, "stmts");
  Course course;
  for (Index at = tree.first(statements); at != none; at = tree.next(statements, at)) {
    Index node = tree.first(tree.member(at, "stmt"));
    if (node == none) continue;
    Analysis analysis(tree, read_functions);
    analysis.statement(node);
    course.runs(analysis.verdict());
    all = all.statements == 0 ? analysis.verdict() : unite(all, analysis.verdict());
  }
  if (all.statements > 1) {
    all.returns_after_commit = course.ends_or_begins();
    all.commits_nothing = course.commits_nothing();
    all.chains = course.leaves_open();
  }
  return all;
}

}  // namespace holdfast::protocol::sql
