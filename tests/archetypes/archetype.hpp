// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/attention.hpp>
#include <heed/kernels/softmax_backward.hpp>
#include <heed/kernels/softmax_forward.hpp>
#include <heed/patterns/causal.hpp>
#include <heed/projections/qkv.hpp>

#include <vector>

/// Policies that prove what the contract holds: `Minimal` has exactly what the concept asks for; the others have the
/// shapes of variants to come. Naive bodies: one number after another.

namespace archetype {

using namespace heed;

/// What most of them have.
template <class S>
struct Base {
  using Scalar = S;
  struct Options {};
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};
  HeadShape shape_;
  Base(const Options&, HeadShape shape) : shape_(shape) {}
  HeadShape shape() const { return shape_; }
  Causality causality() const { return Causality::none; }
  Cost cost(CallShape) const { return {}; }
  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
};

/// The mean of the values: exactly the required members.
template <class S>
class Minimal {
 public:
  static constexpr std::string_view name = "Minimal";
  using Scalar = S;
  struct Options {};
  using Params = NoParams;
  using Shared = NoParams;
  struct Context {};
  struct Cache {};
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;

  Minimal(const Options&, HeadShape shape) : shape_(shape) {}
  HeadShape shape() const { return shape_; }
  Causality causality() const { return Causality::none; }
  Cost cost(CallShape) const { return {}; }
  Params init(Random&) const { return {}; }
  Shared init_shared(Random&) const { return {}; }
  void check(const Head<Minimal>&, CallShape) const {}
  void reserve(CallShape, Cache&) const {}
  void forward(const Head<Minimal>&, const Qkv<ConstView<S>>& in, Out<S> out, Cache&, Arena&) const {
    for (Index i = 0; i < out.o.rows(); ++i) out.o.row(i) = in.v.colwise().mean();
    out.lse.setConstant(std::log(static_cast<S>(in.v.rows())));
  }
  void backward(const Head<Minimal>&, const Qkv<ConstView<S>>& in, ConstOut<S>, ConstOut<S> dout, const Cache&,
                const Qkv<View<S>>& din, const HeadGradient<Minimal>&, Arena&) const {
    View<S> dv = din.v;
    for (Index j = 0; j < dv.rows(); ++j) dv.row(j) += dout.o.colwise().sum() / static_cast<S>(in.v.rows());
  }

 private:
  HeadShape shape_;
};
static_assert(AttentionPolicy<Minimal<float>> && !StreamingPolicy<Minimal<float>> && !RowwisePolicy<Minimal<float>>);

/// One row of softmax with its pullback: `visit(j)` for the keys it sees.
template <class S, class Keys, class Score>
void row_forward(const Keys& keys, const Score& score, ConstView<S> v, Index i, Out<S> out) {
  S m = -std::numeric_limits<S>::infinity(), sum = 0;
  keys(i, [&](Index j) { m = std::max(m, score(i, j)); });
  out.o.row(i).setZero();
  out.lse(i) = m;
  if (m == -std::numeric_limits<S>::infinity()) return;
  keys(i, [&](Index j) { sum += std::exp(score(i, j) - m); });
  out.lse(i) = m + std::log(sum);
  keys(i, [&](Index j) { out.o.row(i) += std::exp(score(i, j) - out.lse(i)) * v.row(j); });
}
template <class S, class Keys, class Score, class Pull>
void row_backward(const Keys& keys, const Score& score, ConstView<S> v, Index i, ConstOut<S> out, ConstOut<S> dout,
                  View<S> dv, const Pull& pull) {
  if (out.lse(i) == -std::numeric_limits<S>::infinity()) return;
  const S d = out.o.row(i).dot(dout.o.row(i)) - (dout.lse.size() > 0 ? dout.lse(i) : S(0));
  keys(i, [&](Index j) {
    const S p = std::exp(score(i, j) - out.lse(i));
    dv.row(j) += p * dout.o.row(i);
    pull(i, j, p * (dout.o.row(i).dot(v.row(j)) - d));
  });
}

// --- tied fields and choices, as LSH attention has them
// ---------------------------------------------------------------

template <class M>
struct Tied {
  M qk, v;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.qk...));
    return Tied<R>{f(Field{"qk", Rows::queries, Width::key, false}, x.qk...),
                   f(Field{"v", Rows::queries, Width::value, false}, x.v...)};
  }
};
template <class S>
struct ProjectTied {
  using Scalar = S;
  template <class M>
  using Fields = Tied<M>;
  static constexpr bool crosses = false;
  struct Options {};
  struct State {};
  struct Params {
    Matrix<S> wqk, wv, none;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("wqk", x.wqk...);
      f("wv", x.wv...);
      f("none", x.none...);
    }
  };
  ProjectionShape s;
  ProjectTied(const Options&, const ProjectionShape& shape) : s(shape) {
    require<OptionError>(s.heads == s.kv_heads, "options.kv_heads: tied queries and keys have one per head");
  }
  Params init(Random& r) const {
    return {random_normal<S>(r, s.d_model, s.heads * s.key_dim, 0.4),
            random_normal<S>(r, s.d_model, s.heads * s.value_dim, 0.4),
            {}};
  }
  void check(const Params&) const {}
  std::size_t scratch(Index q, Index) const {
    return affine_scratch<S>(q, s.d_model, s.heads * std::max(s.key_dim, s.value_dim));
  }
  void forward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& b, Tied<Buffer<S>>& f, Workers& w) const {
    affine<S>(b.q, x, p.wqk, p.none, f.qk.resize(x.rows(), p.wqk.cols()), w);
    affine<S>(b.q, x, p.wv, p.none, f.v.resize(x.rows(), p.wv.cols()), w);
  }
  void backward(const Params& p, ConstView<S> x, ConstView<S>, const Batch& b, const Tied<Buffer<S>>& d, Params& g,
                View<S> dx, View<S>, Workers& w) const {
    affine_backward<S>(b.q, x, p.wqk, d.qk.view(), g.wqk, g.none, dx, w);
    affine_backward<S>(b.q, x, p.wv, d.v.view(), g.wv, g.none, dx, w);
  }
  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& b, Tied<Buffer<S>>& f, Workers& w) const {
    forward(p, x, x, b, f, w);
  }
};
/// Keeps the scores for backward too, which are no choices.
template <class S>
struct Buckets : Base<S> {
  static constexpr std::string_view name = "Buckets";
  template <class M>
  using Fields = Tied<M>;
  using Projection = ProjectTied<S>;
  using Choices = std::vector<int>;
  struct Cache {
    Choices bucket;
    Buffer<S> scores;
  };
  using Base<S>::Base;
  void check(const Head<Buckets>&, CallShape) const {}
  void reserve(CallShape call, Cache& c) const {
    c.bucket.reserve(static_cast<std::size_t>(call.queries));
    c.scores.reserve(call.queries * call.queries);
  }
  void choose(const Head<Buckets>&, const Tied<ConstView<S>>& in, Cache& c, Arena&) const {
    c.bucket.clear();
    for (Index i = 0; i < in.qk.rows(); ++i) c.bucket.push_back(in.qk(i, 0) > 0);
  }
  Choices& choices(Cache& c) const { return c.bucket; }
  auto keys(const Cache& c) const {
    return [&c](Index i, auto&& f) {
      for (std::size_t j = 0; j < c.bucket.size(); ++j)
        if (c.bucket[j] == c.bucket[static_cast<std::size_t>(i)]) f(static_cast<Index>(j));
    };
  }
  auto score(const Cache& c) const {
    return [e = c.scores.view()](Index i, Index j) { return e(i, j); };
  }
  void forward(const Head<Buckets>&, const Tied<ConstView<S>>& in, Out<S> out, Cache& c, Arena&) const {
    View<S> e = c.scores.resize(in.qk.rows(), in.qk.rows());
    for (Index i = 0; i < e.rows(); ++i)
      for (Index j = 0; j < e.cols(); ++j) e(i, j) = in.qk.row(i).dot(in.qk.row(j));
    for (Index i = 0; i < e.rows(); ++i) row_forward<S>(keys(c), score(c), in.v, i, out);
  }
  void backward(const Head<Buckets>&, const Tied<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout, const Cache& c,
                const Tied<View<S>>& d, const HeadGradient<Buckets>&, Arena&) const {
    View<S> dqk = d.qk;
    for (Index i = 0; i < in.qk.rows(); ++i)
      row_backward<S>(keys(c), score(c), in.v, i, out, dout, d.v, [&](Index a, Index b, S de) {
        dqk.row(a) += de * in.qk.row(b);
        dqk.row(b) += de * in.qk.row(a);
      });
  }
};
static_assert(ChoosingPolicy<Buckets<float>>);

// --- two sets of fields, as Longformer's local and global rows have them
// ----------------------------------------------

template <class M>
struct TwoSets {
  Qkv<M> local, global;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.local.q...));
    Qkv<R> l = Qkv<M>::map(f, x.local...);
    Qkv<R> g = Qkv<M>::map(f, x.global...);
    return TwoSets<R>{l, g};
  }
};
template <class S>
struct ProjectTwo {
  using Scalar = S;
  template <class M>
  using Fields = TwoSets<M>;
  static constexpr bool crosses = false;
  using One = ProjectQkv<S>;
  using Options = typename One::Options;
  using State = typename One::State;
  struct Params {
    typename One::Params local, global;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("local", x.local...);
      f("global", x.global...);
    }
  };
  One one;
  ProjectTwo(const Options& o, const ProjectionShape& s) : one(o, s) {}
  Params init(Random& r) const {
    typename One::Params local = one.init(r);
    return {local, one.init(r)};
  }
  void check(const Params& p) const { one.check(p.local), one.check(p.global); }
  std::size_t scratch(Index q, Index k) const { return one.scratch(q, k); }
  void forward(const Params& p, ConstView<S> x, ConstView<S> m, const Batch& b, TwoSets<Buffer<S>>& f,
               Workers& w) const {
    one.forward(p.local, x, m, b, f.local, w);
    one.forward(p.global, x, m, b, f.global, w);
  }
  void backward(const Params& p, ConstView<S> x, ConstView<S> m, const Batch& b, const TwoSets<Buffer<S>>& d, Params& g,
                View<S> dx, View<S> dm, Workers& w) const {
    one.backward(p.local, x, m, b, d.local, g.local, dx, dm, w);
    one.backward(p.global, x, m, b, d.global, g.global, dx, dm, w);
  }
  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& b, TwoSets<Buffer<S>>& f, Workers& w) const {
    forward(p, x, x, b, f, w);
  }
};
/// The caller names the global positions of each sequence; their rows see all keys with the second set.
template <class S>
struct Globals : Base<S> {
  static constexpr std::string_view name = "Globals";
  template <class M>
  using Fields = TwoSets<M>;
  using Projection = ProjectTwo<S>;
  struct Context {
    std::vector<std::vector<Index>> positions;
  };
  using Base<S>::Base;
  void check(const Head<Globals>& h, CallShape call) const {
    if (static_cast<std::size_t>(h.sequence) >= h.context.positions.size()) return;
    for (const Index p : h.context.positions[static_cast<std::size_t>(h.sequence)])
      require<ShapeError>(p >= 0 && p < call.queries, "context.positions: inside the sequence expected, came ", p);
  }
  void reserve(CallShape, typename Base<S>::Cache&) const {}
  static bool global(const Head<Globals>& h, Index i) {
    if (static_cast<std::size_t>(h.sequence) >= h.context.positions.size()) return false;
    for (const Index p : h.context.positions[static_cast<std::size_t>(h.sequence)])
      if (p == i) return true;
    return false;
  }
  auto keys(const Head<Globals>& h, Index n) const {
    return [&h, n](Index i, auto&& f) {
      for (Index j = 0; j < n; ++j)
        if (global(h, i) || global(h, j) || std::abs(i - j) < 2) f(j);
    };
  }
  void forward(const Head<Globals>& h, const TwoSets<ConstView<S>>& in, Out<S> out, typename Base<S>::Cache&,
               Arena&) const {
    for (Index i = 0; i < in.local.q.rows(); ++i) {
      const Qkv<ConstView<S>>& f = global(h, i) ? in.global : in.local;
      row_forward<S>(
          keys(h, f.k.rows()), [&](Index a, Index b) { return f.q.row(a).dot(f.k.row(b)); }, f.v, i, out);
    }
  }
  void backward(const Head<Globals>& h, const TwoSets<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const typename Base<S>::Cache&, const TwoSets<View<S>>& d, const HeadGradient<Globals>&, Arena&) const {
    for (Index i = 0; i < in.local.q.rows(); ++i) {
      const Qkv<ConstView<S>>& f = global(h, i) ? in.global : in.local;
      const Qkv<View<S>>& g = global(h, i) ? d.global : d.local;
      View<S> dq = g.q, dk = g.k;
      row_backward<S>(
          keys(h, f.k.rows()), [&](Index a, Index b) { return f.q.row(a).dot(f.k.row(b)); }, f.v, i, out, dout, g.v,
          [&](Index a, Index b, S de) {
            dq.row(a) += de * f.k.row(b);
            dk.row(b) += de * f.q.row(a);
          });
    }
  }
};
static_assert(AttentionPolicy<Globals<float>>);

// --- a term with a gradient, learned per head and shared by heads and layers, as adaptive span has it
// ------------------

/// e_ij += gain * q_i . table[distance]; the gain is learned per head, the table shared.
template <class S>
struct Distances : Base<S> {
  static constexpr std::string_view name = "Distances";
  template <class M>
  using Fields = Qkv<M>;
  using Projection = ProjectQkv<S>;
  static constexpr Index longest = 16;
  struct Params {
    Matrix<S> gain;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("gain", x.gain...);
    }
  };
  struct Shared {
    Matrix<S> table;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("table", x.table...);
    }
  };
  using Base<S>::Base;
  Params init(Random& r) const { return {random_normal<S>(r, 1, 1, 1)}; }
  Shared init_shared(Random& r) const { return {random_normal<S>(r, longest, this->shape_.key_dim, 0.5)}; }
  Causality causality() const { return Causality::strict; }
  void check(const Head<Distances>& h, CallShape call) const {
    require<ShapeError>(call.keys <= longest, "batch: up to ", longest, " tokens expected, came ", call.keys);
    require<ShapeError>(h.own.gain.size() == 1, "weights.heads.gain: one number expected");
  }
  void reserve(CallShape, typename Base<S>::Cache&) const {}

  struct Term {
    ConstView<S> q;
    const Head<Distances>& h;
    const View<S>* dq = nullptr;
    const HeadGradient<Distances>* g = nullptr;
    bool active() const { return true; }
    bool hides() const { return false; }
    bool sees(const Tile&, Index, Index) const { return true; }
    template <class F>
    void each(const Tile& t, const F& f) const {
      for (Index r = 0; r < t.rows; ++r)
        for (Index c = 0; c < t.keys; ++c)
          if (const Index x = t.position(r) - t.key - c; x >= 0) f(t.row + r, x, c * t.stride + r);
    }
    void fill(const Tile& t, S* s) const {
      each(t, [&](Index i, Index x, Index at) { s[at] += h.own.gain(0, 0) * q.row(i).dot(h.shared.table.row(x)); });
    }
    void pull(const Tile& t, const S* ds) const {
      each(t, [&](Index i, Index x, Index at) {
        View<S> to = *dq;
        to.row(i) += ds[at] * h.own.gain(0, 0) * h.shared.table.row(x);
        g->shared.table.row(x) += ds[at] * h.own.gain(0, 0) * q.row(i);
        g->own.gain(0, 0) += ds[at] * q.row(i).dot(h.shared.table.row(x));
      });
    }
  };
  void forward(const Head<Distances>& h, const Qkv<ConstView<S>>& in, Out<S> out, typename Base<S>::Cache&,
               Arena& scratch) const {
    softmax_forward(heed::Causal{}, Term{in.q, h}, Logits<S>{S(0.5), S(0)}, in, {0, in.q.rows()}, out, scratch);
  }
  void backward(const Head<Distances>& h, const Qkv<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const typename Base<S>::Cache&, const Qkv<View<S>>& d, const HeadGradient<Distances>& g,
                Arena& scratch) const {
    softmax_backward(heed::Causal{}, Term{in.q, h, &d.q, &g}, Logits<S>{S(0.5), S(0)}, in, out, dout, d, scratch);
  }
};
static_assert(AttentionPolicy<Distances<float>> && learns<Distances<float>>);

// --- a field that follows no segment, as Transformer-XL's R has it
// ----------------------------------------------------

template <class M>
struct QkvR {
  M q, k, v, r;
  template <class F, class... X>
  static auto map(F&& f, X&... x) {
    using R = decltype(f(Field{}, x.q...));
    return QkvR<R>{
        f(Field{"q", Rows::queries, Width::key, false}, x.q...), f(Field{"k", Rows::keys, Width::key, true}, x.k...),
        f(Field{"v", Rows::keys, Width::value, true}, x.v...), f(Field{"r", Rows::fixed, Width::key, false}, x.r...)};
  }
};
template <class S>
struct ProjectR {
  using Scalar = S;
  template <class M>
  using Fields = QkvR<M>;
  static constexpr bool crosses = true;
  using Options = typename ProjectQkv<S>::Options;
  struct State {};
  struct Params {
    typename ProjectQkv<S>::Params qkv;
    Matrix<S> wr;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("qkv", x.qkv...);
      f("wr", x.wr...);
    }
  };
  ProjectQkv<S> one;
  ProjectionShape s;
  ProjectR(const Options& o, const ProjectionShape& shape) : one(o, shape), s(shape) {}
  Params init(Random& r) const {
    typename ProjectQkv<S>::Params p = one.init(r);
    return {p, random_normal<S>(r, 3, s.heads * s.key_dim, 0.5)};
  }
  void check(const Params& p) const { one.check(p.qkv); }
  std::size_t scratch(Index q, Index k) const { return one.scratch(q, k); }
  static Matrix<S> waves(const Batch& b) {
    return Matrix<S>::NullaryExpr(Batch::longest(b.k), 3,
                                  [](Index t, Index i) { return static_cast<S>(std::sin(double(t * (i + 1)))); });
  }
  void forward(const Params& p, ConstView<S> x, ConstView<S> m, const Batch& b, QkvR<Buffer<S>>& f, Workers& w) const {
    Qkv<Buffer<S>> t;
    one.forward(p.qkv, x, m, b, t, w);
    f.q = t.q, f.k = t.k, f.v = t.v;
    const Matrix<S> r = waves(b);
    f.r.resize(r.rows(), p.wr.cols()) = r * p.wr;
  }
  void backward(const Params& p, ConstView<S> x, ConstView<S> m, const Batch& b, const QkvR<Buffer<S>>& d, Params& g,
                View<S> dx, View<S> dm, Workers& w) const {
    one.backward(p.qkv, x, m, b, Qkv<Buffer<S>>{d.q, d.k, d.v}, g.qkv, dx, dm, w);
    g.wr += waves(b).transpose() * d.r.view();
  }
  State start(Index) const { return {}; }
  void step(const Params& p, State&, ConstView<S> x, const Batch& b, QkvR<Buffer<S>>& f, Workers& w) const {
    forward(p, x, x, b, f, w);
  }
};
template <class S>
struct Relative : Base<S> {
  static constexpr std::string_view name = "Relative";
  template <class M>
  using Fields = QkvR<M>;
  using Projection = ProjectR<S>;
  using Base<S>::Base;
  struct Shared {
    Matrix<S> u;  // [heads, d]
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("u", x.u...);
    }
  };
  Shared init_shared(Random& r) const { return {random_normal<S>(r, this->shape_.heads, this->shape_.key_dim, 0.5)}; }
  void check(const Head<Relative>&, CallShape) const {}
  void reserve(CallShape, typename Base<S>::Cache&) const {}
  static auto keys(Index shift) {
    return [shift](Index i, auto&& f) {
      for (Index j = 0; j <= i + shift; ++j) f(j);
    };
  }
  static S score(const Head<Relative>& h, const QkvR<ConstView<S>>& in, Index shift, Index i, Index j) {
    return (in.q.row(i) + h.shared.u.row(h.head)).dot(in.k.row(j)) + in.q.row(i).dot(in.r.row(i + shift - j));
  }
  void forward(const Head<Relative>& h, const QkvR<ConstView<S>>& in, Out<S> out, typename Base<S>::Cache&,
               Arena&) const {
    const Index shift = in.k.rows() - in.q.rows();
    for (Index i = 0; i < in.q.rows(); ++i)
      row_forward<S>(
          keys(shift), [&](Index a, Index b) { return score(h, in, shift, a, b); }, in.v, i, out);
  }
  void backward(const Head<Relative>& h, const QkvR<ConstView<S>>& in, ConstOut<S> out, ConstOut<S> dout,
                const typename Base<S>::Cache&, const QkvR<View<S>>& d, const HeadGradient<Relative>& g, Arena&) const {
    const Index shift = in.k.rows() - in.q.rows();
    View<S> dq = d.q, dk = d.k, dr = d.r;
    for (Index i = 0; i < in.q.rows(); ++i)
      row_backward<S>(
          keys(shift), [&](Index a, Index b) { return score(h, in, shift, a, b); }, in.v, i, out, dout, d.v,
          [&](Index a, Index b, S de) {
            dq.row(a) += de * (in.k.row(b) + in.r.row(a + shift - b));
            dk.row(b) += de * (in.q.row(a) + h.shared.u.row(h.head));
            dr.row(a + shift - b) += de * in.q.row(a);
            g.shared.u.row(h.head) += de * in.k.row(b);
          });
  }
};
static_assert(AttentionPolicy<Relative<float>>);

}  // namespace archetype
