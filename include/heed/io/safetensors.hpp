// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/params.hpp>
#include <heed/core/types.hpp>
#include <heed/io/safetensors_header.hpp>

#include <Eigen/Core>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <unistd.h>
#endif

/// Weights on disk, as safetensors files: any struct of parameters, by the paths that `for_each` gives its matrices.
/// Needs nlohmann-json, which nothing else in heed does.

namespace heed {

/// How a weight is called in a file: wherever `ours` stands in its path as whole words between dots, the file has
/// `theirs`. If it is the end of the path, the file may also hold the transpose: heed multiplies x W with W [in, out],
/// PyTorch's Linear keeps [out, in].
struct Rename {
  std::string ours, theirs;
  bool transposed = false;
};

struct SafetensorsOptions {
  std::vector<Rename> renames{};                  ///< applied one after another
  std::map<std::string, std::string> metadata{};  ///< to be saved
  bool allow_unexpected = false;                  ///< whether a file may hold more than the weights, on load
  bool require_finite = false;                    ///< refuse NaN and infinity, on load
  SafetensorsLimits limits{};
};

namespace detail {

struct FileName {
  std::string name;
  bool transposed = false;
};

inline FileName file_name(std::string path, const std::vector<Rename>& renames) {
  bool transposed = false;
  for (const Rename& r : renames)
    for (std::size_t at = 0; !r.ours.empty() && (at = path.find(r.ours, at)) != path.npos;) {
      const std::size_t end = at + r.ours.size();
      const bool whole = (at == 0 || path[at - 1] == '.') && (end == path.size() || path[end] == '.');
      if (!whole) {
        ++at;
        continue;
      }
      if (end == path.size() && r.transposed) transposed = !transposed;
      path.replace(at, r.ours.size(), r.theirs);
      at += r.theirs.size();
    }
  return {path, transposed};
}

template <class S>
constexpr const char* dtype_of() {
  static_assert(std::is_same_v<S, float> || std::is_same_v<S, double>, "heed: float and double weights can be kept");
  return std::is_same_v<S, float> ? "F32" : "F64";
}

inline std::string shown(const std::vector<std::uint64_t>& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

/// A regular file, its header read and checked.
class WeightsFile {
 public:
  WeightsFile(const std::string& path, const SafetensorsLimits& limits) : path_(path) {
    std::error_code error;
    // Anything else may block or have no size.
    require_io(std::filesystem::is_regular_file(path, error), "a regular file expected");
    const std::uint64_t size = std::filesystem::file_size(path, error);
    require_io(!error, "its size cannot be read");
    file_.open(path, std::ios::binary);
    require_io(file_.is_open(), "it cannot be opened");
    std::string first(std::min<std::uint64_t>(size, 8), '\0');
    read(first.data(), first.size());
    std::string text(header_length(first, size, limits), '\0');
    read(text.data(), text.size());
    header_ = read_header(text, size, limits);
  }
  const SafetensorsHeader& header() const { return header_; }
  /// All numbers of a tensor, in the order of the file.
  template <class T>
  std::vector<T> numbers(const TensorInfo& t) {
    std::vector<T> all((t.end - t.begin) / sizeof(T));
    file_.seekg(static_cast<std::streamoff>(header_.data + t.begin));
    read(reinterpret_cast<char*>(all.data()), all.size() * sizeof(T));
    return all;
  }

 private:
  void read(char* to, std::size_t bytes) {
    file_.read(to, static_cast<std::streamsize>(bytes));
    require_io(static_cast<std::size_t>(file_.gcount()) == bytes, "it became shorter while it was read");
  }
  void require_io(bool ok, const char* what) const { require_safe(ok, SafetensorsFault::io, "'", path_, "': ", what); }
  std::string path_;
  std::ifstream file_;
  SafetensorsHeader header_;
};

/// Has a file, or the names in a folder, put on the disk. Where the system has no such call, or not for this file, it is
/// left to it when.
inline bool flush_to_disk(const std::filesystem::path& path) {
#if defined(__unix__) || defined(__APPLE__)
  const int descriptor = ::open(path.c_str(), O_RDONLY);
  if (descriptor < 0) return false;
  const bool flushed = ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
  ::close(descriptor);
  return flushed;
#else
  return static_cast<void>(path), true;
#endif
}

/// Weight `to`, already of its shape, from a tensor. A row may lie in a file as a vector.
template <class T, class S>
void fill(WeightsFile& file, const TensorInfo& t, const FileName& as, bool require_finite, Matrix<S>& to) {
  const Index rows = as.transposed ? to.cols() : to.rows(), cols = as.transposed ? to.rows() : to.cols();
  const std::vector<std::uint64_t> shape = {static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols)};
  require_safe(t.shape == shape || (rows == 1 && t.shape == std::vector{shape[1]}), SafetensorsFault::shape_mismatch,
               "tensor ", shown(t.name), ": the shape ", shown(shape), " expected, came ", shown(t.shape));
  const std::vector<T> numbers = file.numbers<T>(t);
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    const S x = static_cast<S>(numbers[i]);
    require_safe(!require_finite || std::isfinite(x), SafetensorsFault::not_finite, "tensor ", shown(t.name),
                 ": number ", i, " is not finite");
    const Index r = static_cast<Index>(i) / cols, c = static_cast<Index>(i) % cols;
    (as.transposed ? to(c, r) : to(r, c)) = x;
  }
}

}  // namespace detail

/// What a file of weights holds, without its numbers. Throws SafetensorsError.
inline SafetensorsHeader read_safetensors_header(const std::string& path, const SafetensorsLimits& limits = {}) {
  return detail::WeightsFile(path, limits).header();
}

/// Reads every weight of `params`, which has its shapes already (from `init`), from the file: each must be there, and
/// nothing else. F16 and BF16 are widened, F32 into double too; nothing is narrowed. Weights without numbers (a bias
/// that is switched off) are not looked for. All or nothing: throws SafetensorsError and leaves `params` as it was.
template <class T>
void load_safetensors(const std::string& path, T& params, const SafetensorsOptions& options = {}) {
  detail::WeightsFile file(path, options.limits);
  std::set<std::string> names;
  for_each(
      [&](const std::string& weight, const auto& m) {
        const std::string name = detail::file_name(weight, options.renames).name;
        detail::require_safe(m.size() == 0 || names.insert(name).second, SafetensorsFault::duplicate_name,
                             "two weights under the name ", detail::shown(name), ", one of them ", weight);
      },
      params);
  T loaded = params;
  for_each(
      [&]<class S>(const std::string& weight, Matrix<S>& to) {
        if (to.size() == 0) return;
        const detail::FileName as = detail::file_name(weight, options.renames);
        const TensorInfo* const t = file.header().find(as.name);
        detail::require_safe(t != nullptr, SafetensorsFault::missing_tensor, "'", path, "' has no tensor ",
                             detail::shown(as.name), " for the weight ", weight);
        const auto take = [&]<class From>(From) { detail::fill<From>(file, *t, as, options.require_finite, to); };
        if (t->dtype == "F32")
          take(float{});
        else if (t->dtype == "F64" && std::is_same_v<S, double>)
          take(double{});
        else if (t->dtype == "F16")
          take(Eigen::half{});
        else if (t->dtype == "BF16")
          take(Eigen::bfloat16{});
        else
          detail::require_safe(false, SafetensorsFault::unsupported_dtype, "tensor ", detail::shown(t->name), ": ",
                               detail::dtype_of<S>(), ", F16 or BF16 expected, came ", t->dtype);
      },
      loaded);
  for (const TensorInfo& t : file.header().tensors)
    detail::require_safe(options.allow_unexpected || names.contains(t.name), SafetensorsFault::unexpected_tensor, "'",
                         path, "' has a tensor ", detail::shown(t.name), " that the weights have not");
  params = std::move(loaded);
}

/// Writes every weight of `params` that has numbers, and the metadata. It is written beside its place, as path + ".part",
/// put on the disk, and then renamed: whatever fails, the file of before stays whole, or the new one is there. (Two
/// programs must not save to one path at a time.) Throws SafetensorsError.
template <class T>
void save_safetensors(const std::string& path, const T& params, const SafetensorsOptions& options = {}) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!options.metadata.empty()) header["__metadata__"] = options.metadata;
  std::uint64_t at = 0;
  for_each(
      [&]<class S>(const std::string& weight, const Matrix<S>& m) {
        if (m.size() == 0) return;
        const detail::FileName as = detail::file_name(weight, options.renames);
        detail::require_safe(as.name != "__metadata__" && !header.contains(as.name), SafetensorsFault::duplicate_name,
                             "two weights under the name ", detail::shown(as.name), ", one of them ", weight);
        const std::uint64_t bytes = static_cast<std::uint64_t>(m.size()) * sizeof(S);
        detail::require_safe(bytes <= std::numeric_limits<std::uint64_t>::max() - at, SafetensorsFault::overflow,
                             "more bytes than can be counted");
        using Shape = std::vector<Index>;  // a row is a vector, as the biases of others are
        const Shape shape = as.transposed   ? Shape{m.cols(), m.rows()}
                            : m.rows() == 1 ? Shape{m.cols()}
                                            : Shape{m.rows(), m.cols()};
        header[as.name] = {{"dtype", detail::dtype_of<S>()}, {"shape", shape}, {"data_offsets", {at, at + bytes}}};
        at += bytes;
      },
      params);
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned

  const std::string beside = path + ".part";
  std::error_code error;
  try {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    for (std::size_t i = 0; i < 8; ++i) file.put(static_cast<char>(text.size() >> (8 * i) & 0xff));
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    for_each(
        [&]<class S>(const std::string& weight, const Matrix<S>& m) {
          const bool transposed = detail::file_name(weight, options.renames).transposed;
          const Matrix<S> turned = transposed ? Matrix<S>(m.transpose()) : Matrix<S>();
          const Matrix<S>& as = transposed ? turned : m;
          file.write(reinterpret_cast<const char*>(as.data()),
                     static_cast<std::streamsize>(as.size()) * static_cast<std::streamsize>(sizeof(S)));
        },
        params);
    file.close();
    detail::require_safe(!file.fail() && detail::flush_to_disk(beside), SafetensorsFault::io, "'", beside,
                         "': it cannot be written");
    std::filesystem::rename(beside, path, error);
    detail::require_safe(!error, SafetensorsFault::io, "'", path, "': it cannot be written: ", error.message());
    // The new name; not every file system can, and none may say that nothing was saved.
    static_cast<void>(detail::flush_to_disk(std::filesystem::absolute(path, error).parent_path()));
  } catch (...) {
    std::filesystem::remove(beside, error);
    throw;
  }
}

}  // namespace heed
