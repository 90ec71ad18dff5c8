// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>
#include <heed/kernels/exp2.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

/// The non-linear functions of feed-forward layers and their slopes, by packets.

namespace heed {

enum class Activation {
  relu,       ///< max(0, u); its slope at 0 is 0
  gelu,       ///< u Phi(u), Phi the normal distribution: exact
  gelu_tanh,  ///< u (1 + tanh(sqrt(2 / pi) (u + 0.044715 u^3))) / 2: what flax calls gelu
  silu        ///< u / (1 + e^-u), also called swish
};

namespace detail {

/// (1 + a / 4) Phi(-a) e^(a^2 / 2) for a >= 0, as a polynomial in (a - 4) / (a + 4), highest power first: the Chebyshev
/// series, cut where the relative error is 2e-8 and 1e-16. One formula for all a, no branches.
template <class S>
inline constexpr std::array<S, 0> normal_tail{};
template <>
inline constexpr std::array<float, 10> normal_tail<float>{
    -3.93301424e-5f, 3.233142034e-5f,  3.909467247e-4f, -8.690419737e-4f, -1.878057845e-3f,
    1.509882397e-2f, -4.663167772e-2f, 9.678439073e-2f, -1.51974101e-1f,  1.888212818e-1f};
template <>
inline constexpr std::array<double, 23> normal_tail<double>{
    -4.2216442416966837251e-10, -3.1930878582394300221e-10, 4.0168467393323504536e-9, 4.8924022349935121423e-9,
    -1.9695900856734094452e-8,  -4.0557908021339176493e-8,  6.618343204949669564e-8,  2.5674601753579823663e-7,
    -1.5623877693912944655e-7,  -1.4807234443854820318e-6,  1.786505382816865435e-7,  8.7864005897611287033e-6,
    -4.769190076797745373e-7,   -5.7773784446822334013e-5,  3.3336052290036948205e-5, 4.0770462136839643075e-4,
    -8.6992308916287565475e-4,  -1.8850472422229047483e-3,  1.5099143722590229612e-2, -4.6630464489894678937e-2,
    9.6784350185556650454e-2,   -1.519741604929732394e-1,   1.8882128260393786287e-1};

/// Phi(u), given e^(-u^2 / 2).
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> normal_distribution(const Packet<S>& u, const Packet<S>& e) {
  if constexpr (normal_tail<S>.size() == 0) {
    return std::erfc(-u * S(0.70710678118654752440084436210484903928L)) / 2;
  } else {
    const Packet<S> q = pdiv(broadcast(S(1)), pmadd(pabs(u), broadcast(S(0.25)), broadcast(S(1))));
    const Packet<S> t = pmadd(q, broadcast(S(-2)), broadcast(S(1)));
    Packet<S> y = broadcast(normal_tail<S>[0]);
#pragma GCC unroll 32
    for (std::size_t i = 1; i < normal_tail<S>.size(); ++i) y = pmadd(y, t, broadcast(normal_tail<S>[i]));
    const Packet<S> tail = pmul(pmul(y, q), e);  // Phi(-|u|)
    return padd(tail, zero_below<S>(pmadd(tail, broadcast(S(-2)), broadcast(S(1))), u, S(0)));
  }
}

/// s = 1 / (1 + e^-w) and 1 - s, each to the last digits.
template <class S>
struct Logistic {
  Packet<S> s, rest;
  EIGEN_ALWAYS_INLINE explicit Logistic(const Packet<S>& w) {
    constexpr S largest = S(std::numeric_limits<S>::max_exponent - 2) * S(0.693);
    const Packet<S> e = exp<S>(pmin(psub(broadcast(S(0)), w), broadcast(largest)));
    s = pdiv(broadcast(S(1)), padd(e, broadcast(S(1))));
    rest = pmul(e, s);
  }
};

template <class S>
struct Relu {
  using P = Packet<S>;
  static P value(const P& u) { return zero_below<S>(u, u, S(0)); }
  static P slope(const P& u) { return zero_below<S>(broadcast(S(1)), u, std::numeric_limits<S>::min()); }
};
template <class S>
struct Gelu {
  using P = Packet<S>;
  static P bell(const P& u) { return exp<S>(pmul(pmul(u, u), broadcast(S(-0.5)))); }
  static P value(const P& u) { return pmul(u, normal_distribution<S>(u, bell(u))); }
  static P slope(const P& u) {
    const P e = bell(u);
    return pmadd(pmul(u, broadcast(S(0.39894228040143267793994605993438186848L))), e, normal_distribution<S>(u, e));
  }
};
template <class S>
struct GeluTanh {
  using P = Packet<S>;
  static constexpr S outer = S(1.59576912160573071175978423973752747390L), inner = S(0.044715L);
  /// Beyond 64 nothing changes any more, and the cube could overflow.
  static P near(const P& u) { return pmin(pmax(u, broadcast(S(-64))), broadcast(S(64))); }
  static Logistic<S> share(const P& u) {  // (1 + tanh(...)) / 2
    const P v = near(u);
    return Logistic<S>(pmul(pmul(v, broadcast(outer)), pmadd(pmul(v, v), broadcast(inner), broadcast(S(1)))));
  }
  static P value(const P& u) { return pmul(u, share(u).s); }
  static P slope(const P& u) {
    const Logistic<S> l = share(u);
    const P v = near(u), inside = pmadd(pmul(v, v), broadcast(3 * outer * inner), broadcast(outer));
    return pmadd(pmul(pmul(u, inside), l.rest), l.s, l.s);
  }
};
template <class S>
struct Silu {
  using P = Packet<S>;
  static P value(const P& u) { return pmul(u, Logistic<S>(u).s); }
  static P slope(const P& u) {
    const Logistic<S> l(u);
    return pmadd(pmul(u, l.rest), l.s, l.s);
  }
};

/// Calls `f(functions)`.
template <class S, class F>
void with_activation(Activation a, F&& f) {
  switch (a) {
    case Activation::relu:
      return f(Relu<S>{});
    case Activation::gelu:
      return f(Gelu<S>{});
    case Activation::gelu_tanh:
      return f(GeluTanh<S>{});
    case Activation::silu:
      return f(Silu<S>{});
  }
}

/// y[c] = f(x[c]...), by packets; what is left at the end goes through a packet too, and has the same bits. y may be
/// one of x.
template <class S, class F, class... X>
void map_columns(Index n, S* y, const F& f, const X*... x) {
  constexpr Index width = lanes<S>;
  Index c = 0;
  for (; c + width <= n; c += width) store(y + c, f(load(x + c)...));
  if (c == n) return;
  const auto rest = [&](const S* from) {
    S some[std::size_t{width}] = {};
    std::copy_n(from + c, n - c, some);
    return load(some);
  };
  S some[std::size_t{width}];
  store(some, f(rest(x)...));
  std::copy_n(some, n - c, y + c);
}

}  // namespace detail

}  // namespace heed
