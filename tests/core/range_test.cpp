// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/random.hpp>
#include <heed/core/range.hpp>

#include <set>

using heed::Index, heed::Range, heed::Ranges;

TEST(Ranges, StaySortedAndMerged) {
  Ranges r;
  r.add({10, 20});
  r.add({0, 3});
  r.add({5, 5});  // empty
  r.add({7, 2});  // empty
  EXPECT_EQ(r.size(), 2u);
  r.add({3, 5});  // touches the first
  EXPECT_EQ(r[0], (Range{0, 5}));
  r.add({4, 12});
  EXPECT_EQ(r.size(), 1u);
  EXPECT_EQ(r[0], (Range{0, 20}));
  EXPECT_EQ(r.total(), 20);
}

TEST(Ranges, HoldTheUnionOfWhatWasAdded) {
  heed::Random random(1);
  for (int round = 0; round < 300; ++round) {
    Ranges r;
    std::set<Index> expected;
    const Index adds = random.below(40);
    for (Index a = 0; a < adds; ++a) {
      const Index begin = random.below(300), end = begin + random.below(12);
      r.add({begin, end});
      for (Index i = begin; i < end; ++i) expected.insert(i);
    }
    std::set<Index> held;
    Index last = -1;
    for (const Range x : r) {
      ASSERT_GT(x.begin, last);  // disjoint, sorted, not adjacent
      for (Index i = x.begin; i < x.end; ++i) held.insert(i);
      last = x.end;
    }
    ASSERT_EQ(held, expected);
  }
}

TEST(Ranges, AFullListCoversMoreNeverLess) {
  Ranges r;
  for (Index i = 0; i < 200; ++i) r.add({3 * i + (i > 100 ? 5 : 0), 3 * i + 1 + (i > 100 ? 5 : 0)});
  EXPECT_LE(r.size(), Ranges::capacity);
  for (Index i = 0; i < 200; ++i) {
    const Index x = 3 * i + (i > 100 ? 5 : 0);
    bool covered = false;
    for (const Range range : r) covered = covered || (range.begin <= x && x < range.end);
    EXPECT_TRUE(covered) << x;
  }
}
