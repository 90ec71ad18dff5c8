// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/train/token_batch.hpp>

using heed::Batch, heed::Index, heed::TokenBatch;
using Ids = std::vector<std::int32_t>;

TEST(TokenBatch, BytesAreTokens) {
  const TokenBatch t = heed::byte_tokens("a\xff\n");
  EXPECT_EQ(t.ids, (Ids{97, 255, 10}));
  EXPECT_EQ(t.batch.q, Batch::one(3).q);
  EXPECT_EQ(t.batch.k, t.batch.q);
  EXPECT_TRUE(t.targets.empty());
}

TEST(TokenBatch, WindowsHaveTheNextByteAsTarget) {
  const TokenBatch t = heed::byte_windows("abcdef", {3, 0}, 2);
  EXPECT_EQ(t.ids, (Ids{'d', 'e', 'a', 'b'}));
  EXPECT_EQ(t.targets, (Ids{'e', 'f', 'b', 'c'}));
  EXPECT_EQ(t.batch.q, Batch::ragged({2, 2}).q);
  EXPECT_EQ(heed::byte_windows("abcdef", {0}, 5).targets.back(), 'f');
  EXPECT_TRUE(heed::byte_windows("", {}, 5).ids.empty());
}

TEST(TokenBatch, RefusesWindowsThatLeaveTheText) {
  const auto says = [](const std::vector<Index>& begins, Index n) -> std::string {
    try {
      heed::byte_windows("abcdef", begins, n);
    } catch (const heed::ShapeError& e) {
      return e.what();
    }
    return "no such error";
  };
  EXPECT_EQ(says({0, 4}, 2), "begins[1]: a window of 2 bytes and one more in a text of 6 expected, came 4");
  EXPECT_EQ(says({-1}, 2), "begins[0]: a window of 2 bytes and one more in a text of 6 expected, came -1");
  EXPECT_EQ(says({0}, 6), "begins[0]: a window of 6 bytes and one more in a text of 6 expected, came 0");
  EXPECT_EQ(says({0}, -1), "n: not negative expected, came -1");
}
