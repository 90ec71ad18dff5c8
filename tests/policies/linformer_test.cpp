// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/layers/owning.hpp>
#include <laws.hpp>
#include <policies/linformer_cases.hpp>

#include <cmath>

using heed::Index, heed::LengthProjection, heed::LinformerSharing;

template <LinformerSharing sharing>
struct LinformerFamily {
  template <class S>
  using Of = heed::Linformer<S, sharing>;
};
const bool laws = register_laws<LinformerFamily<LinformerSharing::key_value>>();

/// The other ways to share, under the laws that they can break.
template <class Law, LinformerSharing sharing>
void obeys() {
  const Verdict v = Law::template check_family<LinformerFamily<sharing>>();
  EXPECT_TRUE(v.ok) << v.log;
}
template <LinformerSharing sharing>
bool on(const char* name) {
  using Concerned = heed::TypeList<MatchesOracle, MatchesDifferences, LayersMatchDifferences, Deterministic,
                                   RejectsBadInput, VisitsEveryParameter>;
  const std::string suite = name;
  heed::for_each_type(Concerned{}, [&]<class Law>() { register_test(suite, Law::name, obeys<Law, sharing>); });
  return true;
}
const bool headwise_laws = on<LinformerSharing::headwise>("Headwise");
const bool per_head_laws = on<LinformerSharing::none>("NothingShared");

namespace {

using S = double;
using M = heed::Matrix<S>;
using Shared = heed::Linformer<S>;
using PerHead = heed::Linformer<S, LinformerSharing::none>;
using Tiled = heed::Tiled<S>;

using HeadRun = Run<PerHead>;  // inside a test, Run is the test's own
using TiledRun = Run<Tiled>;

template <class P>
Case<P> make_case(Index n_q, Index n_k, const typename P::Options& options, Index d = 16) {
  Case<P> c;
  c.options = options;
  c.shape = {d, d, 1};
  c.call = {n_q, n_k};
  return c;
}
/// Tiled over other keys and values.
TiledRun dense(const Instance<PerHead>& in, const M& k, const M& v) {
  const Case<Tiled> c = make_case<Tiled>(in.fields.q.rows(), k.rows(), {}, in.fields.q.cols());
  TiledRun run(c);
  run.in.fields = {in.fields.q, k, v};
  run.in.d_o = in.d_o;
  run.in.d_lse = in.d_lse;
  run.forward(c);
  run.backward(c);
  return run;
}

TEST(Linformer, IdentityProjectionsAreDenseAttention) {
  const Index n = 77;
  const auto c = make_case<PerHead>(50, n, {.k = n, .max_length = n});
  HeadRun run(c);
  run.in.own.e = run.in.own.f = M::Identity(n, n);
  run.forward(c);
  run.backward(c);
  const TiledRun exact = dense(run.in, run.in.fields.k, run.in.fields.v);
  EXPECT_TRUE(same_bits(run.out.o, exact.out.o));
  EXPECT_TRUE(same_bits(run.out.lse, exact.out.lse));
  EXPECT_TRUE(same_bits(run.out.d.q, exact.out.d.q));
  EXPECT_TRUE(same_bits(run.out.d.k, exact.out.d.k));
  EXPECT_TRUE(same_bits(run.out.d.v, exact.out.d.v));
}

TEST(Linformer, SelectedRowsAreDenseAttentionToThem) {
  const std::vector<Index> rows{3, 0, 40, 12, 41};
  const auto c = make_case<PerHead>(9, 42, {.k = 5, .max_length = 42});
  HeadRun run(c);
  run.in.own.e = run.in.own.f = M::Zero(42, 5);
  M k(5, 16), v(5, 16);
  for (Index r = 0; r < 5; ++r) {
    const Index j = rows[static_cast<std::size_t>(r)];
    run.in.own.e(j, r) = run.in.own.f(j, r) = 1;
    k.row(r) = run.in.fields.k.row(j);
    v.row(r) = run.in.fields.v.row(j);
  }
  run.forward(c);
  const TiledRun exact = dense(run.in, k, v);
  EXPECT_TRUE(same_bits(run.out.o, exact.out.o));
  EXPECT_TRUE(same_bits(run.out.lse, exact.out.lse));
}

TEST(Linformer, MeansOfOneRowAreDenseAttention) {
  const Index n = 45;
  const auto c = make_case<PerHead>(n, n, {.k = n, .max_length = n, .length_projection = LengthProjection::mean});
  HeadRun run(c);
  run.forward(c);
  const TiledRun exact = dense(run.in, run.in.fields.k, run.in.fields.v);
  EXPECT_TRUE(same_bits(run.out.o, exact.out.o));
}

TEST(Linformer, ALastSlotIsTheMeanOfTheRowsItHas) {
  // 20 slots of 5 rows at the full length; 17 rows fill three and two fifths of a fourth.
  const auto c = make_case<PerHead>(6, 17, {.k = 20, .max_length = 100, .length_projection = LengthProjection::mean});
  HeadRun run(c);
  run.forward(c);
  M k(4, 16), v(4, 16);
  for (Index r = 0; r < 4; ++r) {
    const Index rows = r < 3 ? 5 : 2;
    k.row(r) = run.in.fields.k.middleRows(5 * r, rows).colwise().mean();
    v.row(r) = run.in.fields.v.middleRows(5 * r, rows).colwise().mean();
  }
  const TiledRun exact = dense(run.in, k, v);
  EXPECT_LT((run.out.o - exact.out.o).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14);
  EXPECT_LT((run.out.lse - exact.out.lse).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 1e-14);
}

TEST(Linformer, ErrorFallsAsSlotsRise) {
  const Index n = 512;
  std::vector<S> errors;
  for (const Index k : {8, 32, 128}) {
    const auto c = make_case<PerHead>(40, n, {.k = k, .max_length = n, .length_projection = LengthProjection::mean}, 4);
    HeadRun run(c);
    for (Index j = 0; j < n; ++j)  // keys and values that change slowly along the sequence
      for (Index e = 0; e < 4; ++e) {
        const S t = static_cast<S>(j) / static_cast<S>(n) * 6.28;
        run.in.fields.k(j, e) = std::sin(t * static_cast<S>(e + 1));
        run.in.fields.v(j, e) = std::cos(t * static_cast<S>(e + 1) + 1);
      }
    run.forward(c);
    const TiledRun exact = dense(run.in, run.in.fields.k, run.in.fields.v);
    errors.push_back((run.out.o - exact.out.o).norm() / exact.out.o.norm());
  }
  EXPECT_LT(errors[0], 0.3);
  EXPECT_LT(errors[1], errors[0] / 8);  // means are exact to second order: four times the slots, a sixteenth
  EXPECT_LT(errors[2], errors[1] / 8);
}

TEST(Linformer, ShorterLengthsTakeTheFirstRowsOfE) {
  const Index n = 30, longest = 90;
  const auto c = make_case<PerHead>(20, n, {.k = 12, .max_length = longest});
  HeadRun run(c);
  run.in.own.e.bottomRows(longest - n).setConstant(std::numeric_limits<S>::quiet_NaN());
  run.in.own.f.bottomRows(longest - n).setConstant(std::numeric_limits<S>::quiet_NaN());
  run.forward(c);
  run.backward(c);
  const auto sliced = make_case<PerHead>(20, n, {.k = 12, .max_length = n});
  HeadRun slice(sliced);
  slice.in.fields = run.in.fields;
  slice.in.d_o = run.in.d_o;
  slice.in.d_lse = run.in.d_lse;
  slice.in.own = {run.in.own.e.topRows(n), run.in.own.f.topRows(n)};
  slice.forward(sliced);
  slice.backward(sliced);
  EXPECT_TRUE(same_bits(run.out.o, slice.out.o));
  EXPECT_TRUE(same_bits(run.out.d.k, slice.out.d.k));
  EXPECT_TRUE(same_bits(run.out.d_own.e.topRows(n), slice.out.d_own.e));
  EXPECT_TRUE((run.out.d_own.e.bottomRows(longest - n).array() == 0).all());
  EXPECT_TRUE((run.out.d_own.f.bottomRows(longest - n).array() == 0).all());
}

TEST(Linformer, PaddingIsHarmless) {
  using L = heed::Owning<heed::Attention<Shared>>;
  const L layer({.d_model = 12, .heads = 3, .policy = {.k = 6, .max_length = 16}});
  heed::Random random(1);
  const L::Params params = layer.init(random);
  const heed::Batch padded = heed::Batch::padded({16, 1, 0, 9}, 16), ragged = heed::Batch::ragged({16, 1, 0, 9});
  M x = M::Constant(64, 12, std::numeric_limits<S>::quiet_NaN()), dense_x(26, 12), dy = x, dense_dy(26, 12);
  for (Index s = 0, row = 0; s < 4; row += padded.queries(s++).size) {
    const heed::Segment rows = padded.queries(s);
    dense_x.middleRows(row, rows.size) = heed::random_normal<S>(random, rows.size, 12, 1);
    dense_dy.middleRows(row, rows.size) = heed::random_normal<S>(random, rows.size, 12, 1);
    x.middleRows(rows.begin, rows.size) = dense_x.middleRows(row, rows.size);
    dy.middleRows(rows.begin, rows.size) = dense_dy.middleRows(row, rows.size);
  }
  L::Cache a, b;
  L::Params g = heed::zeros_like(params), h = g;
  const M y = layer.forward(params, x, padded, a), z = layer.forward(params, dense_x, ragged, b);
  layer.backward(params, x, padded, a, dy, g);
  layer.backward(params, dense_x, ragged, b, dense_dy, h);
  EXPECT_FALSE(y.hasNaN());
  for (Index s = 0, row = 0; s < 4; row += padded.queries(s++).size) {
    const heed::Segment rows = padded.queries(s);
    EXPECT_TRUE(same_bits(y.middleRows(rows.begin, rows.size), z.middleRows(row, rows.size)));
  }
  EXPECT_TRUE(same_bits(g.shared.e, h.shared.e));
  EXPECT_FALSE(g.shared.e.hasNaN());
}

TEST(Linformer, OneMatrixForAllLayers) {
  using A = heed::Attention<Shared>;
  const A layer({.d_model = 6, .heads = 2, .policy = {.k = 3, .max_length = 9}});
  heed::Random random(5);
  const A::Params first = layer.init(random), second = layer.init(random);
  A::Shared shared = layer.init_shared(random);
  const heed::Batch batch = heed::Batch::ragged({9, 4});
  const M x = heed::random_normal<S>(random, 13, 6, 1), dy = heed::random_normal<S>(random, 13, 6, 1);
  A::Cache a, b;
  const auto loss = [&] {
    const M y = layer.forward({first, shared}, x, batch, a);
    return (layer.forward({second, shared}, y, batch, b).array() * dy.array()).sum();
  };
  loss();
  A::Params g1 = heed::zeros_like(first), g2 = heed::zeros_like(second);
  A::Shared g = heed::zeros_like(shared);
  const M y = a.y.view();
  const M d = layer.backward({second, shared}, y, batch, b, dy, {g2, g});
  layer.backward({first, shared}, x, batch, a, d, {g1, g});
  for (Index i = 0; i < shared.e.size(); ++i) {
    const S before = shared.e.data()[i];
    shared.e.data()[i] = before + 1e-5;
    const S above = loss();
    shared.e.data()[i] = before - 1e-5;
    const S difference = (above - loss()) / 2e-5;
    shared.e.data()[i] = before;
    ASSERT_NEAR(g.e.data()[i], difference, 1e-7 * std::max(1.0, std::abs(difference)));
  }
}

TEST(Linformer, LayersOfTheirOwnMayHaveTheirOwnK) {
  using L = heed::Owning<heed::Attention<heed::Linformer<S, LinformerSharing::headwise>>>;
  const L wide({.d_model = 6, .heads = 2, .policy = {.k = 8, .max_length = 9}});
  const L narrow({.d_model = 6, .heads = 2, .policy = {.k = 2, .max_length = 9}});
  heed::Random random(5);
  const L::Params first = wide.init(random), second = narrow.init(random);
  EXPECT_EQ(first.shared.e.cols(), 8);
  EXPECT_EQ(second.shared.f.cols(), 2);
  const M x = heed::random_normal<S>(random, 9, 6, 1);
  L::Cache cache;  // the layers take turns with it
  const M y = wide.forward(first, x, heed::Batch::one(9), cache);
  EXPECT_FALSE(narrow.forward(second, y, heed::Batch::one(9), cache).hasNaN());
}

/// What a call is refused with.
template <class F>
std::string refusal(F&& f) {
  try {
    f();
  } catch (const heed::ShapeError& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Linformer, RefusesWhatDoesNotFitItsMatrices) {
  using A = heed::Attention<Shared>;
  const A layer({.d_model = 6, .heads = 2, .policy = {.k = 3, .max_length = 9}});
  const A other({.d_model = 6, .heads = 2, .policy = {.k = 4, .max_length = 9}});
  heed::Random random(5);
  const A::Params params = layer.init(random);
  const A::Shared shared = layer.init_shared(random);
  A::Cache cache;
  const M x = heed::random_normal<S>(random, 10, 6, 1);
  const auto has = [](const std::string& text, const char* part) { return text.find(part) != std::string::npos; };
  const std::string long_call = refusal([&] { layer.forward({params, shared}, x, heed::Batch::one(10), cache); });
  EXPECT_TRUE(has(long_call, "max_length = 9") && has(long_call, "came 10")) << long_call;
  const std::string layers = refusal([&] { other.forward({params, shared}, x, heed::Batch::one(5), cache); });
  EXPECT_TRUE(has(layers, "weights.shared.e: [9, 4] expected, came [9, 3]")) << layers;

  using B = heed::Attention<PerHead>;
  const B heads({.d_model = 6, .heads = 2, .policy = {.k = 3, .max_length = 9}});
  B::Params own = heads.init(random);
  own.heads[1].f.resize(3, 9);
  B::Cache head_cache;
  const std::string misshapen = refusal([&] { heads.forward(own, x, heed::Batch::one(5), head_cache); });
  EXPECT_TRUE(has(misshapen, "weights.heads.f: [9, 3] expected, came [3, 9]")) << misshapen;
}

}  // namespace
