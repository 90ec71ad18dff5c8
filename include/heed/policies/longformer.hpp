// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/concepts.hpp>
#include <heed/kernels/logits.hpp>
#include <heed/kernels/merge.hpp>
#include <heed/kernels/recent_keys.hpp>
#include <heed/kernels/residue_softmax.hpp>
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
  /// A stream is given those that have come so far, from the step on that brings them.
  struct Context {
    std::vector<std::vector<Index>> globals{};
  };
  struct Cache {};
  /// What coming rows may see.
  struct State {
    RecentKeys<S> recent;        // of the local set
    std::vector<Index> globals;  // positions that have come
    Matrix<S> k, v;              // theirs, of the local set
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
    const Index keys = std::min(n_k, key_block), rows = std::min(n_q, row_block);
    const double pairs = static_cast<double>(windows_.pairs(n_q, n_k));
    Cost c;
    c.forward = pairs * static_cast<double>(d + d_v);
    c.backward = pairs * static_cast<double>(3 * d + 2 * d_v);
    for (const Index step : windows_.steps()) {
      c.forward_scratch = std::max(c.forward_scratch, residue_forward_scratch<S>(step, n_q, n_k, d, d_v));
      c.backward_scratch = std::max(c.backward_scratch, residue_backward_scratch<S>(step, n_q, n_k, d, d_v));
    }
    const auto numbers = [](Index n) { return Arena::size_of<S>(n); };
    const Index block = std::min(n_q, softmax_rows_per_task<S>);
    c.forward_scratch = std::max({c.forward_scratch,
                                  numbers(keys * d) + numbers(keys * d_v) + numbers(block * d_v) + numbers(block) +
                                      softmax_forward_scratch<S>(block, keys, d, d_v, false),
                                  numbers(rows * d) + numbers(rows * d_v) + numbers(rows) +
                                      softmax_forward_scratch<S>(rows, n_k, d, d_v, true)});
    c.backward_scratch = std::max(
        {c.backward_scratch,
         2 * numbers(keys * d) + 2 * numbers(keys * d_v) + softmax_backward_scratch<S>(n_q, keys, d, d_v, false),
         2 * numbers(rows * d) + 2 * numbers(rows * d_v) + 2 * numbers(rows) +
             softmax_backward_scratch<S>(rows, n_k, d, d_v, true)});
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

  /// So many that every residue of the longest step has a whole block.
  Index rows_per_task() const { return softmax_rows_per_task<S> * std::min(windows_.longest_step(), Index{1} << 32); }
  void forward_rows(const Head<Longformer>& h, const LocalGlobal<ConstView<S>>& in, Range rows, Out<S> out,
                    Arena& scratch) const {
    const Globals globals = globals_of(h);
    see_window(h.head, in.local, rows, out, scratch);
    if (globals.empty()) return;
    see_globals(h.head, globals, in.local, in.local.k.rows(), rows, out, scratch);
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
    const Window window = windows_.window(in.local.q.rows(), in.local.k.rows());
    const Index step = windows_.step(h.head);
    const Globals globals = globals_of(h);
    if (globals.empty())
      return residue_backward([&](const Residue&) { return window; }, step, logits_, in.local, out, dout, din.local,
                              scratch);
    residue_backward(
        [&](const Residue& at) {
          return LocalRows{window, globals, at};
        },
        step, logits_, in.local, out, dout, din.local, scratch);
    see_globals_backward(h.head, globals, in.local, out, dout, din.local, scratch);
    global_rows_backward(globals, in.global, out, dout, din.global, scratch);
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
    const Globals globals{state.globals};
    const Index g = globals.size();
    see_globals(h.head, globals,
                {in.local.q, block(state.k, 0, 0, g, state.k.cols()), block(state.v, 0, 0, g, state.v.cols())},
                state.size, rows, out, scratch);
    const ConstView<S> kg = block(state.kg, 0, 0, state.size, state.kg.cols());
    const ConstView<S> vg = block(state.vg, 0, 0, state.size, state.vg.cols());
    global_rows(globals, {in.global.q, kg, vg}, rows, out, scratch);
  }

 private:
  using Globals = Positions;
  /// Global keys, and global rows, that are gathered at a time.
  static constexpr Index key_block = 128, row_block = 144;

  static Globals globals_of(const Head<Longformer>& h) {
    if (h.context.globals.empty()) return {};
    return Globals{h.context.globals[static_cast<std::size_t>(h.sequence)]};
  }
  static void gather(ConstView<S> from, Globals at, Index first, View<S> to) {
    for (Index i = 0; i < at.size(); ++i) to.row(i) = from.row(at[i] - first);
  }
  static void add_scattered(ConstView<S> from, Globals at, Index first, View<S> to) {
    for (Index i = 0; i < at.size(); ++i) to.row(at[i] - first) += from.row(i);
  }

  /// Assigns to the rows what they see in their windows; those of global tokens are overwritten later.
  void see_window(Index head, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    const Window window = windows_.window(in.q.rows(), in.k.rows());
    for (Index row = rows.begin; row < rows.end; row += rows_per_task())
      residue_forward(window, windows_.step(head), logits_, in, {row, std::min(rows.end, row + rows_per_task())}, out,
                      scratch);
  }

  /// Some of the global keys, as `queries` rows from `first_position` on see them outside windows of this width.
  ListedKeys listed_keys(Index head, Globals globals, Globals keys, Index first_position, Index queries,
                         Index width) const {
    return {.globals = globals,
            .listed = keys,
            .shift = first_position + queries - keys.size(),
            .width = width,
            .step = windows_.step(head),
            .causal = causal_};
  }
  /// Merges into the rows what they see of the global keys outside their windows. Of n_k keys, k and v hold all, or only
  /// the global ones.
  void see_globals(Index head, Globals globals, const Qkv<ConstView<S>>& in, Index n_k, Range rows, Out<S> out,
                   Arena& scratch) const {
    const Index d = in.k.cols(), d_v = in.v.cols(), shift = n_k - in.q.rows();
    const bool only_globals = in.k.rows() < n_k;
    for (Index row = rows.begin; row < rows.end; row += softmax_rows_per_task<S>) {
      const Index n = std::min(rows.end - row, softmax_rows_per_task<S>);
      for (Index c = 0; c < globals.size(); c += key_block) {
        const Globals keys = globals.part(c, key_block);
        if (causal_ && keys[0] > row + n - 1 + shift) break;
        const Arena::Frame frame(scratch);
        View<S> k = scratch.matrix<S>(keys.size(), d), v = scratch.matrix<S>(keys.size(), d_v);
        for (Index i = 0; i < keys.size(); ++i) {
          k.row(i) = in.k.row(only_globals ? c + i : keys[i]);
          v.row(i) = in.v.row(only_globals ? c + i : keys[i]);
        }
        const Out<S> part{scratch.matrix<S>(n, d_v), scratch.vector<S>(n)};
        softmax_forward(listed_keys(head, globals, keys, row + shift, n, windows_.width(in.q.rows(), n_k)), NoTerm{},
                        logits_, Qkv<ConstView<S>>{block(in.q, row, 0, n, d), view(k), view(v)}, {0, n}, part, scratch);
        merge<S>({block(out.o, row, 0, n, d_v), {out.lse.data() + row, n}}, {view(part.o), {part.lse.data(), n}});
      }
    }
  }
  void see_globals_backward(Index head, Globals globals, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                            const Qkv<View<S>>& din, Arena& scratch) const {
    const Index d = in.k.cols(), d_v = in.v.cols(), n = in.q.rows();
    for (Index c = 0; c < globals.size(); c += key_block) {
      const Globals keys = globals.part(c, key_block);
      const Arena::Frame frame(scratch);
      View<S> k = scratch.matrix<S>(keys.size(), d), v = scratch.matrix<S>(keys.size(), d_v);
      View<S> dk = scratch.matrix<S>(keys.size(), d), dv = scratch.matrix<S>(keys.size(), d_v);
      gather(in.k, keys, 0, k);
      gather(in.v, keys, 0, v);
      dk.setZero();
      dv.setZero();
      softmax_backward(listed_keys(head, globals, keys, in.k.rows() - n, n, windows_.width(n, in.k.rows())), NoTerm{},
                       logits_, Qkv<ConstView<S>>{in.q, view(k), view(v)}, out, dout, Qkv<View<S>>{din.q, dk, dv},
                       scratch);
      add_scattered(view(dk), keys, 0, din.k);
      add_scattered(view(dv), keys, 0, din.v);
    }
  }

  /// Assigns the rows of global tokens, from the global set.
  void global_rows(Globals globals, const Qkv<ConstView<S>>& in, Range rows, Out<S> out, Arena& scratch) const {
    const Index d = in.k.cols(), d_v = in.v.cols(), shift = in.k.rows() - in.q.rows();
    for (Index row = rows.begin; row < rows.end; row += softmax_rows_per_task<S>) {
      const Index end = std::min(rows.end, row + softmax_rows_per_task<S>);
      const Globals here = globals.in({row + shift, end + shift});
      for (Index c = 0; c < here.size(); c += row_block) {
        const Globals part = here.part(c, row_block);
        const Index n = part.size();
        const Arena::Frame frame(scratch);
        View<S> q = scratch.matrix<S>(n, d), o = scratch.matrix<S>(n, d_v);
        VectorView<S> lse = scratch.vector<S>(n);
        gather(in.q, part, shift, q);
        softmax_forward(ListedRows{part, in.k.rows() - n, causal_}, NoTerm{}, logits_,
                        Qkv<ConstView<S>>{view(q), in.k, in.v}, {0, n}, Out<S>{o, lse}, scratch);
        for (Index i = 0; i < n; ++i) {
          out.o.row(part[i] - shift) = o.row(i);
          out.lse[part[i] - shift] = lse[i];
        }
      }
    }
  }
  void global_rows_backward(Globals globals, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                            const Qkv<View<S>>& din, Arena& scratch) const {
    const Index d = in.k.cols(), d_v = in.v.cols(), shift = in.k.rows() - in.q.rows();
    const Globals here = globals.in({shift, in.k.rows()});
    for (Index c = 0; c < here.size(); c += row_block) {
      const Globals part = here.part(c, row_block);
      const Index n = part.size(), n_lse = dout.lse.size() > 0 ? n : 0;
      const Arena::Frame frame(scratch);
      View<S> q = scratch.matrix<S>(n, d), dq = scratch.matrix<S>(n, d);
      View<S> o = scratch.matrix<S>(n, d_v), d_o = scratch.matrix<S>(n, d_v);
      VectorView<S> lse = scratch.vector<S>(n), d_lse = scratch.vector<S>(n_lse);
      gather(in.q, part, shift, q);
      gather(out.o, part, shift, o);
      gather(dout.o, part, shift, d_o);
      for (Index i = 0; i < n; ++i) lse[i] = out.lse[part[i] - shift];
      for (Index i = 0; i < n_lse; ++i) d_lse[i] = dout.lse[part[i] - shift];
      dq.setZero();
      softmax_backward(ListedRows{part, in.k.rows() - n, causal_}, NoTerm{}, logits_,
                       Qkv<ConstView<S>>{view(q), in.k, in.v}, ConstOut<S>{view(o), {lse.data(), n}},
                       ConstOut<S>{view(d_o), {d_lse.data(), n_lse}}, Qkv<View<S>>{dq, din.k, din.v}, scratch);
      add_scattered(view(dq), part, shift, din.q);
    }
  }

  bool causal_;
  HeadShape shape_;
  Logits<S> logits_;
  HeadWindows windows_;
};
static_assert(RegisteredPolicy<Longformer<float>> && StreamingPolicy<Longformer<float>> &&
              RowwisePolicy<Longformer<float>>);

}  // namespace heed
