// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/policies/dense.hpp>
#include <heed/policies/tiled.hpp>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <limits>

/// Cases and oracle of the exact softmax policies: `Dense` and `Tiled` with any pattern. A `Rule` says, in words of its
/// own and not the pattern's, which key a query sees: `Rule::sees(p, j)` for positions among the keys.
template <class P, class Rule>
struct SoftmaxCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  static constexpr bool can_be_causal = true;
  static constexpr bool can_split_keys = Rule::everything;

  static std::vector<S> slopes(Index heads) {
    std::vector<S> m;
    for (Index h = 0; h < heads; ++h) m.push_back(S(0.25) / static_cast<S>(h + 1));
    return m;
  }

  static std::vector<Case<P>> cases(const std::vector<Index>& d, const std::vector<Index>& d_v,
                                    const std::vector<Index>& n_q, const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    for (const auto& row : pairwise({2, 2, 2, 2, 3, d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options.causal = row[0] == 1;
      if (row[1] == 1) c.options.scale = S(0.375);
      c.options.soft_cap = row[2] == 1 ? S(1.5) : S(0);
      c.shape = {d[row[5]], d_v[row[6]], 3};
      if (row[3] == 1) c.options.alibi = slopes(c.shape.heads);
      c.context = static_cast<int>(row[4]);
      c.call = {n_q[row[7]], n_k[row[8]]};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (causal " + std::to_string(row[0]) + ", scale " +
                std::to_string(row[1]) + ", soft cap " + std::to_string(row[2]) + ", alibi " + std::to_string(row[3]) +
                ", bias " + std::to_string(row[4]) + ", d " + std::to_string(c.shape.key_dim) + ", d_v " +
                std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    return cases({1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {0, 1, 2, 17, 48, 65, 131}, {0, 1, 8, 33, 64, 130, 257});
  }
  static std::vector<Case<P>> small() { return cases({1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11}); }

  static std::vector<Options> options(Index heads) {
    std::vector<Options> all(4);
    all[1].causal = true;
    all[2].causal = true;
    all[2].soft_cap = S(2);
    all[2].alibi = slopes(heads);
    all[3].scale = S(0.5);
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const auto bad = Base::changed(refused);
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
    bad("NaN scale", "scale", [&](Options& o) { o.scale = infinity - infinity; });
    bad("negative soft cap", "soft_cap", [&](Options& o) { o.soft_cap = S(-1); });
    bad("infinite soft cap", "soft_cap", [&](Options& o) { o.soft_cap = infinity; });
    bad("too few slopes", "alibi", [&](Options& o) { o.alibi = {S(1)}; });
    bad("infinite slope", "alibi", [&](Options& o) { o.alibi = {S(1), infinity, S(1), S(1)}; });
  }

  /// Calls refused(what, context) for contexts that a batch of 4 heads does not allow.
  template <class F>
  static void bad_contexts(const heed::Batch& batch, F&& refused) {
    const heed::Index n = batch.queries(0).size;
    heed::Matrix<S> right(n, n), small(n, n - 1);
    typename P::Context c;
    c.blocks = {heed::view(std::as_const(small))};
    refused("a bias too narrow", c);
    c.blocks = {heed::view(std::as_const(right))};
    refused("a bias for the first sequence only", c);
    c.per = heed::BiasPer::sequence_and_head;
    refused("too few blocks", c);
    c = {};
    c.gradient = {heed::view(right)};
    refused("a gradient without a bias", c);
  }

  /// Kind 0: none. 1: one bias for the whole batch. 2: one per sequence and head with a gradient; a fifth of it is
  /// -inf.
  static typename P::Context context(const Case<P>& c, std::vector<heed::Matrix<S>>& storage) {
    typename P::Context context;
    if (c.context == 0) return context;
    heed::Random random(c.seed + 1000);
    const Index blocks = c.context == 1 ? 1 : 2 * c.shape.heads;
    for (Index b = 0; b < blocks; ++b) {
      storage.push_back(heed::random_normal<S>(random, c.call.queries, c.call.keys, 1));
      if (c.context == 2)
        for (Index i = 0; i < storage.back().size(); ++i)
          if (random.below(5) == 0) storage.back().data()[i] = -std::numeric_limits<S>::infinity();
    }
    if (c.context == 2)
      for (Index b = 0; b < blocks; ++b) storage.push_back(heed::Matrix<S>::Zero(c.call.queries, c.call.keys));
    for (Index b = 0; b < blocks; ++b) {
      const heed::Matrix<S>& block = storage[static_cast<std::size_t>(b)];
      context.blocks.push_back(heed::view(block));
      if (c.context == 2) context.gradient.push_back(heed::view(storage[static_cast<std::size_t>(blocks + b)]));
    }
    context.per = c.context == 1 ? heed::BiasPer::batch : heed::BiasPer::sequence_and_head;
    return context;
  }
  static std::size_t block(const Case<P>& c) {
    return c.context == 1 ? 0 : static_cast<std::size_t>(c.sequence * c.shape.heads + c.head);
  }
  static S bias(const Case<P>& c, const Instance<P>& in, Index i, Index j) {
    return c.context == 0 ? S(0) : in.storage[block(c)](i, j);
  }
  static bool sees(const Case<P>& c, const Instance<P>& in, Index i, Index j) {
    const Index p = i + c.call.keys - c.call.queries;
    return (!c.options.causal || j <= p) && Rule::sees(p, j) &&
           bias(c, in, i, j) != -std::numeric_limits<S>::infinity();
  }

  static Grid seen(const Case<P>& c, const Instance<P>& in) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, in, i, j); });
  }
  static bool sees_first(const Case<P>& c) {
    return c.context == 0 && Rule::sees(c.call.keys - 1, 0) && c.options.alibi.empty();
  }
  /// Pairs of the pattern: what a bias hides is computed all the same.
  static Index seen_pairs(const Case<P>& c) {
    Index pairs = 0;
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j) {
        const Index p = i + c.call.keys - c.call.queries;
        pairs += (!c.options.causal || j <= p) && Rule::sees(p, j) ? 1 : 0;
      }
    return pairs;
  }
  /// Whether the result over all keys is that over two halves: no position, no bias that knows the whole.
  static bool keys_split(const Case<P>& c) {
    return Rule::everything && !c.options.causal && c.options.alibi.empty() && c.context == 0;
  }

  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    using oracle::Real;
    oracle::Problem problem = Base::problem(c, in, in.fields, [&](Index i, Index j) { return sees(c, in, i, j); });
    problem.bias = [&](Index i, Index j) {
      const Index p = i + c.call.keys - c.call.queries;
      const Real slope = c.options.alibi.empty() ? Real(0) : Real(c.options.alibi[static_cast<std::size_t>(c.head)]);
      return Real(bias(c, in, i, j)) - slope * std::abs(Real(p - j));
    };
    return oracle::softmax_attention(problem);
  }
  template <class F>
  static void compare_gradients(const Instance<P>& in, const Results<P>& r, const oracle::Answer& a, F&& compare) {
    Base::compare_gradients(in, r, a, compare);
    if (in.context.gradient.empty()) return;
    compare("dbias", in.storage.back(), a.db);  // of the last sequence's last head
  }
};

struct SeesEverything {
  static constexpr bool everything = true;
  static bool sees(heed::Index, heed::Index) { return true; }
};
template <class S>
struct Cases<heed::Dense<S>> : SoftmaxCases<heed::Dense<S>, SeesEverything> {};
template <class S>
struct Cases<heed::Tiled<S>> : SoftmaxCases<heed::Tiled<S>, SeesEverything> {};

struct DenseFamily {
  template <class S>
  using Of = heed::Dense<S>;
};
struct TiledFamily {
  template <class S>
  using Of = heed::Tiled<S>;
};
