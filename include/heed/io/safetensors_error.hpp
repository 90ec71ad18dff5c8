// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <nlohmann/json.hpp>

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

/// How reading and writing weights fails.

namespace heed {

/// What is wrong with a file of weights, or with the weights for the model.
enum class SafetensorsFault {
  io,                     ///< no regular file, or it cannot be read or written, or became shorter meanwhile
  header_too_small,       ///< a file of less than 8 bytes
  header_too_large,       ///< more header than `SafetensorsLimits` allow
  invalid_header_length,  ///< more header than file
  invalid_utf8,
  invalid_json,  ///< or JSON that is no object
  too_deep,      ///< nested deeper than any safetensors header
  duplicate_key,
  invalid_metadata,   ///< `__metadata__` must be an object of strings
  invalid_info,       ///< an entry must be an object of dtype, shape and data_offsets
  unknown_dtype,      ///< no type of this format
  unsupported_dtype,  ///< a type of this format that cannot be loaded into these weights without loss
  invalid_shape,
  too_many_dimensions,
  overflow,  ///< a size that cannot be counted
  invalid_offset,
  overlap,
  hole,
  size_mismatch,      ///< shape and type say another size than the offsets
  incomplete_buffer,  ///< more or less data than the header names
  limit_exceeded,
  missing_tensor,     ///< the weights have one that the file has not
  unexpected_tensor,  ///< the file has one that the weights have not
  shape_mismatch,
  duplicate_name,  ///< two weights under one name
  not_finite
};

/// Names the tensor, the bytes, what was expected and what came.
struct SafetensorsError : std::invalid_argument {
  SafetensorsFault fault;
  SafetensorsError(SafetensorsFault what, const std::string& message) : std::invalid_argument(message), fault(what) {}
};

namespace detail {
template <class... Parts>
void require_safe(bool ok, SafetensorsFault fault, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  message << "safetensors: ";
  (message << ... << parts);
  throw SafetensorsError(fault, message.str());
}
/// A name from a file as a message may show it.
inline std::string shown(std::string_view name) {
  return nlohmann::json(std::string(name.substr(0, 200))).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}
}  // namespace detail

}  // namespace heed
