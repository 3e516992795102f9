// The driver of a fuzzer where there is no libFuzzer: runs every file of the folders given, whole and cut at each of
// its first bytes, so that compilers and sanitizers without a fuzzing engine see the corpus too. Fails when there is
// nothing to run: a corpus that got lost must not pass as tested.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

// Cutting is quadratic in the size: what lies behind the first kilobytes is run whole only.
constexpr std::size_t longest_cut = 2048;

void run(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  std::printf("%s\n", path.c_str());
  std::fflush(stdout);  // so that the name is there when the input ends the process
  const auto run_front = [&bytes](std::size_t size) {
    // A copy of exactly this size: the sanitizer then sees any read behind its end.
    const std::vector<std::uint8_t> input(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    LLVMFuzzerTestOneInput(input.data(), input.size());
  };
  for (std::size_t size = 0; size < std::min(bytes.size(), longest_cut); ++size) run_front(size);
  run_front(bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    std::vector<std::filesystem::path> paths;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(argv[i], error)) {
      if (entry.is_regular_file()) paths.push_back(entry.path());
    }
    if (error) std::fprintf(stderr, "%s: %s\n", argv[i], error.message().c_str());
    std::sort(paths.begin(), paths.end());
    for (const auto& path : paths) run(path);
    files += paths.size();
  }
  std::printf("%zu inputs\n", files);
  return files > 0 ? 0 : 1;
}
