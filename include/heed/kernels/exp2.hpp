// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/simd.hpp>

#include <array>
#include <cmath>
#include <limits>

/// 2^x and e^x by packets, for the exponents of a softmax: x from -inf to about 0.
///
/// A weight below the smallest normal number is written as exact 0: a denormal weight would slow the product with the
/// values down 80-fold. NaN stays NaN; e^0 and 2^0 are exactly 1, so that a rescale by an unmoved maximum changes no
/// bit. A single number goes through a packet as well, and has the same bits as in any lane.

namespace heed::detail {

/// (2^f - 1) / f on [-1/2, 1/2], highest power first; the relative error of 1 + f * this is 3e-9 and 2e-17.
template <class S>
inline constexpr std::array<S, 0> exp2_polynomial{};
template <>
inline constexpr std::array<float, 6> exp2_polynomial<float>{1.5594676565537e-4f, 1.3406643881627e-3f,
                                                             9.6176929776983e-3f, 5.5503105510666e-2f,
                                                             2.4022652782827e-1f, 6.9314721496799e-1f};
template <>
inline constexpr std::array<double, 11> exp2_polynomial<double>{
    4.0780704733827080638e-10, 7.072570455664346201e-9,  1.0180647670584794165e-7, 1.321544267510678328e-6,
    1.5252727385162077567e-5,  1.5403530441572490074e-4, 1.3333558153440002656e-3, 9.6181291076070022038e-3,
    5.5504108664790394378e-2,  2.4022650695910098007e-1, 6.9314718055994569675e-1};

/// 2^(c x - room), for c x <= 127 (1023 for double): the exponent is lowered exactly, whatever x. 0 where x < lowest,
/// which has to keep c x - room at or above the exponent of the smallest normal number.
template <int room, class S>
EIGEN_ALWAYS_INLINE Packet<S> exp2_of_product(const Packet<S>& x, S c, S lowest) {
  if constexpr (lanes<S> == 1) {
    return x < lowest ? S(0) : std::ldexp(std::exp2(c * x), -room);
  } else {
    constexpr int mantissa = std::numeric_limits<S>::digits - 1;
    constexpr int bias = std::numeric_limits<S>::max_exponent - 1;
    // Adding 1.5 * 2^mantissa rounds to an integer, which then stands in the low bits; with the bias on top these bits
    // are the exponent of the power of two.
    constexpr S magic = S(std::uint64_t{3} << (mantissa - 1)) + S(bias - room);
    const Packet<S> rounded = pmadd(x, broadcast(c), broadcast(magic));
    const Packet<S> f = pmadd(x, broadcast(c), psub(broadcast(magic), rounded));
    Packet<S> y = broadcast(exp2_polynomial<S>[0]);
#pragma GCC unroll 16
    for (std::size_t i = 1; i < exp2_polynomial<S>.size(); ++i) y = pmadd(y, f, broadcast(exp2_polynomial<S>[i]));
    y = pmadd(y, f, broadcast(S(1)));
    return zero_below<S>(pmul(y, shift_bits_up<mantissa, S>(rounded)), x, lowest);
  }
}

/// 2^x within 2 ulp; exact 0 for x < -126 (-1022 for double).
template <class S>
EIGEN_ALWAYS_INLINE Packet<S> exp2(const Packet<S>& x) {
  return exp2_of_product<0, S>(x, S(1), S(std::numeric_limits<S>::min_exponent - 1));
}

/// 2^-room e^x within (2 + |x| / 4) ulp where multiply-adds are fused, else (2 + 1.5 |x|); exact 0 for x < -86.6 (-707
/// for double), plus 0.7 room.
template <class S, int room = 0>
EIGEN_ALWAYS_INLINE Packet<S> exp(const Packet<S>& x) {
  return exp2_of_product<room, S>(x, S(1.44269504088896340735992468100189214L),
                                  S(std::numeric_limits<S>::min_exponent + room) * S(0.693));
}

/// e^x of one number, with the bits of a lane.
template <class S>
S exp_of(S x) {
  return first_lane<S>(exp<S>(broadcast(x)));
}

}  // namespace heed::detail
