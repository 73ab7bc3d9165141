// Every table of maps.def in the kernel: what is put comes back, what is deleted is gone, pins are adopted.
#include <gtest/gtest.h>

#include <algorithm>

#include "dataplane/ebpf/maps.h"
#include "tests/agent/bpf_folder.h"

namespace thalweg::dataplane {
namespace {

class Tables : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = test::why_no_bpf(); !why.empty()) GTEST_SKIP() << why;
    if (!folder_.mounted()) GTEST_SKIP() << "cannot mount a bpffs";
  }
  EbpfDatapath open() {
    auto opened = EbpfDatapath::open(folder_.path() + "/maps");
    EXPECT_TRUE(opened) << (opened ? "" : opened.error().message);
    return std::move(*opened);
  }
  test::BpfFolder folder_;
};

// Row i of a table: an array's key is its index, a trie's begins with a full prefix.
Row make_row(const TableInfo& table, uint32_t i) {
  Row row{Bytes(table.key_size, '\0'), Bytes(table.value_size, '\x5a')};
  uint32_t at = 0;
  if (table.kind == TableInfo::Kind::LPM) {
    const uint32_t bits = (table.key_size - 4) * 8;
    row.key.replace(0, 4, reinterpret_cast<const char*>(&bits), 4);
    at = 4;
  }
  row.key.replace(at, 4, reinterpret_cast<const char*>(&i), 4);
  row.value.replace(0, 4, reinterpret_cast<const char*>(&i), 4);
  row.value[table.value_size - 1] = '\x77';
  return row;
}

std::vector<Row> make_rows(const TableInfo& table, size_t count) {
  std::vector<Row> rows;
  for (uint32_t i = 0; i < std::min(count, table.entries); ++i) rows.push_back(make_row(table, i));
  return rows;
}

std::vector<std::pair<Bytes, Bytes>> sorted(const std::vector<Row>& rows) {
  std::vector<std::pair<Bytes, Bytes>> pairs;
  for (const Row& row : rows) pairs.emplace_back(row.key, row.value);
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

std::vector<Change> changes(table_id table, const std::vector<Row>& rows, Change::Op op) {
  std::vector<Change> all;
  for (const Row& row : rows)
    all.push_back({table, op, row.key, op == Change::Op::Put ? row.value : Bytes()});
  return all;
}

TEST_F(Tables, WhatIsPutComesBackAndWhatIsDeletedIsGone) {
  EbpfDatapath datapath = open();
  for (size_t id = 0; id < TABLES; ++id) {
    if (kTables[id].kind == TableInfo::Kind::PERCPU_ARRAY || kTables[id].kind == TableInfo::Kind::SOCKET)
      continue;
    const auto table = static_cast<table_id>(id);
    SCOPED_TRACE(kTables[id].name);
    const std::vector<Row> rows = make_rows(kTables[id], 10'000);
    ASSERT_TRUE(datapath.apply(changes(table, rows, Change::Op::Put)));
    const auto dumped = datapath.dump(table);
    ASSERT_TRUE(dumped) << dumped.error().message;
    EXPECT_EQ(sorted(*dumped), sorted(rows));

    ASSERT_TRUE(datapath.apply(changes(table, rows, Change::Op::Delete)));
    ASSERT_TRUE(datapath.apply(changes(table, rows, Change::Op::Delete)))
        << "deleting the absent is no error";
    EXPECT_TRUE(datapath.dump(table)->empty());
  }
}

TEST_F(Tables, PutReplacesAndMixedRunsKeepTheirOrder) {
  EbpfDatapath datapath = open();
  Row row = make_row(info(TABLE_services), 1);
  Row other = row;
  other.value[0] = 'x';
  const std::vector<Change> mixed = {
      {TABLE_services, Change::Op::Put, row.key, row.value},
      {TABLE_services, Change::Op::Delete, row.key, {}},
      {TABLE_services, Change::Op::Put, row.key, row.value},
      {TABLE_services, Change::Op::Put, row.key, other.value},
  };
  ASSERT_TRUE(datapath.apply(mixed));
  const auto dumped = datapath.dump(TABLE_services);
  ASSERT_EQ(dumped->size(), 1u);
  EXPECT_EQ((*dumped)[0].value, other.value);
}

TEST_F(Tables, AFullTableNamesItself) {
  EbpfDatapath datapath = open();
  const TableInfo& table = info(TABLE_endpoints);
  std::vector<Row> rows;
  for (uint32_t i = 0; i <= table.entries; ++i) rows.push_back(make_row(table, i));
  const auto applied = datapath.apply(changes(TABLE_endpoints, rows, Change::Op::Put));
  ASSERT_FALSE(applied);
  EXPECT_NE(applied.error().message.find("endpoints"), std::string::npos) << applied.error().message;
}

TEST_F(Tables, ARowOfTheWrongSizeIsRefused) {
  EbpfDatapath datapath = open();
  const std::vector<Change> wrong = {{TABLE_endpoints, Change::Op::Put, "short", "short"}};
  EXPECT_FALSE(datapath.apply(wrong));
}

TEST_F(Tables, PinnedRowsAreAdopted) {
  const std::vector<Row> rows = make_rows(info(TABLE_identities), 10);
  {
    EbpfDatapath datapath = open();
    ASSERT_TRUE(datapath.apply(changes(TABLE_identities, rows, Change::Op::Put)));
  }
  EbpfDatapath again = open();
  EXPECT_TRUE(again.rebuilt().empty());
  EXPECT_EQ(sorted(*again.dump(TABLE_identities)), sorted(rows));
}

TEST_F(Tables, ATableOfAnotherLayoutIsRebuiltAndNamed) {
  open();
  const std::string pin = folder_.path() + "/maps/services";
  std::filesystem::remove(pin);
  const int other = bpf_map_create(BPF_MAP_TYPE_HASH, "services", 4, 4, 16, nullptr);
  ASSERT_GE(other, 0);
  ASSERT_EQ(bpf_obj_pin(other, pin.c_str()), 0);
  ::close(other);
  EbpfDatapath datapath = open();
  EXPECT_EQ(datapath.rebuilt(), std::vector<std::string>{"services"});
  EXPECT_TRUE(datapath.apply(changes(TABLE_services, make_rows(info(TABLE_services), 3), Change::Op::Put)));
}

TEST_F(Tables, CountersAreSummedOverTheCpus) {
  EbpfDatapath datapath = open();
  std::vector<counter> per_cpu(libbpf_num_possible_cpus());
  for (counter& one : per_cpu) one = {3, 100};
  const uint32_t reason = DROP_NO_BACKEND;
  ASSERT_EQ(bpf_map_update_elem(datapath.fd(TABLE_counters), &reason, per_cpu.data(), 0), 0);
  const auto sums = datapath.counters();
  ASSERT_TRUE(sums);
  EXPECT_EQ((*sums)[DROP_NO_BACKEND].packets, 3 * per_cpu.size());
  EXPECT_EQ((*sums)[DROP_NO_BACKEND].bytes, 100 * per_cpu.size());
  EXPECT_EQ((*sums)[DROP_NO_ROOM].packets, 0u);
}

TEST_F(Tables, AWalkInSmallStepsMeetsEveryRow) {
  EbpfDatapath datapath = open();
  const std::vector<Row> rows = make_rows(info(TABLE_sockets), 1000);
  ASSERT_TRUE(datapath.apply(changes(TABLE_sockets, rows, Change::Op::Put)));
  std::string cursor;
  size_t met = 0, steps = 0;
  bool more = true;
  while (more) {
    const auto step = datapath.walk(TABLE_sockets, cursor, 64,
                                    [&](const std::string&, const std::string&, size_t n) { met += n; });
    ASSERT_TRUE(step) << step.error().message;
    more = *step;
    ++steps;
  }
  EXPECT_EQ(met, rows.size());
  EXPECT_GT(steps, 10u);
}

}  // namespace
}  // namespace thalweg::dataplane
