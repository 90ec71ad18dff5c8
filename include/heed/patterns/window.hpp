// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

namespace heed {

/// The query at p sees the keys p - left ... p + right, both included: left + 1 + right of them.
class Window {
 public:
  Window(Index left = 0, Index right = 0) : left_(left), right_(right) {
    require<OptionError>(left >= 0 && right >= 0, "Window: left and right must not be negative, came ", left, " and ",
                         right);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    ranges.add({positions.begin - left_, positions.end + right_});
  }
  bool sees(Index p, Index j) const { return j >= p - left_ && j <= p + right_; }
  bool all(Range positions, Range keys) const {
    return keys.begin >= positions.end - 1 - left_ && keys.end - 1 <= positions.begin + right_;
  }

 private:
  Index left_, right_;
};
static_assert(KeyPattern<Window>);

/// Every step-th key of a window: the query at p sees p + step t for -left <= t <= right.
class DilatedWindow {
 public:
  DilatedWindow(Index left = 0, Index right = 0, Index step = 1) : left_(left), right_(right), step_(step) {
    require<OptionError>(left >= 0 && right >= 0, "DilatedWindow: left and right must not be negative, came ", left,
                         " and ", right);
    require<OptionError>(step >= 1, "DilatedWindow: a step of at least 1 expected, came ", step);
  }
  void keys(Range positions, Index, Ranges& ranges) const {
    ranges.add({positions.begin - step_ * left_, positions.end + step_ * right_});
  }
  bool sees(Index p, Index j) const {
    return j >= p - step_ * left_ && j <= p + step_ * right_ && (j - p) % step_ == 0;
  }
  bool all(Range positions, Range keys) const {
    return step_ == 1 && keys.begin >= positions.end - 1 - left_ && keys.end - 1 <= positions.begin + right_;
  }

 private:
  Index left_, right_, step_;
};
static_assert(KeyPattern<DilatedWindow>);

}  // namespace heed
