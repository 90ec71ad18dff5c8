// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/recent_keys.hpp>
#include <heed/kernels/residue_softmax.hpp>
#include <heed/patterns/head_windows.hpp>
#include <heed/projections/qkv.hpp>

#include <algorithm>
#include <optional>
#include <vector>

namespace heed {

/// Every token sees the tokens around it: sliding window attention, dilated or not.
///
///   o_i = sum_{j in V(i)} p_ij v_j,  p_i = softmax_{j in V(i)}(t(scale q_i.k_j)),  t the soft cap,
///   V(i) = { i + dilation t : -window <= t <= window },  and t <= 0 when causal.
///
/// Cost:        n (2 window + 1) (d + d_v) multiply-adds, n (window + 1) (d + d_v) causal, whatever the dilation; saves
///              nothing but output and log-sum-exp. A stream holds K and V of about dilation window + the longest chunk.
/// Exactness:   exact on its pattern.
/// Paper:       Beltagy, Peters, Cohan 2020 (Longformer), arXiv 2004.05150, section 3.1 (sliding and dilated windows).
/// Limitation:  what is further apart than the window meets only over several layers; `Longformer` adds tokens that see
///              and are seen by all.
template <class S>
class SlidingWindow {
 public:
  static constexpr std::string_view name = "SlidingWindow";
  static constexpr About about{"n w time, n memory", "exact on its pattern", "Beltagy et al. 2020, arXiv 2004.05150"};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  struct Options {
    Index window = 256;              ///< keys on each side; only to the left when causal. The token itself comes on top
    std::vector<Index> dilation{1};  ///< step between the keys of a window: one for all heads, or one per head
    bool causal = false;             ///< row i of n_q sees keys j <= i + n_k - n_q only
    std::optional<S> scale{};        ///< of q.k; 1 / sqrt(d) if not given
    S soft_cap = 0;                  ///< cap tanh(u / cap) on scaled scores; 0 for none
  };
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};
  /// The keys and values that coming queries may see.
  using State = RecentKeys<S>;

  static std::vector<Preset<Options>> presets() {
    return {{"w:256", {.window = 256}}, {"w:64", {.window = 64}}, {"w:256", {.window = 256, .causal = true}}};
  }

  SlidingWindow(const Options& options, HeadShape shape)
      : causal_(options.causal),
        shape_(shape),
        logits_(make_logits(options.scale, options.soft_cap, shape.key_dim)),
        windows_(options.window, options.dilation, options.causal, shape.heads) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return causal_ ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const double pairs = static_cast<double>(windows_.pairs(call.queries, call.keys));
    const double d = static_cast<double>(shape_.key_dim), d_v = static_cast<double>(shape_.value_dim);
    Cost c;
    c.forward = pairs * (d + d_v);
    c.backward = pairs * (3 * d + 2 * d_v);
    for (const Index step : windows_.steps()) {
      c.forward_scratch = std::max(c.forward_scratch, residue_forward_scratch<S>(step, call.queries, call.keys,
                                                                                 shape_.key_dim, shape_.value_dim));
      c.backward_scratch = std::max(c.backward_scratch, residue_backward_scratch<S>(step, call.queries, call.keys,
                                                                                    shape_.key_dim, shape_.value_dim));
    }
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<SlidingWindow>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}

  /// So many that every residue of the longest step has a whole block.
  Index rows_per_task() const { return softmax_rows_per_task<S> * std::min(windows_.longest_step(), Index{1} << 32); }
  void forward_rows(const Head<SlidingWindow>& h, const Qkv<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    const Window window = windows_.window(in.q.rows(), in.k.rows());
    for (Index row = rows.begin; row < rows.end; row += rows_per_task())
      residue_forward(window, windows_.step(h.head), logits_, in, {row, std::min(rows.end, row + rows_per_task())}, out,
                      scratch);
  }
  void forward(const Head<SlidingWindow>& h, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena& scratch) const {
    forward_rows(h, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<SlidingWindow>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache&, const Qkv<View<S>>& din, const HeadGradient<SlidingWindow>&, Arena& scratch) const {
    const Window window = windows_.window(in.q.rows(), in.k.rows());
    residue_backward([&](const Residue&) { return window; }, windows_.step(h.head), logits_, in, out, dout, din,
                     scratch);
  }

  State start(Index capacity, Index longest_chunk) const {
    require<OptionError>(causal_, "options.causal: a stream only sees its past; causal = true expected");
    return {windows_.reach(capacity), capacity, longest_chunk, shape_.key_dim, shape_.value_dim};
  }
  void append(const Head<SlidingWindow>&, State& state, const Qkv<ConstView<S>>& in) const { state.append(in.k, in.v); }
  void attend(const Head<SlidingWindow>& h, const State& state, const Qkv<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const {
    forward_rows(h, {in.q, state.k(), state.v()}, {0, in.q.rows()}, out, scratch);
  }

 private:
  bool causal_;
  HeadShape shape_;
  Logits<S> logits_;
  HeadWindows windows_;
};
static_assert(RegisteredPolicy<SlidingWindow<float>> && StreamingPolicy<SlidingWindow<float>> &&
              RowwisePolicy<SlidingWindow<float>>);

}  // namespace heed
