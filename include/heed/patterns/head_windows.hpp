// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/residues.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/window.hpp>

#include <algorithm>
#include <vector>

namespace heed {

/// Windows of one width and of a step for each head: the query at p sees p + step t for -width <= t <= width, or t <= 0
/// when causal. Among the positions of one residue modulo the step that is a plain window.
class HeadWindows {
 public:
  /// `dilation` holds one step for all heads or one per head. Throws OptionError.
  HeadWindows(Index width, const std::vector<Index>& dilation, bool causal, Index heads)
      : width_(width), causal_(causal), steps_(dilation) {
    require<OptionError>(width >= 0, "options.window: 0 or more keys on each side expected, came ", width);
    require<OptionError>(steps_.size() == 1 || static_cast<Index>(steps_.size()) == heads,
                         "options.dilation: one step for all heads, or one for each of ", heads, ", expected, came ",
                         steps_.size());
    for (const Index step : steps_)
      require<OptionError>(step >= 1, "options.dilation: steps of at least 1 expected, came ", step);
  }

  const std::vector<Index>& steps() const { return steps_; }
  Index step(Index head) const { return steps_[steps_.size() == 1 ? 0 : static_cast<std::size_t>(head)]; }
  Index longest_step() const { return *std::max_element(steps_.begin(), steps_.end()); }
  /// The width, no larger than a call of n_q queries and n_k keys has use for.
  Index width(Index n_q, Index n_k) const { return std::min(width_, n_q + n_k); }
  /// The window among the positions of one residue.
  Window window(Index n_q, Index n_k) const { return {width(n_q, n_k), causal_ ? 0 : width(n_q, n_k)}; }
  /// How far back the furthest head sees, if not further than `most`.
  Index reach(Index most) const { return width_ <= most / longest_step() ? width_ * longest_step() : most; }
  /// Pairs of the head that sees most: the one with the smallest step.
  Index pairs(Index n_q, Index n_k) const {
    Index pairs = 0;
    for_each_residue(*std::min_element(steps_.begin(), steps_.end()), n_q, n_k, [&](const Residue& at) {
      pairs += visible_pairs(window(at.queries, at.keys), at.queries, at.keys);
    });
    return pairs;
  }

 private:
  Index width_;
  bool causal_;
  std::vector<Index> steps_;
};

}  // namespace heed
