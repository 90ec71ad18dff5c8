// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <layers.hpp>
#include <verdict.hpp>

/// Sequences of a batch know nothing of each other: in another order, or alone, every sequence has the same bits;
/// changing one moves only its own rows and their gradients.
struct SequencesIndependent {
  static constexpr const char* name = "sequences_independent";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const auto& options : layer_options<P>()) {
      Layer<P> layer(options);
      const std::vector<heed::Index> n{7, 0, 60, 1};
      const heed::Batch batch = heed::Batch::ragged(n);
      heed::Matrix<S> x = tokens<S>(68, options.d_model, 3);
      const heed::Matrix<S> dy = tokens<S>(68, options.d_model, 4);
      const heed::Matrix<S> y = layer.forward(x, batch), dx = layer.backward(x, batch, dy);

      heed::Matrix<S> turned(68, options.d_model), turned_dy(68, options.d_model);  // 60, 1, 7, 0
      turned << x.middleRows(7, 61), x.topRows(7);
      turned_dy << dy.middleRows(7, 61), dy.topRows(7);
      const heed::Batch other = heed::Batch::ragged({60, 1, 7, 0});
      const heed::Matrix<S> z = layer.forward(turned, other), dz = layer.backward(turned, other, turned_dy);
      v.expect(same_bits(z.topRows(61), y.middleRows(7, 61)) && same_bits(z.bottomRows(7), y.topRows(7)),
               "y depends on the order of sequences");
      v.expect(same_bits(dz.topRows(61), dx.middleRows(7, 61)) && same_bits(dz.bottomRows(7), dx.topRows(7)),
               "dx depends on the order of sequences");

      x.middleRows(7, 60).array() += S(1);
      const heed::Matrix<S> w = layer.forward(x, batch), dw = layer.backward(x, batch, dy);
      v.expect(same_bits(w.topRows(7), y.topRows(7)) && same_bits(w.bottomRows(1), y.bottomRows(1)),
               "one sequence moved another");
      v.expect(same_bits(dw.topRows(7), dx.topRows(7)) && same_bits(dw.bottomRows(1), dx.bottomRows(1)),
               "one sequence moved another's gradients");
      v.expect(!same_bits(w.middleRows(7, 60), y.middleRows(7, 60)), "a sequence does not depend on its tokens");
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};

/// Heads know nothing of each other: changing the weights of one key/value head moves the outputs of its group and no
/// other.
struct HeadsIndependent {
  static constexpr const char* name = "heads_independent";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const auto& options : layer_options<P>()) {
      Layer<P> layer(options);
      const heed::Index group = options.heads / options.kv_heads;
      const heed::Batch batch = heed::Batch::ragged({9, 50});
      const heed::Matrix<S> x = tokens<S>(59, options.d_model, 3);
      layer.forward(x, batch);
      const heed::Matrix<S> mixed = layer.cache.mixed.view(), lse = layer.cache.lse.view();
      const heed::Index d_v = mixed.cols() / options.heads;
      for (heed::Index kv = 0; kv < options.kv_heads; ++kv) {
        Layer<P> changed(options);
        Cases<P>::change_kv_head(changed.params.projection, kv, options.kv_heads);
        changed.forward(x, batch);
        const heed::Matrix<S> now = changed.cache.mixed.view(), now_lse = changed.cache.lse.view();
        for (heed::Index h = 0; h < options.heads; ++h) {
          const bool same = same_bits(now.middleCols(h * d_v, d_v), mixed.middleCols(h * d_v, d_v)) &&
                            same_bits(now_lse.row(h), lse.row(h));
          v.expect(same == (h / group != kv), "changing key/value head ", kv,
                   same ? " does not move head " : " moves head ", h, " of ", options.heads, " in groups of ", group);
        }
      }
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};

/// Padding is not there: whatever rows of no segment hold, NaN included, and however many there are, reaches nothing;
/// outputs and input gradients there are exactly 0. Results, dx and weight gradients have the same bits over any padding;
/// results and dx also those of the batch without any, where sequences touch and weight gradients sum in another order.
struct IgnoresPadding {
  static constexpr const char* name = "ignores_padding";

  template <class S>
  struct Passed {
    heed::Batch batch;
    heed::Matrix<S> x, dy, y, dx;
  };
  /// Both passes over the sequences of `from`, laid out as `batch` says, with `filler` between them.
  template <class P, class S>
  static Passed<S> pass(Layer<P>& layer, const Passed<S>& from, const heed::Batch& batch, heed::Index rows, S filler) {
    Passed<S> to;
    to.batch = batch;
    to.x = to.dy = heed::Matrix<S>::Constant(rows, from.x.cols(), filler);
    for (heed::Index s = 0; s < batch.size(); ++s) {
      const auto here = batch.queries(s), there = from.batch.queries(s);
      to.x.middleRows(here.begin, here.size) = from.x.middleRows(there.begin, there.size);
      to.dy.middleRows(here.begin, here.size) = from.dy.middleRows(there.begin, there.size);
    }
    to.y = layer.forward(to.x, batch);
    to.dx = layer.backward(to.x, batch, to.dy);
    return to;
  }
  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    const std::vector<heed::Index> n{5, 0, 51, 3};
    for (const auto& options : layer_options<P>()) {
      Layer<P> a(options), b(options), c(options);
      Passed<S> ragged{
          heed::Batch::ragged(n), tokens<S>(59, options.d_model, 5), tokens<S>(59, options.d_model, 6), {}, {}};
      ragged = pass(a, ragged, ragged.batch, 59, S(0));
      for (const heed::Index stride : {52, 57}) {
        const S filler = stride == 52 ? std::numeric_limits<S>::quiet_NaN() : S(3);
        const Passed<S> padded = pass(stride == 52 ? b : c, ragged, heed::Batch::padded(n, stride), 4 * stride, filler);
        for (heed::Index s = 0; s < 4; ++s) {
          const auto r = ragged.batch.queries(s), p = padded.batch.queries(s);
          v.expect(same_bits(ragged.y.middleRows(r.begin, r.size), padded.y.middleRows(p.begin, p.size)),
                   "y depends on padding");
          v.expect(same_bits(ragged.dx.middleRows(r.begin, r.size), padded.dx.middleRows(p.begin, p.size)),
                   "dx depends on padding");
          const heed::Index end = p.begin + p.size, rest = (s + 1) * stride - end;
          v.expect((padded.y.middleRows(end, rest).array() == S(0)).all() &&
                       (padded.dx.middleRows(end, rest).array() == S(0)).all(),
                   "padding rows of y or dx are not 0");
        }
      }
      const auto same = [&](const std::string& path, const auto& g, const auto& h) {
        v.expect(same_bits(g, h), "gradient of ", path, " depends on padding");
      };
      heed::for_each(same, b.gradient, c.gradient);
      heed::for_each(same, b.shared_gradient, c.shared_gradient);
    }
  }
  template <class Family>
  static Verdict check_family() {
    Verdict v;
    check<typename Family::template Of<float>>(v);
    check<typename Family::template Of<double>>(v);
    return v;
  }
};
