// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/types.hpp>

#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

/// Parameters are plain structs with one variadic `visit`, the only list of their members:
///
///     struct Params {
///       Matrix<S> w, b;
///       template <class F, class... X>
///       static void visit(F&& f, X&... x) { f("w", x.w...); f("b", x.b...); }
///     };
///
/// A gradient is a `Params`, and so are the moments of an optimiser. What is done with them is one `for_each`.

namespace heed {

/// Nothing to learn.
struct NoParams {
  template <class F, class... X>
  static void visit(F&&, X&...) {}
};

template <class T>
concept Visitable = requires(T& t) {
  std::remove_cvref_t<T>::visit([](const char*, auto&...) {}, t);
};

namespace detail {
template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class F, class T, class... Ts>
void for_each_path(F& f, const std::string& path, T& first, Ts&... rest) {
  using U = std::remove_const_t<T>;
  const auto below = [&](const std::string& name) { return path.empty() ? name : path + "." + name; };
  if constexpr (is_vector<U>)
    for (std::size_t i = 0; i < first.size(); ++i) for_each_path(f, below(std::to_string(i)), first[i], rest[i]...);
  else if constexpr (Visitable<U>)
    U::visit([&](const char* name, auto& x, auto&... xs) { for_each_path(f, below(name), x, xs...); }, first, rest...);
  else
    f(path, first, rest...);
}
}  // namespace detail

/// Calls `f(leaf, leaves...)` for every matrix of `first` and the same matrix of the `rest`: any number of structs of
/// one type and one shape, const or not. Allocates nothing.
template <class F, class T, class... Ts>
void for_each_leaf(F&& f, T& first, Ts&... rest) {
  using U = std::remove_const_t<T>;
  if constexpr (detail::is_vector<U>)
    for (std::size_t i = 0; i < first.size(); ++i) for_each_leaf(f, first[i], rest[i]...);
  else if constexpr (Visitable<U>)
    U::visit([&](const char*, auto& x, auto&... xs) { for_each_leaf(f, x, xs...); }, first, rest...);
  else
    f(first, rest...);
}

/// The same with the path of the leaf: `f("heads.0.w", leaf, leaves...)`.
template <class F, class T, class... Ts>
void for_each(F&& f, T& first, Ts&... rest) {
  detail::for_each_path(f, std::string(), first, rest...);
}

/// Calls `f(part)` for every part of `whole` that is a `Part`: a struct of parameters, or a list of them.
template <class Part, class F, class T>
void for_each_part(F&& f, T& whole) {
  using U = std::remove_const_t<T>;
  if constexpr (std::is_same_v<U, Part>) {
    f(whole);
  } else if constexpr (detail::is_vector<U>) {
    for (auto& x : whole) for_each_part<Part>(f, x);
  } else if constexpr (Visitable<U>) {
    U::visit([&](const char*, auto& x) { for_each_part<Part>(f, x); }, whole);
  }
}

template <class T>
void set_zero(T& params) {
  for_each_leaf([](auto& m) { m.setZero(); }, params);
}

template <class T>
T zeros_like(const T& params) {
  T zeros = params;
  set_zero(zeros);
  return zeros;
}

/// a += b
template <class T>
void add(T& a, const T& b) {
  for_each_leaf([](auto& x, const auto& y) { x += y; }, a, b);
}

/// How many numbers there are.
template <class T>
Index count(const T& params) {
  Index n = 0;
  for_each_leaf([&](const auto& m) { n += m.size(); }, params);
  return n;
}

/// Whether the two have the same lists and every matrix the same shape.
template <class T>
bool same_shape(const T& a, const T& b) {
  if constexpr (detail::is_vector<T>) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); ++i)
      if (!same_shape(a[i], b[i])) return false;
    return true;
  } else if constexpr (Visitable<T>) {
    bool same = true;
    T::visit([&](const char*, const auto& x, const auto& y) { same = same && same_shape(x, y); }, a, b);
    return same;
  } else {
    return a.rows() == b.rows() && a.cols() == b.cols();
  }
}

}  // namespace heed
