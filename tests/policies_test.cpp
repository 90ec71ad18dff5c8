// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <gtest/gtest.h>
#include <heed/policies.hpp>

#include <string>
#include <vector>

/// The registry by name.

TEST(Registry, FindsAPolicyByItsName) {
  std::vector<std::string> found;
  for (const char* name : {"Lsh", "Tiled", "PersistentMemory"})
    heed::with_policy<double>(name, [&]<class P>() {
      static_assert(std::is_same_v<typename P::Scalar, double>);
      found.emplace_back(P::name);
    });
  EXPECT_EQ(found, (std::vector<std::string>{"Lsh", "Tiled", "PersistentMemory"}));
}

TEST(Registry, NamesThoseThatFit) {
  const auto says = [](const char* name) -> std::string {
    try {
      heed::with_policy<float>(name, []<heed::StreamingPolicy P>() {});
    } catch (const heed::OptionError& e) {
      return e.what();
    }
    return "no such error";
  };
  EXPECT_EQ(says("SlidingWindow"), "no such error");
  const std::string names =
      "policy: one of Tiled, RelativeBias, SlidingWindow, Longformer, LogSparse, AdaptiveSpan, DynamicSpan, Favor, "
      "PersistentMemory expected, came ";
  EXPECT_EQ(says("Linformer"), names + "Linformer");  // it is there, and does not stream
  EXPECT_EQ(says(""), names);
}
