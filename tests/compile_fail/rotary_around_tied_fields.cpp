// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
// Rotary positions turn queries and keys: a projection that makes one matrix for both has none to turn.
// expect: QueryKeyProjection|constraint
#include <heed/projections/qkv.hpp>
#include <heed/projections/rotary.hpp>

template <class M>
struct Tied {
  M qk, v;
};
struct ProjectTied : heed::ProjectQkv<float> {
  template <class M>
#ifdef HEED_SHOULD_FAIL
  using Fields = Tied<M>;
#else
  using Fields = heed::Qkv<M>;
#endif
  using heed::ProjectQkv<float>::ProjectQkv;
};
using Turned = heed::Rotary<ProjectTied>;
static_assert(sizeof(Turned) > 0);
