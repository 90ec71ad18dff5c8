// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>
#include <heed/core/random.hpp>
#include <heed/io/safetensors.hpp>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <regex>
#include <set>
#include <sstream>

#include "safetensors_files.hpp"

/// Weights on disk: what comes back, and what is refused.

/// Stands before the system's: counts, and fails where a test wants it to.
namespace disk {
int flushes = 0;
bool full = false;
}  // namespace disk
extern "C" int fsync(int) {
  ++disk::flushes;
  errno = disk::full ? ENOSPC : 0;
  return disk::full ? -1 : 0;
}

namespace {

namespace fs = std::filesystem;
using heed::Matrix;
using heed::SafetensorsError;
using heed::SafetensorsFault;

template <class S>
struct Linear {
  Matrix<S> w, b;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("w", x.w...);
    f("b", x.b...);
  }
};
template <class S>
struct Model {
  std::vector<Linear<S>> layers;
  Matrix<S> table;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("layers", x.layers...);
    f("table", x.table...);
  }
};

/// One weight, "a".
struct Row {
  Matrix<float> a = Matrix<float>::Zero(1, 2);
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("a", x.a...);
  }
};

template <class S>
Model<S> model(std::uint64_t seed) {
  heed::Random random(seed);
  const auto draw = [&](heed::Index rows, heed::Index cols) -> Matrix<S> {
    return heed::random_normal<S>(random, rows, cols, 1);
  };
  return {{{draw(3, 5), draw(1, 5)}, {draw(5, 2), Matrix<S>()}}, draw(7, 3)};
}
template <class T>
bool equal(const T& a, const T& b) {
  bool same = heed::same_shape(a, b);
  if (same) heed::for_each_leaf([&](const auto& x, const auto& y) { same = same && x == y; }, a, b);
  return same;
}

class Safetensors : public testing::Test {
 protected:
  Safetensors() { fs::create_directories(folder_); }
  ~Safetensors() override { fs::remove_all(folder_); }
  std::string at(const std::string& name) const { return (folder_ / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(at(name), std::ios::binary) << bytes;
    return at(name);
  }
  static std::string bytes(const std::string& path) {
    std::ostringstream all;
    all << std::ifstream(path, std::ios::binary).rdbuf();
    return all.str();
  }
  /// The fault of `f`, which must throw a message that `says` matches.
  template <class F>
  static void expect(SafetensorsFault fault, const char* says, const char* label, F&& f) {
    try {
      f();
      ADD_FAILURE() << label << ": nothing was refused";
    } catch (const SafetensorsError& e) {
      EXPECT_EQ(static_cast<int>(e.fault), static_cast<int>(fault)) << label << ": " << e.what();
      EXPECT_TRUE(std::regex_search(e.what(), std::regex(says))) << label << ": " << e.what();
    }
  }
  fs::path folder_ = fs::temp_directory_path() / ("heed_safetensors_" + std::to_string(::getpid()));
};

TEST_F(Safetensors, RefusesEveryBadHeader) {
  int i = 0;
  std::set<SafetensorsFault> met;
  for (const auto& bad : safetensors_files::bad()) {
    const std::string label = std::string(bad.rule) + " (number " + std::to_string(i++) + ")";
    expect(bad.fault, bad.says, label.c_str(), [&] { heed::parse_safetensors(bad.bytes, bad.limits); });
    expect(bad.fault, bad.says, label.c_str(),
           [&] { heed::read_safetensors_header(write("bad", bad.bytes), bad.limits); });
    Row params;
    params.a << 1, 2;
    expect(bad.fault, bad.says, label.c_str(),
           [&] { heed::load_safetensors(at("bad"), params, {.limits = bad.limits}); });
    EXPECT_EQ(params.a, (Matrix<float>(1, 2) << 1, 2).finished()) << label;
    met.insert(bad.fault);
  }
  for (int fault = static_cast<int>(SafetensorsFault::header_too_small);
       fault <= static_cast<int>(SafetensorsFault::limit_exceeded); ++fault)
    EXPECT_TRUE(met.contains(static_cast<SafetensorsFault>(fault)) ||
                fault == static_cast<int>(SafetensorsFault::unsupported_dtype))
        << "no file has the fault number " << fault;
}

TEST_F(Safetensors, TakesWhatOnlyLooksOdd) {
  for (const auto& good : safetensors_files::good()) {
    EXPECT_EQ(heed::parse_safetensors(good.bytes, good.limits).tensors.size(), good.tensors) << good.what;
    EXPECT_EQ(heed::read_safetensors_header(write("good", good.bytes), good.limits).tensors.size(), good.tensors)
        << good.what;
  }
  const auto header = heed::parse_safetensors(safetensors_files::file("{\"__metadata__\":{\"format\":\"pt\"}}"));
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST_F(Safetensors, MessagesEscapeNames) {
  expect(SafetensorsFault::size_mismatch, "\\\\u001b\\[2J", "escape", [] {
    heed::parse_safetensors(
        safetensors_files::file("{\"\\u001b[2J\":" + safetensors_files::floats("[3]", "[0,8]") + "}", 8));
  });
}

template <class S>
void round_trip(const std::string& path) {
  const Model<S> saved = model<S>(1);
  heed::save_safetensors(path, saved, {.metadata = {{"step", "12"}}});
  EXPECT_FALSE(fs::exists(path + ".part"));
  const auto header = heed::read_safetensors_header(path);
  EXPECT_EQ(header.metadata.at("step"), "12");
  EXPECT_EQ(header.data % 8, 0u);
  ASSERT_EQ(header.tensors.size(), 4u);
  EXPECT_EQ(header.find("layers.0.b")->shape, std::vector<std::uint64_t>{5});
  Model<S> loaded = model<S>(2);
  heed::load_safetensors(path, loaded);
  EXPECT_TRUE(equal(saved, loaded));
}
TEST_F(Safetensors, RoundTrips) {
  round_trip<float>(at("float"));
  round_trip<double>(at("double"));
}

TEST_F(Safetensors, NamesMapToThoseOfOthers) {
  const heed::SafetensorsOptions options{
      .renames = {{"layers", "encoder.layer"}, {"w", "weight", true}, {"b", "bias"}, {"table", "embedding.weight"}}};
  const Model<float> saved = model<float>(1);
  heed::save_safetensors(at("theirs"), saved, options);
  const auto header = heed::read_safetensors_header(at("theirs"));
  ASSERT_NE(header.find("encoder.layer.0.weight"), nullptr);
  EXPECT_EQ(header.find("encoder.layer.0.weight")->shape, (std::vector<std::uint64_t>{5, 3}));
  EXPECT_EQ(header.find("embedding.weight")->shape, (std::vector<std::uint64_t>{7, 3}));
  // PyTorch's Linear keeps [out, in]: its first row is our first column.
  const std::string data = bytes(at("theirs")).substr(header.data + header.find("encoder.layer.0.weight")->begin);
  float second = 0;
  std::memcpy(&second, data.data() + sizeof(float), sizeof second);
  EXPECT_EQ(second, saved.layers[0].w(1, 0));
  Model<float> loaded = model<float>(2);
  heed::load_safetensors(at("theirs"), loaded, options);
  EXPECT_TRUE(equal(saved, loaded));
}

TEST_F(Safetensors, WidensButNeverNarrows) {
  using safetensors_files::entry;
  Row params;
  const std::string half = safetensors_files::file("{\"a\":" + entry("\"F16\"", "[2]", "[0,4]") + "}");
  heed::load_safetensors(write("half", half + std::string("\x00\x3c\x00\xc1", 4)), params);
  EXPECT_EQ(params.a, (Matrix<float>(1, 2) << 1, -2.5f).finished());
  const std::string brain = safetensors_files::file("{\"a\":" + entry("\"BF16\"", "[1,2]", "[0,4]") + "}");
  heed::load_safetensors(write("brain", brain + std::string("\x80\x3f\x20\xc0", 4)), params);
  EXPECT_EQ(params.a, (Matrix<float>(1, 2) << 1, -2.5f).finished());
  for (const char* dtype : {"\"F64\"", "\"I64\"", "\"C64\""})  // S13
    expect(SafetensorsFault::unsupported_dtype, "\"a\": F32, F16 or BF16 expected", dtype, [&] {
      heed::load_safetensors(write("wide", safetensors_files::one(entry(dtype, "[2]", "[0,16]"), 16)), params);
    });
  const Model<float> narrow = model<float>(1);
  heed::save_safetensors(at("float"), narrow);
  Model<double> wide = model<double>(2);
  heed::load_safetensors(at("float"), wide);
  EXPECT_EQ(wide.table, narrow.table.cast<double>());
}

TEST_F(Safetensors, LoadsNumbersThatAreNotAligned) {  // S23
  using safetensors_files::entry;
  const std::string header =
      "{\"before\":" + entry("\"U8\"", "[1]", "[0,1]") + ",\"a\":" + safetensors_files::floats("[2]", "[1,9]") + "}";
  const float numbers[] = {1.5f, -2};
  std::string data(9, '\7');
  std::memcpy(data.data() + 1, numbers, sizeof numbers);
  Row params;
  heed::load_safetensors(write("odd", safetensors_files::file(header) + data), params, {.allow_unexpected = true});
  EXPECT_EQ(params.a, (Matrix<float>(1, 2) << 1.5f, -2).finished());
}

TEST_F(Safetensors, LoadsAllOrNothing) {  // S30, S31
  const Model<float> before = model<float>(2);
  heed::save_safetensors(at("right"), model<float>(1));
  const auto refused = [&](SafetensorsFault fault, const char* says, const std::string& path,
                           const heed::SafetensorsOptions& options = {}) {
    Model<float> params = before;
    expect(fault, says, says, [&] { heed::load_safetensors(path, params, options); });
    EXPECT_TRUE(equal(params, before)) << says;
  };
  Model<float> other = model<float>(1);
  other.table.resize(7, 4);
  other.table.setZero();
  heed::save_safetensors(at("shape"), other);
  refused(SafetensorsFault::shape_mismatch, "\"table\".*\\[7, 3\\] expected, came \\[7, 4\\]", at("shape"));
  other = model<float>(1);
  other.table.resize(0, 0);
  heed::save_safetensors(at("missing"), other);
  refused(SafetensorsFault::missing_tensor, "no tensor \"table\" for the weight table", at("missing"));
  other = model<float>(1);
  other.layers[1].b.setOnes(1, 2);
  heed::save_safetensors(at("more"), other);
  refused(SafetensorsFault::unexpected_tensor, "\"layers.1.b\"", at("more"));
  Model<float> params = before;
  heed::load_safetensors(at("more"), params, {.allow_unexpected = true});
  EXPECT_EQ(params.table, other.table);
  other = model<float>(1);
  other.table(6, 2) = std::numeric_limits<float>::quiet_NaN();
  heed::save_safetensors(at("nan"), other);
  refused(SafetensorsFault::not_finite, "\"table\": number 20", at("nan"), {.require_finite = true});
  params = before;
  heed::load_safetensors(at("nan"), params);  // S32: NaN is a number of the format
  EXPECT_TRUE(std::isnan(params.table(6, 2)));
  refused(SafetensorsFault::duplicate_name, "\"x\"", at("right"),
          {.renames = {{"layers.0.w", "x"}, {"layers.1.w", "x"}}});
}

TEST_F(Safetensors, RefusesWhatIsNoFile) {  // S27
  const auto refused = [&](const char* says, const std::string& path) {
    expect(SafetensorsFault::io, says, path.c_str(), [&] { heed::read_safetensors_header(path); });
  };
  refused("a regular file expected", folder_.string());
  refused("a regular file expected", at("nothing"));
  ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
  refused("a regular file expected", at("pipe"));
}

TEST_F(Safetensors, ReadsNothingThatWasNotThere) {  // a header that is true, and a file that shrinks after
  write("short", safetensors_files::one(safetensors_files::floats("[1000000]", "[0,4000000]"), 4000000));
  heed::detail::WeightsFile file(at("short"), {});
  fs::resize_file(at("short"), 2000000);
  expect(SafetensorsFault::io, "became shorter", "shrunk", [&] { file.numbers<float>(file.header().tensors[0]); });
}

TEST_F(Safetensors, SavesAllOrNothing) {  // S33
  heed::save_safetensors(at("kept"), model<float>(1));
  const std::string before = bytes(at("kept"));
  const auto refused = [&](SafetensorsFault fault, const char* says, const std::string& path,
                           const heed::SafetensorsOptions& options = {}) {
    expect(fault, says, says, [&] { heed::save_safetensors(path, model<float>(2), options); });
  };
  refused(SafetensorsFault::duplicate_name, "\"x\"", at("kept"),
          {.renames = {{"layers.0.w", "x"}, {"layers.1.w", "x"}}});
  fs::create_directory(at("kept.part"));  // where it would be written
  refused(SafetensorsFault::io, "cannot be written", at("kept"));
  fs::remove(at("kept.part"));
  disk::full = true;
  refused(SafetensorsFault::io, "cannot be written", at("kept"));
  disk::full = false;
  EXPECT_FALSE(fs::exists(at("kept.part")));
  EXPECT_EQ(bytes(at("kept")), before);
  refused(SafetensorsFault::io, "cannot be written", at("no/such/folder"));
  fs::create_directory(at("folder"));
  write("folder/file", "");
  refused(SafetensorsFault::io, "cannot be written", at("folder"));
  EXPECT_FALSE(fs::exists(at("folder.part")));
}

TEST_F(Safetensors, IsOnTheDiskWhenItIsSaved) {  // S33: the file before it has its name, and then the name
  const int before = disk::flushes;
  heed::save_safetensors(at("kept"), model<float>(1));
  EXPECT_EQ(disk::flushes - before, 2);
  const fs::path here = fs::current_path();
  fs::current_path(folder_);
  heed::save_safetensors("no_folder_named", model<float>(1));
  fs::current_path(here);
  EXPECT_EQ(disk::flushes - before, 4);
  EXPECT_TRUE(fs::exists(at("no_folder_named")));
}

/// What the fuzzer starts from.
TEST_F(Safetensors, LeavesACorpusWhereAsked) {
  const char* const where = std::getenv("HEED_CORPUS");
  const fs::path to = where != nullptr ? fs::path(where) : folder_ / "corpus";
  fs::create_directories(to);
  int i = 0;
  const auto leave = [&](const std::string& bytes) {
    if (bytes.size() < 8192) std::ofstream(to / std::to_string(i++), std::ios::binary) << bytes;
  };
  for (const auto& bad : safetensors_files::bad()) leave(bad.bytes);
  for (const auto& good : safetensors_files::good()) leave(good.bytes);
  EXPECT_GT(i, 90);
}

}  // namespace
