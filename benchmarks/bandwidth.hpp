// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include "fma_peak.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

/// What work that computes little is up against: one thread that only reads, or only reads and writes, as much, from and
/// to buffers that lie alike.

namespace heed::bench {

/// Reads every number once, in order, eight packets side by side.
EIGEN_DONT_INLINE inline void read_all(ConstVectorView<float> m) {
  using P = detail::Packet<float>;
  constexpr int streams = 8;
  constexpr Index step = streams * detail::lanes<float>;
  P sum[std::size_t{streams}];
  for (P& s : sum) s = detail::broadcast(0.0f);
  for (Index i = 0; i + step <= m.size(); i += step)
#pragma GCC unroll 8
    for (int s = 0; s < streams; ++s)
      sum[s] = detail::padd(sum[s], detail::load(m.data() + i + s * detail::lanes<float>));
  for (int s = 1; s < streams; ++s) sum[0] = detail::padd(sum[0], sum[s]);
  alignas(64) float out[std::size_t{detail::lanes<float>}];
  detail::store<float>(out, sum[0]);
  keep(out);
}

/// Bytes per second of one thread over the keys and values of `heads` heads, each a buffer `[n, d]` of its own: the
/// best of all that was sampled so far.
class ReadBandwidth {
 public:
  ReadBandwidth(Index heads, Index n, Index d)
      : buffers_(static_cast<std::size_t>(2 * heads), Vector<float>::Ones(n * d)),
        bytes_(static_cast<double>(2 * heads * n * d) * sizeof(float)) {}
  double pass() const {
    return seconds([this] {
      for (const Vector<float>& b : buffers_) read_all(view(b));
    });
  }
  void sample(int repeats = 8) {
    for (int i = 0; i < repeats; ++i) best_ = std::max(best_, bytes_ / pass());
  }
  double bytes() const { return bytes_; }
  double best() const { return best_; }

 private:
  std::vector<Vector<float>> buffers_;
  double bytes_ = 0, best_ = 0;
};

/// y = x, or y = x + z if there is a z: 8 packets side by side.
EIGEN_DONT_INLINE inline void write_all(const float* x, const float* z, float* y, Index n) {
  constexpr Index width = detail::lanes<float>, step = 8 * width;
  for (Index i = 0; i + step <= n; i += step)
#pragma GCC unroll 8
    for (Index at = i; at < i + step; at += width) {
      const auto p = detail::load(x + at);
      detail::store(y + at, z == nullptr ? p : detail::padd(p, detail::load(z + at)));
    }
  keep(y);
}

/// Bytes per second of one thread that reads one or two matrices of `size` numbers and writes one, each number once:
/// the best of all that was sampled so far. A line that is fetched only to be overwritten does not count.
class WriteBandwidth {
 public:
  WriteBandwidth(bool two, Index size)
      : x_(Vector<float>::Ones(size)), z_(Vector<float>::Ones(two ? size : 0)), y_(Vector<float>::Zero(size)) {}
  void sample() {
    best_ = std::max(best_, bytes() / seconds([this] {
                              write_all(x_.data(), z_.size() > 0 ? z_.data() : nullptr, y_.data(), x_.size());
                            }));
  }
  double bytes() const { return static_cast<double>(x_.size() + z_.size() + y_.size()) * sizeof(float); }
  double best() const { return best_; }

 private:
  Vector<float> x_, z_, y_;
  double best_ = 0;
};

}  // namespace heed::bench
