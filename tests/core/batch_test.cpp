// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/core/batch.hpp>

using heed::Batch, heed::Index, heed::Segment;

TEST(Batch, Lays) {
  EXPECT_EQ(Batch::one(4).q, (std::vector<Segment>{{0, 4}}));
  EXPECT_EQ(Batch::ragged({5, 0, 4}).k, (std::vector<Segment>{{0, 5}, {5, 0}, {5, 4}}));
  EXPECT_EQ(Batch::padded({5, 4}, 6).q, (std::vector<Segment>{{0, 5}, {6, 4}}));
  const Batch cross = Batch::cross(Batch::ragged({2, 3}), Batch::ragged({4, 1}));
  EXPECT_EQ(cross.queries(1), (Segment{2, 3}));
  EXPECT_EQ(cross.keys(1), (Segment{4, 1}));
  EXPECT_EQ(Batch::longest(cross.k), 4);
  EXPECT_EQ(Batch::ragged({}).size(), 0);
}

TEST(Batch, RunsAndGaps) {
  std::vector<Segment> runs, gaps;
  const std::vector<Segment> segments{{1, 2}, {3, 0}, {3, 4}, {9, 1}, {10, 0}};
  heed::for_each_run(segments, [&](Segment s) { runs.push_back(s); });
  heed::for_each_gap(segments, 12, [&](Segment s) { gaps.push_back(s); });
  EXPECT_EQ(runs, (std::vector<Segment>{{1, 6}, {9, 1}}));
  EXPECT_EQ(gaps, (std::vector<Segment>{{0, 1}, {7, 2}, {10, 2}}));
  gaps.clear();
  heed::for_each_gap({}, 3, [&](Segment s) { gaps.push_back(s); });
  EXPECT_EQ(gaps, (std::vector<Segment>{{0, 3}}));
}

TEST(Batch, ChecksItsSegments) {
  Batch::ragged({5, 4}).check(9, 9);
  EXPECT_THROW(Batch::ragged({5, 4}).check(8, 9), heed::ShapeError);
  EXPECT_THROW(Batch::ragged({5, 4}).check(9, 8), heed::ShapeError);
  const Index huge = std::numeric_limits<Index>::max();
  EXPECT_THROW((Batch{{{1, huge}}, {{0, 1}}}.check(9, 9)), heed::ShapeError) << "the end overflows";
}
