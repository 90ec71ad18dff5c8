// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/encoder.hpp>
#include <heed/layers/owning.hpp>
#include <heed/patterns/window.hpp>
#include <heed/policies/tiled.hpp>
#include <heed/projections/rotary.hpp>
#include <heed/train/check_gradient.hpp>
#include <laws.hpp>
#include <policies/relative_cases.hpp>

struct RelativeBiasFamily {
  template <class S>
  using Of = heed::RelativeBias<S>;
};
const bool laws = register_laws<RelativeBiasFamily>();

/// As wide as the cases below need it.
struct Wide : heed::Window {
  Wide() : Window(200, 90) {}
};
struct WideRule {
  static bool sees(heed::Index p, heed::Index j) { return j - p >= -200 && j - p <= 90; }
};
/// The token itself and the fourth before it.
struct Fourth : heed::DilatedWindow {
  Fourth() : DilatedWindow(1, 0, 4) {}
};
struct FourthRule {
  static bool sees(heed::Index p, heed::Index j) { return j == p || j == p - 4; }
};
template <class S>
struct Cases<heed::RelativeBias<S, Fourth>> : RelativeCases<heed::RelativeBias<S, Fourth>, FourthRule> {};
template <class S>
struct Cases<heed::RelativeBias<S, Wide>> : RelativeCases<heed::RelativeBias<S, Wide>, WideRule> {};

namespace {

using heed::Attention, heed::Batch, heed::Index, heed::Matrix, heed::Random, heed::RelativeBias, heed::RelativeBuckets,
    heed::Tiled;
using P = RelativeBias<double>;

template <class Policy>
Case<Policy> one_case(const typename Policy::Options& options, Index n_q, Index n_k, Index d = 16) {
  Case<Policy> c;
  c.options = options;
  c.shape = {d, d, 3};
  c.call = {n_q, n_k};
  c.head = 1;
  c.label = "n_q " + std::to_string(n_q) + ", n_k " + std::to_string(n_k);
  return c;
}
template <class Policy>
void expect_oracle(const Case<Policy>& c) {
  using S = typename Policy::Scalar;
  Run<Policy> run(c);
  run.forward(c);
  run.backward(c);
  const auto expected = Cases<Policy>::answer(c, run.in);
  Verdict v;
  MatchesOracle::compare<S>(v, c.label, "o", run.out.o, expected.o, 8);
  MatchesOracle::compare<S>(v, c.label, "lse", run.out.lse, expected.lse, 8);
  Cases<Policy>::compare_gradients(run.in, run.out, expected,
                                   [&](const char* what, const Matrix<S>& got, const oracle::Gauged& gauged) {
                                     MatchesOracle::compare<S>(v, c.label, what, got, gauged, 16);
                                   });
  EXPECT_TRUE(v.ok) << v.log;
}

/// The first distances of the buckets of one side from n / 2 on, by whole numbers alone: (x / e)^(n - e) >= (M / e)^k.
TEST(RelativeBuckets, HaveTheBordersOfT5) {
  const auto starts = [](Index count, Index most, bool two_sided) {
    const RelativeBuckets buckets(count, most, two_sided);
    const Index n = two_sided ? count / 2 : count;
    std::vector<Index> first;
    for (Index x = 0; x <= most; ++x)
      if (const Index bucket = buckets(x); bucket >= n / 2 && bucket - n / 2 == static_cast<Index>(first.size()))
        first.push_back(x);
    return first;
  };
  using List = std::vector<Index>;
  EXPECT_EQ(starts(32, 128, true), (List{8, 12, 16, 23, 32, 46, 64, 91}));
  EXPECT_EQ(starts(32, 128, false), (List{16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113}));
  EXPECT_EQ(starts(32, 256, false), (List{16, 20, 23, 27, 32, 39, 46, 54, 64, 77, 91, 108, 128, 153, 182, 216}));
  EXPECT_EQ(starts(16, 64, true), (List{4, 8, 16, 32}));
}

/// A whole number of any size, which can be multiplied and compared.
struct Whole {
  std::vector<std::uint32_t> digits{1};
  Whole& times(Index x, Index power) {
    for (; power > 0; --power) {
      std::uint64_t carry = 0;
      for (std::uint32_t& digit : digits) {
        carry += std::uint64_t{digit} * static_cast<std::uint64_t>(x);
        digit = static_cast<std::uint32_t>(carry);
        carry >>= 32;
      }
      if (carry > 0) digits.push_back(static_cast<std::uint32_t>(carry));
    }
    return *this;
  }
  bool below(const Whole& other) const {
    if (digits.size() != other.digits.size()) return digits.size() < other.digits.size();
    return std::lexicographical_compare(digits.rbegin(), digits.rend(), other.digits.rbegin(), other.digits.rend());
  }
};

TEST(RelativeBuckets, HaveExactBordersAtAnySize) {
  for (const Index n : {2, 3, 4, 5, 6, 8, 9, 12, 16, 21, 32, 40, 64, 96})
    for (const Index most : {49, 50, 64, 81, 100, 128, 200, 243, 256, 512, 625, 1000, 1024, 65536, 1000000}) {
      const RelativeBuckets one(n, most, false), two(2 * n, most, true);
      const Index e = n / 2, steps = n - e;
      const auto reaches = [&](Index x, Index k) {
        return !Whole{}.times(x, steps).times(e, k).below(Whole{}.times(most, k).times(e, steps));
      };
      Index x = 0;
      for (; x < e; ++x) ASSERT_EQ(one(x), x);
      for (Index k = 0; k < steps; ++k) {  // from the first distance of one bucket to that of the next, by halves
        Index below = x - 1, first = most;
        while (first - below > 1) {
          const Index middle = below + (first - below) / 2;
          (reaches(middle, k) ? first : below) = middle;
        }
        x = first;
        ASSERT_GE(one(first), e + k) << n << " to " << most;
        ASSERT_LT(one(first - 1), e + k) << n << " to " << most;
      }
      EXPECT_EQ(one.last_start(), x);
      for (const Index t : {Index{0}, Index{1}, e, x - 1, x, most, 100 * most}) {
        EXPECT_EQ(two(t), one(t));
        EXPECT_EQ(one(-t), t == 0 ? one(0) : 0) << "after the query, one-sided";
        EXPECT_EQ(two(-t), t == 0 ? one(0) : n + one(t));
      }
      EXPECT_EQ(one(100 * most), n - 1);
    }
}

/// The arithmetic of the authors' code: float logarithms, cut to whole numbers. At their sizes it has the exact borders.
TEST(RelativeBuckets, AreTheAuthorsAtTheirSizes) {
  for (const auto& [count, most] : {std::pair<Index, Index>{32, 128}, {64, 256}, {16, 64}, {128, 512}})
    for (const bool two_sided : {true, false}) {
      const RelativeBuckets buckets(count, most, two_sided);
      for (Index relative = -3 * most; relative <= 3 * most; ++relative) {
        Index n = count, bucket = 0, x = -std::min<Index>(relative, 0);
        if (two_sided) {
          n /= 2;
          bucket = relative > 0 ? n : 0;
          x = std::abs(relative);
        }
        const Index exact = n / 2;
        const float ratio = static_cast<float>(x) / static_cast<float>(exact);
        const float most_log = static_cast<float>(std::log(static_cast<double>(most) / static_cast<double>(exact)));
        bucket += x < exact ? x
                            : std::min(n - 1, exact + static_cast<Index>(std::log(ratio) / most_log *
                                                                         static_cast<float>(n - exact)));
        ASSERT_EQ(buckets(-relative), bucket) << count << ", " << most << ", " << relative;
        ASSERT_EQ(t5_bucket(relative, two_sided, count, most), bucket) << "the oracle at " << relative;
      }
    }
}

TEST(RelativeBuckets, MayBeMany) {
  const RelativeBuckets buckets(Index{1} << 16, RelativeBuckets::longest, true);
  for (const Index t : {0, 1, 1000, 16383}) {
    EXPECT_EQ(buckets(t), t);
    EXPECT_EQ(buckets(-t), t == 0 ? 0 : (1 << 15) + t);
  }
  EXPECT_EQ(buckets(RelativeBuckets::longest), (1 << 15) - 1);
}

TEST(RelativeBuckets, RunsCoverEveryDistanceOnce) {
  for (const bool two_sided : {true, false})
    for (const Index most : {9, 20, 128}) {
      const RelativeBuckets buckets(16, most, two_sided);
      for (const heed::Range range :
           {heed::Range{-200, 200}, {-3, 2}, {0, 1}, {-1, 0}, {50, 51}, {-500, -300}, {4, 4}}) {
        Index next = range.begin;
        buckets.for_each_run(range, [&](Index bucket, heed::Range run) {
          EXPECT_EQ(run.begin, next);
          EXPECT_FALSE(run.empty());
          for (Index t = run.begin; t < run.end; ++t) EXPECT_EQ(buckets(t), bucket) << t;
          next = run.end;
        });
        EXPECT_EQ(next, range.end);
      }
    }
}

TEST(RelativeBias, LongRowsCrossEveryBlock) {
  for (const bool causal : {false, true}) {
    expect_oracle(one_case<P>({.causal = causal}, 500, 500));
    expect_oracle(one_case<P>({.causal = causal, .max_distance = 5000}, 450, 700, 20));
    expect_oracle(one_case<RelativeBias<float>>({.causal = causal, .num_buckets = 8, .max_distance = 30}, 700, 450));
    expect_oracle(one_case<RelativeBias<double, Wide>>({.causal = causal, .scale = 1}, 500, 500));
    expect_oracle(one_case<RelativeBias<float, Wide>>({.causal = causal, .max_distance = 300}, 300, 600));
  }
}

/// Without a bias it is Tiled, bit by bit.
TEST(RelativeBias, OfZerosIsTiled) {
  for (const bool causal : {false, true})
    for (const auto& [n_q, n_k] : {std::pair<Index, Index>{1, 1}, {3, 200}, {100, 100}, {500, 700}, {70, 30}}) {
      const Case<P> c = one_case<P>({.causal = causal}, n_q, n_k);
      ::Run<P> run(c);
      run.in.shared.table.setZero();
      run.forward(c);
      run.backward(c);
      Case<Tiled<double>> other;
      other.options.causal = causal;
      other.shape = c.shape;
      other.call = c.call;
      const Tiled<double> tiled(other.options, other.shape);
      Instance<Tiled<double>> in{run.in.fields, {}, {}, {}, {}, run.in.d_o, run.in.d_lse};
      Results<Tiled<double>> r;
      clear_gradients(in, r);
      heed::Arena scratch;
      ::forward(tiled, other, in, r, scratch);
      ::backward(tiled, other, in, r, scratch);
      EXPECT_TRUE(same_bits(run.out.o, r.o) && same_bits(run.out.lse, r.lse)) << n_q << ", " << n_k;
      EXPECT_TRUE(same_bits(run.out.d.q, r.d.q) && same_bits(run.out.d.k, r.d.k) && same_bits(run.out.d.v, r.d.v));
    }
}

/// What each entry of the table does: it lifts the log-weights of its own head's keys in its own bucket, and no other.
TEST(RelativeBias, AnEntryLiftsItsBucketOfItsHead) {
  const Index n = 40;
  for (const bool causal : {false, true}) {
    Case<P> c = one_case<P>({.causal = causal, .num_buckets = 8, .max_distance = 16}, n, n, n);
    for (Index bucket = 0; bucket < 8; ++bucket)
      for (c.head = 0; c.head < 3; ++c.head) {
        ::Run<P> run(c);
        run.in.fields.q.setZero();
        run.in.fields.v.setIdentity();
        run.in.shared.table.setZero();
        run.in.shared.table(bucket, 1) = std::log(2.0);
        run.forward(c);  // row i of o: the weights of query i
        for (Index i = 0; i < n; ++i) {
          const auto weight = [&](Index j) {
            return causal && j > i ? 0.0 : c.head == 1 && t5_bucket(j - i, !causal, 8, 16) == bucket ? 2.0 : 1.0;
          };
          double sum = 0;
          for (Index j = 0; j < n; ++j) sum += weight(j);
          for (Index j = 0; j < n; ++j) EXPECT_NEAR(run.out.o(i, j), weight(j) / sum, 1e-14) << i << ", " << j;
        }
      }
  }
}

/// What is not finite reaches the distances of the rows that see it, and no other: not through the lanes of a tile that
/// no query fills.
TEST(RelativeBias, ContainsNanInItsDistances) {
  for (const char poisoned : {'k', 'v'}) {
    const auto c = one_case<RelativeBias<double, Fourth>>({.causal = true}, 17, 17);
    ::Run<RelativeBias<double, Fourth>> run(c);
    (poisoned == 'k' ? run.in.fields.k : run.in.fields.v)(16, 3) = std::numeric_limits<double>::quiet_NaN();
    run.forward(c);
    run.backward(c);
    const Matrix<double>& d_table = run.out.d_shared.table;
    for (Index bucket = 0; bucket < 32; ++bucket) {
      const double d = d_table(bucket, 1);
      EXPECT_TRUE(bucket == 0 || bucket == 4 ? std::isnan(d) : d == 0) << d << " in bucket " << bucket;
    }
    EXPECT_TRUE((d_table.col(0).array() == 0).all() && (d_table.col(2).array() == 0).all()) << "other heads";
  }
}

TEST(RelativeBias, RowsInTasksHaveTheBitsOfTheWhole) {
  for (const bool causal : {false, true})
    for (const Index head : {0, 3}) {
      using F = RelativeBias<float>;
      Case<F> c;
      c.options.causal = causal;
      c.shape = {4, 3, 4};
      c.head = head;
      const F policy(c.options, c.shape);
      const Index step = policy.rows_per_task();
      c.call = {2 * step + 77, 2 * step + 177};
      ::Run<F> run(c);
      run.forward(c);
      const Results<F> whole = run.out;
      run.out.o.setZero();
      for (Index at = 0; at < c.call.queries; at += step)
        policy.forward_rows(head_of(c, run.in), views(std::as_const(run.in.fields)),
                            {at, std::min(c.call.queries, at + step)}, {heed::view(run.out.o), heed::view(run.out.lse)},
                            run.scratch);
      EXPECT_TRUE(same_bits(run.out.o, whole.o) && same_bits(run.out.lse, whole.lse)) << "head " << head;
    }
}

/// What is spelled out of the bias is as long as a call can use, however large max_distance is.
TEST(RelativeBias, TakesAnyMaxDistance) {
  const P::Options far{.max_distance = RelativeBuckets::longest};
  const P policy(far, {16, 16, 2});
  EXPECT_LT(policy.cost({20, 20}).forward_scratch, P({}, {16, 16, 2}).cost({20, 20}).forward_scratch + 1024);
  expect_oracle(one_case<P>(far, 20, 60));
}

/// One table for all heads of all layers, as in T5: it stands once among the parameters, and takes the gradient of all.
template <class L, class Options>
void expect_shared_table(const Options& options, const std::string& path) {
  const L layer(options);
  Random random(5);
  typename L::Params params = layer.init(random);
  heed::for_each_leaf([&](auto& m) { m += heed::random_normal<double>(random, m.rows(), m.cols(), 0.3); }, params);
  const Batch batch = Batch::ragged({23, 0, 9});
  const Matrix<double> x = heed::random_normal<double>(random, 32, 16, 1),
                       w = heed::random_normal<double>(random, 32, 16, 1);
  typename L::Cache cache;
  typename L::Params gradient = heed::zeros_like(params);
  layer.forward(params, x, batch, cache);
  layer.backward(params, x, batch, cache, w, gradient);
  int tables = 0;
  heed::for_each(
      [&](const std::string& at, const Matrix<double>& m, const Matrix<double>& g) {
        if (at.find("table") == std::string::npos) return;
        ++tables;
        EXPECT_EQ(at, path);
        EXPECT_EQ(m.rows(), 8);
        EXPECT_EQ(m.cols(), 4);
        EXPECT_GT((g.array() != 0).count(), 4 * 6);  // two-sided, "after the query at distance 0" does not exist
      },
      params, gradient);
  EXPECT_EQ(tables, 1);
  const auto loss = [&] { return (layer.forward(params, x, batch, cache).array() * w.array()).sum(); };
  const heed::GradientCheck check = heed::check_gradient(params, gradient, loss, {.samples = 40});
  EXPECT_LT(check.error, 1e-7) << check.path << "(" << check.row << ", " << check.col << "): " << check.gradient
                               << ", difference " << check.difference;
}
TEST(RelativeBias, SharesOneTable) {
  for (const bool causal : {false, true}) {
    const P::Options policy{.causal = causal, .num_buckets = 8, .max_distance = 12};
    expect_shared_table<heed::Owning<Attention<P>>>(
        Attention<P>::Options{.d_model = 16, .heads = 4, .kv_heads = 2, .threads = 2, .policy = policy},
        "shared.table");
    using Model = heed::Owning<heed::Encoder<P>>;
    expect_shared_table<Model>(heed::encoder_options<P>({.d_model = 16, .heads = 4, .depth = 3, .policy = policy}),
                               "shared.table");
    using Turned = heed::Rotary<P::Projection>;  // both kinds of positions at once
    expect_shared_table<heed::Owning<heed::Encoder<P, heed::RmsNorm, Turned>>>(
        heed::encoder_options<P, heed::RmsNorm, Turned>({.d_model = 16, .heads = 4, .depth = 2, .policy = policy}),
        "shared.table");
  }
}

TEST(RelativeBias, RefusesTablesOfAnotherShape) {
  using A = Attention<P>;
  const A layer({.d_model = 12, .heads = 4});
  Random random(3);
  const A::Params params = layer.init(random);
  const A::Shared good = layer.init_shared(random);
  EXPECT_EQ(good.table.rows(), 32);
  EXPECT_EQ(good.table.cols(), 4);
  const Matrix<double> x = heed::random_normal<double>(random, 9, 12, 1);
  const Batch batch = Batch::one(9);
  A::Cache cache;
  const Matrix<double> y = layer.forward({params, good}, x, batch, cache);
  for (const std::pair<Index, Index>& shape :
       {std::pair<Index, Index>{31, 4}, {33, 4}, {32, 3}, {32, 5}, {4, 32}, {0, 0}}) {
    const A::Shared bad{Matrix<double>::Zero(shape.first, shape.second)};
    A::Params gradient = heed::zeros_like(params);
    A::Shared d_table = heed::zeros_like(bad);
    const auto throws = [&](const auto& call) {
      try {
        call();
        ADD_FAILURE() << "accepted: " << shape.first << ", " << shape.second;
      } catch (const heed::ShapeError& e) {
        EXPECT_NE(std::string(e.what()).find("shared.table: [32, 4] expected"), std::string::npos) << e.what();
      }
    };
    throws([&] { layer.forward({params, bad}, x, batch, cache); });
    EXPECT_TRUE(same_bits(cache.y.view(), y));
    throws([&] { layer.backward({params, bad}, x, batch, cache, x, {gradient, d_table}); });
    heed::for_each_leaf([](const auto& g) { EXPECT_TRUE((g.array() == 0).all()); }, gradient);
  }
  EXPECT_THROW(layer.start(1, 10), heed::OptionError) << "not causal";
}

/// A stream far longer than max_distance, in chunks of any size, one by one and over a window.
template <class Policy>
void long_stream(const typename Policy::Options& policy) {
  using A = Attention<Policy>;
  const A layer({.d_model = 16, .heads = 4, .kv_heads = 2, .policy = policy});
  Random random(3);
  typename A::Params params = layer.init(random);
  const typename A::Shared shared{heed::random_normal<double>(random, policy.num_buckets, 4, 1)};
  const Index n = 900, longest = 70;
  const Matrix<double> x = heed::random_normal<double>(random, n, 16, 1);
  typename A::Cache cache;
  const Matrix<double> y = layer.forward({params, shared}, x, Batch::one(n), cache);
  auto state = layer.start(1, n, longest);
  layer.step({params, shared}, state, x.topRows(longest), Batch::one(longest));
  for (Index at = longest, round = 0; at < n; ++round) {
    const Index size = std::min(n - at, round % 3 == 0 ? Index{1} : random.below(longest + 1));
    const Batch batch = Batch::one(size);
    const Matrix<double> rows = x.middleRows(at, size);
    const long before = allocations::calls;
    const auto got = layer.step({params, shared}, state, rows, batch);
    EXPECT_EQ(allocations::calls, before);
    ASSERT_LT((got - y.middleRows(at, size)).cwiseAbs().sum(), 1e-12) << at;
    at += size;
  }
}
TEST(RelativeBias, LongStreams) {
  long_stream<P>({.causal = true});
  long_stream<P>({.causal = true, .num_buckets = 7, .max_distance = 700, .scale = 1});
  long_stream<RelativeBias<double, Wide>>({.causal = true});
}

}  // namespace
