// A Redfish service that a test plays: which links are followed, what is asked again, how often
// something is sent, and what a vendor's action is made of.
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "backends/redfish_notices.h"
#include "registry/redfish/action_template.h"
#include "registry/redfish/evidence.h"
#include "registry/redfish/service.h"

namespace poisonctl {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

const ServiceAddress kBmc{"bmc.example", 443};

TEST(RedfishAddress, Urls) {
  const std::pair<const char*, const char*> good[] = {
      {"https://BMC.example", "https://bmc.example"},
      {"HTTPS://bmc.example/", "https://bmc.example"},
      {"https://bmc.example:443/redfish/v1", "https://bmc.example"},
      {"https://bmc.example:8443/redfish/v1/", "https://bmc.example:8443"},
      {"https://[FE80::1]", "https://[fe80::1]"},
      {"https://[fe80::1]:8443", "https://[fe80::1]:8443"},
      {"https://10.0.0.1", "https://10.0.0.1"},
  };
  for (const auto& [text, origin] : good) {
    const auto address = parse_service_url(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->origin(), origin);
  }
  for (const char* const text : {"",
                                 "https://",
                                 "http://bmc",
                                 "bmc",
                                 "https:/bmc",
                                 "https://user@bmc",
                                 "https://u:p@bmc/",
                                 "https://bmc:0",
                                 "https://bmc:65536",
                                 "https://bmc:",
                                 "https://bmc:1:2",
                                 "https://bmc/other",
                                 "https://bmc?x",
                                 "https://bmc#x",
                                 "https://b mc",
                                 "https://b\nmc",
                                 "https://[fe80::1",
                                 "https://fe80::1",
                                 "https://[fe80::1%25eth0]",
                                 "https://[]",
                                 "https://-bmc",
                                 "ftp://bmc"}) {
    const auto address = parse_service_url(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code, ErrorCode::kBadData);
    EXPECT_EQ(address.error().message.find("u:p"), std::string::npos);
  }
}

TEST(RedfishAddress, Links) {
  const std::pair<const char*, const char*> good[] = {
      {"/redfish/v1/Systems", "/redfish/v1/Systems"},
      {"/redfish/v1/Systems?$skip=2", "/redfish/v1/Systems?$skip=2"},
      {"/a?b=/../c", "/a?b=/../c"},
      {"https://bmc.example/x", "/x"},
      {"https://BMC.EXAMPLE:443/x", "/x"},
      {"https://bmc.example", "/"},
  };
  for (const auto& [link, path] : good) {
    const auto found = path_of_link(kBmc, link);
    ASSERT_TRUE(found) << link;
    EXPECT_EQ(*found, path);
  }
  const std::pair<const char*, ErrorCode> bad[] = {
      {"https://other.example/x", ErrorCode::kRefused},
      {"https://bmc.example:444/x", ErrorCode::kRefused},
      {"https://bmc.example.evil/x", ErrorCode::kRefused},
      {"https://bmc.example@evil/x", ErrorCode::kRefused},
      {"http://bmc.example/x", ErrorCode::kRefused},
      {"//other.example/x", ErrorCode::kRefused},
      {"", ErrorCode::kBadData},
      {"x", ErrorCode::kBadData},
      {"/x/../y", ErrorCode::kBadData},
      {"/x/..", ErrorCode::kBadData},
      {"/x y", ErrorCode::kBadData},
      {"/x\r\nHost: y", ErrorCode::kBadData},
      {"/x\\y", ErrorCode::kBadData},
      {"/x#y", ErrorCode::kBadData},
      {"/\xc3\xa4", ErrorCode::kBadData},
  };
  for (const auto& [link, code] : bad) {
    const auto found = path_of_link(kBmc, link);
    ASSERT_FALSE(found) << link;
    EXPECT_EQ(found.error().code, code) << link;
  }
  EXPECT_FALSE(path_of_link(kBmc, "/" + std::string(2048, 'x')));
  EXPECT_TRUE(path_of_link(kBmc, "/" + std::string(2047, 'x')));
}

ActionValues values(std::string dimm = "A 1") {
  return {.block = *ByteRange::from_size(PhysAddr(0x2800000), 4096),
          .dimm = std::move(dimm),
          .key = "[poisonctl 0x2800000+0x1000 #0]"};
}

TEST(RedfishAction, ValuesAreFilledInAsTextsAndNumbers) {
  ActionTemplate action;
  ASSERT_TRUE(parse_action("POST /redfish/v1/Memory/${dimm}/Repair?key=${key}", action));
  ASSERT_TRUE(parse_action_body(
      R"({"a":"${address}","b":["${size}","at ${address_hex}, ${dimm}"],"c":{"d":7,"e":"${key}"}})",
      action));
  const auto filled = fill(action, values());
  ASSERT_TRUE(filled);
  EXPECT_EQ(filled->path,
            "/redfish/v1/Memory/A%201/Repair?key=%5Bpoisonctl%200x2800000%2B0x1000%20%230%5D");
  EXPECT_EQ(
      filled->body,
      R"({"a":41943040,"b":[4096,"at 0x2800000, A 1"],"c":{"d":7,"e":"[poisonctl 0x2800000+0x1000 #0]"}})");
  EXPECT_FALSE(fill(action, values("")));
}

TEST(RedfishAction, NoNameOfAModuleEndsAText) {
  ActionTemplate action;
  ASSERT_TRUE(parse_action("PATCH /m/${dimm}", action));
  ASSERT_TRUE(parse_action_body(R"({"dimm":"${dimm}"})", action));
  const auto filled = fill(action, values("\",\"x\":\"/../${key}\xff"));
  ASSERT_TRUE(filled);
  EXPECT_EQ(filled->path, "/m/%22%2C%22x%22%3A%22%2F..%2F%24%7Bkey%7D%FF");
  const json body = json::parse(filled->body);
  EXPECT_EQ(body.size(), 1U);
}

TEST(RedfishAction, WhatIsRefused) {
  for (const char* const text :
       {"", "POST", "GET /x", "POST x", "POST /x y", "POST //x/y", "POST https://bmc/x",
        "POST /${dim}", "POST /${dimm", "POST /x/../y", "DELETE /x", "post /x"}) {
    ActionTemplate action;
    EXPECT_FALSE(parse_action(text, action)) << text;
    EXPECT_FALSE(action.configured()) << text;
  }
  for (const char* const text : {"", "[]", "7", "{", R"({"a":${address}})", R"({"a":"${b}"})",
                                 R"({"a":["${dimm"]})", R"({"a":1,"a":2})"}) {
    ActionTemplate action;
    EXPECT_FALSE(parse_action_body(text, action)) << text;
    EXPECT_TRUE(action.body.empty()) << text;
  }
  ActionTemplate action;
  EXPECT_FALSE(parse_action_body("{\"a\":\"" + std::string(4096, 'x') + "\"}", action));
}

// What the service answers, by method and path; each answer once, the last for ever.
class ServiceModel final : public HttpTransport {
 public:
  ServiceModel() {
    answers_["GET /redfish/v1/"] = {ok(R"({"Links":{"Sessions":{"@odata.id":"/sessions"}}})")};
    answers_["POST /sessions"] = {session("one"), session("two")};
    answers_["DELETE /sessions/1"] = {HttpAnswer{.status = 204}};
  }
  static HttpAnswer ok(std::string body) {
    return {.status = 200, .body = std::move(body), .content_type = "application/json"};
  }
  static HttpAnswer session(const char* token) {
    return {.status = 201, .location = "/sessions/1", .token = token};
  }
  void on(const std::string& request, std::deque<Result<HttpAnswer>> answers) {
    answers_[request] = std::move(answers);
  }
  Result<HttpAnswer> send(const HttpRequest& request) override {
    const std::string name = request.method + " " + request.path;
    ++count[name];
    last = request;
    const auto found = answers_.find(name);
    if (found == answers_.end()) return HttpAnswer{.status = 404};
    const Result<HttpAnswer> answer = found->second.front();
    if (found->second.size() > 1) found->second.pop_front();
    return answer;
  }
  std::map<std::string, int> count;
  HttpRequest last;

 private:
  std::map<std::string, std::deque<Result<HttpAnswer>>> answers_;
};

Credentials credentials() {
  Credentials given;
  given.user = "Aladdin";
  given.password = "open sesame";
  return given;
}

class RedfishServiceTest : public testing::Test {
 protected:
  ServiceModel model_;
  std::vector<milliseconds> waits_;
  RedfishService service_{model_,
                          kBmc,
                          credentials(),
                          [this](milliseconds time) { waits_.push_back(time); },
                          {.requests = 50, .pages = 5, .members = 10}};
};

Error lost() { return {ErrorCode::kIo, "lost"}; }

TEST_F(RedfishServiceTest, ASessionAndItsEnd) {
  {
    RedfishService service(model_, kBmc, credentials(), [](milliseconds) {});
    ASSERT_TRUE(service.open());
    model_.on("GET /x", {ServiceModel::ok("{}")});
    ASSERT_TRUE(service.get("/x"));
    EXPECT_EQ(model_.last.authorization, "X-Auth-Token: one");
  }
  EXPECT_EQ(model_.count["DELETE /sessions/1"], 1);
}

TEST_F(RedfishServiceTest, BasicWhereThereAreNoSessions) {
  model_.on("POST /sessions", {HttpAnswer{.status = 405}});
  ASSERT_TRUE(service_.open());
  model_.on("GET /x", {ServiceModel::ok("{}")});
  ASSERT_TRUE(service_.get("/x"));
  // RFC 7617, 2.
  EXPECT_EQ(model_.last.authorization, "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

TEST_F(RedfishServiceTest, ASessionThatEndedBeginsAgainOnce) {
  ASSERT_TRUE(service_.open());
  model_.on("GET /x", {HttpAnswer{.status = 401}, ServiceModel::ok("{}")});
  EXPECT_TRUE(service_.get("/x"));
  EXPECT_EQ(model_.last.authorization, "X-Auth-Token: two");
  model_.on("GET /x", {HttpAnswer{.status = 401}});
  const auto refused = service_.get("/x");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kNoPrivilege);
  EXPECT_EQ(model_.count["POST /sessions"], 3);
}

TEST_F(RedfishServiceTest, ABusyServiceIsWaitedForAsItAsks) {
  model_.on("GET /x", {HttpAnswer{.status = 503, .retry_after = std::chrono::seconds(7)}, lost(),
                       ServiceModel::ok("{}")});
  EXPECT_TRUE(service_.get("/x"));
  EXPECT_EQ(waits_, (std::vector<milliseconds>{milliseconds(7000), milliseconds(2000)}));
  model_.on("GET /y", {HttpAnswer{.status = 429, .retry_after = std::chrono::seconds(31)}});
  const auto later = service_.get("/y");
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code, ErrorCode::kLocked);
  EXPECT_EQ(model_.count["GET /y"], 1);
  EXPECT_EQ(waits_.size(), 2U);
  model_.on("GET /z", {lost()});
  EXPECT_EQ(service_.get("/z").error().code, ErrorCode::kIo);
  EXPECT_EQ(model_.count["GET /z"], 3);
}

TEST_F(RedfishServiceTest, AChangeIsNotSentAgainUnlessItWasNotLookedAt) {
  using Kind = ChangeOutcome::Kind;
  const std::tuple<Result<HttpAnswer>, Kind, int> cases[] = {
      {HttpAnswer{.status = 204}, Kind::kDone, 1},
      {HttpAnswer{.status = 202}, Kind::kDone, 1},
      {HttpAnswer{.status = 400}, Kind::kNotDone, 1},
      {HttpAnswer{.status = 302, .location = "/y"}, Kind::kNotDone, 1},
      {HttpAnswer{.status = 429}, Kind::kNotDone, 3},
      {HttpAnswer{.status = 503}, Kind::kNotDone, 1},
      {HttpAnswer{.status = 500}, Kind::kUnknown, 1},
      {lost(), Kind::kUnknown, 1},
      {Error{ErrorCode::kBadData, "too long"}, Kind::kUnknown, 1},
      {Error{ErrorCode::kNotAvailable, "no route"}, Kind::kNotDone, 1},
      {Error{ErrorCode::kRefused, "certificate"}, Kind::kNotDone, 1},
  };
  for (const auto& [answer, kind, sent] : cases) {
    model_.count.clear();
    model_.on("POST /x", {answer});
    const ChangeOutcome outcome = service_.change("POST", "/x", "{}");
    EXPECT_EQ(outcome.kind, kind);
    EXPECT_EQ(outcome.about_this, answer && answer->status == 400);
    EXPECT_EQ(model_.count["POST /x"], sent);
  }
  EXPECT_EQ(service_.change("POST", "https://other/x", "{}").kind, Kind::kNotDone);
}

TEST_F(RedfishServiceTest, APatchNamesWhatItChanges) {
  HttpAnswer now = ServiceModel::ok("{}");
  now.etag = "\"7\"";
  model_.on("GET /x", {now});
  model_.on("PATCH /x", {HttpAnswer{.status = 200}});
  EXPECT_EQ(service_.change("PATCH", "/x", "{}").kind, ChangeOutcome::Kind::kDone);
  EXPECT_EQ(model_.last.if_match, "\"7\"");
  model_.on("GET /y", {lost()});
  EXPECT_EQ(service_.change("PATCH", "/y", "{}").kind, ChangeOutcome::Kind::kNotDone);
  EXPECT_EQ(model_.count["PATCH /y"], 0);
}

// "/p0" to "/p8", and after that what `last` says.
void pages(ServiceModel& model, const std::string& last, int members = 1) {
  for (int page = 0; page < 9; ++page) {
    json body = {{"Members", json::array()}};
    for (int i = 0; i < members; ++i) body["Members"].push_back({{"Id", page}, {"N", i}});
    if (page < 2) body["Members@odata.nextLink"] = "/p" + std::to_string(page + 1);
    if (page == 2 && !last.empty()) body["Members@odata.nextLink"] = last;
    model.on("GET /p" + std::to_string(page), {ServiceModel::ok(body.dump())});
  }
}

Result<int> members_of(RedfishService& service) {
  int members = 0;
  const auto read = service.for_each_member("/p0", [&](const json&) -> Result<void> {
    ++members;
    return {};
  });
  if (!read) return read.error();
  return members;
}

TEST_F(RedfishServiceTest, PagesEnd) {
  pages(model_, "");
  EXPECT_EQ(*members_of(service_), 3);
  for (const char* const last : {"/p0", "/p2", "https://bmc.example/p1"}) {
    pages(model_, last);
    ASSERT_FALSE(members_of(service_)) << last;
    EXPECT_EQ(members_of(service_).error().code, ErrorCode::kBadData) << last;
  }
  pages(model_, "https://other.example/p3");
  EXPECT_EQ(members_of(service_).error().code, ErrorCode::kRefused);
  pages(model_, "", 4);
  EXPECT_EQ(members_of(service_).error().code, ErrorCode::kBadData) << "more than ten members";
}

TEST_F(RedfishServiceTest, RequestsAreCounted) {
  model_.on("GET /x", {ServiceModel::ok("{}")});
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(service_.get("/x"));
  EXPECT_FALSE(service_.get("/x"));
  EXPECT_EQ(model_.count["GET /x"], 50);
}

TEST_F(RedfishServiceTest, AnswersOfTheWrongKind) {
  HttpAnswer html = ServiceModel::ok("{}");
  html.content_type = "text/html";
  for (const HttpAnswer& answer :
       {html, ServiceModel::ok("{\"a\":"), ServiceModel::ok("[]"), ServiceModel::ok("")}) {
    model_.on("GET /x", {answer});
    const auto got = service_.get("/x");
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, ErrorCode::kBadData) << got.error().message;
  }
  EXPECT_EQ(service_.get("/none").error().code, ErrorCode::kNoInput);
}

TEST_F(RedfishServiceTest, TheSystemThatIsThisMachine) {
  const json root = {{"Systems", {{"@odata.id", "/s"}}}};
  const auto found = [&](const std::vector<std::string>& theirs, const std::string& ours) {
    json body = {{"Members", json::array()}};
    for (const std::string& uuid : theirs) body["Members"].push_back({{"Id", "s"}, {"UUID", uuid}});
    model_.on("GET /s", {ServiceModel::ok(body.dump())});
    std::vector<std::string> warnings;
    const auto system = find_system(service_, root, ours, warnings);
    return std::pair(system ? redfish_text(*system, "UUID") : "none", warnings.size());
  };
  const std::string ours = "00112233-4455-6677-8899-aabbccddeeff";
  const std::string other = "00112233-4455-6677-8899-aabbccddee00";
  const std::string swapped = "33221100-5544-7766-8899-AABBCCDDEEFF";
  EXPECT_EQ(found({other, ours}, ours + "\n"), std::pair(ours, std::size_t{0}));
  EXPECT_EQ(found({other, swapped}, ours), std::pair(swapped, std::size_t{0}));
  EXPECT_EQ(found({other}, ours).first, "none");
  EXPECT_EQ(found({}, ours).first, "none");
  EXPECT_EQ(found({""}, ours), std::pair(std::string(), std::size_t{1}));
  EXPECT_EQ(found({other}, ""), std::pair(other, std::size_t{1}));
  EXPECT_EQ(found({"", ""}, ours).first, "none");
  // Which of two that say the same is meant, nobody can tell.
  EXPECT_EQ(found({ours, other, swapped}, ours).first, "none");
  // What firmware writes where there is no UUID is nobody's.
  for (const char digit : {'0', 'f', 'F'}) {
    const std::string unset = std::string(8, digit) + "-" + std::string(4, digit) + "-" +
                              std::string(4, digit) + "-" + std::string(4, digit) + "-" +
                              std::string(12, digit);
    EXPECT_EQ(found({unset}, unset), std::pair(unset, std::size_t{1}));
    EXPECT_EQ(found({unset, other}, unset).first, "none");
    EXPECT_EQ(found({unset, ours}, ours).first, ours);
  }
}

TEST(RedfishKey, IsNoPartOfAnother) {
  std::set<std::string> keys;
  for (const std::uint64_t address : {0x1000U, 0x10000U, 0x100000U}) {
    for (const std::uint16_t episode : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{11}}) {
      SelNotice notice{.block = *ByteRange::from_size(PhysAddr(address), 4096)};
      notice.episode = episode;
      keys.insert(redfish_key(notice));
    }
  }
  EXPECT_EQ(keys.size(), 9U);
  for (const std::string& key : keys) {
    for (const std::string& other : keys) {
      EXPECT_EQ(key == other, other.find(key) != std::string::npos);
    }
  }
}

}  // namespace
}  // namespace poisonctl
