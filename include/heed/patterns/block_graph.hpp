// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/random.hpp>

#include <algorithm>
#include <cstdint>

namespace heed {

/// What blocks of `block` positions see of each other in a sequence of `length`: `reach` blocks on either side and
/// itself; the `first` and `last` blocks, which also see all; and `random` of the other full blocks, drawn without
/// repetition. Positions before the first key see nothing. A plain value without tables: what is drawn is computed when
/// asked, from the seed, the block and the length.
class BlockGraph {
 public:
  struct Shape {
    Index block = 1, reach = 0, first = 0, last = 0, random = 0, length = 0;
  };
  BlockGraph() = default;
  BlockGraph(Shape shape, Random random)
      : s_(shape), random_(random), blocks_(shape.length / shape.block + (shape.length % shape.block > 0)) {}

  void keys(Range positions, Index, Ranges& ranges) const {
    const Range inside = intersect(positions, {0, s_.length});
    if (inside.empty()) return;
    for (Index q = inside.begin / s_.block; q <= (inside.end - 1) / s_.block; ++q) {
      if (is_global(q)) return ranges.add({0, s_.length});
      ranges.add(tokens({0, s_.first}));
      ranges.add(tokens({blocks_ - s_.last, blocks_}));
      ranges.add(tokens(window(q)));
      const Draw draw(*this, q);
      for (Index i = 0; i < draw.count; ++i) ranges.add(tokens({draw(i), draw(i) + 1}));
    }
  }
  bool sees(Index p, Index j) const {
    return p >= 0 && j >= 0 && p < s_.length && j < s_.length && block_sees(p / s_.block, j / s_.block);
  }
  bool all(Range positions, Range keys) const {
    if (positions.begin < 0 || positions.end > s_.length || keys.begin < 0 || keys.end > s_.length) return false;
    for (Index q = positions.begin / s_.block; q <= (positions.end - 1) / s_.block; ++q)
      for (Index k = keys.begin / s_.block; k <= (keys.end - 1) / s_.block; ++k)
        if (!block_sees(q, k)) return false;
    return true;
  }
  Index query_block() const { return s_.block; }

 private:
  /// The random blocks of block q: the i-th is the i-th of all candidates in a shuffled order.
  struct Draw {
    Draw(const BlockGraph& graph, Index q)
        : low(std::max(graph.s_.first, std::min(graph.window(q).begin, graph.full_end()))),
          high(std::min(graph.window(q).end, graph.full_end())),
          first(graph.s_.first),
          candidates(std::max<Index>(low - first, 0) + std::max<Index>(graph.full_end() - std::max(high, first), 0)),
          count(std::min(graph.s_.random, candidates)),
          key(graph.random_.stream(static_cast<std::uint64_t>(q))) {
      while ((Index{1} << (2 * half)) < candidates) ++half;
    }
    Index operator()(Index i) const {
      std::uint64_t x = static_cast<std::uint64_t>(i);
      do x = permuted(x);
      while (static_cast<Index>(x) >= candidates);  // a permutation of [0, 4^half) walks back into [0, candidates)
      const Index b = first + static_cast<Index>(x);
      return b < low ? b : b - low + std::max(high, first);
    }
    /// A Feistel network of four rounds.
    std::uint64_t permuted(std::uint64_t x) const {
      const std::uint64_t mask = (std::uint64_t{1} << half) - 1;
      std::uint64_t left = x >> half, right = x & mask;
      for (std::uint64_t round = 0; round < 4; ++round) {
        const std::uint64_t next = left ^ (key.stream(round << 32 | right).bits() & mask);
        left = right;
        right = next;
      }
      return left << half | right;
    }
    Index low, high, first;  // candidates are [first, low) and [high, end of full blocks that are not global)
    Index candidates, count;
    int half = 1;
    Random key;
  };

  bool is_global(Index b) const { return b < s_.first || b >= blocks_ - s_.last; }
  Range window(Index q) const { return {q - s_.reach, q + s_.reach + 1}; }
  Index full_end() const { return std::min(s_.length / s_.block, blocks_ - s_.last); }
  Range tokens(Range blocks) const {
    const Range inside = intersect(blocks, {0, blocks_});
    return intersect({inside.begin * s_.block, inside.end * s_.block}, {0, s_.length});
  }
  bool block_sees(Index q, Index k) const {
    if (is_global(q) || is_global(k)) return true;
    const Range near = window(q);
    if (near.begin <= k && k < near.end) return true;
    const Draw draw(*this, q);
    for (Index i = 0; i < draw.count; ++i)
      if (draw(i) == k) return true;
    return false;
  }

  Shape s_;
  Random random_{0};
  Index blocks_ = 0;
};
static_assert(KeyPattern<BlockGraph>);

}  // namespace heed
