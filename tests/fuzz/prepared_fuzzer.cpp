// Prepared statements: the input is a script of what clients and servers do (tests/protocol/prepared_model.hpp).
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

#include "tests/fuzz/check.hpp"
#include "tests/protocol/prepared_model.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string wrong = holdfast::protocol::testing::run_prepared_model({data, size});
  if (!wrong.empty()) std::fprintf(stderr, "%s\n", wrong.c_str());
  FUZZ_CHECK(wrong.empty());
  return 0;
}
