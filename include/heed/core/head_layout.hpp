// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/core/batch.hpp>
#include <heed/core/buffer.hpp>
#include <heed/core/fields.hpp>
#include <heed/core/parallel.hpp>

#include <algorithm>

namespace heed {

/// How heads lie in the fields of a batch: side by side, as blocks of columns; a grouped field has one block per
/// key/value head, shared by `group()` query heads. Where gradients are written, every field has one block per query
/// head, so that no two heads write to one place; `fold` sums them afterwards, in the order of the heads.
struct HeadLayout {
  Index heads = 1, kv_heads = 1, key_dim = 0, value_dim = 0;

  Index group() const { return heads / kv_heads; }
  Index width(Field f) const { return f.width == Width::one ? 1 : f.width == Width::key ? key_dim : value_dim; }

  /// The fields of one head of one sequence, for reading.
  template <class F>
  auto read(const F& fields, const Batch& batch, Index sequence, Index head) const {
    return F::map(
        [&](Field f, const auto& m) {
          const Segment s = rows(f, batch, sequence, m.rows());
          const Index at = f.grouped ? head / group() : head;
          return block(m.view(), s.begin, at * width(f), s.size, width(f));
        },
        fields);
  }

  /// The fields of one key/value head and of all query heads that share it, side by side.
  template <class F>
  auto read_group(const F& fields, const Batch& batch, Index sequence, Index kv_head) const {
    return F::map(
        [&](Field f, const auto& m) {
          const Segment s = rows(f, batch, sequence, m.rows());
          const Index columns = f.grouped ? width(f) : width(f) * group();
          return block(m.view(), s.begin, kv_head * columns, s.size, columns);
        },
        fields);
  }

  /// Gradients of zero for all fields, one block per query head.
  template <class F>
  void zero(const F& fields, F& dfields) const {
    F::map(
        [&](Field f, const auto& m, auto& d) {
          d.resize(m.rows(), width(f) * heads).setZero();
          return 0;
        },
        fields, dfields);
  }

  /// The gradients of one head of one sequence, for writing.
  template <class F>
  auto write(F& dfields, const Batch& batch, Index sequence, Index head) const {
    return F::map(
        [&](Field f, auto& d) {
          const Segment s = rows(f, batch, sequence, d.rows());
          return block(d.view(), s.begin, head * width(f), s.size, width(f));
        },
        dfields);
  }

  /// Sums the query heads of each group: `folded` has the layout of the fields. Only where groups are larger than 1.
  template <class F>
  void fold(const F& dfields, F& folded, Workers& workers) const {
    F::map(
        [&](Field f, const auto& d, auto& sum) {
          const auto from = d.view();
          const Index w = width(f), members = f.grouped ? group() : 1;
          auto to = sum.resize(d.rows(), from.cols() / members);
          constexpr Index panel = 256;
          workers.run((d.rows() + panel - 1) / panel, [&](Index task, Arena&) {
            const Index begin = task * panel, size = std::min(panel, from.rows() - begin);
            for (Index h = 0; h * w < from.cols(); ++h) {
              auto block_to = block(to, begin, h / members * w, size, w);
              const auto block_from = block(from, begin, h * w, size, w);
              if (h % members == 0)
                block_to = block_from;
              else
                block_to += block_from;
            }
          });
          return 0;
        },
        dfields, folded);
  }

 private:
  static Segment rows(Field f, const Batch& batch, Index sequence, Index all) {
    if (f.rows == Rows::fixed) return {0, all};
    return f.rows == Rows::queries ? batch.queries(sequence) : batch.keys(sequence);
  }
};

}  // namespace heed
