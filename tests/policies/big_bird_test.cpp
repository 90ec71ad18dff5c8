// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/policies/big_bird.hpp>
#include <heed/policies/tiled.hpp>
#include <laws.hpp>
#include <pairwise.hpp>
#include <patterns/pattern_law.hpp>
#include <policies/qkv_cases.hpp>

#include <limits>
#include <set>

using heed::Index;

/// Window and global blocks in words of their own. Which blocks were drawn, only the policy knows; what these must be
/// is tested below.
template <class S>
struct Cases<heed::BigBird<S>> : QkvCases<heed::BigBird<S>> {
  using P = heed::BigBird<S>;
  using Base = QkvCases<P>;
  using typename Base::Options;
  static constexpr bool can_be_causal = false;

  static std::vector<Case<P>> cases(const std::vector<Index>& d, const std::vector<Index>& d_v,
                                    const std::vector<Index>& n_q, const std::vector<Index>& n_k) {
    std::vector<Case<P>> all;
    const std::vector<Index> blocks{1, 5, 16, 64}, globals{0, 1, 2, 3}, randoms{0, 1, 3};
    for (const auto& row : pairwise({4, 2, 4, 3, 2, d.size(), d_v.size(), n_q.size(), n_k.size()})) {
      Case<P> c;
      c.options.block = blocks[row[0]];
      c.options.window_blocks = row[1] == 1 ? 3 : 1;
      c.options.global_blocks = globals[row[2]];
      c.options.random_blocks = randoms[row[3]];
      if (row[4] == 1) c.options.scale = S(0.375);
      c.shape = {d[row[5]], d_v[row[6]], 3};
      c.call = {n_q[row[7]], n_k[row[8]]};
      c.seed = all.size() + 1;
      c.sequence = 1;
      c.head = 2;
      c.label = "case " + std::to_string(c.seed) + " (block " + std::to_string(c.options.block) + ", window " +
                std::to_string(c.options.window_blocks) + ", global " + std::to_string(c.options.global_blocks) +
                ", random " + std::to_string(c.options.random_blocks) + ", d " + std::to_string(c.shape.key_dim) +
                ", d_v " + std::to_string(c.shape.value_dim) + ", n_q " + std::to_string(c.call.queries) + ", n_k " +
                std::to_string(c.call.keys) + ")";
      all.push_back(c);
    }
    return all;
  }
  static std::vector<Case<P>> all() {
    auto all = cases({1, 5, 16, 33, 64}, {1, 7, 16, 40, 64}, {0, 1, 2, 17, 48, 65, 131}, {0, 1, 8, 33, 64, 130, 257});
    all.push_back(all.front());
    all.back().label = "one block";
    all.back().options = {};
    all.back().call = {17, 60};
    return all;
  }
  static std::vector<Case<P>> small() { return cases({1, 3, 5}, {2, 4}, {1, 2, 9}, {1, 3, 11}); }

  static std::vector<Options> options(Index) {
    return {
        {}, {.block = 4}, {.block = 7, .window_blocks = 1, .global_blocks = 1, .random_blocks = 2, .scale = S(0.5)}};
  }
  template <class F>
  static void bad_options(F&& refused) {
    const S infinity = std::numeric_limits<S>::infinity();
    refused("infinite scale", "scale", Options{.scale = infinity});
    refused("empty blocks", "block", Options{.block = 0});
    refused("negative blocks", "block", Options{.block = -64});
    refused("no window", "window_blocks", Options{.window_blocks = 0});
    refused("an even window", "window_blocks", Options{.window_blocks = 2});
    refused("a negative window", "window_blocks", Options{.window_blocks = -3});
    refused("negative global blocks", "global_blocks", Options{.global_blocks = -1});
    refused("negative random blocks", "random_blocks", Options{.random_blocks = -1});
  }

  static bool sees(const Case<P>& c, Index i, Index j) {
    const Index p = i + c.call.keys - c.call.queries, b = c.options.block, n = (c.call.keys + b - 1) / b;
    if (p < 0) return false;
    const Index of_p = p / b, of_j = j / b, at_end = c.options.global_blocks / 2,
                at_start = c.options.global_blocks - at_end;
    for (const Index block : {of_p, of_j})
      if (block < at_start || block >= n - at_end) return true;
    if (std::abs(of_p - of_j) <= (c.options.window_blocks - 1) / 2) return true;
    return P(c.options, c.shape).pattern(c.head, c.call.keys).sees(p, j);
  }
  static Grid seen(const Case<P>& c, const Instance<P>&) {
    return Base::grid(c, [&](Index i, Index j) { return sees(c, i, j); });
  }
  static bool sees_first(const Case<P>& c) { return sees(c, c.call.queries - 1, 0); }
  static Index seen_pairs(const Case<P>& c) { return seen(c, {}).count(); }
  /// One block holds all keys, and both parts of them have a position for every query.
  static bool keys_split(const Case<P>& c) {
    return c.options.block >= c.call.keys && c.call.queries <= c.call.keys / 3;
  }

  static oracle::Answer answer(const Case<P>& c, const Instance<P>& in) {
    return oracle::softmax_attention(Base::problem(c, in, in.fields, [&](Index i, Index j) { return sees(c, i, j); }));
  }
};

struct BigBirdFamily {
  template <class S>
  using Of = heed::BigBird<S>;
};
const bool laws = register_laws<BigBirdFamily>();

namespace {
using Bird = heed::BigBird<float>;
Bird bird(const Bird::Options& options) { return Bird(options, {8, 8, 4}); }

/// The blocks that a block sees.
std::set<Index> neighbours(const heed::BlockGraph& graph, Index q, Index block, Index n) {
  std::set<Index> all;
  for (Index j = 0; j < n; ++j)
    if (graph.sees(q * block, j)) all.insert(j / block);
  return all;
}
}  // namespace

TEST(BigBird, RangesAndMembershipAgree) {
  for (const Index n : {1, 3, 40, 150, 641})
    for (const Index block : {1, 4, 16, 64})
      for (const Index globals : {0, 1, 2, 5}) {
        const Verdict v =
            answers_agree(bird({.block = block, .global_blocks = globals}).pattern(1, n), std::min<Index>(n, 200));
        EXPECT_TRUE(v.ok) << n << " " << block << "\n" << v.log;
      }
}

TEST(BigBird, DrawsOtherFullBlocksOnceAndEachHeadItsOwn) {
  const Index block = 4, n = 4 * 50 + 3, blocks = 51;
  std::set<Index> drawn;
  Index moved = 0;
  for (const Index random : {0, 1, 3, 40, 60})
    for (const Index head : {0, 1, 2}) {
      const Bird policy = bird({.block = block, .random_blocks = random});
      const heed::BlockGraph graph = policy.pattern(head, n), other = policy.pattern(head + 1, n);
      for (Index q = 1; q < blocks - 1; ++q) {
        const std::set<Index> seen = neighbours(graph, q, block, n);
        std::set<Index> fixed{0, q - 1, q, q + 1, blocks - 1};
        for (const Index b : fixed) EXPECT_TRUE(seen.count(b)) << b;
        const Index candidates = blocks - static_cast<Index>(fixed.size());
        EXPECT_EQ(static_cast<Index>(seen.size() - fixed.size()), std::min(random, candidates)) << "block " << q;
        if (random == 3) {
          moved += seen != neighbours(other, q, block, n) ? 1 : 0;
          for (const Index b : seen)
            if (!fixed.count(b)) drawn.insert(b);
        }
      }
      for (const Index q : {Index(0), blocks - 1})
        EXPECT_EQ(static_cast<Index>(neighbours(graph, q, block, n).size()), blocks);
    }
  EXPECT_EQ(static_cast<Index>(drawn.size()), blocks - 2) << "every block that is not global is drawn by some";
  EXPECT_GT(moved, 3 * (blocks - 2) * 9 / 10) << "heads draw different blocks";
}

/// Every candidate is equally likely: over many heads each is drawn about as often as the others.
TEST(BigBird, DrawsEvenly) {
  const Index block = 2, n = 60, q = 12, heads = 4000;
  std::vector<double> count(30, 0);
  const Bird policy = bird({.block = block});
  for (Index head = 0; head < heads; ++head)
    for (const Index b : neighbours(policy.pattern(head, n), q, block, n)) ++count[static_cast<std::size_t>(b)];
  const double expected = static_cast<double>(heads) * 3 / 25, deviation = std::sqrt(expected * (1 - 3.0 / 25));
  for (Index b = 1; b < 29; ++b)
    if (b < 11 || b > 13) {
      EXPECT_NEAR(count[static_cast<std::size_t>(b)], expected, 5 * deviation) << "block " << b;
    }
}

TEST(BigBird, ALastShortBlockIsNotDrawn) {
  const Index block = 8, n = 8 * 20 + 1;
  for (Index head = 0; head < 30; ++head) {
    const heed::BlockGraph graph = bird({.block = block, .global_blocks = 1}).pattern(head, n);
    for (Index q = 1; q < 19; ++q) EXPECT_FALSE(graph.sees(q * block, n - 1));
    EXPECT_TRUE(graph.sees(19 * block, n - 1)) << "but seen where it is in the window";
  }
}

/// Where the pattern holds every pair, it is dense attention.
TEST(BigBird, SmallOrGlobalSequencesAreDense) {
  struct Small {
    Bird::Options options;
    Index n;
  };
  for (const Small& s :
       {Small{{}, 1}, Small{{}, 40}, Small{{}, 200}, Small{{.block = 16, .global_blocks = 20}, 150},
        Small{{.block = 1, .window_blocks = 301}, 150}, Small{{.block = 16, .random_blocks = 99}, 160}}) {
    heed::Random random(1);
    const heed::Matrix<float> q = heed::random_normal<float>(random, s.n, 8, 1),
                              k = heed::random_normal<float>(random, s.n, 8, 1),
                              v = heed::random_normal<float>(random, s.n, 8, 1);
    const heed::Qkv<heed::ConstView<float>> in{heed::view(q), heed::view(k), heed::view(v)};
    heed::Matrix<float> o[2];
    heed::Vector<float> lse[2];
    for (int i = 0; i < 2; ++i) {
      o[i].resize(s.n, 8);
      lse[i].resize(s.n);
    }
    heed::Arena scratch;
    const Bird policy = bird(s.options);
    const heed::Tiled<float> dense({}, {8, 8, 4});
    const heed::NoParams none{};
    heed::NoParams shared{};
    const Bird::Context context{};
    const heed::ScoreBias<float> bias{};
    policy.forward_rows({none, shared, context, 0, 0}, in, {0, s.n}, {heed::view(o[0]), heed::view(lse[0])}, scratch);
    dense.forward_rows({none, shared, bias, 0, 0}, in, {0, s.n}, {heed::view(o[1]), heed::view(lse[1])}, scratch);
    EXPECT_LE((o[0] - o[1]).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 2e-6f) << s.n;
    EXPECT_LE((lse[0] - lse[1]).cwiseAbs().template maxCoeff<Eigen::PropagateNaN>(), 2e-6f) << s.n;
    EXPECT_EQ(heed::visible_pairs(policy.pattern(0, s.n), s.n, s.n), s.n * s.n);
  }
}
