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
      const std::vector<Grid> seen = seen_in_sets<P>(c, clean.in);
      const auto sees_any = [&](heed::Index i) {
        return std::any_of(seen.begin(), seen.end(), [&](const Grid& s) { return s.row(i).any(); });
      };
      for (heed::Index i = 0; i < c.call.queries; ++i)
        if (!sees_any(i) && !sees_besides(c))
          v.expect(
              (clean.out.o.row(i).array() == S(0)).all() && clean.out.lse(i) == -std::numeric_limits<S>::infinity(),
              c.label, ": row ", i, " sees nothing, but is not 0");
      for (int s = 0; s < set_count<P>(); ++s) {
        const Grid& seen_s = seen[static_cast<std::size_t>(s)];
        const auto& d = set_of<P>(clean.out.d, s);
        for (heed::Index i = 0; i < c.call.queries; ++i)
          if (!seen_s.row(i).any() && !sees_besides(c))
            v.expect((queries_of(d).row(i).array() == S(0)).all(), c.label, ": row ", i,
                     " sees nothing, but its query has a ", "gradient");
        for (heed::Index j = 0; j < c.call.keys; ++j)
          if (!seen_s.col(j).any())
            v.expect((TiedPolicy<P> || (keys_of(d).row(j).array() == S(0)).all()) && (d.v.row(j).array() == S(0)).all(),
                     c.label, ": key ", j, " is seen by nothing, but has gradients");
      }

      const S nan = std::numeric_limits<S>::quiet_NaN(), infinity = std::numeric_limits<S>::infinity();
      for (int s = 0; s < set_count<P>(); ++s)
        for (const char field : {'k', 'v', 'q', 'o'})
          for (const S poison : {nan, infinity})
            if (field != 'o' || s == 0) poisoned(v, c, clean, seen, s, field, poison);
    }
  }
  /// One row of a field of set s, or of the cotangent of o, is `poison`.
  template <class P, class S>
  static void poisoned(Verdict& v, const Case<P>& c, const Run<P>& clean, const std::vector<Grid>& seen, int s,
                       char field, S poison) {
    const heed::Index key = static_cast<heed::Index>(c.seed) % c.call.keys,
                      row = static_cast<heed::Index>(c.seed) % c.call.queries;
    Run<P> run(c);
    auto& set = set_of<P>(run.in.fields, s);
    heed::Matrix<S>& m = field == 'k'   ? keys_of(set)
                         : field == 'v' ? set.v
                         : field == 'q' ? queries_of(set)
                                        : run.in.d_o;
    const bool by_key = field == 'k' || field == 'v';
    const bool both = TiedPolicy<P> && (field == 'k' || field == 'q');  // the row of a tied field is query and key
    const heed::Index at = by_key ? key : row;
    m.row(at).setConstant(poison);
    run.replay(c, clean.out.cache);
    run.backward(c);
    const Grid& through = seen[static_cast<std::size_t>(s)];
    const bool besides = sees_besides(c);
    const auto touched = [&](heed::Index i) {  // by a key it sees, or as the query itself
      const bool is_query = i == at && (field == 'o' || besides || through.row(i).any());
      return ((by_key || both) && through(i, at)) || ((!by_key || both) && is_query);
    };
    const auto key_touched = [&](int other, heed::Index j) {  // by a row that is
      bool any = false;
      for (heed::Index i = 0; i < c.call.queries; ++i)
        any = any || (seen[static_cast<std::size_t>(other)](i, j) && touched(i));
      return any;
    };
    for (heed::Index i = 0; i < c.call.queries; ++i) {
      if (!touched(i)) {
        v.expect(same_bits(run.out.o.row(i), clean.out.o.row(i)) && same_bits(run.out.lse.row(i), clean.out.lse.row(i)),
                 c.label, ": ", poison, " in row ", at, " of ", field, " moved row ", i);
        for (int other = 0; other < set_count<P>(); ++other)
          v.expect(
              (TiedPolicy<P> && key_touched(other, i)) || same_bits(queries_of(set_of<P>(run.out.d, other)).row(i),
                                                                    queries_of(set_of<P>(clean.out.d, other)).row(i)),
              c.label, ": ", poison, " in row ", at, " of ", field, " moved the gradient of query ", i);
      } else if (field != 'o' && poison != poison) {
        v.expect(run.out.o.row(i).array().isNaN().all(), c.label, ": NaN in row ", at, " of ", field,
                 " did not reach row ", i);
      }
    }
    for (int other = 0; other < set_count<P>(); ++other)
      for (heed::Index j = 0; j < c.call.keys; ++j) {
        if (key_touched(other, j)) continue;
        const auto &now = set_of<P>(run.out.d, other), &before = set_of<P>(clean.out.d, other);
        v.expect(((TiedPolicy<P> && touched(j)) || same_bits(keys_of(now).row(j), keys_of(before).row(j))) &&
                     same_bits(now.v.row(j), before.v.row(j)),
                 c.label, ": ", poison, " in row ", at, " of ", field, " moved the gradients of key ", j);
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
