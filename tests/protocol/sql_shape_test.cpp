#include "protocol/sql/shape.hpp"

#include <gtest/gtest.h>

#include <string>

using namespace holdfast::protocol::sql;

namespace {

constexpr std::size_t longest = 64 * 1024;

Shaper& shaper() {
  static Shaper one(longest, ShapeKey(0x1234567890abcdef, 0xfedcba0987654321));
  return one;
}
std::string fold(std::string_view sql, Strings strings = Strings::standard) {
  Shape shape = shaper().shape(sql, strings);
  EXPECT_EQ(shape.kind, ShapeKind::folded) << sql;
  return std::string(shape.text);
}
ShapeKind kind(std::string_view sql, Strings strings = Strings::standard) {
  return shaper().shape(sql, strings).kind;
}
ShapeHash hash(std::string_view sql) {
  Shape shape = shaper().shape(sql);
  EXPECT_TRUE(shape.hashed) << sql;
  return shape.hash;
}
Hint hint(std::string_view sql) {
  return shaper().shape(sql).hint;
}
void expect_same(std::string_view a, std::string_view b) {
  EXPECT_EQ(hash(a), hash(b)) << a << "\n" << b;
}
void expect_different(std::string_view a, std::string_view b) {
  EXPECT_NE(hash(a), hash(b)) << a << "\n" << b;
}

}  // namespace

TEST(Shape, folds_numbers) {
  EXPECT_EQ(fold("select 1, a+2.5, .5, 3., 1e10, 1.5E-3, a"), "select 1,a+1,1,a");
  expect_same("select a from t where b = 1", "select a from t where b = 123456.789e-12");
}

TEST(Shape, folds_every_kind_of_string) {
  for (std::string_view literal : {"'x'", "''", "'it''s'", "E'a\\'b'", "e'\\\\'", "$$x$$", "$tag$ $$ 'x' $tag$",
                                   "B'01'", "X'1F'", "U&'\\0041'", "u&'x'", "'a'\n'b'", "'a' -- more\n  'b'"}) {
    EXPECT_EQ(fold("select " + std::string(literal) + " as x"), "select '' as x") << literal;
  }
}

TEST(Shape, folds_parameters) {
  EXPECT_EQ(fold("select $1 where a=$22"), "select $1 where a=$1");
  expect_different("select $1", "select 1");
}

TEST(Shape, folds_negative_numbers_where_they_can_only_be_numbers) {
  expect_same("select * from t where a = -1", "select * from t where a = 1");
  expect_same("insert into t values (-1, -.5)", "insert into t values (1, 2)");
  expect_same("select * from t where a in (1, 2, 3)", "select * from t where a in (- 1, -/**/2, -3)");
  EXPECT_EQ(fold("select a -1"), "select a-1");
  EXPECT_EQ(fold("select a - 1"), "select a-1");
}

TEST(Shape, folds_blanks_and_comments) {
  expect_same("select a from t", "  SELECT\n\ta -- x\r\n /* y /* nested */ ; */ FROM\f t  ");
  expect_same("select a,b from t where a=1", "select a , b from t where a = 1");
  EXPECT_EQ(fold(" /* nothing */ -- here"), "");
  EXPECT_EQ(fold(""), "");
}

TEST(Shape, keeps_blanks_that_part_tokens) {
  EXPECT_EQ(fold("select a b"), "select a b");
  EXPECT_EQ(fold("select a < = b"), "select a< =b");
  EXPECT_EQ(fold("select a - - b"), "select a- -b");
  EXPECT_EQ(fold("select 1 / * 2"), "select 1/ *1");
  EXPECT_EQ(fold("select a +/**/+ b"), "select a+ +b");
  EXPECT_EQ(fold("select a : : b"), "select a: :b");
  EXPECT_EQ(fold("select e 'x', b/**/'1', x '1'"), "select e '',b '',x ''");
  // Not the beginning of a string or name with Unicode escapes.
  EXPECT_EQ(fold("select u & 'x', u &'x', u & \"x\""), "select u & '',u & '',u & \"x\"");
}

TEST(Shape, parts_literals_from_what_follows) {
  EXPECT_EQ(fold("select 'a'and b, 'x'\"y\""), "select '' and b,'' \"y\"");
  EXPECT_EQ(fold("select 1, 2, 'x's.g(2)"), "select 1,1 s.g(1)");
  EXPECT_EQ(fold("select u&x'1f', u&$$x$$, u&e'x'"), "select u& '',u& '',u& ''");
  EXPECT_EQ(fold("values ('x'y, 'x'.y)"), "values(1 y,1 .y)");
}

TEST(Shape, folds_case_of_words_only) {
  expect_same("SELECT Abc FROM T", "select abc from t");
  EXPECT_EQ(fold("select \"Abc\", \"a\"\"B\""), "select \"Abc\",\"a\"\"B\"");
  expect_different("select \"Abc\"", "select \"abc\"");
  expect_different("select \"abc\"", "select abc");
  EXPECT_EQ(fold("select \xc3\x84\x41"), "select \xc3\x84\x61");
}

TEST(Shape, keeps_words_that_change_the_meaning) {
  expect_different("select set_config('a','b',true)", "select set_config('a','b',false)");
  expect_different("explain (analyze false) insert into t values (1)",
                   "explain (analyze true) insert into t values (1)");
  expect_different("begin isolation level serializable", "begin isolation level repeatable read");
  expect_different("copy t to '/file'", "copy t to stdout");
  expect_different("set x to 'a'", "set x to default");
}

TEST(Shape, cuts_lists_of_literals_after_two) {
  EXPECT_EQ(fold("select * from t where a in (1,2,3,4,5)"), "select*from t where a in(1,1)");
  expect_same("select * from t where a in (1, 2)", "select * from t where a in (1, -2, 3, 4, 5, 6)");
  expect_same("select * from t where a in ('a', 'b')", "select * from t where a in ('a', 'b', 'c''', E'd')");
  expect_same("select * from t where a in ($1,$2)", "select * from t where a in ($1,$2,$3,$4)");
  expect_same("select array[1,2]", "select array[1,2,3]");
  // The rest of the list stays.
  EXPECT_EQ(fold("select 1,2,3,a,4,5,6+b"), "select 1,1,a,1,1+b");
  EXPECT_EQ(fold("select 1,2,3,"), "select 1,1,");
  // Two are told from one: some grammar wants at least two, OVERLAPS exactly two.
  EXPECT_EQ(fold("select ('a','b') overlaps ('c','d')"), "select('','')overlaps('','')");
}

TEST(Shape, drops_rows_equal_to_the_one_before) {
  expect_same("insert into t(a,b) values (1,'x')",
              "insert into t(a,b) values (1,'x'),(2,NULL), (DEFAULT , $3),(true,false)");
  expect_same("insert into t values (1, now(), f('a', true)) returning a",
              "insert into t values (1, now(), f('a', true)),(2, now(), f('b', true)) returning a");
  expect_same("select * from (values (1,2),(3,4)) v", "select * from (values (1,2)) v");
  expect_same("select * from t where (a,b) in ((1,2))", "select * from t where (a,b) in ((1,2),(3,4),(5,6))");
  EXPECT_EQ(fold("values (1,f(true)),(2,f(false)),(3,f(false))"), "values(1,f(true)),(1,f(false))");
  EXPECT_EQ(fold("values (1),(2),3"), "values(1),1");
}

TEST(Shape, keeps_true_and_null_in_argument_lists) {
  EXPECT_EQ(fold("values (set_config('a','b',true))"), "values(set_config('','',true))");
  EXPECT_EQ(fold("select f(null), f((true))"), "select f(null),f((true))");
  EXPECT_EQ(fold("select x in (true, null)"), "select x in(true,null)");
}

TEST(Shape, of_a_huge_insert_is_small) {
  std::string sql = "insert into t(a,b,c) values ";
  while (sql.size() < 10U << 20) sql += "(12345, 'some text; with '' quotes', NULL), ";
  sql += "(1, 'x', 2)";
  EXPECT_EQ(fold(sql), "insert into t(a,b,c)values(1,1)");
}

TEST(Shape, is_ambiguous_when_a_backslash_stands_before_a_quote) {
  EXPECT_EQ(kind("select 'a\\'"), ShapeKind::ambiguous);
  EXPECT_EQ(kind("select 'a\\''"), ShapeKind::ambiguous);
  EXPECT_EQ(kind("select 'a\\''b'"), ShapeKind::ambiguous);
  EXPECT_EQ(kind("select n'a\\'"), ShapeKind::ambiguous);
  // Elsewhere a backslash changes the value, not the end.
  EXPECT_EQ(kind("select 'a\\d', '\\\\', '\\x00ff'"), ShapeKind::folded);
  EXPECT_EQ(kind("select E'a\\'', $$\\'$$, \"\\\""), ShapeKind::folded);
  // Its literals are part of the hash.
  expect_different("select 'a\\'", "select 'b\\'");
}

TEST(Shape, reads_plain_strings_as_told) {
  EXPECT_EQ(fold("select 'a\\', b --'", Strings::standard_only), "select '',b");
  EXPECT_EQ(fold("select 'a\\', b --'", Strings::escaped), "select ''");
  EXPECT_EQ(kind("select 'a\\'", Strings::escaped), ShapeKind::refused);
}

TEST(Shape, continues_an_escape_string_as_an_escape_string) {
  EXPECT_EQ(fold("select E'a'\n'b\\' ; drop'"), "select ''");
  EXPECT_EQ(kind("select 'a'\n'b\\'"), ShapeKind::ambiguous);
  // A block comment in between, or no line end: two strings, which PostgreSQL refuses.
  EXPECT_EQ(fold("select 'a' /* */\n'b'"), "select '' ''");
  EXPECT_EQ(fold("select 'a' 'b'"), "select '' ''");
}

TEST(Shape, that_no_scanner_takes_is_not_hashed) {
  for (std::string_view sql :
       {"select 'a", "select \"a", "select /* a", "select /* /* */", "select $$a", "select $a$ $b$", "select E'a\\'",
        "select 'a''", "select E'\\", "select \\x", "select {", "select a}"}) {
    Shape shape = shaper().shape(sql);
    EXPECT_EQ(shape.kind, ShapeKind::refused) << sql;
    EXPECT_FALSE(shape.hashed);
  }
}

TEST(Shape, leaves_what_is_odd_to_the_parser) {
  for (std::string_view sql : {"select U&\"\\0061\"", "select U&'!0061' uescape '!'", "select 1a", "select 1_000",
                               "select 0x1f", "select $1a", "select 1..2", "select 'a'$$b$$", "select $a"}) {
    EXPECT_EQ(kind(sql), ShapeKind::odd) << sql;
  }
  EXPECT_EQ(kind(std::string_view("select 1\0;drop table t", 22)), ShapeKind::odd);
  expect_different("select 1a", "select 2a");
}

TEST(Shape, longer_than_the_limit_is_not_hashed) {
  Shaper small(20);
  EXPECT_EQ(small.shape("select a, b, c, d, e, f, g, h").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select ++++++++++++++++++++++++++++++++").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select ((((((((((((((((((((((((").kind, ShapeKind::too_long);
  // What comes behind is not looked at.
  EXPECT_EQ(small.shape("select a, b, c, d, e, f, g, h, i, 'j").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select a, b, c, d, e, f, g, h, i, 'j\\'").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select 1a                                 ").kind, ShapeKind::too_long);
  EXPECT_EQ(small.shape("select 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'").kind, ShapeKind::folded);
  // Two readings can still be told, but not by a hash.
  Shape shape = small.shape("select 'aaaaaaaaaaaaaaaaaaaaaaaaaa\\'");
  EXPECT_EQ(shape.kind, ShapeKind::ambiguous);
  EXPECT_FALSE(shape.hashed);
}

TEST(Shape, reads_hints_in_comments) {
  EXPECT_EQ(hint("select 1"), Hint::none);
  EXPECT_EQ(hint("/* holdfast: primary */ select 1"), Hint::primary);
  EXPECT_EQ(hint("select /*holdfast:replica*/ 1"), Hint::replica);
  EXPECT_EQ(hint("select 1 /* holdfast:  primary */"), Hint::primary);
  EXPECT_EQ(hint("/* holdfast: replica */ select 1 /* holdfast: primary */"), Hint::primary);
  EXPECT_EQ(hint("/* holdfast: primary */ select 1 /* holdfast: replica */"), Hint::primary);
  EXPECT_EQ(hint("select '/* holdfast: primary */'"), Hint::none);
  EXPECT_EQ(hint("select \"/* holdfast: primary */\""), Hint::none);
  EXPECT_EQ(hint("-- holdfast: primary\nselect 1"), Hint::none);
  EXPECT_EQ(hint("/* holdfast: anything */ select 1"), Hint::none);
  expect_different("select 1", "/* holdfast: primary */ select 1");
  expect_different("/* holdfast: replica */ select 1", "/* holdfast: primary */ select 1");
}

TEST(Shape, of_folded_text_is_itself) {
  for (std::string_view sql : {"select a, -1, 'x' from \"T\" where b in (1,2,3) and c = $1",
                               "insert into t values (1,'a',null),(2,'b',default)",
                               "select * from t where (a,b) in ((1,2),(3,4))", "select a<-1, b- -1, c::int[], d:=1"}) {
    std::string once = fold(sql);
    EXPECT_EQ(fold(once), once);
  }
}

TEST(ShapeKey, differs_for_texts_that_differ_in_one_byte_or_in_length) {
  ShapeKey key(11, 13);
  std::string text(100, 'a');
  text.append(64, '\0');
  ShapeHash whole = key.hash({text.data(), 100}, 0);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_NE(key.hash({text.data(), i}, 0), whole);
    text[i] = 'b';
    EXPECT_NE(key.hash({text.data(), 100}, 0), whole);
    text[i] = 'a';
  }
  EXPECT_NE(key.hash({text.data(), 100}, 1), whole);
  // A trailing zero byte is no padding.
  EXPECT_NE(key.hash({text.data(), 101}, 0), whole);
}

TEST(ShapeKey, does_not_look_at_bytes_behind_the_end) {
  ShapeKey key(11, 13);
  for (std::size_t size = 0; size < 70; ++size) {
    std::string a(size, 'x');
    std::string b = a;
    a.append(40, 'y');
    b.append(40, 'z');
    EXPECT_EQ(key.hash({a.data(), size}, 0), key.hash({b.data(), size}, 0)) << size;
  }
}

TEST(ShapeKey, is_secret_per_process) {
  std::string text(64, 'a');
  EXPECT_NE(ShapeKey().hash({text.data(), 20}, 0), ShapeKey().hash({text.data(), 20}, 0));
}

// The polynomial, one word at a time with plain arithmetic, against the four-word steps.
TEST(ShapeKey, is_the_polynomial_it_says) {
  __extension__ using Wide = unsigned __int128;
  constexpr std::uint64_t prime = (std::uint64_t{1} << 61) - 1;
  constexpr std::uint64_t point = 0x0fedcba987654321;
  for (std::size_t size : {0, 1, 6, 7, 8, 27, 28, 29, 55, 56, 57, 200}) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(i * 37 + 255);
    Wide h = 1;
    for (std::size_t at = 0; at < size; at += 7) {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < 7 && at + i < size; ++i)
        word |= std::uint64_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
      h = (h * (point % prime) + word) % prime;
    }
    h = (h * (point % prime) + (size | std::uint64_t{5} << 40)) % prime;
    text.append(40, 'q');
    EXPECT_EQ(ShapeKey(point, 3).hash({text.data(), size}, 5).low, static_cast<std::uint64_t>(h)) << size;
  }
}

TEST(Encoding, is_transparent_unless_second_bytes_can_be_ascii) {
  for (std::string_view name : {"UTF8", "utf-8", "SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP", "KOI8-R"})
    EXPECT_TRUE(is_ascii_transparent(name)) << name;
  for (std::string_view name :
       {"SJIS", "BIG5", "GBK", "GB18030", "JOHAB", "UHC", "SHIFT_JIS_2004", "ShiftJIS", "", "nonsense"})
    EXPECT_FALSE(is_ascii_transparent(name)) << name;
}
