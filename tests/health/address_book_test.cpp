#include "health/address_book.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class AddressBookTest : public ::testing::Test {
 protected:
  int lookups_after(milliseconds pause, AddressBook::Age allowed) {
    now += pause;
    const int before = lookups;
    book->refresh_if_old(now, allowed);
    context.restart();
    context.run();
    return lookups - before;
  }

  boost::asio::io_context context;
  int lookups = 0;
  std::shared_ptr<AddressBook> book = std::make_shared<AddressBook>(context, "localhost", [this] { ++lookups; });
  TimePoint now{seconds(1000)};
};

TEST_F(AddressBookTest, looks_a_name_up_every_half_minute) {
  EXPECT_EQ(lookups_after(milliseconds(0), AddressBook::Age::usual), 1);
  EXPECT_TRUE(book->contains("127.0.0.1") || book->contains("::1"));
  EXPECT_EQ(lookups_after(seconds(30), AddressBook::Age::usual), 0);
  EXPECT_EQ(lookups_after(milliseconds(1), AddressBook::Age::usual), 1);
}

// Two names that were swapped: without a primary nobody waits for the rest of the half minute.
TEST_F(AddressBookTest, looks_a_name_up_every_second_where_it_may_have_moved) {
  EXPECT_EQ(lookups_after(milliseconds(0), AddressBook::Age::usual), 1);
  EXPECT_EQ(lookups_after(milliseconds(999), AddressBook::Age::short_lived), 0);
  EXPECT_EQ(lookups_after(milliseconds(1), AddressBook::Age::short_lived), 1);
  EXPECT_EQ(lookups_after(milliseconds(10), AddressBook::Age::short_lived), 0);
}

TEST_F(AddressBookTest, looks_no_address_up) {
  book = std::make_shared<AddressBook>(context, "127.0.0.1", [this] { ++lookups; });
  EXPECT_EQ(lookups_after(seconds(60), AddressBook::Age::short_lived), 0);
  EXPECT_EQ(book->current(), "127.0.0.1");
}

}  // namespace
}  // namespace holdfast::health
