// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#include <heed/io/safetensors_header.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

/// libFuzzer: whatever bytes come, a header is refused with our error, or it covers its data exactly.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  try {
    const heed::SafetensorsHeader header =
        heed::parse_safetensors(std::string_view(reinterpret_cast<const char*>(bytes), size));
    std::uint64_t at = 0;
    for (const heed::TensorInfo& t : header.tensors) {
      if (t.begin != at || t.end < t.begin) std::abort();
      at = t.end;
    }
    if (header.data > size || at != size - header.data) std::abort();
  } catch (const heed::SafetensorsError&) {
  }
  return 0;
}
