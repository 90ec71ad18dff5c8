// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

#include <set>

/// `visit` meets every member of every struct of parameters, by a name of its own; a copy made through it is the
/// original.
struct VisitsEveryParameter {
  static constexpr const char* name = "visits_every_parameter";

  struct Anything {
    template <class T>
    operator T() const;
  };
  template <class T, class... A>
  static constexpr std::size_t members(A... a) {
    if constexpr (requires { T{a..., Anything{}}; })
      return members<T>(a..., Anything{});
    else
      return sizeof...(A);
  }

  template <class T>
  static void check(Verdict& v, const std::string& what, T& params) {
    std::size_t visited = 0;
    std::set<std::string> names;
    T::visit(
        [&](const char* name, auto& member) {
          using M = std::remove_cvref_t<decltype(member)>;
          ++visited;
          v.expect(names.insert(name).second, what, ": two members are called ", name);
          if constexpr (heed::Visitable<M>) check(v, what + "." + name, member);
          if constexpr (heed::detail::is_vector<M>)
            if constexpr (heed::Visitable<typename M::value_type>)
              if (!member.empty()) check(v, what + "." + name, member[0]);
        },
        params);
    v.expect(visited == members<T>(), what, ": ", members<T>(), " members, but visit meets ", visited);
  }
  template <class Family>
  static Verdict check_family() {
    using P = typename Family::template Of<float>;
    Verdict v;
    for (const auto& options : layer_options<P>()) {
      Layer<P> layer(options);
      check(v, "Attention::Params", layer.params);
      if constexpr (!std::is_empty_v<typename P::Shared>) check(v, "Shared", layer.shared);
      auto copy = heed::zeros_like(layer.params);
      heed::for_each_leaf([](auto& to, const auto& from) { to = from; }, copy, layer.params);
      v.expect(heed::same_shape(copy, layer.params) && heed::count(copy) > 0, "a copy has another shape");
      heed::for_each([&](const std::string& path, const auto& a,
                         const auto& b) { v.expect(same_bits(a, b), path, " is not copied"); },
                     copy, layer.params);
    }
    return v;
  }
};
