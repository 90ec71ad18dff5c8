// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <cstdint>

namespace heed {

/// Dropout as data of one call: a number is set to 0 with probability `rate`, else multiplied by 1 / (1 - rate).
///
/// Which ones is a hash of (seed, step, place in the model, row, column): the same for any number of threads, for any
/// chunk of tokens, and again in recomputation and in backward, which take the same `Dropout`. The default drops
/// nothing: that is evaluation.
struct Dropout {
  double rate = 0;          ///< in [0, 1)
  std::uint64_t seed = 0;   ///< of the run
  std::uint64_t step = 0;   ///< of the call: another for every training step
  std::uint64_t place = 0;  ///< in the model: layers set it

  bool active() const { return rate > 0; }
  /// The same for part `part` of a layer, so that no two places of a model drop the same.
  Dropout below(std::uint64_t part) const {
    return active() ? Dropout{rate, seed, step, Random(place).stream(part).bits()} : *this;
  }
  /// Throws OptionError unless the rate is in [0, 1).
  void check() const { require<OptionError>(rate >= 0 && rate < 1, "dropout.rate: [0, 1) expected, came ", rate); }
  friend bool operator==(const Dropout&, const Dropout&) = default;
};

/// The masks of one place in one step.
class DropMask {
 public:
  explicit DropMask(const Dropout& d)
      : active_(d.active()),
        keys_(Random(d.seed).stream(d.step).stream(d.place)),
        threshold_(static_cast<std::uint32_t>(d.rate * 0x1p32)),
        scale_(1 / (1 - d.rate)) {}

  bool active() const { return active_; }

  /// y = dropout(x) for the row `row` of a matrix; y may be x.
  template <class S>
  void apply(Index row, Index n, const S* x, S* y) const {
    const S scale = static_cast<S>(scale_);
    each(row, n, [=](Index c, bool kept) { y[c] = kept ? scale * x[c] : S(0); });
  }
  /// y = a + sign dropout(x); y may be a.
  template <class S>
  void add(Index row, Index n, const S* a, S sign, const S* x, S* y) const {
    const S scale = sign * static_cast<S>(scale_);
    each(row, n, [=](Index c, bool kept) { y[c] = a[c] + (kept ? scale * x[c] : S(0)); });
  }

 private:
  /// Calls `f(column, kept)`. The hash is two multiplications and three shifts (Wellons 2018), which vectorise.
  template <class F>
  void each(Index row, Index n, const F& f) const {
    const std::uint64_t bits = keys_.stream(static_cast<std::uint64_t>(row)).bits();
    const auto low = static_cast<std::uint32_t>(bits), high = static_cast<std::uint32_t>(bits >> 32);
    const std::uint32_t threshold = threshold_;
    for (Index c = 0; c < n; ++c) {
      std::uint32_t h = static_cast<std::uint32_t>(c) * 0x9e3779b9u + low;
      h = (h ^ (h >> 16)) * 0x7feb352du + high;
      h = (h ^ (h >> 15)) * 0x846ca68bu;
      h ^= h >> 16;
      f(c, h >= threshold);
    }
  }

  bool active_;
  Random keys_;
  std::uint32_t threshold_;
  double scale_;
};

}  // namespace heed
