// Inbox, Composer and List: what links and passes keep.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "proxy/io/composer.hpp"
#include "proxy/io/inbox.hpp"
#include "proxy/io/list.hpp"

namespace holdfast::proxy {
namespace {

using protocol::as_bytes;
using protocol::as_text;

void append(Inbox& inbox, const std::string& text) {
  auto room = inbox.room(text.size());
  std::memcpy(room.data(), text.data(), text.size());
  inbox.add(text.size());
}

TEST(Inbox, keeps_bytes_from_elsewhere_and_its_own_tail) {
  Inbox inbox;
  inbox.keep(as_bytes("hello"));
  EXPECT_EQ(as_text(inbox.view()), "hello");
  inbox.keep(inbox.view().subspan(2));
  EXPECT_EQ(as_text(inbox.view()), "llo");
  append(inbox, " world");
  EXPECT_EQ(as_text(inbox.view()), "llo world");
}

TEST(Inbox, grows_without_losing_what_is_kept) {
  Inbox inbox;
  std::string all;
  for (int i = 0; i < 200; ++i) {
    const std::string piece(static_cast<std::size_t>(i * 7 + 1), static_cast<char>('a' + i % 26));
    append(inbox, piece);
    all += piece;
    if (i % 10 == 9) {
      inbox.keep(inbox.view().subspan(100));
      all.erase(0, 100);
    }
    ASSERT_EQ(as_text(inbox.view()), all);
  }
}

TEST(Inbox, empty_one_owns_nothing) {
  Inbox inbox;
  inbox.keep(as_bytes("x"));
  inbox.keep({});
  EXPECT_TRUE(inbox.empty());
  EXPECT_EQ(inbox.view().data(), nullptr);
}

// Memory of a long message goes when the message has gone, although a few bytes of the next one are there.
TEST(Inbox, gives_back_what_a_long_message_took) {
  Blocks blocks;
  Inbox inbox(&blocks);
  append(inbox, std::string(4 << 20, 'x') + "next");
  EXPECT_GE(blocks.large(), 4U << 20);
  inbox.keep(inbox.view().subspan(4 << 20));
  EXPECT_EQ(as_text(inbox.view()), "next");
  EXPECT_LE(inbox.memory(), 4096U);
  EXPECT_EQ(blocks.large(), 0U);
}

TEST(Inbox, counts_its_long_memory_whatever_becomes_of_it) {
  Blocks blocks;
  {
    Inbox inbox(&blocks);
    append(inbox, "short");
    EXPECT_EQ(blocks.large(), 0U);
    append(inbox, std::string(100'000, 'x'));
    EXPECT_EQ(blocks.large(), inbox.memory());
    Inbox other(&blocks);
    append(other, std::string(50'000, 'x'));
    other = std::move(inbox);
    EXPECT_EQ(blocks.large(), other.memory());
    other.keep({});
    EXPECT_EQ(blocks.large(), 0U);
    append(other, std::string(100'000, 'x'));
  }
  EXPECT_EQ(blocks.large(), 0U);
}

TEST(Composer, side_by_side_frames_are_shown_in_place) {
  const std::string text = "onetwothree";
  const auto bytes = as_bytes(text);
  Composer composer;
  composer.forward(bytes.first(3));
  composer.forward(bytes.subspan(3, 3));
  composer.forward({});
  composer.forward(bytes.subspan(6));
  EXPECT_EQ(composer.bytes().data(), bytes.data());
  EXPECT_EQ(as_text(composer.bytes()), text);
}

TEST(Composer, gap_and_insertions_keep_the_order) {
  const std::string text = "onetwothree";
  const auto bytes = as_bytes(text);
  Composer composer;
  composer.forward(bytes.first(3));
  composer.forward(bytes.subspan(6));  // "two" is left out
  EXPECT_EQ(as_text(composer.bytes()), "onethree");
  const auto more = as_bytes("!");
  composer.writable().insert(composer.writable().end(), more.begin(), more.end());
  composer.forward(bytes.first(3));
  EXPECT_EQ(as_text(composer.bytes()), "onethree!one");
  composer.clear();
  EXPECT_TRUE(composer.empty());
  composer.forward(bytes);
  EXPECT_EQ(composer.bytes().data(), bytes.data());
}

TEST(Composer, insertion_comes_first_when_it_was_first) {
  const std::string text = "rest";
  Composer composer;
  const auto head = as_bytes("head ");
  composer.writable().insert(composer.writable().end(), head.begin(), head.end());
  composer.forward(as_bytes(text));
  EXPECT_EQ(as_text(composer.bytes()), "head rest");
}

struct Item : ListNode<Item> {
  explicit Item(int n) : number(n) {}
  int number;
};

std::string numbers(const List<Item>& list) {
  std::string text;
  for (const Item* item = list.front(); item != nullptr; item = item->next()) text += std::to_string(item->number);
  return text;
}

TEST(List, item_is_in_one_list_at_a_time) {
  List<Item> one;
  List<Item> other;
  Item a(1);
  Item b(2);
  Item c(3);
  one.push_back(a);
  one.push_back(b);
  one.push_front(c);
  EXPECT_EQ(numbers(one), "312");
  other.push_back(a);
  EXPECT_EQ(numbers(one), "32");
  EXPECT_EQ(numbers(other), "1");
  EXPECT_EQ(one.size(), 2U);
  one.push_back(c);  // to its own list's end
  EXPECT_EQ(numbers(one), "23");
  EXPECT_EQ(one.back(), &c);
}

TEST(List, destroyed_item_leaves_and_destroyed_list_lets_go) {
  Item survivor(1);
  {
    List<Item> list;
    list.push_back(survivor);
    {
      Item gone(2);
      list.push_back(gone);
      EXPECT_EQ(list.size(), 2U);
    }
    EXPECT_EQ(numbers(list), "1");
  }
  EXPECT_FALSE(survivor.listed());
  survivor.leave();
}

}  // namespace
}  // namespace holdfast::proxy
