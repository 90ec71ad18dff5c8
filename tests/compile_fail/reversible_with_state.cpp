// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// A layer with a state of its own cannot be computed again, and so has no place in a reversible one.
// expect: ReplayableLayer|constraint
#include <heed/layers/reversible.hpp>

/// Subtracts the running mean of all that it ever saw.
struct Centre {
  using Scalar = float;
  struct Options {};
  using Params = heed::NoParams;
  using Shared = heed::NoParams;
  using Context = heed::NoContext;
  struct Cache {
    heed::Buffer<float> y;
    float mean = 0;
  };
  explicit Centre(const Options&) {}
  Params init(heed::Random&) const { return {}; }
  Shared init_shared(heed::Random&) const { return {}; }
  heed::ConstView<float> forward(heed::Weights<Centre>, heed::ConstView<float> x, const heed::Batch&, Cache& c,
                                 const Context& = {}) const {
    c.mean = 0.9f * c.mean + 0.1f * x.mean();
    c.y.resize(x.rows(), x.cols()) = x.array() - c.mean;
    return heed::view(std::as_const(c.y));
  }
  heed::ConstView<float> backward(heed::Weights<Centre>, heed::ConstView<float>, const heed::Batch&, Cache&,
                                  heed::ConstView<float> dy, heed::Gradients<Centre>, const Context& = {}) const {
    return dy;
  }
#ifndef HEED_SHOULD_FAIL
  static constexpr bool tokenwise = true;  // a promise that this layer would break
#endif
};
static_assert(heed::Layer<Centre>);
heed::Reversible<Centre, Centre> reversible({});
