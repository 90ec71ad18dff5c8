// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <gtest/gtest.h>
#include <pairwise.hpp>
#include <policies/qkv_cases.hpp>

#include <cstdlib>
#include <limits>

/// Cases of the sliding windows; the rule says in its own words who sees whom.
template <class P>
struct WindowCases : QkvCases<P> {
  using Base = QkvCases<P>;
  using typename Base::Index, typename Base::Options, typename Base::S;
  static constexpr bool can_be_causal = true;
  static constexpr Index everything = 1000;  // a window wider than any case

  static Index step(const Options& o, Index head) {
    return o.dilation.size() == 1 ? o.dilation[0] : o.dilation[static_cast<std::size_t>(head)];
  }
  /// j = p + step t for some t of the window.
  static bool in_window(const Options& o, Index step, Index p, Index j) {
    for (Index t = 0; t * step <= std::abs(p - j) && t <= o.window; ++t)
      if (j == p - t * step || (j == p + t * step && !o.causal)) return true;
    return false;
  }

  /// `contexts` kinds of caller's data.
  static std::vector<Case<P>> cases(std::size_t contexts, const std::vector<Index>& windows,
                                    const std::vector<Index>& d, const std::vector<Index>& d_v,
                                    const std::vector<Index>& n_q, const std::vector<Index>& n_k) {
    const std::vector<std::vector<Index>> dilations{{1}, {2}, {5, 1, 3}, {2, 9, 1}};
    std::vector<Case<P>> all;
    for (const auto& row :
         pairwise({2, windows.size(), dilations.size(), 3, contexts, d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options.causal = row[0] == 1;
      c.options.window = windows[row[1]];
      c.options.dilation = dilations[row[2]];
      if (row[3] == 1) c.options.scale = S(0.375);
      c.options.soft_cap = row[3] == 2 ? S(1.5) : S(0);
      c.context = static_cast<int>(row[4]);
      c.shape = {d[row[5]], d_v[row[6]], 3};
      c.call = {n_q[row[7]], n_k[row[8]]};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (causal " + std::to_string(row[0]) + ", window " +
                std::to_string(c.options.window) + ", step " + std::to_string(step(c.options, c.head)) + ", scale " +
                std::to_string(row[3]) + ", context " + std::to_string(c.context) + ", d " +
                std::to_string(c.shape.key_dim) + ", d_v " + std::to_string(c.shape.value_dim) + ", n_q " +
                std::to_string(c.call.queries) + ", n_k " + std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all(std::size_t contexts) {
    return cases(contexts, {0, 1, 5, 30, everything}, {1, 5, 16, 33, 64}, {1, 7, 16, 40, 64},
                 {0, 1, 2, 17, 48, 65, 131}, {0, 1, 8, 33, 64, 130, 257});
  }
  static std::vector<Case<P>> small(std::size_t contexts) {
    return cases(contexts, {0, 1, 3}, {1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11});
  }

  static std::vector<Options> options(Index heads) {
    std::vector<Options> all(5);
    all[0].window = 3;
    all[1].window = 4;
    all[1].causal = true;
    all[2].window = 3;
    all[2].causal = true;
    all[2].soft_cap = S(2);
    for (Index h = 0; h < heads; ++h) {
      if (h > 0) all[2].dilation.push_back(1);
      all[2].dilation[static_cast<std::size_t>(h)] = 1 + h % 3;
    }
    all[3].window = 25;
    all[3].scale = S(0.5);
    all[3].dilation = {2};
    all[4].causal = true;  // wider than the sequences
    return all;
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    const auto bad = Base::changed(refused);
    bad("negative window", "window", [](Options& o) { o.window = -1; });
    bad("dilation 0", "dilation", [](Options& o) { o.dilation = {0}; });
    bad("a negative dilation", "dilation", [](Options& o) { o.dilation = {1, 2, -1, 1}; });
    bad("no dilation", "dilation", [](Options& o) { o.dilation = {}; });
    bad("too few dilations", "dilation", [](Options& o) { o.dilation = {1, 2, 3}; });
    bad("infinite scale", "scale", [&](Options& o) { o.scale = infinity; });
    bad("negative soft cap", "soft_cap", [&](Options& o) { o.soft_cap = S(-1); });
  }

  static bool sees_first(const Case<P>& c) { return in_window(c.options, step(c.options, c.head), c.call.keys - 1, 0); }
  /// Of the head that sees most, whichever runs.
  static Index seen_pairs(const Case<P>& c) {
    const Index closest = *std::min_element(c.options.dilation.begin(), c.options.dilation.end());
    Index pairs = 0;
    for (Index i = 0; i < c.call.queries; ++i)
      for (Index j = 0; j < c.call.keys; ++j)
        pairs += in_window(c.options, closest, i + c.call.keys - c.call.queries, j) ? 1 : 0;
    return pairs;
  }
  static bool keys_split(const Case<P>& c) {
    return !c.options.causal && c.options.window == everything && step(c.options, c.head) == 1 && c.context == 0;
  }
};

/// Rows in tasks have the bits of the whole, over more rows than a task has.
template <class P>
void expect_same_bits_in_tasks(const typename P::Options& options, const typename P::Context& context,
                               heed::Index head) {
  Case<P> c;
  c.options = options;
  c.shape = {4, 3, 4};
  c.head = head;
  const P policy(c.options, c.shape);
  const heed::Index step = policy.rows_per_task();
  c.call = {2 * step + 77, 2 * step + 77};
  Run<P> run(c);
  run.in.context = context;
  policy.check(head_of(c, run.in), c.call);
  run.forward(c);
  const Results<P> whole = run.out;
  run.out.o.setZero();
  run.out.lse.setZero();
  for (heed::Index at = 0; at < c.call.queries; at += step)
    policy.forward_rows(head_of(c, run.in), views(std::as_const(run.in.fields)),
                        {at, std::min(c.call.queries, at + step)}, {heed::view(run.out.o), heed::view(run.out.lse)},
                        run.scratch);
  EXPECT_TRUE(same_bits(run.out.o, whole.o) && same_bits(run.out.lse, whole.lse)) << "head " << head;
}
