#include "config/yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <new>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <unordered_map>

namespace holdfast::config {

namespace {

constexpr std::size_t deepest = 32;
constexpr std::size_t most_nodes = 200000;

Place place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {static_cast<unsigned>(mark.line) + 1, static_cast<unsigned>(mark.column) + 1};
}

// Ends the parse from inside a handler; never leaves this file.
struct Stop : std::runtime_error {
  Stop(Place where, const std::string& what) : std::runtime_error(what), place(where) {}
  Place place;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(std::string file, Problems& problems) : file_(std::move(file)), problems_(problems) {}

  [[nodiscard]] YamlPointer take() { return root_ ? root_ : std::make_shared<YamlNode>(); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (root_) throw Stop(place_of(mark), "a second document begins here: a configuration is one document");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto node = make(YamlNode::Kind::null, mark);
    finish(std::move(node), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Stop(place_of(mark), "this alias refers to a value that contains it");
    count(found->second->weight, mark);
    add(found->second, place_of(mark));
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(tag, mark);
    auto node = make(YamlNode::Kind::scalar, mark);
    node->text = value;
    finish(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(YamlNode::Kind::list, mark, tag, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(YamlNode::Kind::mapping, mark, tag, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  // A list or mapping that is being read.
  struct Open {
    std::shared_ptr<YamlNode> node;
    YAML::anchor_t anchor = 0;
    bool have_key = false;  // a mapping: the next node is the value of `key`
    bool drop = false;      // … which has been complained about
    YamlEntry key;
    std::unordered_map<std::string, unsigned> lines;  // of the keys so far
  };

  void complain(Place place, std::string key, std::string message) {
    problems_.push_back({file_, place.line, place.column, std::move(key), std::move(message)});
  }

  void check_tag(const std::string& tag, const YAML::Mark& mark) {
    // "?" and "!" are yaml-cpp's marks for plain and quoted scalars without a tag.
    if (tag.empty() || tag == "?" || tag == "!") return;
    complain(place_of(mark), "", "tags (" + printable(tag, 40) + ") are not supported in a configuration: remove it");
  }

  void count(std::size_t nodes, const YAML::Mark& mark) {
    nodes_ += nodes;
    if (nodes_ > most_nodes) throw Stop(place_of(mark), "the document grows too large here (aliases count in full)");
  }

  std::shared_ptr<YamlNode> make(YamlNode::Kind kind, const YAML::Mark& mark) {
    count(1, mark);
    auto node = std::make_shared<YamlNode>();
    node->kind = kind;
    node->place = place_of(mark);
    return node;
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    if (stack_.size() >= deepest) throw Stop(place_of(mark), "nested too deeply");
    check_tag(tag, mark);
    stack_.push_back({.node = make(kind, mark), .anchor = anchor});
  }

  void close() {
    auto done = std::move(stack_.back());
    stack_.pop_back();
    finish(std::move(done.node), done.anchor);
  }

  void finish(std::shared_ptr<YamlNode> node, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = node;
    const auto place = node->place;
    add(std::move(node), place);
  }

  void add(YamlPointer node, Place place) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return;
    }
    auto& top = stack_.back();
    top.node->weight += node->weight;
    if (top.node->kind == YamlNode::Kind::list) {
      top.node->items.push_back(std::move(node));
    } else if (!top.have_key) {
      top.have_key = true;
      top.drop = !take_key(top, *node, place);
    } else {
      top.have_key = false;
      top.key.value = std::move(node);
      if (!top.drop) top.node->entries.push_back(std::move(top.key));
    }
  }

  // False: complained; the entry is left out.
  bool take_key(Open& top, const YamlNode& node, Place place) {
    if (node.kind != YamlNode::Kind::scalar) {
      complain(place, "", "a key must be a word; put a name in quotes");
      return false;
    }
    if (node.text == "<<") {
      complain(place, "<<",
               "merge keys are not supported: write the settings out, or alias a whole value (key: *name)");
      return false;
    }
    const auto [earlier, fresh] = top.lines.emplace(node.text, place.line);
    if (!fresh) {
      complain(place, printable(node.text, 64),
               "is given twice; the first is in line " + std::to_string(earlier->second));
      return false;
    }
    top.key = {node.text, place, nullptr};
    return true;
  }

  std::string file_;
  Problems& problems_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlPointer> anchors_;
  std::size_t nodes_ = 0;
  YamlPointer root_;
};

// Length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none (Unicode 15, table 3-7).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U; };
  const auto continues = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return continues(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const bool second = continues(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf);
    return second && continues(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const bool second = continues(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
    return second && continues(2) && continues(3) ? 4 : 0;
  }
  return 0;
}

// yaml-cpp takes byte 4 for the end of the text and would drop the rest without a word; other control characters have
// no business in a configuration either.
std::optional<Problem> find_bad_byte(std::string_view text, const std::string& file) {
  unsigned line = 1;
  unsigned column = 1;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool control = (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7f;
    const auto length = utf8_length(text.substr(i));
    if (control || length == 0) {
      return Problem{file, line, column, "",
                     control ? "control characters are not allowed here; is this a text file in UTF-8?"
                             : "this is not UTF-8 text"};
    }
    i += length;
    column += static_cast<unsigned>(length);
    if (byte == '\n') {
      ++line;
      column = 1;
    }
  }
  return std::nullopt;
}

}  // namespace

ParsedYaml parse_yaml(std::string_view text, const std::string& file) {
  if (text.size() > largest_document) {
    return {nullptr, {{file, 0, 0, "", "is larger than 1 MiB, the limit for a configuration"}}};
  }
  if (auto bad = find_bad_byte(text, file)) return {nullptr, {*std::move(bad)}};
  Problems problems;
  TreeBuilder builder(file, problems);
  const auto stop = [&](Place place, std::string message) -> ParsedYaml {
    problems.push_back({file, place.line, place.column, "", std::move(message)});
    return {nullptr, std::move(problems)};
  };
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop& error) {
    return stop(error.place, error.what());
  } catch (const YAML::Exception& error) {
    return stop(place_of(error.mark), "this is not valid YAML: " + error.msg);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    return stop({}, std::string("this is not valid YAML: ") + error.what());
  }
  return {builder.take(), std::move(problems)};
}

}  // namespace holdfast::config
