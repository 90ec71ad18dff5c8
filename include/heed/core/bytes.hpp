// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace heed {

template <class T>
std::size_t bytes(const T& x);

namespace detail {

/// Initialises a member of any type, but no struct from itself.
template <class Whole>
struct AnyMember {
  template <class T>
  requires(!std::is_same_v<T, Whole>) operator T() const;
};
template <class T, std::size_t... i>
constexpr bool takes(std::index_sequence<i...>) {
  return requires { T{(static_cast<void>(i), AnyMember<T>{})...}; };
}
/// The number of members of an aggregate.
template <class T, std::size_t n = 21>
constexpr std::size_t members() {
  if constexpr (n == 0 || takes<T>(std::make_index_sequence<n>{}))
    return n;
  else
    return members<T, n - 1>();
}

template <class... M>
std::size_t sum_of_bytes(const M&... m) {
  return (std::size_t{0} + ... + heed::bytes(m));
}
/// C++20 has no list of the members of a struct, but can take one apart that has a known number of them.
template <class T>
std::size_t bytes_of_members(const T& x) {
  constexpr std::size_t size = members<T>();
  static_assert(std::is_aggregate_v<T> && size >= 1 && size <= 20, "heed: bytes(x) needs x.bytes(), or a plain struct");
#define HEED_MEMBERS(count, ...)      \
  if constexpr (size == count) {      \
    const auto& [__VA_ARGS__] = x;    \
    return sum_of_bytes(__VA_ARGS__); \
  }
  HEED_MEMBERS(1, a)
  HEED_MEMBERS(2, a, b)
  HEED_MEMBERS(3, a, b, c)
  HEED_MEMBERS(4, a, b, c, d)
  HEED_MEMBERS(5, a, b, c, d, e)
  HEED_MEMBERS(6, a, b, c, d, e, f)
  HEED_MEMBERS(7, a, b, c, d, e, f, g)
  HEED_MEMBERS(8, a, b, c, d, e, f, g, h)
  HEED_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  HEED_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  HEED_MEMBERS(11, a, b, c, d, e, f, g, h, i, j, k)
  HEED_MEMBERS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  HEED_MEMBERS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  HEED_MEMBERS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
  HEED_MEMBERS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
  HEED_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
  HEED_MEMBERS(17, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
  HEED_MEMBERS(18, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r)
  HEED_MEMBERS(19, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s)
  HEED_MEMBERS(20, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t)
#undef HEED_MEMBERS
}

template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;
template <class T>
inline constexpr bool is_tuple = false;
template <class... T>
inline constexpr bool is_tuple<std::tuple<T...>> = true;

}  // namespace detail

/// The heap that a cache, a stream's state, parameters or a gradient hold: matrices, buffers, scratch, and lists and
/// plain structs of them. A class with private members is asked: `bytes()`.
template <class T>
std::size_t bytes(const T& x) {
  if constexpr (requires { x.bytes(); }) {
    return x.bytes();
  } else if constexpr (std::is_trivially_copyable_v<T>) {
    return 0;
  } else if constexpr (requires { typename T::PlainObject; }) {
    return static_cast<std::size_t>(x.size()) * sizeof(typename T::Scalar);
  } else if constexpr (detail::is_list<T>) {
    std::size_t sum = x.capacity() * sizeof(typename T::value_type);
    if constexpr (!std::is_trivially_copyable_v<typename T::value_type>)
      for (const auto& element : x) sum += bytes(element);
    return sum;
  } else if constexpr (detail::is_tuple<T>) {
    return std::apply([](const auto&... element) { return detail::sum_of_bytes(element...); }, x);
  } else {
    return detail::bytes_of_members(x);
  }
}

}  // namespace heed
