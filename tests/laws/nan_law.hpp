// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <cases.hpp>
#include <verdict.hpp>

/// What a row does not see never reaches it: NaN and infinity in keys, values, queries and cotangents move no result
/// and no gradient of rows and keys that have nothing to do with them, not by a bit. What a row sees does reach it: NaN
/// makes it NaN. A row that sees nothing is exactly 0, with log-sum-exp -inf and gradients of exactly 0.
struct ContainsNan {
  static constexpr const char* name = "contains_nan";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const Case<P>& c : Cases<P>::all()) {
      if (c.call.queries == 0 || c.call.keys == 0) continue;
      Run<P> clean(c);
      clean.forward(c);
      clean.backward(c);
      const auto seen = Cases<P>::seen(c, clean.in);  // [n_q, n_k] of bool
      for (heed::Index i = 0; i < c.call.queries; ++i)
        if (!seen.row(i).any())
          v.expect((clean.out.o.row(i).array() == S(0)).all() &&
                       clean.out.lse(i) == -std::numeric_limits<S>::infinity() &&
                       (queries_of(clean.out.d).row(i).array() == S(0)).all(),
                   c.label, ": row ", i, " sees nothing, but is not 0");
      for (heed::Index j = 0; j < c.call.keys; ++j)
        if (!seen.col(j).any())
          v.expect((TiedPolicy<P> || (keys_of(clean.out.d).row(j).array() == S(0)).all()) &&
                       (clean.out.d.v.row(j).array() == S(0)).all(),
                   c.label, ": key ", j, " is seen by nothing, but has gradients");

      const S nan = std::numeric_limits<S>::quiet_NaN(), infinity = std::numeric_limits<S>::infinity();
      const heed::Index key = static_cast<heed::Index>(c.seed) % c.call.keys,
                        row = static_cast<heed::Index>(c.seed) % c.call.queries;
      for (const char field : {'k', 'v', 'q', 'o'})
        for (const S poison : {nan, infinity}) {
          Run<P> run(c);
          heed::Matrix<S>& m = field == 'k'   ? keys_of(run.in.fields)
                               : field == 'v' ? run.in.fields.v
                               : field == 'q' ? queries_of(run.in.fields)
                                              : run.in.d_o;
          const bool by_key = field == 'k' || field == 'v';
          m.row(by_key ? key : row).setConstant(poison);
          run.replay(c, clean.out.cache);
          run.backward(c);
          // A row is touched by a key it sees, or as the query itself; a tied row is both.
          const bool both = TiedPolicy<P> && (field == 'k' || field == 'q');
          const auto touched = [&](heed::Index i) {
            return ((by_key || both) && seen(i, both && !by_key ? row : key)) ||
                   ((!by_key || both) && i == (both && by_key ? key : row) && seen.row(i).any());
          };
          const auto key_touched = [&](heed::Index j) {  // by a row that is
            bool any = false;
            for (heed::Index i = 0; i < c.call.queries; ++i) any = any || (seen(i, j) && touched(i));
            return any;
          };
          for (heed::Index i = 0; i < c.call.queries; ++i) {
            if (!touched(i) && !(field == 'o' && i == row))
              v.expect(same_bits(run.out.o.row(i), clean.out.o.row(i)) &&
                           same_bits(run.out.lse.row(i), clean.out.lse.row(i)) &&
                           ((TiedPolicy<P> && key_touched(i)) ||
                            same_bits(queries_of(run.out.d).row(i), queries_of(clean.out.d).row(i))),
                       c.label, ": ", poison, " in row ", by_key ? key : row, " of ", field, " moved row ", i);
            else if (touched(i) && field != 'o' && poison != poison)
              v.expect(run.out.o.row(i).array().isNaN().all(), c.label, ": NaN in row ", by_key ? key : row, " of ",
                       field, " did not reach row ", i);
          }
          for (heed::Index j = 0; j < c.call.keys; ++j)
            if (!key_touched(j))
              v.expect(((TiedPolicy<P> && (touched(j) || (field == 'o' && j == row))) ||
                        same_bits(keys_of(run.out.d).row(j), keys_of(clean.out.d).row(j))) &&
                           same_bits(run.out.d.v.row(j), clean.out.d.v.row(j)),
                       c.label, ": ", poison, " in row ", by_key ? key : row, " of ", field,
                       " moved the gradients of key ", j);
        }
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
