// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace heed {

/// Where the sines and cosines of a position stand, and their wavelengths, for half = d_model / 2 of each. These are
/// different tables: weights trained with one do not work with another.
enum class Sinusoids {
  interleaved,    ///< sin, cos, sin, cos, ...; base^(2 i / d_model): Vaswani et al. 2017, arXiv 1706.03762, section 3.5
  halves,         ///< all sines, then all cosines; the same wavelengths: Transformer-XL
  halves_to_base  ///< all sines, then all cosines; base^(i / (half - 1)), so that the last is `base`: tensor2tensor
};

/// `[positions, d_model]`; an odd last column is a sine (interleaved) or 0.
template <class S>
Matrix<S> sinusoids(Index positions, Index d_model, Sinusoids layout = Sinusoids::interleaved, double base = 10000) {
  Matrix<S> table = Matrix<S>::Zero(positions, d_model);
  const Index half = d_model / 2, waves = layout == Sinusoids::interleaved ? (d_model + 1) / 2 : half;
  for (Index i = 0; i < waves; ++i) {
    const double exponent = layout == Sinusoids::halves_to_base
                                ? static_cast<double>(i) / static_cast<double>(std::max<Index>(1, half - 1))
                                : 2 * static_cast<double>(i) / static_cast<double>(d_model);
    const double frequency = std::pow(base, -exponent);
    for (Index p = 0; p < positions; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      const bool interleaved = layout == Sinusoids::interleaved;
      const Index cosine = interleaved ? 2 * i + 1 : half + i;
      table(p, interleaved ? 2 * i : i) = static_cast<S>(std::sin(angle));
      if (cosine < d_model) table(p, cosine) = static_cast<S>(std::cos(angle));
    }
  }
  return table;
}

/// y = x + table[i] in row i of every sequence, for sequences of up to `longest` tokens.
template <class S>
class Positions {
 public:
  using Scalar = S;
  struct Options {
    Index d_model = 0, longest = 0;
    bool learned = true;  ///< or `sinusoids` of the layout, which nothing changes
    Sinusoids layout = Sinusoids::interleaved;
    double base = 10000;
    int threads = 1;
  };
  /// `table [longest, d_model]`, normal with deviation 0.02; empty if it is not learned.
  struct Params {
    Matrix<S> table;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("table", x.table...);
    }
  };
  using Shared = NoParams;
  using Context = NoContext;
  struct Cache {
    detail::Made made;
    Buffer<S> y, dx;
    Workers workers;
  };
  struct State {
    std::vector<Index> sizes;  // tokens so far
    Index capacity = 0, longest_chunk = 0;
    Buffer<S> y;
    Workers workers;
  };

  explicit Positions(const Options& options) : options_(options) {
    require<OptionError>(options.d_model >= 1, "options.d_model: at least 1 expected, came ", options.d_model);
    require<OptionError>(options.longest >= 1, "options.longest: at least 1 expected, came ", options.longest);
    require<OptionError>(options.base > 0 && std::isfinite(options.base),
                         "options.base: a positive number expected, came ", options.base);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
    if (!options.learned) fixed_ = sinusoids<S>(options.longest, options.d_model, options.layout, options.base);
  }
  const Options& options() const { return options_; }
  Causality causality() const { return Causality::strict; }
  Params init(Random& random) const {
    const bool learned = options_.learned;
    return {random_normal<S>(random, learned ? options_.longest : 0, learned ? options_.d_model : 0, 0.02)};
  }
  Shared init_shared(Random&) const { return {}; }

  template <class X>
  ConstView<S> forward(Weights<Positions> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w.own, x, batch, nullptr);
    c.made.note(batch, x.rows(), x.cols(), {});
    return add(w.own, x, batch, nullptr, c.y, c.workers);
  }
  template <class X>
  ConstView<S> replay(Weights<Positions> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                      const Context& = {}) const {
    return forward(w, tokens, batch, c);
  }
  template <class X, class Y>
  ConstView<S> backward(Weights<Positions> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Positions> g, const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    check(w.own, x, batch, nullptr);
    c.made.check(batch, x.rows(), x.cols(), {});
    detail::check_cotangent(dy, x.rows(), x.cols());
    detail::check_gradients(w, g);
    copy_rows<S>(batch.q, dy, c.dx.resize(x.rows(), x.cols()), c.workers);
    if (options_.learned)
      for (const Segment s : batch.q)
        for (Index i = 0; i < s.size; ++i) g.own.table.row(i) += dy.row(s.begin + i);
    return std::as_const(c.dx).view();
  }

  State start(Index sequences, Index capacity, Index longest_chunk = 1) const {
    require<StateError>(sequences >= 0, "start: sequences must not be negative, came ", sequences);
    require<StateError>(capacity <= options_.longest, "start: a capacity of up to longest = ", options_.longest,
                        " expected, came ", capacity);
    State s;
    s.sizes.assign(static_cast<std::size_t>(sequences), 0);
    s.capacity = capacity;
    s.longest_chunk = longest_chunk;
    return s;
  }
  /// A refused step leaves the state as it was.
  template <class X>
  ConstView<S> step(Weights<Positions> w, State& state, const Eigen::MatrixBase<X>& tokens, const Batch& batch,
                    const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    require<StateError>(state.sizes.size() == batch.q.size(), "batch: ", state.sizes.size(),
                        " sequences expected, as the state was started with, came ", batch.q.size());
    for (std::size_t i = 0; i < batch.q.size(); ++i) {
      require<StateError>(batch.q[i].size <= state.longest_chunk, "batch: chunks of up to ", state.longest_chunk,
                          " tokens expected, came ", batch.q[i].size);
      require<StateError>(batch.q[i].size <= state.capacity - state.sizes[i], "batch: room for ", state.capacity,
                          " tokens, of which ", state.sizes[i], " are taken, came ", batch.q[i].size, " more");
    }
    check(w.own, x, batch, &state.sizes);
    const ConstView<S> y = add(w.own, x, batch, &state.sizes, state.y, state.workers);
    for (std::size_t i = 0; i < batch.q.size(); ++i) state.sizes[i] += batch.q[i].size;
    return y;
  }

 private:
  static Index first(const std::vector<Index>* before, std::size_t sequence) {
    return before == nullptr ? 0 : (*before)[sequence];
  }
  void check(const Params& p, ConstView<S> x, const Batch& batch, const std::vector<Index>* before) const {
    detail::check_weight("table", p.table, options_.learned ? options_.longest : 0,
                         options_.learned ? options_.d_model : 0);
    detail::check_tokens(x, options_.d_model, batch);
    for (std::size_t i = 0; i < batch.q.size(); ++i)
      require<ShapeError>(first(before, i) + batch.q[i].size <= options_.longest, "batch.q[", i,
                          "]: sequences of up to longest = ", options_.longest, " tokens expected, came ",
                          first(before, i) + batch.q[i].size);
  }
  ConstView<S> add(const Params& p, ConstView<S> x, const Batch& batch, const std::vector<Index>* before, Buffer<S>& to,
                   Workers& workers) const {
    workers.prepare(options_.threads, 0);
    const Matrix<S>& table = options_.learned ? p.table : fixed_;
    View<S> y = to.resize(x.rows(), x.cols());
    zero_gaps<S>(batch.q, y);
    workers.run(batch.size(), [&](Index s, Arena&) {
      const Segment rows = batch.queries(s);
      y.middleRows(rows.begin, rows.size) =
          x.middleRows(rows.begin, rows.size) + table.middleRows(first(before, static_cast<std::size_t>(s)), rows.size);
    });
    return view(y);
  }

  Options options_;
  Matrix<S> fixed_;
};
static_assert(ReplayableLayer<Positions<float>> && StreamingLayer<Positions<float>>);

}  // namespace heed
