// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cstddef>
#include <tuple>

namespace heed {

/// A list of types, and the same call for each of them.
template <class... Ts>
struct TypeList {
  static constexpr std::size_t size = sizeof...(Ts);
  template <std::size_t i>
  using At = std::tuple_element_t<i, std::tuple<Ts...>>;
};

/// Calls `f.template operator()<T>()` for every type of the list, in order.
template <class... Ts, class F>
constexpr void for_each_type(TypeList<Ts...>, F&& f) {
  (f.template operator()<Ts>(), ...);
}

}  // namespace heed
