// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/require.hpp>
#include <heed/patterns/algebra.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/patterns/count.hpp>
#include <heed/patterns/full.hpp>
#include <heed/patterns/global.hpp>
#include <heed/patterns/log_offsets.hpp>
#include <heed/patterns/random_blocks.hpp>
#include <heed/patterns/sparse_transformer.hpp>
#include <heed/patterns/star.hpp>
#include <heed/patterns/window.hpp>
#include <patterns/pattern_law.hpp>

#include <set>

using namespace heed;

namespace {
template <class Pattern, class Rule>
void check(const char* name, const Pattern& pattern, const Rule& rule) {
  const Verdict exact = sees_exactly(pattern, 150, rule), agree = answers_agree(pattern, 150);
  EXPECT_TRUE(exact.ok) << name << "\n" << exact.log;
  EXPECT_TRUE(agree.ok) << name << "\n" << agree.log;
  const Verdict far = answers_agree(pattern, 700);
  EXPECT_TRUE(far.ok) << name << "\n" << far.log;
}
}  // namespace

TEST(Patterns, SeeWhatTheirDefinitionSays) {
  check("full", Full{}, [](Index, Index) { return true; });
  check("causal", heed::Causal{}, [](Index p, Index j) { return j <= p; });
  check("causal off", heed::Causal{false}, [](Index, Index) { return true; });
  for (const Index left : {0, 1, 5, 64, 200})
    for (const Index right : {0, 3, 200}) {
      check("window", Window(left, right), [&](Index p, Index j) { return p - j <= left && j - p <= right; });
      for (const Index step : {1, 2, 3})
        check("dilated window", DilatedWindow(left, right, step), [&](Index p, Index j) {
          for (Index t = -left; t <= right; ++t)
            if (j == p + step * t) return true;
          return false;
        });
    }
  for (const Index g : {0, 1, 7, 500})
    check("first are global", GlobalFirst(g), [&](Index p, Index j) { return p < g || j < g; });
  const std::set<Index> chosen{3, 0, 77, 140};
  check("chosen are global", GlobalAt({3, 0, 77, 140}),
        [&](Index p, Index j) { return chosen.count(p) > 0 || chosen.count(j) > 0; });
  for (const Index l : {1, 2, 7, 12, 64})
    check("strided", Strided(l), [&](Index p, Index j) { return j <= p && (p - j <= l || (p - j) % l == 0); });
  for (const Index l : {1, 2, 7, 64})
    for (const Index c : {Index(1), l})
      check("fixed", FixedBlocks(l, c),
            [&](Index p, Index j) { return p >= 0 && j <= p && (j / l == p / l || j % l >= l - c); });
}

TEST(Patterns, RingAndRelay) {
  for (const Index n : {0, 1, 2, 3, 4, 5, 60, 150})
    check("star", Star(n), [&](Index p, Index j) {
      if (p == 0 || j == 0 || std::abs(p - j) <= 1) return true;
      return n > 2 && p > 0 && p < n && j < n && (p % (n - 1) + 1 == j || j % (n - 1) + 1 == p);
    });
}

TEST(Patterns, LogarithmicSets) {
  check("log", LogOffsets(), [](Index p, Index j) {
    if (j == p) return true;
    for (Index e = 1; e <= p; e *= 2)
      if (j == p - e) return true;
    return false;
  });
  for (const Index w : {1, 2, 6, 40})
    check("local log", LogOffsets(w), [&](Index p, Index j) {
      if (j <= p && j > p - w) return true;
      for (Index e = 1; e <= p; e *= 2)
        if (j == p - w + 1 - e) return true;
      return false;
    });
  for (const Index w : {1, 3, 4, 6, 20})
    for (const Index s : {1, 4, 5, 10, 16, 64})
      for (const bool without_last_anchor : {false, true})
        check("restart", LogRestart(w, s, without_last_anchor), [&](Index p, Index j) {
          for (Index a = p; a >= 0; a -= s) {
            const bool cut_off = a - w + 1 < 0, left_out = without_last_anchor && cut_off && a != p && a + s >= w - 1;
            if (j <= a && j > a - w && !(left_out && j == a)) return true;
            for (Index e = 0; e < w; ++e)
              if (const Index k = a - w + 1 - (Index{1} << e); j == k && a - k <= s) return true;
          }
          return false;
        });
}

TEST(Patterns, RestartsAreThoseOfTheCodeThatCirculates) {
  const auto row = [](const LogRestart& pattern, Index p) {
    std::set<Index> keys;
    for (Index j = 0; j < 64; ++j)
      if (pattern.sees(p, j)) keys.insert(j);
    return keys;
  };
  EXPECT_EQ(row(LogRestart(6, 64), 63), (std::set<Index>{26, 42, 50, 54, 56, 57, 58, 59, 60, 61, 62, 63}));
  EXPECT_EQ(row(LogRestart(3, 8), 31),
            (std::set<Index>{1, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 17, 19, 20, 21, 22, 23, 25, 27, 28, 29, 30, 31}));
  const std::set<Index> restarts{4,  8,  10, 11, 12, 13, 14, 15, 20, 24, 26, 27, 28, 29, 30, 31,
                                 36, 40, 42, 43, 44, 45, 46, 47, 52, 56, 58, 59, 60, 61, 62, 63};
  EXPECT_EQ(row(LogRestart(4, 16), 63), restarts);
  EXPECT_EQ(row(LogRestart(4, 16, true), 63), restarts);
  EXPECT_TRUE(LogRestart(4, 16).sees(50, 2));
  EXPECT_FALSE(LogRestart(4, 16, true).sees(50, 2));
  Index dropped = 0;
  for (Index p = 32; p < 64; ++p)  // it sees all the past before
    for (Index j = 0; j <= p; ++j)
      dropped += LogRestart(4, 16).sees(p, j) != LogRestart(4, 16, true).sees(p, j) ? 1 : 0;
  EXPECT_EQ(dropped, 6);
}

TEST(Patterns, RestartsNameFewKeysPerSegment) {
  for (const Index p : {100, 1000, 2000}) {
    Ranges ranges;
    LogRestart(5, 200).keys({p, p + 1}, p + 1, ranges);
    EXPECT_LE(ranges.total(), (p / 200 + 1) * 10);
  }
}

TEST(Patterns, LogDistancesReachEverythingInLogManyLayers) {
  for (const Index n : {2, 3, 17, 64, 100}) {
    std::vector<std::vector<bool>> reach(static_cast<std::size_t>(n),
                                         std::vector<bool>(static_cast<std::size_t>(n), false));
    for (Index i = 0; i < n; ++i) reach[std::size_t(i)][std::size_t(i)] = true;
    Index layers = 0;
    for (Index m = n - 1; m > 0; m /= 2) ++layers;  // floor(log2(n - 1)) + 1
    for (Index layer = 0; layer < layers; ++layer) {
      auto next = reach;
      for (Index p = 0; p < n; ++p)
        for (Index k = 0; k <= p; ++k)
          if (LogOffsets().sees(p, k))
            for (Index j = 0; j < n; ++j)
              if (reach[std::size_t(k)][std::size_t(j)]) next[std::size_t(p)][std::size_t(j)] = true;
      reach = next;
    }
    for (Index p = 0; p < n; ++p)
      for (Index j = 0; j <= p; ++j)
        EXPECT_TRUE(reach[std::size_t(p)][std::size_t(j)]) << n << ": " << p << " to " << j;
  }
}

TEST(Patterns, RandomBlocksAreDrawnOnceFromTheSeed) {
  const RandomBlocks pattern(150, 16, 3, 7), again(150, 16, 3, 7), other(150, 16, 3, 8);
  const Verdict agree = answers_agree(pattern, 200),
                same = sees_exactly(pattern, 200, [&](Index p, Index j) { return again.sees(p, j); });
  EXPECT_TRUE(agree.ok) << agree.log;
  EXPECT_TRUE(same.ok) << same.log;
  EXPECT_FALSE(sees_exactly(pattern, 150, [&](Index p, Index j) { return other.sees(p, j); }).ok);
  for (Index p = 0; p < 150; p += 16) {
    std::set<Index> blocks;
    for (Index j = 0; j < 150; ++j)
      if (pattern.sees(p, j)) blocks.insert(j / 16);
    EXPECT_EQ(blocks.size(), 3u);
  }
  EXPECT_FALSE(pattern.sees(150, 0));
  const Verdict every = sees_exactly(RandomBlocks(50, 16, 9, 1), 50, [](Index p, Index) { return p >= 0; });
  EXPECT_TRUE(every.ok) << every.log;
}

TEST(Patterns, Compose) {
  const auto bird = Window(20, 20) | GlobalFirst(4) | RandomBlocks(150, 16, 2, 5);
  const RandomBlocks random(150, 16, 2, 5);
  check("union", bird, [&](Index p, Index j) { return std::abs(p - j) <= 20 || p < 4 || j < 4 || random.sees(p, j); });
  check("intersection", heed::Causal{} & bird,
        [&](Index p, Index j) { return j <= p && (std::abs(p - j) <= 20 || p < 4 || j < 4 || random.sees(p, j)); });
  check("of intersections", (heed::Causal{} & Window(9, 9)) | (Window(0, 30) & GlobalAt({50, 60})),
        [](Index p, Index j) {
          return (j <= p && p - j <= 9) || (j >= p && j - p <= 30 && (p == 50 || p == 60 || j == 50 || j == 60));
        });
  EXPECT_EQ(visible_pairs(heed::Causal{} & Window(9, 9), 100, 100), 10 * 100 - 45);
}

TEST(Patterns, TheFinerNaturalBlockWins) {
  EXPECT_EQ(query_block_of(Window(3, 3)), 0);
  EXPECT_EQ(query_block_of(RandomBlocks(150, 16, 2, 5)), 16);
  EXPECT_EQ(query_block_of(Window(3, 3) | RandomBlocks(150, 16, 2, 5)), 16);
  EXPECT_EQ(query_block_of(heed::Causal{} & (RandomBlocks(150, 32, 2, 5) | FixedBlocks(64, 4))), 32);
}

TEST(Patterns, RefuseNonsense) {
  EXPECT_THROW(Window(-1, 0), OptionError);
  EXPECT_THROW(Window(0, -1), OptionError);
  EXPECT_THROW(DilatedWindow(1, 1, 0), OptionError);
  EXPECT_THROW(DilatedWindow(-1, 1, 1), OptionError);
  EXPECT_THROW(GlobalFirst(-1), OptionError);
  EXPECT_THROW(GlobalAt({3, -1}), OptionError);
  EXPECT_THROW(GlobalAt({3, 5, 3}), OptionError);
  EXPECT_THROW(Strided(0), OptionError);
  EXPECT_THROW(FixedBlocks(4, 5), OptionError);
  EXPECT_THROW(FixedBlocks(4, 0), OptionError);
  EXPECT_THROW(RandomBlocks(-1, 4, 1, 1), OptionError);
  EXPECT_THROW(RandomBlocks(10, 0, 1, 1), OptionError);
  EXPECT_THROW(RandomBlocks(10, 4, -1, 1), OptionError);
  EXPECT_THROW(Star(-1), OptionError);
  EXPECT_THROW(LogOffsets(0), OptionError);
  EXPECT_THROW(LogRestart(4, 0), OptionError);
  EXPECT_THROW(LogRestart(0, 4), OptionError);
  EXPECT_THROW(LogRestart(61, 100), OptionError);
}

namespace {
/// Broken on purpose: the law must see it.
struct NamesTwice : LogOffsets {
  template <class F>
  void for_each_seen(Index p, Index n_k, const F& f) const {
    LogOffsets::for_each_seen(p, n_k, f);
    if (p >= 0 && p < n_k) f(Range{p, p + 1});
  }
};
struct ShortRanges : Window {
  using Window::Window;
  void keys(Range positions, Index, Ranges& ranges) const { ranges.add({positions.begin - 4, positions.end + 5}); }
};
struct BoastfulAll : Window {
  using Window::Window;
  bool all(Range positions, Range keys) const {
    return keys.begin >= positions.begin - 5 && keys.end <= positions.end + 5;
  }
};
}  // namespace

TEST(Patterns, ContradictionsAreCaught) {
  EXPECT_TRUE(answers_agree(Window(5, 5), 150).ok);
  EXPECT_FALSE(answers_agree(ShortRanges(5, 5), 150).ok);
  EXPECT_FALSE(answers_agree(NamesTwice(), 150).ok);
  EXPECT_FALSE(answers_agree(BoastfulAll(5, 5), 150).ok);
}
