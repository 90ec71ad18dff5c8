// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/type_list.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

/// What the parts of a layer need from outside - shared parameters, the caller's context - as one object. Each type is
/// in it once: parts that need the same type get the same object. Empty types take no place.

namespace heed {

namespace detail {
/// "0", "1", ...: the names of the parts of a list.
template <std::size_t i>
inline constexpr std::array<char, 4> index_name =
    i < 10 ? std::array<char, 4>{char('0' + i), 0, 0, 0}
           : std::array<char, 4>{char('0' + i / 10), char('0' + i % 10), 0, 0};

/// Calls `f(name, x...)` for element i of each of the tuples, for all i.
template <class F, class First, class... Rest>
void visit_tuples(F&& f, First& first, Rest&... rest) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    const auto one = [&](auto at) {
      constexpr std::size_t n = decltype(at)::value;
      static_assert(n < 100);
      f(index_name<n>.data(), std::get<n>(first), std::get<n>(rest)...);
    };
    (one(std::integral_constant<std::size_t, i>{}), ...);
  }
  (std::make_index_sequence<std::tuple_size_v<std::remove_const_t<First>>>{});
}
}  // namespace detail

/// Several of them.
template <class... Ts>
struct Several {
  std::tuple<Ts...> parts;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    detail::visit_tuples(f, x.parts...);
  }
};

namespace detail {
template <class Found, class... Ts>
struct distinct {
  using type = Found;
};
template <class... Found, class T, class... Ts>
struct distinct<TypeList<Found...>, T, Ts...>
    : distinct<std::conditional_t<std::is_empty_v<T> || (std::same_as<T, Found> || ...), TypeList<Found...>,
                                  TypeList<Found..., T>>,
               Ts...> {};
template <class None, class List>
struct together;
template <class None>
struct together<None, TypeList<>> {
  using type = None;
};
template <class None, class T>
struct together<None, TypeList<T>> {
  using type = T;
};
template <class None, class T, class U, class... Ts>
struct together<None, TypeList<T, U, Ts...>> {
  using type = Several<T, U, Ts...>;
};
template <class T>
inline T nothing{};
}  // namespace detail

/// `None` if all are empty, the type itself if there is one, else `Several`.
template <class None, class... Ts>
using Together = typename detail::together<None, typename detail::distinct<TypeList<>, Ts...>::type>::type;

/// The part of type T, by reference.
template <class T, class Whole>
auto& part(Whole& whole) {
  if constexpr (std::is_empty_v<T>)
    return detail::nothing<std::conditional_t<std::is_const_v<Whole>, const T, T>>;
  else if constexpr (std::same_as<T, std::remove_const_t<Whole>>)
    return whole;
  else
    return std::get<T>(whole.parts);
}

}  // namespace heed
