// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

/// One SIMD register of `S` over Eigen's packet layer: SSE, AVX, AVX-512, NEON and others alike. This is the only file
/// that may know an instruction set. A type that Eigen does not vectorise (long double) is a packet of one lane.
///
/// Every load and store is unaligned: the caller's rows may lie anywhere, and where they are aligned it costs nothing.

namespace heed::detail {

template <class S>
using Packet = typename Eigen::internal::packet_traits<S>::type;
template <class S>
inline constexpr int lanes = Eigen::internal::unpacket_traits<Packet<S>>::size;
/// Vector registers of the machine. A kernel keeps a quarter of them free for its operands.
inline constexpr int vector_registers = EIGEN_ARCH_DEFAULT_NUMBER_OF_REGISTERS;

/// The smallest multiple of the lanes of S that holds n.
template <class S>
constexpr Index packet_padded(Index n) {
  return (n + lanes<S> - 1) / lanes<S> * lanes<S>;
}

template <class S>
EIGEN_ALWAYS_INLINE Packet<S> load(const S* from) {
  return Eigen::internal::ploadu<Packet<S>>(from);
}
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> broadcast(S x) {
  return Eigen::internal::pset1<Packet<S>>(x);
}
template <class S>
EIGEN_ALWAYS_INLINE void store(S* to, const Packet<S>& x) {
  Eigen::internal::pstoreu(to, x);
}
using Eigen::internal::pabs;
using Eigen::internal::padd;
using Eigen::internal::pdiv;
using Eigen::internal::pmax;  // may drop or keep a NaN: never rely on either; nor of pmin
using Eigen::internal::pmin;
using Eigen::internal::pmul;
using Eigen::internal::psub;

/// a * b + c, fused where the machine can. One lane says so itself: left to the compiler, some loops would be fused and
/// others not, and equal sums would differ in their bits.
template <class P>
EIGEN_ALWAYS_INLINE P pmadd(const P& a, const P& b, const P& c) {
#ifdef __FP_FAST_FMA
  if constexpr (std::is_same_v<P, float> || std::is_same_v<P, double>) return std::fma(a, b, c);
#endif
  return Eigen::internal::pmadd(a, b, c);
}

/// The lanes of x added up, in one fixed order.
template <class S>
EIGEN_ALWAYS_INLINE S sum_of_lanes(const Packet<S>& x) {
  return Eigen::internal::predux(x);
}
template <class S>
EIGEN_ALWAYS_INLINE S max_of_lanes(const Packet<S>& x) {
  return Eigen::internal::predux_max(x);
}
template <class S>
EIGEN_ALWAYS_INLINE S first_lane(const Packet<S>& x) {
  return Eigen::internal::pfirst(x);
}

/// As many packets as a packet has lanes.
template <class S>
struct PacketSquare : Eigen::internal::PacketBlock<Packet<S>, lanes<S>> {};

/// Swaps rows and columns.
template <class S>
EIGEN_ALWAYS_INLINE void transpose(PacketSquare<S>& square) {
#if defined(EIGEN_VECTORIZE_AVX512)
  if constexpr (sizeof(S) == 4) {  // the layer's takes twice the shuffles of this
    auto& x = square.packet;
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
      const Packet<S> a = _mm512_unpacklo_ps(x[i], x[i + 1]), b = _mm512_unpackhi_ps(x[i], x[i + 1]);
      const Packet<S> c = _mm512_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm512_unpackhi_ps(x[i + 2], x[i + 3]);
      x[i] = _mm512_shuffle_ps(a, c, 0x44);
      x[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
      x[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
      x[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Packet<S> a = _mm512_shuffle_f32x4(x[i], x[i + 4], 0x88), b = _mm512_shuffle_f32x4(x[i], x[i + 4], 0xdd);
      const Packet<S> c = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0x88),
                      d = _mm512_shuffle_f32x4(x[i + 8], x[i + 12], 0xdd);
      x[i] = _mm512_shuffle_f32x4(a, c, 0x88);
      x[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
      x[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
      x[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
    return;
  }
#endif
  if constexpr (lanes < S >> 1) Eigen::internal::ptranspose(square);
}

/// Lane i is that of `odd` where the bit `step` of i is set, else that of `even`; `step` is a power of two.
template <int step, class S>
EIGEN_ALWAYS_INLINE Packet<S> alternate(const Packet<S>& even, const Packet<S>& odd) {
  static_assert(step < lanes<S>);
  constexpr auto pattern = [] {
    std::array<S, std::size_t{lanes<S>}> bits{};
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = (i & std::size_t{step}) != 0 ? S(1) : S(0);
    return bits;
  }();
  return Eigen::internal::pselect(Eigen::internal::pcmp_eq(load(pattern.data()), broadcast(S(1))), odd, even);
}

/// The first n lanes of x, at least one of them; `other` in the others.
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> first_lanes(const Packet<S>& x, Index n, S other) {
  if constexpr (lanes<S> == 1) {
    return x;
  } else {
    const Packet<S> numbers = Eigen::internal::plset<Packet<S>>(S(0));
    return Eigen::internal::pselect(Eigen::internal::pcmp_lt(numbers, broadcast(static_cast<S>(n))), x,
                                    broadcast(other));
  }
}

/// Lane i is the sum of the lanes of packet i, added up pairwise.
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> sums_of_rows(PacketSquare<S>& square) {
  auto& x = square.packet;
#if defined(EIGEN_VECTORIZE_AVX512)
  if constexpr (sizeof(S) == 4) {  // the layer's transposition takes four times the shuffles of this
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i)
      x[i] = padd(_mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]), _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      x[i] = padd(_mm512_shuffle_ps(x[2 * i], x[2 * i + 1], 0x44), _mm512_shuffle_ps(x[2 * i], x[2 * i + 1], 0xee));
#pragma GCC unroll 2
    for (int n = 2; n > 0; n /= 2)
#pragma GCC unroll 2
      for (int i = 0; i < n; ++i)
        x[i] = padd(_mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0x88),
                    _mm512_shuffle_f32x4(x[2 * i], x[2 * i + 1], 0xdd));
    return x[0];
  }
#endif
  transpose<S>(square);
  for (int step = lanes<S> / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) x[i] = padd(x[i], x[i + step]);
  return x[0];
}

/// The bits of each lane moved up by `n`, as one unsigned integer per lane.
template <int n, class S>
EIGEN_ALWAYS_INLINE Packet<S> shift_bits_up(Packet<S> x) {
  using Bits = std::conditional_t<sizeof(S) == 4, std::uint32_t, std::uint64_t>;
  static_assert(sizeof(S) == sizeof(Bits));
#if defined(__GNUC__)
  typedef Bits Vector __attribute__((vector_size(sizeof(Packet<S>))));
  Vector bits;
  std::memcpy(&bits, &x, sizeof x);
  bits <<= n;
#else
  Bits bits[lanes<S>];
  std::memcpy(bits, &x, sizeof x);
  for (Bits& b : bits) b <<= n;
#endif
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// `y`, but exact 0 in lanes where x < bound. A NaN in x keeps y.
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> zero_below(const Packet<S>& y, const Packet<S>& x, S bound) {
  if constexpr (lanes<S> == 1) {
    return x < bound ? S(0) : y;
#if defined(EIGEN_VECTORIZE_AVX512)
  } else if constexpr (sizeof(S) == 4) {  // the layer's masks are whole vectors: four instructions where two do
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, broadcast(bound), _CMP_NLT_UQ), y);
  } else {
    return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(x, broadcast(bound), _CMP_NLT_UQ), y);
#else
  } else {
    return Eigen::internal::pandnot(y, Eigen::internal::pcmp_lt(x, broadcast(bound)));
#endif
  }
}

/// `x` in lanes where a < b, else `y`: there too where a or b is NaN.
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> select_less(const Packet<S>& a, const Packet<S>& b, const Packet<S>& x,
                                          const Packet<S>& y) {
  if constexpr (lanes<S> == 1) {
    return a < b ? x : y;
#if defined(EIGEN_VECTORIZE_AVX512)
  } else if constexpr (sizeof(S) == 4) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  } else {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), y, x);
#else
  } else {
    return Eigen::internal::pselect(Eigen::internal::pcmp_lt(a, b), x, y);
#endif
  }
}

/// Asks for the cache lines of [from, from + count), which are read or written soon.
template <class S>
EIGEN_ALWAYS_INLINE void prefetch(const S* from, Index count) {
  for (Index i = 0; i < count; i += Index{64 / sizeof(S)}) Eigen::internal::prefetch(from + i);
  Eigen::internal::prefetch(from + count - 1);
}

}  // namespace heed::detail
