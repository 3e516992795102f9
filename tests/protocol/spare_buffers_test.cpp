#include "protocol/spare_buffers.hpp"

#include <gtest/gtest.h>

namespace holdfast::protocol {
namespace {

constexpr std::size_t most = 1U << 20;

std::vector<std::byte> buffer(std::size_t capacity) {
  std::vector<std::byte> bytes;
  bytes.reserve(capacity);
  return bytes;
}

TEST(SpareBuffersTest, without_a_spare_one_a_buffer_owns_no_memory) {
  SpareBuffers spare;
  EXPECT_EQ(spare.take().capacity(), 0U);
  EXPECT_EQ(spare.kept(), 0U);
}

TEST(SpareBuffersTest, memory_that_was_given_is_taken_again_and_holds_nothing) {
  SpareBuffers spare;
  auto used = buffer(100);
  used.resize(50, std::byte{1});
  const auto* memory = used.data();
  spare.give(std::move(used));
  EXPECT_EQ(spare.kept(), 100U);
  const auto again = spare.take();
  EXPECT_EQ(again.data(), memory);
  EXPECT_TRUE(again.empty());
  EXPECT_EQ(again.capacity(), 100U);
  EXPECT_EQ(spare.kept(), 0U);
}

TEST(SpareBuffersTest, a_buffer_without_memory_is_not_kept) {
  SpareBuffers spare;
  const auto memory = buffer(10);
  spare.give({});
  spare.give(memory);  // a copy of an empty vector owns none
  EXPECT_EQ(spare.kept(), 0U);
  EXPECT_EQ(spare.take().capacity(), 0U);
}

TEST(SpareBuffersTest, no_more_than_the_bound_lies_idle) {
  SpareBuffers spare;
  spare.give(buffer(most));
  EXPECT_EQ(spare.kept(), most);
  spare.give(buffer(1));
  EXPECT_EQ(spare.kept(), most);
  EXPECT_EQ(spare.take().capacity(), most);
  EXPECT_EQ(spare.take().capacity(), 0U) << "the other one was freed";
  spare.give(buffer(most + 1));
  EXPECT_EQ(spare.kept(), 0U);
}

TEST(SpareBuffersTest, counts_what_many_give_and_take) {
  SpareBuffers spare;
  for (int i = 0; i < 100; ++i) spare.give(buffer(1000));
  EXPECT_EQ(spare.kept(), 100000U);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(spare.take().capacity(), 1000U);
  EXPECT_EQ(spare.kept(), 60000U);
  for (int i = 0; i < 60; ++i) static_cast<void>(spare.take());
  EXPECT_EQ(spare.kept(), 0U);
}

}  // namespace
}  // namespace holdfast::protocol
