// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include "policy_cases.hpp"

#include <heed/patterns/window.hpp>
#include <heed/policies/adaptive_span.hpp>
#include <heed/policies/tiled.hpp>

/// What is measured beside the registry.

namespace heed::bench {
namespace {

/// No attention at all: hands its values out. What every variant would take if its attention were free (the line "OPT"
/// of the Performer's figure 3).
template <class S>
class NoAttention {
 public:
  static constexpr std::string_view name = "NoAttention";
  static constexpr About about{"n", "no attention", ""};
  using Scalar = S;
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;
  struct Options {};
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};

  static std::vector<Preset<Options>> presets() { return {{"", {}}}; }

  NoAttention(const Options&, HeadShape shape) : shape_(shape) {}
  HeadShape shape() const { return shape_; }
  Causality causality() const { return Causality::none; }
  Cost cost(CallShape) const { return {}; }
  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<NoAttention>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}
  void forward(const Head<NoAttention>&, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena&) const {
    out.o = in.v;
    out.lse.setZero();
  }
  void backward(const Head<NoAttention>&, const Qkv<ConstView<S>>&, ConstOut<S>, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<NoAttention>&, Arena&) const {
    View<S> dv = din.v;
    dv += dout.o;
  }

 private:
  HeadShape shape_;
};

/// Eight heads that have learned spans of 64 to 1104 tokens, 314 in the mean, out of 8192.
void mixed_spans(Index h, AdaptiveSpan<float>::Params& params) {
  static constexpr float spans[] = {64, 64, 128, 128, 256, 256, 512, 1104};
  params.span(0, 0) = spans[h % 8] / 8192;
}

/// A window as a user would write it.
struct OwnWindow {
  Index w = 0;
  void keys(Range positions, Index, Ranges& ranges) const { ranges.add({positions.begin - w, positions.end + w}); }
  bool sees(Index p, Index j) const { return j >= p - w && j <= p + w; }
  bool all(Range positions, Range keys) const {
    return keys.begin >= positions.end - 1 - w && keys.end - 1 <= positions.begin + w;
  }
};

}  // namespace

void add_beside(std::vector<Case>& all) {
  add_policy<NoAttention<float>>(all);
  add_preset<AdaptiveSpan<float>>({"spans:mixed", {.max_span = 8192}}, all, mixed_spans);
  std::vector<Case> patterns;
  add_preset<Tiled<float, Window>>({"pattern:window", {.pattern = Window(256, 256)}, longest_pass, true}, patterns);
  add_preset<Tiled<float, OwnWindow>>({"pattern:own", {.pattern = {256}}, longest_pass, true}, patterns);
  for (Case& c : patterns)
    if (c.name.pass == "forward" && c.name.heads == 8 && c.name.workers == 1 && c.name.n == longest_pass)
      all.push_back(std::move(c));
}

}  // namespace heed::bench
