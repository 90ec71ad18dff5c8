// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/parallel.hpp>
#include <heed/kernels/norm_rows.hpp>
#include <heed/kernels/row_panels.hpp>
#include <heed/layers/layer.hpp>

#include <algorithm>
#include <cmath>

/// Norms of token rows. Any finite row is normed: squares neither overflow nor vanish, a row of zeros gives finite
/// results and gradients.

namespace heed {

/// y = gain (x - mean) / sqrt(variance + epsilon) + shift, the variance over d_model (Ba et al. 2016, arXiv
/// 1607.06450).
template <class S>
struct LayerNormForm {
  struct Options {
    Index d_model = 0;
    double epsilon = 1e-5;  ///< inside the root; must be positive
    bool shift = true;      ///< whether a shift is learned
    int threads = 1;
  };
  /// `gain [1, d_model]`, starts as 1; `shift [1, d_model]` or empty, starts as 0.
  struct Params {
    Matrix<S> gain, shift;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("gain", x.gain...);
      f("shift", x.shift...);
    }
  };
  static constexpr bool centered = true, gain_of_column = true;
  static void check(const Options&) {}
  static Params init(const Options& o) {
    return {Matrix<S>::Ones(1, o.d_model), Matrix<S>::Zero(o.shift ? 1 : 0, o.shift ? o.d_model : 0)};
  }
  static Index counted(const Options& o) { return o.d_model; }
  static detail::NormRow<S> measure(const Options& o, const S* x) {
    return detail::measure_centered(o.d_model, x, static_cast<S>(o.epsilon));
  }
};

/// Where epsilon stands in an RMS norm.
enum class EpsilonIn {
  root,        ///< sqrt(mean x^2 + epsilon)
  denominator  ///< sqrt(mean x^2) + epsilon, as in the authors' code
};

/// y = gain x / sqrt(mean x^2 + epsilon) (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4; the paper has no epsilon).
template <class S>
struct RmsNormForm {
  struct Options {
    Index d_model = 0;
    double epsilon = 1e-6;  ///< must be positive
    EpsilonIn epsilon_in = EpsilonIn::root;
    double part = 1;  ///< the mean is over the first floor(part d_model) columns (pRMSNorm), at least one; in (0, 1]
    int threads = 1;
  };
  /// `gain [1, d_model]`, starts as 1.
  struct Params {
    Matrix<S> gain;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("gain", x.gain...);
    }
  };
  static constexpr bool centered = false, gain_of_column = true;
  static void check(const Options& o) {
    require<OptionError>(o.part > 0 && o.part <= 1, "options.part: (0, 1] expected, came ", o.part);
  }
  static Params init(const Options& o) { return {Matrix<S>::Ones(1, o.d_model)}; }
  static Index counted(const Options& o) {
    return std::max<Index>(1, static_cast<Index>(o.part * static_cast<double>(o.d_model)));
  }
  static detail::NormRow<S> measure(const Options& o, const S* x) {
    const Index k = counted(o);
    const S count = static_cast<S>(k), epsilon = static_cast<S>(o.epsilon);
    detail::NormRow<S> row;
    const S mean_square = detail::measure_squares(k, x, row.scale) / count;
    if (o.epsilon_in == EpsilonIn::root) {
      row.factor = 1 / detail::root_of_sum(mean_square, epsilon, row.scale);
      row.pull = 1 / count;
    } else {
      const S rms = std::sqrt(mean_square);
      row.factor = 1 / (rms + epsilon * row.scale);
      row.pull = rms > 0 ? 1 / (rms * row.factor * count) : S(0);
    }
    return row;
  }
};

/// y = gain x / max(|x|, epsilon) with one gain for all columns (Nguyen and Salazar 2019, arXiv 1910.05895, eq. 5).
template <class S>
struct ScaleNormForm {
  struct Options {
    Index d_model = 0;
    double epsilon = 1e-5;  ///< the smallest length that is divided by; must be positive
    int threads = 1;
  };
  /// `gain [1, 1]`, starts as sqrt(d_model).
  struct Params {
    Matrix<S> gain;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("gain", x.gain...);
    }
  };
  static constexpr bool centered = false, gain_of_column = false;
  static void check(const Options&) {}
  static Params init(const Options& o) { return {Matrix<S>::Constant(1, 1, std::sqrt(static_cast<S>(o.d_model)))}; }
  static Index counted(const Options& o) { return o.d_model; }
  static detail::NormRow<S> measure(const Options& o, const S* x) {
    detail::NormRow<S> row;
    const S length = std::sqrt(detail::measure_squares(o.d_model, x, row.scale));
    const S least = static_cast<S>(o.epsilon) * row.scale;
    row.factor = 1 / std::max(length, least);
    row.pull = length >= least ? S(1) : S(0);
    return row;
  }
};

/// y = x / max(|x|, epsilon): rows of length 1, nothing learned (FixNorm of word embeddings: Nguyen and Chiang 2018,
/// arXiv 1710.01329; epsilon as in `torch.nn.functional.normalize`).
template <class S>
struct FixNormForm {
  struct Options {
    Index d_model = 0;
    double epsilon = 1e-12;  ///< the smallest length that is divided by; must be positive
    int threads = 1;
  };
  using Params = NoParams;
  static constexpr bool centered = false, gain_of_column = false;
  static void check(const Options&) {}
  static Params init(const Options&) { return {}; }
  static Index counted(const Options& o) { return o.d_model; }
  static detail::NormRow<S> measure(const Options& o, const S* x) {
    return ScaleNormForm<S>::measure({o.d_model, o.epsilon, 1}, x);
  }
};

/// The layer of all of them: y = gain u + shift, where `Form` says what u, gain and shift are.
template <class S, template <class> class Form>
class Norm {
 public:
  using Scalar = S;
  using Options = typename Form<S>::Options;
  using Params = typename Form<S>::Params;
  using Shared = NoParams;
  using Context = NoContext;
  static constexpr bool tokenwise = true;
  struct Cache {
    detail::Made made;
    Buffer<S> y, dx;
    std::vector<detail::NormRow<S>> measures;  // per row
    Buffer<S> partial;                         // gradients of gain and shift, per panel of rows
    Workers workers;
  };

  explicit Norm(const Options& options) : options_(options) {
    require<OptionError>(options.d_model >= 1, "options.d_model: at least 1 expected, came ", options.d_model);
    require<OptionError>(options.epsilon > 0 && static_cast<S>(options.epsilon) > 0 && std::isfinite(options.epsilon),
                         "options.epsilon: a positive number expected, came ", options.epsilon);
    require<OptionError>(options.threads >= 1, "options.threads: at least 1 expected, came ", options.threads);
    Form<S>::check(options);
  }
  const Options& options() const { return options_; }
  Params init(Random&) const { return Form<S>::init(options_); }
  Shared init_shared(Random&) const { return {}; }

  template <class X>
  ConstView<S> forward(Weights<Norm> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                       const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x");
    check(w.own, x, batch);
    const Index d = options_.d_model;
    c.made.note(batch, x.rows(), d, {});
    c.workers.prepare(options_.threads, 0);
    View<S> y = c.y.resize(x.rows(), d);
    if (c.measures.size() < static_cast<std::size_t>(x.rows())) c.measures.resize(static_cast<std::size_t>(x.rows()));
    zero_gaps<S>(batch.q, y);
    const Learned<const S> p = learned<const S>(w.own);
    for_each_row(batch.q, x.rows(), d, c.workers, [&](Index i) {
      const S* const row = x.data() + i * x.outerStride();
      detail::NormRow<S>& m = c.measures[static_cast<std::size_t>(i)];
      m = Form<S>::measure(options_, row);
      detail::norm_row<Form<S>::centered>(d, row, m, p.gain, p.uniform, p.shift, y.data() + i * d);
    });
    return std::as_const(c.y).view();
  }

  template <class X, class Y>
  ConstView<S> backward(Weights<Norm> w, const Eigen::MatrixBase<X>& tokens, const Batch& batch, Cache& c,
                        const Eigen::MatrixBase<Y>& cotangent, Gradients<Norm> g, const Context& = {}) const {
    const ConstView<S> x = front_door<S>(tokens, "x"), dy = front_door<S>(cotangent, "dy");
    check(w.own, x, batch);
    const Index d = options_.d_model, rows = x.rows();
    c.made.check(batch, rows, d, {});
    detail::check_cotangent(dy, rows, d);
    detail::check_gradients(w, g);

    c.workers.prepare(options_.threads, 0);
    View<S> dx = c.dx.resize(rows, d);
    zero_gaps<S>(batch.q, dx);
    const Learned<const S> p = learned<const S>(w.own);
    const Learned<S> dp = learned<S>(g.own);
    // Every panel sums its rows, and the panels are summed in order: no bit depends on the threads.
    const Index height = panel_height(rows, d, 32), panels = panels_of(rows, height);
    View<S> partial = c.partial.resize(panels, 2 * d + 1);
    partial.setZero();
    for_each_panel(batch.q, rows, height, c.workers, [&](Index panel, Segment part) {
      S* const at = partial.data() + panel * partial.cols();
      for (Index i = part.begin; i < part.begin + part.size; ++i)
        at[2 * d] += detail::norm_row_backward<Form<S>::centered>(
            d, Form<S>::counted(options_), x.data() + i * x.outerStride(), c.measures[static_cast<std::size_t>(i)],
            p.gain, p.uniform, dy.data() + i * dy.outerStride(), p.gain != nullptr ? at : nullptr,
            p.shift != nullptr ? at + d : nullptr, dx.data() + i * d);
    });
    for (Index panel = 0; panel < panels; ++panel) {
      if (dp.gain != nullptr) VectorView<S>(dp.gain, d) += partial.block(panel, 0, 1, d).transpose();
      if (dp.shift != nullptr) VectorView<S>(dp.shift, d) += partial.block(panel, d, 1, d).transpose();
      if constexpr (!Form<S>::gain_of_column && !std::is_empty_v<Params>) g.own.gain(0, 0) += partial(panel, 2 * d);
    }
    return std::as_const(c.dx).view();
  }

 private:
  /// Null: not there.
  template <class T>
  struct Learned {
    T* gain = nullptr;
    T* shift = nullptr;
    S uniform = 1;  // the gain of all columns
  };
  template <class T, class P>
  static Learned<T> learned(P& p) {
    Learned<T> l;
    if constexpr (Form<S>::gain_of_column) l.gain = p.gain.data();
    if constexpr (!Form<S>::gain_of_column && !std::is_empty_v<Params>) l.uniform = p.gain(0, 0);
    if constexpr (requires { p.shift; })
      if (p.shift.size() > 0) l.shift = p.shift.data();
    return l;
  }
  void check(const Params& p, ConstView<S> x, const Batch& batch) const {
    if constexpr (!std::is_empty_v<Params>)
      detail::check_weight("gain", p.gain, 1, Form<S>::gain_of_column ? options_.d_model : 1);
    if constexpr (requires { p.shift; })
      detail::check_weight("shift", p.shift, options_.shift ? 1 : 0, options_.shift ? options_.d_model : 0);
    detail::check_tokens(x, options_.d_model, batch);
  }

  Options options_;
};

template <class S>
using LayerNorm = Norm<S, LayerNormForm>;
template <class S>
using RmsNorm = Norm<S, RmsNormForm>;
template <class S>
using ScaleNorm = Norm<S, ScaleNormForm>;
template <class S>
using FixNorm = Norm<S, FixNormForm>;
static_assert(TokenwiseLayer<LayerNorm<float>> && TokenwiseLayer<RmsNorm<float>> && TokenwiseLayer<ScaleNorm<float>> &&
              TokenwiseLayer<FixNorm<float>>);

}  // namespace heed
