// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/kernels/feature_rows.hpp>
#include <heed/kernels/score_tile.hpp>

#include <algorithm>
#include <limits>

/// What linear attention adds up over rows, per feature r: s_r = sum_j phi_jr v_j and z_r = sum_j phi_jr.
///
/// Features of the softmax kernel are exponentials of anything from -1e3 to 1e3. They are stabilised feature by feature:
/// with a reference c_r, the sums are over e^(y_jr - c_r), and whoever reads them multiplies with e^(y_ir + c_r). Any
/// c_r cancels; one near the maximum of y_jr over the keys keeps z_r at or above 1, and then every denominator
/// sum_r e^(y_ir + c_r - max) z_r, whatever queries and keys are. (One reference for all features, as in the authors'
/// code, underflows where queries and keys peak at different features.)
///
/// References only rise, and rise by what has been read before: a causal row then meets references that only its past
/// decides. A key may stand above its reference by `slack`; a chunk of keys that rises further is cut there.

namespace heed::detail {

/// Rows of a block.
inline constexpr Index linear_rows = 48;
/// How far an exponent may stand above its reference.
inline constexpr int linear_slack = 16;
/// Features of a sum are e^(y - c) 2^-key_room and those that read it are at most 2^-query_room: sums of weighted values
/// stay within the values, however large these are, over 2^24 keys and 2^12 features.
inline constexpr int key_room = 48, query_room = 12;

/// Sums of one head, for `stride` features: s lies [stride][width], or as its transpose [width][stride].
template <class S>
struct LinearSums {
  S *s = nullptr, *z = nullptr, *c = nullptr;
  S* top = nullptr;  // maxima of the exponents read so far: the next references
  operator LinearSums<const S>() const { return {s, z, c, top}; }
};
template <class S>
struct LinearSums<const S> {
  const S *s, *z, *c, *top;
};

/// No key yet.
template <class S>
void clear(const LinearSums<S>& sums, Index stride, Index width) {
  std::fill_n(sums.s, stride * width, S(0));
  std::fill_n(sums.z, stride, S(0));
  std::fill_n(sums.c, stride, std::numeric_limits<S>::lowest());
  std::fill_n(sums.top, stride, std::numeric_limits<S>::lowest());
}

/// top = max(top, every row of y [rows][stride])
template <class S>
void take_maxima(const S* y, Index rows, Index stride, S* top) {
  for (Index r = 0; r < stride; r += lanes<S>) {
    Packet<S> most = load(top + r);
    for (Index i = 0; i < rows; ++i) most = pmax(most, load(y + i * stride + r));
    store<S>(top + r, most);
  }
}

/// Raises the references to `top`, and the sums with them. `transposed`: s is [width][stride]. `alpha` is scratch.
template <class S>
void raise_references(const LinearSums<S>& sums, Index stride, Index width, bool transposed, S* alpha) {
  bool moved = false;
  for (Index r = 0; r < stride; r += lanes<S>) {
    const Packet<S> old = load(sums.c + r), now = pmax(old, load(sums.top + r));
    store<S>(sums.c + r, now);
    store<S>(sums.top + r, now);
    const Packet<S> factor = exp<S>(psub(old, now));
    store<S>(alpha + r, factor);
    store<S>(sums.z + r, pmul(factor, load(sums.z + r)));
  }
  for (Index r = 0; r < stride; ++r) moved |= alpha[r] != S(1);
  if (!moved) return;
  for (Index i = 0; i < (transposed ? width : stride); ++i) {
    S* const row = sums.s + i * (transposed ? stride : width);
    if (!transposed && alpha[i] == S(1)) continue;
    for (Index e = 0; e < (transposed ? stride : width); e += lanes<S>)
      store<S>(row + e, pmul(load(row + e), transposed ? load(alpha + e) : broadcast(alpha[i])));
  }
}

/// How many of the rows of y, in steps of `step` from the first, stand no further than the slack above the references;
/// at least 1.
template <class S>
Index rows_within_slack(const S* y, Index rows, Index stride, Index step, const S* c) {
  for (Index i = 1; i < rows; ++i) {
    const S* const row = y + i * step * stride;
    Packet<S> most = psub(load(row), load(c));
    for (Index r = lanes<S>; r < stride; r += lanes<S>) most = pmax(most, psub(load(row + r), load(c + r)));
    if (max_of_lanes<S>(most) > S(linear_slack)) return i;
  }
  return rows;
}

/// y [rows][stride] becomes 2^-room e^(y - c); its rows, times `factors` [rows] if there are any, are added to z, and top
/// rises to the largest y. Features that are no exponents (`logarithmic` false) stay as they are.
template <bool logarithmic, int room, class S>
void take_features(S* y, Index rows, Index stride, const S* factors, const LinearSums<S>& sums) {
  for (Index r = 0; r < stride; r += lanes<S>) {
    const Packet<S> reference = load(sums.c + r);
    Packet<S> sum = load(sums.z + r), most = load(sums.top + r);
    for (Index i = 0; i < rows; ++i) {
      S* const at = y + i * stride + r;
      Packet<S> x = load(at);
      if constexpr (logarithmic) {
        most = pmax(most, x);
        x = exp<S, room>(psub(x, reference));
        store<S>(at, x);
      }
      sum = factors == nullptr ? padd(sum, x) : pmadd(x, broadcast(factors[i]), sum);
    }
    store<S>(sums.z + r, sum);
    store<S>(sums.top + r, most);
  }
}

}  // namespace heed::detail
