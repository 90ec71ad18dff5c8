// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/io/safetensors_error.hpp>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// The header of a safetensors file: what is in it, checked before a byte of data is read.
///
/// A file is 8 bytes (N, little-endian), N bytes of JSON, and the data. The JSON names every tensor with its type, shape
/// and range of the data, which these ranges cover without hole or overlap. https://github.com/huggingface/safetensors

namespace heed {

static_assert(std::endian::native == std::endian::little,
              "heed: safetensors files are read and written as they lie in memory");

/// What a header may hold at most, so that no file makes us take memory or time that its size does not justify.
struct SafetensorsLimits {
  std::uint64_t header = 100'000'000;  ///< bytes
  std::size_t tensors = 1'000'000, name = 4096, metadata = std::size_t{1} << 20;
  std::size_t dimensions = 8;
  bool allow_trailing = false;  ///< whether bytes may follow the data
};

/// One tensor of a file: row-major, at [begin, end) of the data.
struct TensorInfo {
  std::string name, dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  std::map<std::string, std::string> metadata;
  std::uint64_t data = 0;  ///< where the data begins in the file

  const TensorInfo* find(std::string_view name) const {
    for (const TensorInfo& t : tensors)
      if (t.name == name) return &t;
    return nullptr;
  }
};

namespace detail {

/// Bits of a number, 0 if the format has no such type.
inline std::uint64_t dtype_bits(std::string_view dtype) {
  static constexpr std::pair<std::string_view, std::uint64_t> all[] = {
      {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8},
      {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16}, {"I32", 32},
      {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},    {"I64", 64}, {"U64", 64}};
  for (const auto& [name, bits] : all)
    if (name == dtype) return bits;
  return 0;
}

/// Takes the JSON of a header event by event: nothing is kept but what the format allows.
class HeaderReader {
 public:
  HeaderReader(SafetensorsHeader& header, const SafetensorsLimits& limits) : header_(header), limits_(limits) {}

  bool null() { return refuse("null"); }
  bool boolean(bool) { return refuse("a boolean"); }
  bool number_integer(std::int64_t) { return refuse("a negative number"); }
  bool number_float(double, const std::string& text) { return refuse(text); }
  bool binary(nlohmann::json::binary_t&) { return refuse("binary data"); }
  bool number_unsigned(std::uint64_t x) {
    if (at_ == At::shape) {
      require_safe(now_.shape.size() < limits_.dimensions, SafetensorsFault::too_many_dimensions, "tensor ",
                   shown(now_.name), ": at most ", limits_.dimensions, " dimensions expected");
      require_safe(x <= largest_dimension, SafetensorsFault::invalid_shape, "tensor ", shown(now_.name),
                   ": dimensions up to 2^48 expected, came ", x);
      now_.shape.push_back(x);
    } else if (at_ == At::offsets && offsets_ < 2) {
      (offsets_++ == 0 ? now_.begin : now_.end) = x;
    } else {
      return refuse("the number " + std::to_string(x));
    }
    return true;
  }
  bool string(std::string& text) {
    if (at_ == At::metadata) {
      limit_metadata(text.size());
      header_.metadata[key_] = std::move(text);
    } else if (at_ == At::dtype) {
      require_safe(dtype_bits(text) > 0, SafetensorsFault::unknown_dtype, "tensor ", shown(now_.name),
                   ": no such dtype: ", shown(text));
      now_.dtype = std::move(text);
      at_ = At::entry;
    } else {
      return refuse("a string");
    }
    return true;
  }
  bool start_object(std::size_t) {
    switch (at_) {
      case At::start:
        at_ = At::names;
        return true;
      case At::value:
        at_ = At::entry;
        return true;
      case At::metadata_value:
        at_ = At::metadata;
        return true;
      default:
        return refuse("an object");
    }
  }
  bool key(std::string& name) {
    if (at_ == At::names) return start_tensor(name);
    if (at_ == At::metadata) {
      limit_metadata(name.size());
      require_safe(!header_.metadata.contains(name), SafetensorsFault::duplicate_key, "__metadata__ has ", shown(name),
                   " twice");
      key_ = std::move(name);
      return true;
    }
    for (const auto& [field, bit, at] :
         {std::tuple("dtype", 1, At::dtype), {"shape", 2, At::shape_value}, {"data_offsets", 4, At::offsets_value}}) {
      if (name != field) continue;
      require_safe((fields_ & bit) == 0, SafetensorsFault::duplicate_key, "tensor ", shown(now_.name), " has ", field,
                   " twice");
      fields_ |= bit;
      at_ = at;
      return true;
    }
    require_safe(false, SafetensorsFault::invalid_info, "tensor ", shown(now_.name),
                 ": dtype, shape and data_offsets expected, came ", shown(name));
    return false;
  }
  bool end_object() {
    if (at_ == At::entry) {
      require_safe(fields_ == 7, SafetensorsFault::invalid_info, "tensor ", shown(now_.name),
                   ": dtype, shape and data_offsets expected, not all came");
      header_.tensors.push_back(std::move(now_));
    }
    at_ = at_ == At::names ? At::end : At::names;
    return true;
  }
  bool start_array(std::size_t) {
    if (at_ == At::shape_value)
      at_ = At::shape;
    else if (at_ == At::offsets_value)
      at_ = At::offsets;
    else
      return refuse("an array");
    return true;
  }
  bool end_array() {
    require_safe(at_ != At::offsets || offsets_ == 2, SafetensorsFault::invalid_offset, "tensor ", shown(now_.name),
                 ": two data_offsets expected, came ", offsets_);
    at_ = At::entry;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& e) {
    const bool utf8 = std::string_view(e.what()).find("UTF-8") != std::string_view::npos;
    require_safe(false, utf8 ? SafetensorsFault::invalid_utf8 : SafetensorsFault::invalid_json, "byte ", position + 7,
                 " of the file: ", e.what());
    return false;
  }

 private:
  static constexpr std::uint64_t largest_dimension = std::uint64_t{1} << 48;
  enum class At {
    start,
    names,
    value,
    entry,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets,
    metadata_value,
    metadata,
    end
  };

  bool start_tensor(std::string& name) {
    if (name == "__metadata__") {
      require_safe(!metadata_seen_, SafetensorsFault::duplicate_key, "__metadata__ comes twice");
      metadata_seen_ = true;
      at_ = At::metadata_value;
      return true;
    }
    require_safe(name.size() <= limits_.name, SafetensorsFault::limit_exceeded, "tensor ", shown(name),
                 ": a name of at most ", limits_.name, " bytes expected, came ", name.size());
    require_safe(header_.tensors.size() < limits_.tensors, SafetensorsFault::limit_exceeded, "at most ",
                 limits_.tensors, " tensors expected");
    now_ = {};
    now_.name = std::move(name);
    fields_ = offsets_ = 0;
    at_ = At::value;
    return true;
  }
  void limit_metadata(std::size_t bytes) {
    metadata_bytes_ += bytes;
    require_safe(metadata_bytes_ <= limits_.metadata, SafetensorsFault::limit_exceeded, "__metadata__: at most ",
                 limits_.metadata, " bytes expected");
  }
  /// What came where something else belongs.
  bool refuse(const std::string& what) {
    const std::string tensor = "tensor " + shown(now_.name);
    switch (at_) {
      case At::shape_value:
      case At::shape:
        require_safe(false, SafetensorsFault::invalid_shape, tensor,
                     ": an array of whole numbers expected as its shape, came ", what);
        break;
      case At::offsets_value:
      case At::offsets:
        require_safe(false, SafetensorsFault::invalid_offset, tensor,
                     ": two whole numbers expected as its data_offsets, came ", what);
        break;
      case At::dtype:
        require_safe(false, SafetensorsFault::unknown_dtype, tensor, ": a string expected as its dtype, came ", what);
        break;
      case At::metadata_value:
      case At::metadata:
        require_safe(false, SafetensorsFault::invalid_metadata, "__metadata__: an object of strings expected, came ",
                     what);
        break;
      case At::value:
        require_safe(false, SafetensorsFault::invalid_info, tensor,
                     ": an object of dtype, shape and data_offsets expected, came ", what);
        break;
      default:
        require_safe(false, SafetensorsFault::invalid_json, "an object expected as the header, came ", what);
    }
    return false;
  }

  SafetensorsHeader& header_;
  const SafetensorsLimits& limits_;
  At at_ = At::start;
  TensorInfo now_;
  std::string key_;
  int fields_ = 0, offsets_ = 0;
  bool metadata_seen_ = false;
  std::size_t metadata_bytes_ = 0;
};

/// The parser would take a byte-order mark and end at a NUL, and says nothing of depth.
inline void check_text(std::string_view text) {
  constexpr int deepest = 8;
  const std::size_t first = text.find_first_not_of(" \t\n\r");
  require_safe(first != text.npos && text[first] == '{', SafetensorsFault::invalid_json, "byte ",
               8 + (first == text.npos ? 0 : first), " of the file: '{' expected as the header's first");
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    require_safe(c != '\0', SafetensorsFault::invalid_json, "byte ", 8 + i, " of the file: a NUL in the header");
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (in_string) continue;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    require_safe(depth <= deepest, SafetensorsFault::too_deep, "byte ", 8 + i, " of the file: nested deeper than ",
                 deepest);
  }
}

/// Bytes of a tensor as its shape and type say.
inline std::uint64_t bytes_of(const TensorInfo& t) {
  constexpr std::uint64_t largest = ~std::uint64_t{0};
  std::uint64_t count = 1;  // of the dimensions that are not 0: a later 0 must not hide an overflow
  bool empty = false;
  for (const std::uint64_t n : t.shape) {
    if (n == 0) {
      empty = true;
      continue;
    }
    require_safe(count <= largest / n, SafetensorsFault::overflow, "tensor ", shown(t.name),
                 ": its shape has more numbers than can be counted");
    count *= n;
  }
  const std::uint64_t bits = dtype_bits(t.dtype);
  require_safe(count <= largest / bits, SafetensorsFault::overflow, "tensor ", shown(t.name),
               ": its shape has more bytes than can be counted");
  if (empty) return 0;
  require_safe(count * bits % 8 == 0, SafetensorsFault::size_mismatch, "tensor ", shown(t.name),
               ": its numbers do not fill whole bytes");
  return count * bits / 8;
}

/// Sorts the tensors by their data and holds their ranges against each other and against the `size` bytes of data.
inline void check_ranges(SafetensorsHeader& header, std::uint64_t size, const SafetensorsLimits& limits) {
  auto& all = header.tensors;
  std::sort(all.begin(), all.end(), [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  for (std::size_t i = 1; i < all.size(); ++i)
    require_safe(all[i - 1].name != all[i].name, SafetensorsFault::duplicate_key, "tensor ", shown(all[i].name),
                 " comes twice");
  std::sort(all.begin(), all.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const TensorInfo& t : all) {
    const auto say = [&](bool ok, SafetensorsFault fault, const char* what) {
      require_safe(ok, fault, "tensor ", shown(t.name), " at [", t.begin, ", ", t.end, ") of ", size,
                   " bytes of data: ", what);
    };
    say(t.begin <= t.end, SafetensorsFault::invalid_offset, "it ends before it begins");
    const std::uint64_t bytes = bytes_of(t);
    say(t.end - t.begin == bytes, t.begin > size ? SafetensorsFault::invalid_offset : SafetensorsFault::size_mismatch,
        ("its shape and dtype have " + std::to_string(bytes) + " bytes").c_str());
    say(t.begin == at || t.begin <= size, SafetensorsFault::invalid_offset, "it begins beyond the data");
    say(t.begin >= at, SafetensorsFault::overlap, "it overlaps the tensor before it");
    say(t.begin == at, SafetensorsFault::hole, "nothing lies before it");
    at = t.end;
  }
  require_safe(at <= size, SafetensorsFault::incomplete_buffer, "the tensors have ", at, " bytes, and the file ", size);
  require_safe(at == size || limits.allow_trailing, SafetensorsFault::incomplete_buffer, "the file has ", size,
               " bytes of data, and its tensors only ", at);
}

/// How long the header is, by the first 8 bytes of a file of `size` bytes.
inline std::uint64_t header_length(std::string_view first, std::uint64_t size, const SafetensorsLimits& limits) {
  require_safe(size >= 8 && first.size() >= 8, SafetensorsFault::header_too_small,
               "a file of at least 8 bytes expected, came ", size);
  std::uint64_t n = 0;
  for (std::size_t i = 8; i-- > 0;) n = n << 8 | static_cast<unsigned char>(first[i]);
  require_safe(n <= limits.header, SafetensorsFault::header_too_large, "a header of at most ", limits.header,
               " bytes expected, came ", n);
  require_safe(n <= size - 8, SafetensorsFault::invalid_header_length, "a header of ", n, " bytes in a file of ", size);
  return n;
}

/// The header of a file of `size` bytes, given its text.
inline SafetensorsHeader read_header(std::string_view text, std::uint64_t size, const SafetensorsLimits& limits) {
  check_text(text);
  SafetensorsHeader header;
  HeaderReader reader(header, limits);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  header.data = 8 + text.size();
  check_ranges(header, size - header.data, limits);
  return header;
}

}  // namespace detail

/// The header of a whole file in memory. Throws SafetensorsError.
inline SafetensorsHeader parse_safetensors(std::string_view file, const SafetensorsLimits& limits = {}) {
  const std::uint64_t n = detail::header_length(file, file.size(), limits);
  return detail::read_header(file.substr(8, n), file.size(), limits);
}

}  // namespace heed
