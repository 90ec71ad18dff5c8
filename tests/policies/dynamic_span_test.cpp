// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <laws.hpp>
#include <policies/span_cases.hpp>

const bool laws = register_laws<DynamicSpanFamily>();

namespace {

using heed::Index, heed::Matrix;

/// Spans decide which keys a tile of queries passes, and those of later queries must not move a bit of earlier rows.
template <class S>
void later_spans_move_nothing() {
  using P = heed::DynamicSpan<S>;
  for (const Index d : {16, 64}) {
    Case<P> c;
    c.options.max_span = 700;
    c.options.ramp = 20;
    c.shape = {d, d, 1};
    c.call = {1000, 1100};
    ::Run<P> run(c);
    run.in.fields.span.array() = run.in.fields.span.array() * S(2) - S(2);
    run.forward(c);
    const Matrix<S> o = run.out.o, span = run.in.fields.span;
    heed::Random random(7);
    for (int round = 0; round < 12; ++round) {
      const Index row = random.below(1000);  // the last that must not move
      for (Index i = row + 1; i < 1000; ++i)
        run.in.fields.span(i, 0) = round % 3 == 0   ? S(20) * (static_cast<S>(random.uniform()) - S(0.5))
                                   : round % 3 == 1 ? S(-50)
                                                    : std::numeric_limits<S>::quiet_NaN();
      run.forward(c);
      EXPECT_TRUE(same_bits(run.out.o.topRows(row + 1), o.topRows(row + 1))) << "row " << row << ", d " << d;
      EXPECT_FALSE(same_bits(run.out.o.bottomRows(1), o.bottomRows(1)) && row < 999);
      run.in.fields.span = span;
    }
  }
}
TEST(DynamicSpan, LaterSpansMoveNothing) {
  later_spans_move_nothing<float>();
  later_spans_move_nothing<double>();
}

}  // namespace
