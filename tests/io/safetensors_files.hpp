// SPDX-FileCopyrightText: 2026 The heed authors
// SPDX-License-Identifier: MIT
#pragma once
#include <heed/io/safetensors_header.hpp>

#include <cstdint>
#include <string>
#include <vector>

/// Files of weights as others may hand them to us: bad ones, each with its fault, and good ones that look odd.

namespace safetensors_files {

using heed::SafetensorsFault;

inline std::string number(std::uint64_t n) {
  std::string s;
  for (int i = 0; i < 8; ++i) s += static_cast<char>(n >> (8 * i) & 0xff);
  return s;
}
inline std::string file(const std::string& header, std::size_t data = 0) {
  return number(header.size()) + header + std::string(data, '\1');
}
inline std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}
inline std::string floats(const std::string& shape, const std::string& offsets) {
  return entry("\"F32\"", shape, offsets);
}
inline std::string one(const std::string& value, std::size_t data = 0) { return file("{\"a\":" + value + "}", data); }

struct Bad {
  const char* rule;
  std::string bytes;
  SafetensorsFault fault;
  const char* says;  // a regular expression
  heed::SafetensorsLimits limits{};
};

inline std::vector<Bad> bad() {
  using F = SafetensorsFault;
  const std::string ok = floats("[2]", "[0,8]");
  std::vector<Bad> all;
  for (std::size_t n = 0; n < 8; ++n) all.push_back({"S01", std::string(n, '\0'), F::header_too_small, "at least 8"});
  all.push_back({"S02", number(0), F::invalid_json, "byte 8.*'\\{' expected"});
  all.push_back({"S02", number(1) + "{", F::invalid_json, "byte"});
  for (const std::uint64_t n :
       {std::uint64_t{100'000'001}, std::uint64_t{1} << 63, ~std::uint64_t{0}, ~std::uint64_t{0} - 7})
    all.push_back({"S03", number(n) + "{}", F::header_too_large, "at most 100000000"});
  all.push_back({"S04", number(3) + "{}", F::invalid_header_length, "a header of 3 bytes in a file of 10"});
  all.push_back({"S05", one(ok, 7), F::incomplete_buffer, "have 8 bytes, and the file 7"});
  all.push_back({"S05", one(ok, 9), F::incomplete_buffer, "only 8"});
  all.push_back({"S05", file("{}", 1), F::incomplete_buffer, "only 0"});
  all.push_back({"S06", file("{\"\xff\":" + ok + "}", 8), F::invalid_utf8, "UTF-8"});
  all.push_back({"S06", file("{\"\xc0\xaf\":" + ok + "}", 8), F::invalid_utf8, "UTF-8"});
  all.push_back({"S06", file("{\"\xed\xa0\x80\":" + ok + "}", 8), F::invalid_utf8, "UTF-8"});
  all.push_back({"S06", file("\xef\xbb\xbf{}"), F::invalid_json, "'\\{' expected"});
  all.push_back({"S06", file(std::string("{}\0x", 4)), F::invalid_json, "NUL"});
  for (const char* text :
       {"[]", "1", "\"a\"", "{} x", "{}{}", "{/**/}", "{'a':1}", "{\"a\":NaN}", "{\"a\":{},}", "{\"a\""})
    all.push_back({"S07", file(text), std::string(text) == "{\"a\":{},}" ? F::invalid_info : F::invalid_json, ""});
  all.push_back({"S07", one("{\"dtype\":\"F32\",}"), F::invalid_json, ""});
  all.push_back({"S08", one(std::string(100'000, '[')), F::too_deep, "deeper than 8"});
  all.push_back({"S08", file(std::string(100'000, '[')), F::invalid_json, "'\\{' expected"});
  all.push_back({"S09", file("{\"a\":" + ok + ",\"a\":" + floats("[2]", "[8,16]") + "}", 16), F::duplicate_key,
                 "\"a\" comes twice"});
  all.push_back({"S09", file("{\"a\":" + ok + ",\"\\u0061\":" + floats("[2]", "[8,16]") + "}", 16), F::duplicate_key,
                 "\"a\" comes twice"});
  all.push_back({"S09", one("{\"dtype\":\"F32\",\"dtype\":\"F32\"}"), F::duplicate_key, "dtype twice"});
  all.push_back({"S09", one("{\"shape\":[],\"shape\":[]}"), F::duplicate_key, "shape twice"});
  all.push_back(
      {"S09", one("{\"data_offsets\":[0,0],\"data_offsets\":[0,0]}"), F::duplicate_key, "data_offsets twice"});
  all.push_back(
      {"S09", file("{\"__metadata__\":{},\"__metadata__\":{}}"), F::duplicate_key, "__metadata__ comes twice"});
  all.push_back({"S09", file("{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}"), F::duplicate_key, "\"x\" twice"});
  for (const char* value : {"1", "[]", "null", "\"x\"", "{\"x\":1}", "{\"x\":{}}", "{\"x\":null}"})
    all.push_back(
        {"S10", file(std::string("{\"__metadata__\":") + value + "}"), F::invalid_metadata, "an object of strings"});
  all.push_back({"S10", file("{\"__metadata__\":" + ok + "}", 8), F::invalid_metadata, "an object of strings"});
  for (const char* value : {"{}", "{\"dtype\":\"F32\"}", "{\"dtype\":\"F32\",\"shape\":[0]}", "1", "[]", "null",
                            "{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0],\"more\":1}"})
    all.push_back({"S11", one(value), F::invalid_info, "\"a\".*dtype, shape and data_offsets expected"});
  for (const char* dtype : {"\"F33\"", "\"f32\"", "\"\"", "1", "null", "[]"})
    all.push_back({"S12", one(entry(dtype, "[2]", "[0,8]"), 8), F::unknown_dtype, "\"a\".*dtype"});
  for (const char* shape : {"[-1]", "[-0]", "[2.0]", "[1e3]", "[\"2\"]", "[true]", "[null]", "[[2]]", "[{}]",
                            "[18446744073709551616]", "[281474976710657]", "2", "{}", "null"})
    all.push_back({"S14", one(floats(shape, "[0,8]"), 8), F::invalid_shape, "\"a\""});
  all.push_back({"S15", one(floats("[1,1,1,1,1,1,1,1,2]", "[0,8]"), 8), F::too_many_dimensions, "at most 8"});
  all.push_back({"S16", one(floats("[4294967296,4294967296]", "[0,0]")), F::overflow, "can be counted"});
  all.push_back({"S16", one(floats("[281474976710656,65536]", "[0,0]")), F::overflow, "can be counted"});
  all.push_back({"S16", one(floats("[0,4294967296,4294967296]", "[0,0]")), F::overflow, "can be counted"});
  all.push_back({"S16", one(floats("[4294967296,4294967295]", "[0,8]"), 8), F::overflow, "more bytes"});
  all.push_back({"S17", one(floats("[0]", "[4,4]"), 2), F::invalid_offset, "beyond the data"});
  all.push_back({"S17", one(floats("[0]", "[0,4]"), 4), F::size_mismatch, "have 0 bytes"});
  for (const char* offsets : {"[]", "[0]", "[0,8,8]", "[-1,8]", "[0,8.0]", "[\"0\",8]", "8", "null", "{}", "[[0,8]]"})
    all.push_back({"S18", one(floats("[2]", offsets), 8), F::invalid_offset, "\"a\".*data_offsets"});
  all.push_back({"S19", one(floats("[2]", "[8,0]"), 8), F::invalid_offset, "ends before it begins"});
  all.push_back({"S19", one(floats("[2]", "[16,24]"), 8), F::invalid_offset, "beyond the data"});
  all.push_back({"S19", one(floats("[2]", "[9223372036854775800,9223372036854775808]"), 8), F::invalid_offset,
                 "beyond the data"});
  all.push_back({"S20", file("{\"a\":" + ok + ",\"b\":" + ok + "}", 8), F::overlap, "\"b\".*overlaps"});
  all.push_back({"S20", file("{\"a\":" + ok + ",\"b\":" + floats("[2]", "[4,12]") + "}", 12), F::overlap, "\"b\""});
  all.push_back({"S21", one(floats("[2]", "[4,12]"), 12), F::hole, "\"a\".*nothing lies before"});
  all.push_back({"S21", file("{\"a\":" + ok + ",\"b\":" + floats("[1]", "[12,16]") + "}", 16), F::hole, "\"b\""});
  all.push_back({"S22", one(floats("[3]", "[0,8]"), 8), F::size_mismatch, "have 12 bytes"});
  all.push_back({"S22", one(floats("[1]", "[0,8]"), 8), F::size_mismatch, "have 4 bytes"});
  all.push_back({"S22", one(entry("\"F4\"", "[3]", "[0,2]"), 2), F::size_mismatch, "whole bytes"});
  const std::string two = "{\"a\":" + ok + ",\"b\":" + floats("[1]", "[8,12]") + "}";
  all.push_back({"S24", file(two, 12), F::limit_exceeded, "at most 1 tensors", {.tensors = 1}});
  all.push_back({"S24", file("{\"" + std::string(4097, 'n') + "\":" + ok + "}", 8), F::limit_exceeded, "4096"});
  all.push_back({"S24", file("{\"__metadata__\":{\"x\":\"12345\"}}"), F::limit_exceeded, "at most 5", {.metadata = 5}});
  return all;
}

struct Good {
  const char* what;
  std::string bytes;
  std::size_t tensors;
  heed::SafetensorsLimits limits{};
};

inline std::vector<Good> good() {
  const std::string ok = floats("[2]", "[0,8]");
  return {{"empty", file("{}"), 0},
          {"metadata only", file("{\"__metadata__\":{\"format\":\"pt\"}}"), 0},
          {"one", one(ok, 8), 1},
          {"no dimensions", one(floats("[]", "[0,4]"), 4), 1},
          {"no numbers", one(floats("[3,0]", "[0,0]")), 1},
          {"spaces before and after", file(" \n\t\r{\"a\":" + ok + "}  \n", 8), 1},
          {"not in the order of the data", file("{\"b\":" + floats("[1]", "[8,12]") + ",\"a\":" + ok + "}", 12), 2},
          {"fields in another order", one("{\"data_offsets\":[0,8],\"shape\":[2],\"dtype\":\"F32\"}", 8), 1},
          {"metadata last", file("{\"a\":" + ok + ",\"__metadata__\":{}}", 8), 1},
          {"data that is not aligned",
           file("{\"a\":" + entry("\"U8\"", "[1]", "[0,1]") + ",\"b\":" + floats("[1]", "[1,5]") + "}", 5), 2},
          {"odd names", file("{\"\":" + ok + ",\"../\\u0000\\\"\":" + floats("[1]", "[8,12]") + "}", 12), 2},
          {"brackets in a name", file("{\"[[[[[[[[[[\\\"[[\":" + ok + "}", 8), 1},
          {"half bytes", one(entry("\"F4\"", "[4]", "[0,2]"), 2), 1},
          {"what may follow if it is allowed", one(ok, 12), 1, {.allow_trailing = true}}};
}

}  // namespace safetensors_files
