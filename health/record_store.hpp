// The records of all clusters, in files of one directory.
//
// Task: reads a record at the start; replaces it whenever another primary was accepted. A file is written beside the
// old one, synced, and renamed, so that either is whole at any time. Writing happens in a thread of the store's own: a
// disk that hangs holds up no probe. Thread: one caller; `report` is called in the store's thread. Lifetime: the
// destructor ends when what was given to keep() is on disk or has failed.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "health/record.hpp"

namespace holdfast::health {

class RecordStore {
 public:
  // What became of a write; `error` is empty when the record is on disk.
  using Report = std::function<void(const std::string& cluster, const std::string& error)>;

  // `directory` empty: nothing is read or written.
  RecordStore(std::string directory, Report report);
  ~RecordStore();
  RecordStore(const RecordStore&) = delete;
  RecordStore& operator=(const RecordStore&) = delete;

  // None: there is no record yet, or no directory. An error: there is one that can't be read.
  [[nodiscard]] Result<std::optional<Record>> load(const std::string& cluster);
  // Writes the record, or the newest of several. Returns at once.
  void keep(const Record& record);
  // The cluster had a record, and its file was removed since.
  [[nodiscard]] bool removed(const std::string& cluster);
  // Where the cluster's record is, for people.
  [[nodiscard]] std::string path(std::string_view cluster) const;

 private:
  void run();
  [[nodiscard]] std::string write(const Record& record) const;

  const std::string directory_;
  const Report report_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Record> waiting_;  // by cluster
  std::set<std::string> present_;          // clusters whose file was read or written
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace holdfast::health
