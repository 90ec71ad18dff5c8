// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <cmath>
#include <cstdint>

namespace heed {

/// A counter-based generator: the i-th number of a seed is a hash of (seed, i). Every platform gives the same bits.
class Random {
 public:
  explicit Random(std::uint64_t seed) : key_(mix(seed + golden)) {}

  /// An independent generator, named by `stream`: what one part draws does not depend on how much another drew.
  Random stream(std::uint64_t stream) const { return Random(key_ ^ mix(stream + 1)); }

  /// 64 random bits (SplitMix64: Steele, Lea, Flood 2014).
  std::uint64_t bits() { return mix(key_ + golden * ++counter_); }

  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  /// Uniform in {0, ..., n - 1} for n >= 1.
  Index below(Index n) { return static_cast<Index>(uniform() * static_cast<double>(n)); }

  /// Normal, mean 0 and variance 1: ratio of uniforms (Kinderman and Monahan 1977; quick tests by Leva 1992). The value
  /// is one quotient, so platforms whose logarithms differ in the last bit still agree.
  double normal() {
    for (;;) {
      const double u = 1.0 - uniform();
      const double v = 1.7156 * (uniform() - 0.5);
      const double x = u - 0.449871, y = std::abs(v) + 0.386595;
      const double q = x * x + y * (0.19600 * y - 0.25472 * x);
      if (q < 0.27597 || (q <= 0.27846 && v * v <= -4.0 * u * u * std::log(u))) return v / u;
    }
  }

 private:
  static constexpr std::uint64_t golden = 0x9e3779b97f4a7c15u;
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  std::uint64_t key_, counter_ = 0;
};

/// A matrix of normal numbers with the given standard deviation.
template <class S>
Matrix<S> random_normal(Random& random, Index rows, Index cols, double deviation) {
  Matrix<S> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = static_cast<S>(deviation * random.normal());
  return m;
}

}  // namespace heed
