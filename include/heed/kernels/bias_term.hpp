// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/core/require.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

/// What a caller may add to the scores of an exact policy: a bias of their own, and ALiBi.

namespace heed {

/// Which heads of which sequences share one block of bias.
enum class BiasPer { batch, head, sequence, sequence_and_head };

/// One `[n_q, n_k]` block of a caller's matrix, by reference. Unlike an Eigen map it is a plain value: assigning one
/// makes it look elsewhere.
template <class T>
struct BiasBlock {
  T* data = nullptr;
  Index rows = 0, cols = 0, stride = 0;
  BiasBlock(std::conditional_t<std::is_const_v<T>, ConstView<std::remove_const_t<T>>, View<std::remove_const_t<T>>> m)
      : data(m.data()), rows(m.rows()), cols(m.cols()), stride(m.outerStride()) {}
  T& operator()(Index i, Index j) const { return data[i * stride + j]; }
};

/// The caller's additive bias: blocks `[n_q, n_k]` that are added to the scaled and capped scores. -inf hides a key.
///
/// `blocks` is empty (no bias) or holds one view per what `per` says, heads running fastest. `gradient` is empty or
/// holds, in the same order, views that backward adds dE to; as two heads must not write to one block, only
/// `BiasPer::sequence_and_head` may have it, and only beside a bias.
template <class S>
struct ScoreBias {
  std::vector<BiasBlock<const S>> blocks{};
  BiasPer per = BiasPer::batch;
  std::vector<BiasBlock<S>> gradient{};

  bool empty() const { return blocks.empty(); }
  std::size_t index(Index sequence, Index head, Index heads) const {
    switch (per) {
      case BiasPer::head:
        return static_cast<std::size_t>(head);
      case BiasPer::sequence:
        return static_cast<std::size_t>(sequence);
      case BiasPer::sequence_and_head:
        return static_cast<std::size_t>(sequence * heads + head);
      default:
        return 0;
    }
  }
  /// Throws ShapeError unless the block of this head exists and is `[call.queries, call.keys]`.
  void check(Index sequence, Index head, Index heads, CallShape call) const {
    require<ShapeError>(gradient.empty() || !blocks.empty(), "context.gradient: no bias to take the gradient of");
    if (blocks.empty()) return;
    const std::size_t at = index(sequence, head, heads);
    require<ShapeError>(at < blocks.size(), "context.blocks: more than ", at, " blocks expected, came ", blocks.size());
    const auto check_block = [&](const char* name, const auto& block) {
      require<ShapeError>(block.rows == call.queries && block.cols == call.keys, name, "[", at, "]: [", call.queries,
                          ", ", call.keys, "] expected, came [", block.rows, ", ", block.cols, "]");
    };
    check_block("context.blocks", blocks[at]);
    if (gradient.empty()) return;
    require<ShapeError>(per == BiasPer::sequence_and_head,
                        "context.gradient: needs one block for each sequence and head (BiasPer::sequence_and_head)");
    require<ShapeError>(gradient.size() == blocks.size(), "context.gradient: ", blocks.size(),
                        " blocks expected, came ", gradient.size());
    check_block("context.gradient", gradient[at]);
  }
};

/// The slopes of ALiBi (Press, Smith, Lewis 2022, arXiv 2108.12409): 2^(-8 h / H) for h = 1 ... H when H is a power of
/// two; else those of the power of two below, followed by every second slope of the power of two above.
template <class S>
std::vector<S> alibi_slopes(Index heads) {
  std::vector<S> slopes;
  Index power = 1;
  while (2 * power <= heads) power *= 2;
  const auto slope = [](Index h, Index of) {
    return static_cast<S>(std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(of)));
  };
  for (Index h = 1; h <= std::min(power, heads); ++h) slopes.push_back(slope(h, power));
  for (Index h = 1; static_cast<Index>(slopes.size()) < heads; h += 2) slopes.push_back(slope(h, 2 * power));
  return slopes;
}

/// Throws OptionError unless there is a finite slope for every head, or none at all.
template <class S>
void check_alibi(const std::vector<S>& slopes, Index heads) {
  require<OptionError>(slopes.empty() || static_cast<Index>(slopes.size()) == heads,
                       "options.alibi: one slope for each of ", heads, " heads expected, came ", slopes.size());
  for (const S m : slopes) require<OptionError>(std::isfinite(m), "options.alibi: finite slopes expected, came ", m);
}

/// The score term of both, for one head, or for `Tile::group` heads side by side:
/// e_ij += bias_ij - slope |p_i - j|.
template <class S>
class BiasTerm {
 public:
  BiasTerm(const ScoreBias<S>& bias, const std::vector<S>& slopes, Index sequence, Index head, Index heads)
      : bias_(bias), slopes_(slopes), sequence_(sequence), head_(head), heads_(heads) {}

  bool active() const { return !bias_.empty() || !slopes_.empty(); }

  bool hides() const { return !bias_.empty(); }
  bool sees(const Tile& tile, Index r, Index j) const {
    return bias_.empty() || !hidden(bias_.blocks[block_of(tile.member(r))]((tile.row + r) / tile.group, j));
  }
  /// Of a single pair; -inf where the bias hides it.
  S at(Index i, Index position, Index j) const {
    S e = bias_.empty() ? S(0) : bias_.blocks[block_of(0)](i, j);
    if (!slopes_.empty()) e -= slope(0) * static_cast<S>(std::abs(position - j));
    return e;
  }

  void fill(const Tile& tile, S* s) const {
    if (!slopes_.empty()) fill_alibi(tile, s);
    if (bias_.empty()) return;
    for (Index r = 0; r < tile.rows; ++r) {
      const S* b = &bias_.blocks[block_of(tile.member(r))]((tile.row + r) / tile.group, tile.key);
      for (Index c = 0; c < tile.keys; ++c) {  // hidden is written, so that NaN behind it stays there
        S& e = s[c * tile.stride + r];
        e = hidden(b[c]) ? b[c] : e + b[c];
      }
    }
  }
  void pull(const Tile& tile, const S* ds) const {
    if (bias_.gradient.empty()) return;
    for (Index r = 0; r < tile.rows; ++r) {
      S* row = &bias_.gradient[block_of(tile.member(r))]((tile.row + r) / tile.group, tile.key);
      for (Index c = 0; c < tile.keys; ++c) row[c] += ds[c * tile.stride + r];
    }
  }

 private:
  static bool hidden(S b) { return b == -std::numeric_limits<S>::infinity(); }
  std::size_t block_of(Index member) const { return bias_.index(sequence_, head_ + member, heads_); }
  S slope(Index member) const { return slopes_[static_cast<std::size_t>(head_ + member)]; }

  void fill_alibi(const Tile& tile, S* s) const {
    constexpr Index width = 64;  // rows at a time: slopes and positions lie side by side like the scores
    for (Index from = 0; from < tile.rows; from += width) {
      const Index rows = std::min(width, tile.rows - from);
      std::array<S, std::size_t{width}> slopes, positions;
      for (Index r = 0; r < rows; ++r) {
        slopes[static_cast<std::size_t>(r)] = slope(tile.member(from + r));
        positions[static_cast<std::size_t>(r)] = static_cast<S>(tile.position(from + r));
      }
      for (Index c = 0; c < tile.keys; ++c) {
        const S j = static_cast<S>(tile.key + c);
        S* e = s + c * tile.stride + from;
        for (Index r = 0; r < rows; ++r)
          e[r] -= slopes[static_cast<std::size_t>(r)] * std::abs(positions[static_cast<std::size_t>(r)] - j);
      }
    }
  }

  const ScoreBias<S>& bias_;
  const std::vector<S>& slopes_;
  Index sequence_, head_, heads_;
};
static_assert(ScoreTerm<BiasTerm<float>, float>);

}  // namespace heed
