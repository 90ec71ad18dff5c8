// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/heed.hpp>

#include <iostream>
#include <string>
#include <vector>

/// A key pattern of your own: a query sees the keys of its own paragraph. Three answers, and the tiled kernel does the
/// rest, forward and backward, with your struct inlined.
struct SameParagraph {
  std::vector<heed::Index> paragraph;  // of every token, counted up

  heed::Index of(heed::Index p) const { return paragraph[static_cast<std::size_t>(p)]; }

  // Which keys may these queries see? Decides the cost. Here: from the first key of the first query's paragraph on.
  void keys(heed::Range positions, heed::Index n_k, heed::Ranges& ranges) const {
    heed::Index begin = std::max<heed::Index>(positions.begin, 0), end = std::min(positions.end, n_k);
    while (begin > 0 && of(begin - 1) == of(begin)) --begin;
    while (end < n_k && of(end) == of(end - 1)) ++end;
    ranges.add({begin, end});
  }
  // May p see j? Decides the result.
  bool sees(heed::Index p, heed::Index j) const { return p >= 0 && of(p) == of(j); }
  // Is every key seen by every query? Then no pair is tested.
  bool all(heed::Range positions, heed::Range keys) const {
    return positions.begin >= 0 && of(positions.begin) == of(keys.begin) && of(positions.end - 1) == of(keys.end - 1) &&
           of(positions.begin) == of(positions.end - 1);
  }
};
static_assert(heed::KeyPattern<SameParagraph>);

int main() {
  const std::string text = "To heed is to pay attention.\nTo what?\nTo the keys of one's own paragraph, say.\n";
  SameParagraph pattern;
  heed::Index current = 0;
  for (const char c : text) {
    pattern.paragraph.push_back(current);
    if (c == '\n') ++current;
  }
  const heed::Index n = static_cast<heed::Index>(text.size());

  // Patterns compose: the own paragraph, a window of 2 on each side, and the first token, which everyone sees.
  const auto composed = pattern | heed::Window(2, 2) | heed::GlobalFirst(1);
  heed::write_picture("custom_pattern.svg", composed, n, n);

  using Policy = heed::Tiled<float, std::remove_const_t<decltype(composed)>>;
  const heed::Attention<Policy> attention({.d_model = 32, .heads = 4, .policy = {.pattern = composed}});
  heed::Random random(1);
  const heed::Attention<Policy>::Params params = attention.init(random);
  const heed::Matrix<float> x = heed::random_normal<float>(random, n, 32, 1.0);
  heed::Attention<Policy>::Cache cache;
  const heed::Matrix<float> y = attention.forward(params, x, heed::Batch::one(n), cache);
  std::cout << n << " tokens, |y| = " << y.norm() << ", drawn to custom_pattern.svg\n";
  return y.allFinite() ? 0 : 1;
}
