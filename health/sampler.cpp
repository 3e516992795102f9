#include "health/sampler.hpp"

#include <utility>

namespace holdfast::health {

namespace {

// SizeOfXLogShortPHD and SizeOfXLogLongPHD on 64-bit platforms, src/include/access/xlog_internal.h.
constexpr std::uint64_t short_page_header = 24;
constexpr std::uint64_t long_page_header = 40;

}  // namespace

std::uint64_t normalise_insert_position(std::uint64_t lsn, std::uint32_t block_size, std::uint64_t segment_size) {
  if (segment_size != 0 && lsn % segment_size == long_page_header) return lsn - long_page_header;
  if (block_size != 0 && lsn % block_size == short_page_header) return lsn - short_page_header;
  return lsn;
}

Sampler::Sampler(std::shared_ptr<FreshnessMarks> marks) : marks_(std::move(marks)), rings_(marks_->size()) {}

void Sampler::primary_at(std::uint64_t lsn, TimePoint sent) {
  for (std::size_t member = 0; member < rings_.size(); ++member) {
    Ring& ring = rings_[member];
    if (ring.count != 0) {
      Sample& newest = ring.samples[(ring.first + ring.count - 1) % ring.samples.size()];
      // Nothing was written since: the same position stands for the later moment. With a full ring the newest gives
      // way, so that the oldest, which will be reached first, stays.
      if (newest.lsn == lsn || ring.count == ring.samples.size()) {
        newest = {.lsn = lsn, .sent = sent};
        continue;
      }
    }
    if (ring.known && ring.replayed >= lsn) {
      raise(member, sent);
      continue;
    }
    ring.samples[(ring.first + ring.count) % ring.samples.size()] = {.lsn = lsn, .sent = sent};
    ++ring.count;
  }
}

void Sampler::replica_at(std::size_t member, std::uint64_t replayed) {
  Ring& ring = rings_[member];
  ring.known = true;
  ring.replayed = replayed;
  while (ring.count != 0 && ring.samples[ring.first].lsn <= replayed) {
    raise(member, ring.samples[ring.first].sent);
    ring.first = (ring.first + 1) % ring.samples.size();
    --ring.count;
  }
}

void Sampler::raise(std::size_t member, TimePoint moment) {
  if (moment > marks_->fresh_until(member)) marks_->set(member, moment);
}

void Sampler::forget(std::size_t member) {
  rings_[member] = {};
  marks_->forget(member);
}

void Sampler::reset() {
  for (Ring& ring : rings_) ring = {};
  marks_->reset();
}

void Sampler::resize(std::size_t members) {
  if (members <= rings_.size()) return;
  auto larger = std::make_shared<FreshnessMarks>(members);
  larger->take(*marks_);
  marks_ = std::move(larger);
  rings_.resize(members);
}

}  // namespace holdfast::health
