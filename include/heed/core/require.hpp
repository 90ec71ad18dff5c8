// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

/// Errors of the public boundary. They are thrown before anything is written, in every build, and name the argument,
/// what was expected and what came. All derive from `std::invalid_argument`.

namespace heed {

/// An option makes no sense, alone or together with others.
struct OptionError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
/// A matrix, a batch or a set of weights has the wrong shape.
struct ShapeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
/// A stream is asked for what it was not started for.
struct StateError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// Throws `Error` with the parts as its message unless `ok`.
template <class Error, class... Parts>
void require(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

}  // namespace heed
