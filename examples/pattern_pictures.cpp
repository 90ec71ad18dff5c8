// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <string>

/// Draws who sees whom in the patterns that heed has: one row per query, one column per key.
///
///     pattern_pictures [FOLDER]
int main(int argc, char** argv) {
  using namespace heed;
  const std::string folder = argc > 1 ? argv[1] : ".";
  constexpr Index n = 48;
  const auto draw = [&](const std::string& name, const auto& pattern) {
    write_picture(folder + "/" + name + ".svg", pattern, n, n);
    std::cout << name << ": " << visible_pairs(pattern, n, n) << " of " << n * n << " pairs\n";
  };
  draw("causal", Causal{});
  draw("window", Window(4, 4));
  draw("causal_window", Window(8, 0));
  draw("dilated_window", DilatedWindow(4, 4, 3));
  draw("window_and_global", Window(4, 4) | GlobalAt({0, 20}));
  draw("log", LogOffsets(1));
  draw("local_log", LogOffsets(4));
  draw("log_restart", LogRestart(4, 12));
  draw("strided", Strided(7));
  draw("fixed", FixedBlocks(8, 2));
  draw("big_bird", BigBird<float>({.block = 4, .random_blocks = 2}, {}).pattern(0, n));
  draw("star", Star(n));
}
