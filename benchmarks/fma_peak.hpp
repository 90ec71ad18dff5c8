// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/core/simd.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

/// The unit of every speed here: multiply-adds per second that one core can do at most.

namespace heed::bench {

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Seconds that `f()` takes.
template <class F>
double seconds(F&& f) {
  const double start = now();
  f();
  return now() - start;
}

/// Makes the compiler believe that memory behind `p` is read.
inline void keep(const void* p) { asm volatile("" : : "g"(p) : "memory"); }

#if defined(EIGEN_VECTORIZE_FMA) || defined(EIGEN_VECTORIZE_AVX512) || defined(EIGEN_VECTORIZE_NEON)
inline constexpr bool fused = true;
#else
inline constexpr bool fused = false;
#endif

/// Independent chains of the peak loop: more than two units of any latency so far need, and never more than there are
/// registers.
inline constexpr int chains = fused ? 16 : 12;
inline constexpr double multiply_adds_per_round = static_cast<double>(chains * detail::lanes<float>);

/// `rounds` multiply-adds in every chain, nothing spilled. Fused, a chain is x -> x x + x: one register and no operand
/// besides, so that 16 registers hold 16 chains; from -1/2 it creeps to 0 like -1 / round, far from denormals. Unfused,
/// x -> x y + z is two instructions that overwrite x, and 12 chains leave room for y and z.
EIGEN_DONT_INLINE inline void fma_loop(std::int64_t rounds, float y, float z) {
  using P = detail::Packet<float>;
  P x[std::size_t{chains}];
  for (P& chain : x) chain = detail::broadcast(-0.5f);
  const P by = detail::broadcast(y), plus = detail::broadcast(z);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int c = 0; c < chains; ++c)
      x[c] = fused ? detail::pmadd(x[c], x[c], x[c]) : detail::padd(detail::pmul(x[c], by), plus);
  }
  P sum = x[0];
  for (int c = 1; c < chains; ++c) sum = detail::padd(sum, x[c]);
  alignas(64) float out[std::size_t{detail::lanes<float>}];
  detail::store<float>(out, sum);
  keep(out);
}

/// Multiply-adds per second of one core, the best of all that was sampled so far.
class FmaPeak {
 public:
  /// Some 0.3 ms per repeat.
  void sample(int repeats = 3) {
    constexpr std::int64_t rounds = 100'000;
    for (int i = 0; i < repeats; ++i)
      best_ = std::max(best_, rounds * multiply_adds_per_round / seconds([] { fma_loop(rounds, 0.5f, -0.5f); }));
  }
  double best() const { return best_; }

 private:
  double best_ = 0;
};

/// What a peak must be, at least, of Eigen's best product: a loop that is slower is no peak. Eigen 3.4 for AVX-512 by
/// g++ leaves room (0.70 of the peak), which makes the check sharp; other builds of it come as near as 0.96.
#if defined(EIGEN_VECTORIZE_AVX512) && defined(__GNUC__) && !defined(__clang__) && !EIGEN_VERSION_AT_LEAST(4, 0, 0)
inline constexpr double peak_over_eigen = 1.2;
#else
inline constexpr double peak_over_eigen = 0.98;
#endif

/// Multiply-adds per second of the best of Eigen's products that fit the caches.
inline double eigen_product_rate() {
  double best = 0;
  for (const Index n : {128, 256, 384}) {
    const Matrix<float> a = Matrix<float>::Constant(n, n, 1.0f), b = a;
    Matrix<float> c(n, n);
    const double work = static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n);
    for (int repeat = 0; repeat < 6; ++repeat) {
      best = std::max(best, work / seconds([&] {
                              c.noalias() = a * b;
                              keep(c.data());
                            }));
    }
  }
  return best;
}

}  // namespace heed::bench
