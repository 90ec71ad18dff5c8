// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/params.hpp>
#include <heed/core/random.hpp>
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <algorithm>
#include <cmath>

namespace heed {

/// What linear maps to queries, keys and values learn: `w` is `[inputs, columns]`; `b` is `[1, columns]` or empty.
template <class S>
struct QkvWeights {
  Matrix<S> wq, wk, wv, bq, bk, bv;
  template <class F, class... X>
  static void visit(F&& f, X&... x) {
    f("wq", x.wq...);
    f("wk", x.wk...);
    f("wv", x.wv...);
    f("bq", x.bq...);
    f("bk", x.bk...);
    f("bv", x.bv...);
  }
};

/// Their shape.
struct QkvWeightShape {
  struct Map {
    Index inputs = 0, columns = 0;
  };
  Map q, k, v;
  bool bias = false;

  /// Normal with variance 1 / inputs; biases 0.
  template <class S>
  QkvWeights<S> init(Random& random) const {
    const auto weight = [&](Map m) {
      return random_normal<S>(random, m.inputs, m.columns,
                              1 / std::sqrt(static_cast<double>(std::max<Index>(m.inputs, 1))));
    };
    const auto zeros = [&](Map m) -> Matrix<S> { return Matrix<S>::Zero(bias ? 1 : 0, bias ? m.columns : 0); };
    QkvWeights<S> p;
    p.wq = weight(q);
    p.wk = weight(k);
    p.wv = weight(v);
    p.bq = zeros(q);
    p.bk = zeros(k);
    p.bv = zeros(v);
    return p;
  }

  /// Throws ShapeError. `where`: what errors call the parameters.
  template <class S>
  void check(const QkvWeights<S>& p, const char* where = "weights.projection") const {
    check(where, "wq", p.wq, p.bq, q);
    check(where, "wk", p.wk, p.bk, k);
    check(where, "wv", p.wv, p.bv, v);
  }

 private:
  template <class S>
  void check(const char* where, const char* name, const Matrix<S>& w, const Matrix<S>& b, Map m) const {
    require<ShapeError>(w.rows() == m.inputs && w.cols() == m.columns, where, ".", name, ": [", m.inputs, ", ",
                        m.columns, "] expected, came [", w.rows(), ", ", w.cols(), "]");
    const Index n = bias ? m.columns : 0;
    require<ShapeError>(b.rows() == (n > 0) && b.cols() == n, where, ": the bias of ", name, ": [", n > 0, ", ", n,
                        "] expected, came [", b.rows(), ", ", b.cols(), "]");
  }
};

}  // namespace heed
