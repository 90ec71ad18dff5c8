// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "../../benchmarks/names.hpp"

#include <gtest/gtest.h>

namespace heed::bench {
namespace {

TEST(names, spell_pass_policy_and_pairs) {
  const Name name{.pass = "forward", .subject = "SlidingWindow", .options = "w:256/g:2", .heads = 8, .n = 16384};
  EXPECT_EQ(name.text(), "forward/SlidingWindow/w:256/g:2/heads:8/n:16384");
  EXPECT_EQ(name.variant(), "SlidingWindow/w:256/g:2");
  EXPECT_EQ((Name{.pass = "decode", .subject = "Tiled", .heads = 8, .kv_heads = 1, .n = 4096}.text()),
            "decode/Tiled/heads:8/kv_heads:1/n:4096");
  EXPECT_EQ((Name{.pass = "fma", .workers = 2}.text()), "fma/workers:2");
}

TEST(names, are_read_back) {
  for (const char* text :
       {"forward/Tiled/heads:8/n:4096/causal", "backward/Dense/heads:1/n:128", "decode/Tiled/heads:8/kv_heads:1/n:4096",
        "forward/SlidingWindow/w:256/heads:8/n:16384", "forward/Tiled/heads:8/n:2048/workers:2/causal",
        "product/ab/m:256/k:64/n:512", "fma/workers:2"}) {
    const auto name = Name::parse(text);
    ASSERT_TRUE(name) << text;
    EXPECT_EQ(name->text(), text);
  }
}

TEST(names, without_what_the_harness_appends) {
  for (const char* suffix :
       {"/manual_time", "/min_time:0.100/manual_time", "/real_time", "/repeats:3", "/iterations:1"}) {
    const auto name = Name::parse(std::string("forward/Tiled/heads:8/n:64") + suffix);
    ASSERT_TRUE(name) << suffix;
    EXPECT_EQ(name->text(), "forward/Tiled/heads:8/n:64");
  }
}

TEST(names, with_bad_numbers_or_words_are_none) {
  for (const char* text : {"", "/Tiled", "n:4/Tiled", "forward/Tiled/n:many", "forward/Tiled/n:12x",
                           "forward/Tiled/n:", "forward/Tiled/n:8/twice"})
    EXPECT_FALSE(Name::parse(text)) << text;
}

}  // namespace
}  // namespace heed::bench
