// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

/// One row of a norm, forward and backward, for all forms at once:
///
///   u_c = (scale x_c - mean) factor,   y_c = gain_c u_c + shift_c
///
/// `scale` is 1, or the power of two that brings the largest |x| near 1 where squares would overflow or vanish. The mean
/// comes in two parts: subtracting the first is exact where it matters, however large the mean is beside the deviation,
/// and the rest is small.

namespace heed::detail {

/// What a row was measured as, and all that backward needs of it.
template <class S>
struct NormRow {
  S scale = 1, mean = 0, factor = 0, rest = 0;  ///< u = (scale x - mean) factor + rest
  S pull = 0;                                   ///< dx = scale factor (g - mean(g) - pull u sum(g u)), g = dy gain
};

/// A copy that no pointer reaches: loops that store need not read it again. One number at a time, as they were stored a
/// moment ago: a wider load would wait for all of them.
template <class S>
EIGEN_ALWAYS_INLINE NormRow<S> in_registers(const NormRow<S>& row) {
  return {row.scale, row.mean, row.factor, row.rest, row.pull};
}

/// `sums[i] += ...` over the columns: `f(sums, c, P)` adds what the packet P of columns from c on gives, or the column c
/// where P is a number. The order depends on n alone.
template <int K, class S, class F>
std::array<S, std::size_t{K}> column_sums(Index n, const F& f) {
  using P = Packet<S>;
  constexpr Index width = lanes<S>;
  P acc[4][std::size_t{K}];
  for (auto& a : acc)
    for (P& p : a) p = broadcast(S(0));
  Index c = 0;
  for (; c + 4 * width <= n; c += 4 * width) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) f(acc[i], c + i * width, acc[i][0]);
  }
  for (; c + width <= n; c += width) f(acc[0], c, acc[0][0]);
  std::array<S, std::size_t{K}> total;
  for (std::size_t k = 0; k < std::size_t{K}; ++k)
    total[k] = sum_of_lanes<S>(padd(padd(acc[0][k], acc[1][k]), padd(acc[2][k], acc[3][k])));
  for (; c < n; ++c) f(total, c, S{});
  return total;
}

/// Calls `f(c, P)` for packets P of columns, and then for single columns.
template <class S, class F>
EIGEN_ALWAYS_INLINE void for_columns(Index n, const F& f) {
  Index c = 0;
  for (; c + lanes<S> <= n; c += lanes<S>) f(c, Packet<S>{});
  if constexpr (lanes < S >> 1)
    for (; c < n; ++c) f(c, S{});
}

template <class P, class S>
EIGEN_ALWAYS_INLINE P load_as(const S* from) {
  return Eigen::internal::ploadu<P>(from);
}
template <class P, class S>
EIGEN_ALWAYS_INLINE P all(S x) {
  return Eigen::internal::pset1<P>(x);
}

/// The power of two that brings the largest magnitude of x to [1, 2); 1 for rows of zeros and rows that are not finite.
template <class S>
S norm_scale(Index n, const S* x) {
  Packet<S> most = broadcast(S(0));
  Index c = 0;
  for (; c + lanes<S> <= n; c += lanes<S>) most = pmax(most, pabs(load(x + c)));
  S largest = max_of_lanes<S>(most);
  for (; c < n; ++c) largest = std::max(largest, std::abs(x[c]));
  if (!(largest > 0) || !(largest <= std::numeric_limits<S>::max())) return 1;
  constexpr int limit = std::numeric_limits<S>::max_exponent / 4 * 3;
  return std::ldexp(S(1), -std::clamp(std::ilogb(largest), -limit, limit));
}

/// Whether no square that matters to this sum of squares can have overflowed or vanished.
template <class S>
bool sound(S squares) {
  constexpr S most = std::numeric_limits<S>::max_exponent > 128 ? S(0x1p512) : S(0x1p64), least = 1 / most;
  return squares >= least && squares <= most;
}

/// sqrt(square + scale^2 epsilon), whatever the scale.
template <class S>
S root_of_sum(S square, S epsilon, S scale) {
  return scale == 1 ? std::sqrt(square + epsilon) : std::hypot(std::sqrt(square), std::sqrt(epsilon) * scale);
}

/// u = (x - mean) / sqrt(variance + epsilon), the variance over n.
template <class S>
NormRow<S> measure_centered(Index n, const S* x, S epsilon) {
  NormRow<S> row;
  const S each = 1 / static_cast<S>(n);
  S rest = 0;                                   // of the mean
  const auto variance = [&](S scale, S mean) {  // given a guess of the mean
    row.scale = scale;
    row.mean = mean;
    const std::array<S, 2> sums = column_sums<2, S>(n, [&](auto& sum, Index c, auto p) {
      using P = decltype(p);
      const P z = psub(pmul(all<P>(scale), load_as<P>(x + c)), all<P>(mean));
      sum[0] = padd(sum[0], z);
      sum[1] = pmadd(z, z, sum[1]);
    });
    rest = sums[0] * each;
    return sums[1] * each - rest * rest;
  };
  S v = variance(1, n >= lanes<S> ? sum_of_lanes<S>(load(x)) / S(lanes<S>) : x[0]);
  if (!sound(v)) {
    const S scale = norm_scale(n, x);
    v = variance(scale, scale * x[0]);
  }
  if (rest * rest > v / 4) v = variance(row.scale, row.mean + rest);  // a poor guess: digits cancelled
  row.factor = 1 / root_of_sum(std::max(v, S(0)), epsilon, row.scale);
  row.rest = -rest * row.factor;
  row.pull = each;
  return row;
}

/// The sum of the squares of the first n columns, times the square of the scale that it also gives.
template <class S>
S measure_squares(Index n, const S* x, S& scale) {
  const auto squares = [&](S by) {
    scale = by;
    return column_sums<1, S>(n, [&](auto& sum, Index c, auto p) {
      using P = decltype(p);
      const P z = pmul(all<P>(by), load_as<P>(x + c));
      sum[0] = pmadd(z, z, sum[0]);
    })[0];
  };
  const S sum = squares(1);
  return sound(sum) ? sum : squares(norm_scale(n, x));
}

/// u of one packet or column.
template <bool centered, class P, class S>
EIGEN_ALWAYS_INLINE P normed(const NormRow<S>& row, const S* x) {
  const P scaled = pmul(all<P>(row.scale), load_as<P>(x));
  if constexpr (!centered) return pmul(scaled, all<P>(row.factor));
  return pmadd(psub(scaled, all<P>(row.mean)), all<P>(row.factor), all<P>(row.rest));
}

/// y = gain u + shift; each of `gain` and `shift` may be null: `uniform`, and none.
template <bool centered, class S>
void norm_row(Index n, const S* x, const NormRow<S>& measured, const S* gain, S uniform, const S* shift, S* y) {
  const NormRow<S> row = in_registers(measured);
  for_columns<S>(n, [&](Index c, auto p) {
    using P = decltype(p);
    const P u = normed<centered, P>(row, x + c), g = gain != nullptr ? load_as<P>(gain + c) : all<P>(uniform);
    Eigen::internal::pstoreu(y + c, shift != nullptr ? pmadd(u, g, load_as<P>(shift + c)) : pmul(u, g));
  });
}

/// Assigns dx; adds to dgain [n] and dshift [n] (each may be null) and gives the gradient of a uniform gain. `counted`
/// columns went into the measure.
template <bool centered, class S>
S norm_row_backward(Index n, Index counted, const S* x, const NormRow<S>& measured, const S* gain, S uniform,
                    const S* dy, S* dgain, S* dshift, S* dx) {
  const NormRow<S> row = in_registers(measured);
  const auto cotangent = [&](auto p, Index c) {  // g
    using P = decltype(p);
    const P d = load_as<P>(dy + c);
    return gain != nullptr ? pmul(d, load_as<P>(gain + c)) : d;
  };
  // sums over all columns: of g, and of g u
  const std::array<S, 2> sums = column_sums<2, S>(n, [&](auto& sum, Index c, auto p) {
    using P = decltype(p);
    const P g = cotangent(p, c);
    if constexpr (centered) sum[0] = padd(sum[0], g);
    sum[1] = pmadd(g, normed<centered, P>(row, x + c), sum[1]);
  });
  // dx = scale factor uniform (g - mean(g) - pull u sum(g u))
  const S along = row.pull * sums[1], mean = centered ? sums[0] / static_cast<S>(n) : S(0);
  const S outer = uniform * row.factor;
  const auto write = [&](Index c, auto p, S pull) {
    using P = decltype(p);
    const P u = normed<centered, P>(row, x + c), d = load_as<P>(dy + c);
    if (dgain != nullptr) Eigen::internal::pstoreu(dgain + c, pmadd(d, u, load_as<P>(dgain + c)));
    if (dshift != nullptr) Eigen::internal::pstoreu(dshift + c, padd(d, load_as<P>(dshift + c)));
    P g = cotangent(p, c);
    if constexpr (centered) g = psub(g, all<P>(mean));
    g = psub(g, pmul(all<P>(pull), u));
    Eigen::internal::pstoreu(dx + c, pmul(pmul(g, all<P>(outer)), all<P>(row.scale)));
  };
  for_columns<S>(counted, [&](Index c, auto p) { write(c, p, along); });
  for_columns<S>(n - counted, [&](Index c, auto p) { write(counted + c, p, S(0)); });
  return sums[1];
}

}  // namespace heed::detail
