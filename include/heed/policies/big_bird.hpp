// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/score_terms.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/block_graph.hpp>
#include <heed/patterns/count.hpp>
#include <heed/projections/qkv.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace heed {

/// Exact attention on BigBird's graph of blocks (internal transformer construction): a window of blocks, global blocks,
/// random blocks.
///
///   o_i = sum_{j in N(i)} p_ij v_j,  p_i = softmax_{j in N(i)}(scale q_i.k_j), where the block of i sees
///   - the window_blocks blocks around it,
///   - the global blocks: half of them, rounded up, at the start of the sequence, the others at its end; they see all,
///   - random_blocks other blocks, each head its own: drawn without repetition from the full blocks that are neither
///     global nor in the window, so that no key counts twice; all of them where there are fewer.
///
/// Cost:        n block (window_blocks + global_blocks + random_blocks) + 2 n block global_blocks pairs, at most, of
///              d + d_v multiply-adds; saves nothing but output and log-sum-exp.
/// Exactness:   exact on its pattern.
/// Paper:       Zaheer et al. 2020, arXiv 2007.14062, section 2 and appendix D; first and last block are global as in
///              the authors' code.
/// Limitation:  encoders only, it has no causal form; the random blocks change with the length of the sequence.
template <class S>
class BigBird {
 public:
  static constexpr std::string_view name = "BigBird";
  static constexpr About about{"n time and memory", "exact on its pattern", "Zaheer et al. 2020, arXiv 2007.14062"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    Index block = 64;          ///< tokens of a block; the last one may be shorter
    Index window_blocks = 3;   ///< blocks around a query's own, itself included; odd
    Index global_blocks = 2;   ///< blocks that see and are seen by all: the first, the last, the second, ...
    Index random_blocks = 3;   ///< further blocks, drawn
    std::uint64_t seed = 1;    ///< of the drawing
    std::optional<S> scale{};  ///< of q.k; 1 / sqrt(d) if not given
  };
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};

  static std::vector<Preset<Options>> presets() { return {{"", {}}}; }

  BigBird(const Options& options, HeadShape shape)
      : options_(options), shape_(shape), logits_(make_logits(options.scale, S(0), shape.key_dim)) {
    require<OptionError>(options.block >= 1, "options.block: at least 1 token expected, came ", options.block);
    require<OptionError>(options.window_blocks >= 1 && options.window_blocks % 2 == 1,
                         "options.window_blocks: an odd number of blocks expected, came ", options.window_blocks);
    require<OptionError>(options.global_blocks >= 0, "options.global_blocks: must not be negative, came ",
                         options.global_blocks);
    require<OptionError>(options.random_blocks >= 0, "options.random_blocks: must not be negative, came ",
                         options.random_blocks);
  }

  HeadShape shape() const { return shape_; }
  static constexpr Causality causality() { return Causality::none; }
  Cost cost(CallShape call) const {
    const double pairs = static_cast<double>(visible_pairs(pattern(0, call.keys), call.queries, call.keys));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    c.forward_scratch =
        softmax_forward_scratch<S>(call.queries, call.keys, shape_.key_dim, shape_.value_dim, true, options_.block);
    c.backward_scratch =
        softmax_backward_scratch<S>(call.queries, call.keys, shape_.key_dim, shape_.value_dim, true, options_.block);
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<BigBird>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}

  Index rows_per_task() const { return softmax_rows_per_task<S>; }
  void forward_rows(const Head<BigBird>& h, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    softmax_forward(pattern(h.head, in.k.rows()), NoTerm{}, logits_, in, rows, out, scratch);
  }
  void forward(const Head<BigBird>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<BigBird>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<BigBird>&, Arena& scratch) const {
    softmax_backward(pattern(h.head, in.k.rows()), NoTerm{}, logits_, in, out, dout, din, scratch);
  }

  /// Who sees whom in this head, in a sequence of `n_k` tokens.
  BlockGraph pattern(Index head, Index n_k) const {
    const Index last = options_.global_blocks / 2;
    return BlockGraph({.block = options_.block,
                       .reach = options_.window_blocks / 2,
                       .first = options_.global_blocks - last,
                       .last = last,
                       .random = options_.random_blocks,
                       .length = n_k},
                      Random(options_.seed).stream(static_cast<std::uint64_t>(head)));
  }

 private:
  Options options_;
  HeadShape shape_;
  Logits<S> logits_;
};
static_assert(RegisteredPolicy<BigBird<float>> && RowwisePolicy<BigBird<float>>);

}  // namespace heed
