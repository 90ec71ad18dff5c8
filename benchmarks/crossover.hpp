// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

/// From which length on one variant is faster than another.

namespace heed::bench {

struct Point {
  double n = 0, seconds = 0;
};

/// The answer, about the lengths that both were measured at, in [first, last].
struct Crossover {
  enum class Kind { unknown, always, from, never } kind = Kind::unknown;
  double n = 0;  ///< for `from`
  double first = 0, last = 0;
};

/// The length after which `variant` beats `base` up to the last common length. Between two lengths both times are taken
/// as powers of n, straight lines on logarithmic axes. `unknown` without a common length; with one only, `always` or
/// `never`.
inline Crossover crossover(const std::vector<Point>& variant, const std::vector<Point>& base) {
  struct Gain {
    double n, log;  // of the speed-up
  };
  std::vector<Gain> gains;
  for (const Point& a : variant)
    for (const Point& b : base)
      if (a.n == b.n) gains.push_back({a.n, std::log(b.seconds / a.seconds)});
  if (gains.empty()) return {};
  std::sort(gains.begin(), gains.end(), [](const Gain& a, const Gain& b) { return a.n < b.n; });

  Crossover c{Crossover::Kind::always, 0, gains.front().n, gains.back().n};
  if (gains.back().log <= 0) {
    c.kind = Crossover::Kind::never;
    return c;
  }
  for (std::size_t i = gains.size() - 1; i-- > 0;) {
    const Gain &below = gains[i], &above = gains[i + 1];
    if (below.log > 0) continue;
    c.kind = Crossover::Kind::from;
    c.n = below.n * std::pow(above.n / below.n, -below.log / (above.log - below.log));
    break;
  }
  return c;
}

}  // namespace heed::bench
