// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Parameters that a layer shares with others must be handed down to it.
// expect: Weights
#include <heed/layers/owning.hpp>

struct Layer {
  using Params = heed::NoParams;
#ifdef HEED_SHOULD_FAIL
  struct Shared {
    heed::Matrix<float> table;
    template <class F, class... X>
    static void visit(F&& f, X&... x) {
      f("table", x.table...);
    }
  };
#else
  using Shared = heed::NoParams;
#endif
};
void forward(heed::Weights<Layer>);
void run(const Layer::Params& params) { forward(params); }
