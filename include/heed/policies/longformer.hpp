// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/recent_keys.hpp>
#include <heed/kernels/residue_softmax.hpp>
#include <heed/kernels/scattered_softmax.hpp>
#include <heed/patterns/head_windows.hpp>
#include <heed/patterns/listed.hpp>
#include <heed/projections/local_global.hpp>

#include <algorithm>
#include <optional>
#include <vector>

namespace heed {

/// A sliding window, and a few global tokens that see every token and that every token sees.
///
///   local rows, i not in G:  o_i = sum_{j in V(i)} p_ij v_j,    p_i = softmax_{j in V(i)}(t(scale q_i.k_j)),
///                            V(i) = { i + dilation t : -window <= t <= window } | G;
///   global rows, i in G:     o_i = sum_j p_ij vg_j,             p_i = softmax_j(t(scale qg_i.kg_j)),
///
/// with the soft cap t. Local rows see global keys through the local set, and a global key inside the window once. In
/// the causal form every row, local or global, sees only keys j <= i: the window to the left, and the global tokens up
/// to itself.
///
/// Cost:        (n (2 window + 1) + 2 n |G|) (d + d_v) multiply-adds; saves nothing but output and log-sum-exp. `cost`
///              does not know the caller's G and leaves its share out. A stream holds K and V of about dilation window
///              + the longest chunk, those of the global tokens, and, for global rows to come, kg and vg of all tokens.
/// Exactness:   exact on its pattern.
/// Paper:       Beltagy, Peters, Cohan 2020, arXiv 2004.05150, section 3.1. The paper's causal model has no global
///              tokens; their causal form is ours.
/// Limitation:  twice the projections of `SlidingWindow`, which is the one to use without global tokens.
template <class S>
class Longformer {
 public:
  static constexpr std::string_view name = "Longformer";
  static constexpr About about{"n (w + g) time, n memory", "exact on its pattern",
                               "Beltagy et al. 2020, arXiv 2004.05150"};
  using Scalar = S;
  template <class M>
  using Fields = LocalGlobal<M>;
  using Projection = ProjectLocalGlobal<S>;

  struct Options {
    Index window = 256;              ///< keys on each side; only to the left when causal. The token itself comes on top
    std::vector<Index> dilation{1};  ///< step between the keys of a window: one for all heads, or one per head
    bool causal = false;             ///< row i of n_q sees keys j <= i + n_k - n_q only
    std::optional<S> scale{};        ///< of q.k and qg.kg; 1 / sqrt(d) if not given
    S soft_cap = 0;                  ///< cap tanh(u / cap) on scaled scores; 0 for none
  };
  using Params = NoParams;
  using Shared = NoParams;
  /// The global tokens of each sequence: positions among its keys, ascending, each once. No list at all: none anywhere.
  /// A stream is given those that have come so far; a token is global in it if the step that brings it says so.
  struct Context {
    std::vector<std::vector<Index>> globals{};
  };
  struct Cache {};
  /// What coming rows may see.
  struct State {
    RecentKeys<S> recent;        // of the local set
    std::vector<Index> globals;  // positions that have come
    Matrix<S> k, v;              // theirs, of the local set; grown as they come
    Matrix<S> kg, vg;            // of the global set: all tokens
    Index size = 0;              // tokens
  };

  static std::vector<Preset<Options>> presets() {
    return {{"w:256", {.window = 256}}, {"w:256", {.window = 256, .causal = true}}};
  }

  Longformer(const Options& options, HeadShape shape)
      : causal_(options.causal),
        shape_(shape),
        logits_(make_logits(options.scale, options.soft_cap, shape.key_dim)),
        windows_(options.window, options.dilation, options.causal, shape.heads) {}

  HeadShape shape() const { return shape_; }
  Causality causality() const { return causal_ ? Causality::strict : Causality::none; }
  Cost cost(CallShape call) const {
    const Index n_q = call.queries, n_k = call.keys, d = shape_.key_dim, d_v = shape_.value_dim;
    const double pairs = static_cast<double>(windows_.pairs(n_q, n_k));
    Cost c;
    c.forward = pairs * static_cast<double>(d + d_v);
    c.backward = pairs * static_cast<double>(3 * d + 2 * d_v);
    for (const Index step : windows_.steps()) {
      c.forward_scratch = std::max(c.forward_scratch, residue_forward_scratch<S>(step, n_q, n_k, d, d_v));
      c.backward_scratch = std::max(c.backward_scratch, residue_backward_scratch<S>(step, n_q, n_k, d, d_v));
    }
    c.forward_scratch = std::max(c.forward_scratch, scattered_forward_scratch<S>(n_q, n_k, d, d_v));
    c.backward_scratch = std::max(c.backward_scratch, scattered_backward_scratch<S>(n_q, n_k, d, d_v));
    return c;
  }

  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  /// Throws ShapeError unless the sequence's global positions ascend inside its keys.
  void check(const Head<Longformer>& h, CallShape call) const {
    const auto& all = h.context.globals;
    if (all.empty()) return;
    const std::size_t s = static_cast<std::size_t>(h.sequence);
    require<ShapeError>(s < all.size(), "context.globals: one list for each sequence, or none at all, expected, came ",
                        all.size(), " and a sequence ", s);
    for (std::size_t i = 0; i < all[s].size(); ++i) {
      const Index p = all[s][i];
      require<ShapeError>(p >= 0 && p < call.keys, "context.globals[", s, "]: positions in [0, ", call.keys,
                          ") expected, came ", p);
      require<ShapeError>(i == 0 || all[s][i - 1] < p, "context.globals[", s,
                          "]: ascending positions, each once, expected, came ", p, " after ",
                          i == 0 ? p : all[s][i - 1]);
    }
  }
  void reserve(CallShape, Cache&) const {}

  /// So many that every residue of the longest step has a whole block, and global rows, which are gathered by task, some
  /// company.
  Index rows_per_task() const {
    return softmax_rows_per_task<S> * std::clamp(windows_.longest_step(), Index{8}, Index{1} << 32);
  }
  void forward_rows(const Head<Longformer>& h, const LocalGlobal<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    const PositionList globals = globals_of(h);
    see_window(h.head, in.local, rows, out, scratch);
    if (globals.empty()) return;
    const Index n_q = in.local.q.rows(), n_k = in.local.k.rows();
    for_each_block(rows, softmax_rows_per_task<S>, [&](Range block) {
      const auto pattern_of = [&](PositionList keys) { return global_keys(h.head, globals, keys, block, n_q, n_k); };
      scattered_keys_forward(pattern_of, logits_, in.local, keys_until(globals, block.end + n_k - n_q), block, out,
                             scratch);
    });
    global_rows(globals, in.global, rows, out, scratch);
  }
  void forward(const Head<Longformer>& h, const LocalGlobal<ConstView<S>>& in, Out<S> out, Cache&,
               Arena& scratch) const {
    forward_rows(h, in, {0, in.local.q.rows()}, out, scratch);
  }

  /// Over the window, the global keys and the global rows one after another: each adds its part, given the output and
  /// the log-sum-exp of all.
  void backward(const Head<Longformer>& h, const LocalGlobal<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const Cache&, const LocalGlobal<View<S>>& din, const HeadGradient<Longformer>&, Arena& scratch) const {
    const Index n_q = in.local.q.rows(), n_k = in.local.k.rows(), step = windows_.step(h.head);
    const Window window = windows_.window(n_q, n_k);
    const PositionList globals = globals_of(h);
    if (globals.empty())
      return residue_backward([&](const Residue&) { return window; }, step, logits_, in.local, out, dout, din.local,
                              scratch);
    const auto local_rows = [&](const Residue& at) { return LocalRows{window, globals, at}; };
    residue_backward(local_rows, step, logits_, in.local, out, dout, din.local, scratch);
    const auto keys_of = [&](PositionList keys) { return global_keys(h.head, globals, keys, {0, n_q}, n_q, n_k); };
    scattered_keys_backward(keys_of, logits_, in.local, globals, out, dout, din.local, scratch);
    const auto rows_of = [&](PositionList rows) { return ListedRows{rows, n_k - rows.size(), causal_}; };
    scattered_rows_backward(rows_of, logits_, in.global, globals.in({n_k - n_q, n_k}), n_k - n_q, out, dout, din.global,
                            scratch);
  }

  State start(Index capacity, Index longest_chunk) const {
    require<OptionError>(causal_, "options.causal: a stream only sees its past; causal = true expected");
    State s;
    s.recent = {windows_.reach(capacity), capacity, longest_chunk, shape_.key_dim, shape_.value_dim};
    s.kg.resize(capacity, shape_.key_dim);
    s.vg.resize(capacity, shape_.value_dim);
    return s;
  }
  void append(const Head<Longformer>& h, State& state, const LocalGlobal<ConstView<S>>& in) const {
    const Index n = in.local.k.rows();
    for (const Index p : globals_of(h).in({state.size, state.size + n})) {
      const Index at = static_cast<Index>(state.globals.size());
      if (at == state.k.rows()) {
        state.k.conservativeResize(2 * at + 1, shape_.key_dim);
        state.v.conservativeResize(2 * at + 1, shape_.value_dim);
      }
      state.k.row(at) = in.local.k.row(p - state.size);
      state.v.row(at) = in.local.v.row(p - state.size);
      state.globals.push_back(p);
    }
    state.recent.append(in.local.k, in.local.v);
    state.kg.middleRows(state.size, n) = in.global.k;
    state.vg.middleRows(state.size, n) = in.global.v;
    state.size += n;
  }
  void attend(const Head<Longformer>& h, const State& state, const LocalGlobal<ConstView<S>>& in, Out<S> out,
              Arena& scratch) const {
    const Range rows = {0, in.local.q.rows()};
    see_window(h.head, {in.local.q, state.recent.k(), state.recent.v()}, rows, out, scratch);
    if (state.globals.empty()) return;
    const PositionList globals{state.globals};
    const ConstView<S> k = block(state.k, 0, 0, globals.size(), state.k.cols());
    const ConstView<S> v = block(state.v, 0, 0, globals.size(), state.v.cols());
    for_each_block(rows, softmax_rows_per_task<S>, [&](Range block) {
      softmax_merge(global_keys(h.head, globals, globals, block, rows.size(), state.size), logits_,
                    Qkv<ConstView<S>>{in.local.q, k, v}, block, out, scratch);
    });
    const ConstView<S> kg = block(state.kg, 0, 0, state.size, state.kg.cols());
    const ConstView<S> vg = block(state.vg, 0, 0, state.size, state.vg.cols());
    global_rows(globals, {in.global.q, kg, vg}, rows, out, scratch);
  }

 private:
  static PositionList globals_of(const Head<Longformer>& h) {
    if (h.context.globals.empty()) return {};
    return PositionList{h.context.globals[static_cast<std::size_t>(h.sequence)]};
  }
  /// The global tokens that rows before the position `end` may see.
  PositionList keys_until(PositionList globals, Index end) const {
    return causal_ ? globals.part(0, globals.before(end)) : globals;
  }
  template <class F>
  static void for_each_block(Range rows, Index size, F&& f) {
    for (Index row = rows.begin; row < rows.end; row += size) f(Range{row, std::min(rows.end, row + size)});
  }

  /// Assigns to the rows what they see in their windows; those of global tokens are overwritten later.
  void see_window(Index head, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    const Window window = windows_.window(in.q.rows(), in.k.rows());
    for_each_block(rows, rows_per_task(), [&](Range block) {
      residue_forward(window, windows_.step(head), logits_, in, block, out, scratch);
    });
  }
  /// Some of the global keys, gathered, as the rows `rows` of n_q see them.
  ListedKeys global_keys(Index head, PositionList globals, PositionList keys, Range rows, Index n_q, Index n_k) const {
    return {.globals = globals,
            .listed = keys,
            .shift = rows.end + n_k - n_q - keys.size(),
            .width = windows_.width(n_q, n_k),
            .step = windows_.step(head),
            .causal = causal_};
  }
  /// Assigns those of the rows that are global, from the global set.
  void global_rows(PositionList globals, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    const Index n_k = in.k.rows(), shift = n_k - in.q.rows();
    const auto rows_of = [&](PositionList some) { return ListedRows{some, n_k - some.size(), causal_}; };
    for_each_block(rows, rows_per_task(), [&](Range block) {
      scattered_rows_forward(rows_of, logits_, in, globals.in({block.begin + shift, block.end + shift}), shift, out,
                             scratch);
    });
  }

  bool causal_;
  HeadShape shape_;
  Logits<S> logits_;
  HeadWindows windows_;
};
static_assert(RegisteredPolicy<Longformer<float>> && StreamingPolicy<Longformer<float>> &&
              RowwisePolicy<Longformer<float>>);

}  // namespace heed
