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

/// Padding is not there: NaN in rows of no segment reaches nothing, outputs and gradients there are exactly 0, and the
/// rest equals the ragged batch, for results and dx to the bit. So do weight gradients, within rounding.
struct IgnoresPadding {
  static constexpr const char* name = "ignores_padding";

  template <class P>
  static void check(Verdict& v) {
    using S = typename P::Scalar;
    for (const auto& options : layer_options<P>()) {
      const std::vector<heed::Index> n{5, 0, 51, 3};
      const heed::Index stride = 52;
      const heed::Batch ragged = heed::Batch::ragged(n), padded = heed::Batch::padded(n, stride);
      const heed::Matrix<S> x = tokens<S>(59, options.d_model, 5), dy = tokens<S>(59, options.d_model, 6);
      heed::Matrix<S> px = heed::Matrix<S>::Constant(4 * stride, options.d_model, std::numeric_limits<S>::quiet_NaN()),
                      pdy = px;
      for (heed::Index s = 0; s < 4; ++s) {
        px.middleRows(padded.queries(s).begin, padded.queries(s).size) =
            x.middleRows(ragged.queries(s).begin, ragged.queries(s).size);
        pdy.middleRows(padded.queries(s).begin, padded.queries(s).size) =
            dy.middleRows(ragged.queries(s).begin, ragged.queries(s).size);
      }
      Layer<P> a(options), b(options);
      const heed::Matrix<S> y = a.forward(x, ragged), dx = a.backward(x, ragged, dy);
      const heed::Matrix<S> py = b.forward(px, padded), pdx = b.backward(px, padded, pdy);
      for (heed::Index s = 0; s < 4; ++s) {
        const auto r = ragged.queries(s), p = padded.queries(s);
        v.expect(same_bits(y.middleRows(r.begin, r.size), py.middleRows(p.begin, p.size)), "y depends on padding");
        v.expect(same_bits(dx.middleRows(r.begin, r.size), pdx.middleRows(p.begin, p.size)), "dx depends on padding");
        const heed::Index end = p.begin + p.size, rest = (s + 1) * stride - end;
        v.expect((py.middleRows(end, rest).array() == S(0)).all() && (pdx.middleRows(end, rest).array() == S(0)).all(),
                 "padding rows of y or dx are not 0");
      }
      const auto near = [&](const std::string& path, const auto& g, const auto& h) {
        for (heed::Index i = 0; i < g.size(); ++i)
          v.expect(std::abs(g.data()[i] - h.data()[i]) <=
                       S(1000) * std::numeric_limits<S>::epsilon() * (S(1) + std::abs(g.data()[i])),
                   "gradient of ", path, " depends on padding: ", g.data()[i], " and ", h.data()[i]);
      };
      heed::for_each(near, a.gradient, b.gradient);
      heed::for_each(near, a.shared_gradient, b.shared_gradient);
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
