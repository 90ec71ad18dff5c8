// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/require.hpp>
#include <heed/core/types.hpp>

#include <type_traits>

namespace heed {

/// A caller's matrix as a view. Takes row-major matrices, maps and blocks of them, never copies; refuses at compile
/// time what Eigen would copy silently (column-major, an expression, another scalar), and at run time an inner stride.
template <class S, class Derived>
ConstView<S> front_door(const Eigen::MatrixBase<Derived>& m, const char* name) {
  static_assert(std::is_same_v<typename Derived::Scalar, S>,
                "heed: the matrix has another scalar type than the policy");
  static_assert(bool(Derived::Flags & Eigen::DirectAccessBit),
                "heed: an expression would have to be copied; evaluate it into a heed::Matrix first");
  static_assert(bool(Derived::IsRowMajor),
                "heed: a column-major matrix would have to be copied; use heed::Matrix or a row-major Map");
  const Derived& d = m.derived();
  require<ShapeError>(d.innerStride() == 1 || d.cols() <= 1, name, ": inner stride 1 expected, came ", d.innerStride());
  return {d.data(), d.rows(), d.cols(), Eigen::OuterStride<>(d.rows() > 1 ? d.outerStride() : d.cols())};
}

}  // namespace heed
