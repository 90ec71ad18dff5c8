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
TEST(DynamicSpan, PenaltyIsTheMeanSpan) {
  using Projection = heed::ProjectQkvSpan<double>;
  const Projection projection({},
                              {.d_model = 5, .d_memory = 5, .heads = 3, .kv_heads = 3, .key_dim = 2, .value_dim = 2});
  heed::Random random(1);
  Projection::Params p = projection.init(random);
  Matrix<double> x = heed::random_normal<double>(random, 9, 5, 1), dx = Matrix<double>::Zero(9, 5);
  const heed::Batch batch = heed::Batch::padded({3, 0, 2}, 3);
  const double weight = 1e-3 * 100 / (5 * 3);  // lambda max_span / (queries heads)
  Projection::Params g = heed::zeros_like(p);
  projection.penalty_backward(p, heed::view(std::as_const(x)), batch, weight, g, heed::view(dx));
  const auto value = [&] { return projection.penalty(p, heed::view(std::as_const(x)), batch, weight); };
  double mean = 0;
  for (const Index i : {0, 1, 2, 6, 7})
    for (Index h = 0; h < 3; ++h)
      mean += 100 / (1 + std::exp(-(x.row(i).dot(p.wspan.col(h)) + p.bspan(0, h)))) / (5 * 3);
  EXPECT_NEAR(value(), 1e-3 * mean, 1e-15);
  const auto probe = [&](const std::string& path, Matrix<double>& m, const Matrix<double>& d) {
    for (Index i = 0; i < m.size(); ++i) {
      const double before = m.data()[i];
      m.data()[i] = before + 1e-5;
      const double above = value();
      m.data()[i] = before - 1e-5;
      EXPECT_NEAR(d.data()[i], (above - value()) / 2e-5, 1e-9) << path << "[" << i << "]";
      m.data()[i] = before;
    }
  };
  heed::for_each(probe, p, g);
  probe("x", x, dx);
}

TEST(DynamicSpan, LaterSpansMoveNothing) {
  later_spans_move_nothing<float>();
  later_spans_move_nothing<double>();
}

}  // namespace
