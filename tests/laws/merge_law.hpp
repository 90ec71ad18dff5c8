// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <heed/kernels/merge.hpp>
#include <laws/oracle_law.hpp>
#include <verdict.hpp>

/// Results over disjoint keys merge into the result over all of them, by their log-sum-exps alone. Where rows are
/// independent, backward over each part gives its part of the gradient, if it is given the merged result.
struct ResultsMerge {
  static constexpr const char* name = "results_merge";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    heed::Index checked = 0;
    for (const Case<P>& c : Cases<P>::all()) {
      if (!Cases<P>::keys_split(c)) continue;
      Run<P> whole(c);
      whole.forward(c);
      const auto expected = Cases<P>::answer(c, whole.in);
      for (const heed::Index cut : {heed::Index(0), c.call.keys / 3, c.call.keys}) {
        ++checked;
        heed::Matrix<S> o[2];
        heed::Vector<S> lse[2];
        Case<P> halves[2] = {c, c};
        halves[0].call.keys = cut;
        halves[1].call.keys = c.call.keys - cut;
        Run<P> runs[2] = {Run<P>(halves[0]), Run<P>(halves[1])};
        for (const int part : {0, 1}) {
          const Case<P>& half = halves[part];
          Run<P>& run = runs[part];
          using Fields = typename P::template Fields<heed::Matrix<S>>;
          Fields::map(
              [&](heed::Field f, auto& mine, auto& all) {
                if (f.rows == heed::Rows::keys)
                  mine = all.middleRows(part == 0 ? 0 : cut, half.call.keys);
                else
                  mine = all;
                return 0;
              },
              run.in.fields, whole.in.fields);
          run.forward(half);
          o[part] = run.out.o;
          lse[part] = run.out.lse;
        }
        heed::merge<S>({heed::view(o[0]), heed::view(lse[0])},
                       {heed::view(std::as_const(o[1])), heed::view(std::as_const(lse[1]))});
        MatchesOracle::compare<S>(v, c.label, "merged o", o[0], expected.o, 12);
        MatchesOracle::compare<S>(v, c.label, "merged lse", lse[0], expected.lse, 12);
        if constexpr (heed::RowwisePolicy<P>) {
          Results<P> merged = runs[0].out;
          for (const int part : {0, 1}) {
            Run<P>& run = runs[part];
            run.in.d_o = whole.in.d_o;
            run.in.d_lse = whole.in.d_lse;
            run.out.o = o[0];
            run.out.lse = lse[0];
            run.backward(halves[part]);
          }
          using Fields = typename P::template Fields<heed::Matrix<S>>;
          Fields::map(
              [&](heed::Field f, auto& all, auto& first, auto& second) {
                if (f.rows == heed::Rows::queries) {
                  all = first + second;
                } else {
                  all.resize(c.call.keys, first.cols());
                  all << first, second;
                }
                return 0;
              },
              merged.d, runs[0].out.d, runs[1].out.d);
          Cases<P>::compare_gradients(whole.in, merged, expected,
                                      [&](const char* what, const heed::Matrix<S>& got, const oracle::Gauged& gauged) {
                                        MatchesOracle::compare<S>(v, c.label + " merged", what, got, gauged, 16);
                                      });
        }
      }
    }
    v.expect(checked > 0 || never_splits<P>(), "no case was checked");
  }
  /// Where every row knows its position, no case says the same over two halves.
  template <class P>
  static constexpr bool never_splits() {
    if constexpr (requires { Cases<P>::can_split_keys; })
      return !Cases<P>::can_split_keys;
    else
      return false;
  }
  /// Tied keys cannot be split from their queries.
  template <class Family>
  static constexpr bool applies = !TiedPolicy<typename Family::template Of<float>>;
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
